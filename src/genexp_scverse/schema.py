"""The one place that says what a gene-centric MuData is: names, shapes, and :func:`validate`.

Observations are genes; every modality has the same genes in the same order.

======================= ===========================================================================
where                   what
======================= ===========================================================================
``mdata.obs``           chrom, tss (0-based), strand, gene_name, gene_type, split, start, end, ...
``mdata["rna"]``        X genes x samples; ``.var`` sample, unit; layers ``log``, ``label``, predictions
``mdata["chromatin"]``  ``.var`` sample, mark, scale, source; X track means; ``obsm["bins"]``; layer ``track``
``mdata["dna"]``        ``obsm["codes"]`` uint8; X scalar features of the sequence
``obsm["<array>_axes"]`` of an array whose further axes are tracks, bins or bases: which ones, gene by gene
``mdata.uns``           schema_version, assembly, chrom_sizes, files, intervals
======================= ===========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from genexp_scverse import _axes
from genexp_scverse._errors import InputError, some

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from anndata import AnnData
    from mudata import MuData

SCHEMA_VERSION = "2"

RNA, CHROMATIN, DNA = "rna", "chromatin", "dna"
BINS, CODES = "bins", "codes"
LOG, LABEL = "log", "label"
SPLIT = "split"
SPLITS = ("train", "valid", "test")

UNITS = ("tpm", "rpkm", "fpkm", "counts", "cage", "log", "label")
"""Units of expression. ``log`` is used as it is, ``label`` is a 0/1 class without a level; the others get
a natural log1p layer."""

SCALES = ("counts", "coverage", "fold_change", "pvalue", "log", "log_ratio")
"""Scales of a track. Only ``log_ratio`` may be negative; ``log`` and ``log_ratio`` are not logged again."""

BASES = "ACGTN"
"""Letters of ``obsm["codes"]``: A C G T N = 0 1 2 3 4."""


def validate(mdata: MuData) -> None:
    """Check that `mdata` is a gene-centric MuData as this package understands it.

    Checks the order of genes in every modality, the columns of ``obs`` and ``var``, the shapes and types of the
    arrays, and that it is known which tracks and which window their axes are. Modalities other than
    ``rna``, ``chromatin`` and ``dna`` only have their genes checked.

    Parameters
    ----------
    mdata
        The object to check; it is not changed.

    Raises
    ------
    InputError
        With the key, the value and the mend.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((3, 2, 10)), genes=["a", "b", "c"], marks=["H3K4me3", "H3K27me3"])
    >>> gx.schema.validate(mdata)
    """
    if not hasattr(mdata, "mod"):
        msg = f"expected a MuData with genes as observations, got {type(mdata).__name__}: see gx.io.build_mudata"
        raise InputError(msg)
    if not mdata.obs_names.is_unique:
        twice = mdata.obs_names[mdata.obs_names.duplicated()]
        msg = f"gene ids must be unique, but {some(twice)} occur more than once: drop the duplicates"
        raise InputError(msg)
    for name, adata in mdata.mod.items():
        check_order(mdata, name)
        if name == RNA:
            _need_columns(adata.var, ("sample", "unit"), "rna")
            _need_values(adata.var["unit"], UNITS, 'mdata["rna"].var["unit"]')
            _need_once(adata.var, ["sample"], "rna")
        elif name == CHROMATIN:
            _need_columns(adata.var, ("sample", "mark", "scale"), "chromatin")
            _need_values(adata.var["scale"], SCALES, 'mdata["chromatin"].var["scale"]')
            _need_once(adata.var, ["sample", "mark"], "chromatin")
            _check_bins(adata)
        elif name == DNA and CODES in adata.obsm:
            _check_codes(adata)
        _check_axes(adata, name)
    if SPLIT in mdata.obs:
        _need_values(mdata.obs[SPLIT].dropna(), SPLITS, 'mdata.obs["split"]')


def check_order(mdata: MuData, modality: str) -> None:
    """Raise unless `modality` holds the same genes as `mdata` in the same order.

    Parameters
    ----------
    mdata
        Gene-centric MuData.
    modality
        Name of the modality.

    Raises
    ------
    InputError
        When genes are missing or stand in another order (rows would be paired by position).

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((3, 2, 10)), genes=["a", "b", "c"], marks=["H3K4me3", "H3K27me3"])
    >>> gx.schema.check_order(mdata, "chromatin")
    """
    names = mdata.mod[modality].obs_names
    if len(names) != mdata.n_obs:
        msg = (
            f'modality "{modality}" holds {len(names)} of the {mdata.n_obs} genes of the MuData: '
            "give every modality the same genes, with missing values where nothing was measured"
        )
        raise InputError(msg)
    if not names.equals(mdata.obs_names):
        at = int(np.flatnonzero(np.asarray(names) != np.asarray(mdata.obs_names))[0])
        msg = (
            f'modality "{modality}" holds its genes in another order than the MuData (row {at}: '
            f"{names[at]!r} against {mdata.obs_names[at]!r}): reorder it with "
            f'mdata.mod["{modality}"] = mdata["{modality}"][mdata.obs_names].copy()'
        )
        raise InputError(msg)


def name_axes(data: MuData | AnnData, keys: str | Sequence[str] | None = None) -> None:
    """Write down that arrays hold their tracks in the order of ``var``, and their bins in the window of ``uns``.

    What this package makes knows its axes. An array that was made by hand does not, nor does one that took the place of
    another after tracks were reordered.

    Parameters
    ----------
    data
        Gene-centric MuData, or its modality of tracks or of DNA. Changed in place: ``layers["track"]`` gets a number
        for every track, ``obsm["<array>_axes"]`` says of every gene which tracks and which window an array has.
    keys
        Arrays in ``obsm``; by default those of which it is not known. What was known of those named is forgotten.

    Raises
    ------
    InputError
        When an array is not there, or is not known to have tracks, bins or bases as an axis.

    Examples
    --------
    >>> import numpy as np, pandas as pd, genexp_scverse as gx
    >>> from anndata import AnnData
    >>> var = pd.DataFrame({"sample": "K562", "mark": ["H3K4me3", "H3K27me3"], "scale": "counts"}, index=["a", "b"])
    >>> chromatin = AnnData(np.ones((3, 2)), var=var, obsm={"bins": np.ones((3, 2, 10), np.float32)})
    >>> gx.schema.name_axes(chromatin)
    >>> chromatin.obsm["bins_axes"].shape  # window (4), sample, content, 2 tracks
    (3, 8)
    """
    mods = list(data.mod.values()) if hasattr(data, "mod") else [data]
    found = [list(_axes_now(adata)) for adata in mods]
    wanted = [keys] if isinstance(keys, str) else keys
    there = {key for of in found for key, _ in of}
    if missing := [key for key in wanted or () if key not in there]:
        msg = f"obsm has no array {some(missing)} whose axes are tracks, bins or bases: it has {some(sorted(there), 6)}"
        raise InputError(msg)
    for adata, of in zip(mods, found, strict=True):
        renumbered = any("tracks" in about for _, about in of) and not _axes.numbers_tracks(adata)
        if renumbered:
            _axes.number_tracks(adata)
        for key, about in of:
            chosen = not _axes.is_named(adata, key) if wanted is None else key in wanted
            if chosen or (renumbered and "tracks" in about):
                _axes.put(adata, key, adata.obsm[key], **about)


def _axes_now(adata: AnnData) -> Iterator[tuple[str, dict[str, Any]]]:
    """Find arrays with further axes, and what these are as the object says it: arguments of ``_axes.put``."""
    window, obsm = adata.uns.get("window"), adata.obsm
    named: set[str] = set()
    at = {}
    if {"sample", "mark"} <= set(adata.var):
        at = {(str(s), str(m)): i for i, (s, m) in enumerate(zip(adata.var["sample"], adata.var["mark"], strict=True))}
    for key, about in adata.uns.items():
        if not hasattr(about, "keys"):
            continue
        several: list[str] = [
            str(s) for s in np.ravel(np.asarray(about.get("samples", about.get("sample", [])), object))
        ]
        if set(_axes.WINDOW) <= set(about.keys()) and key != "window":
            for sample in several or (None,):
                for name in (f"{key}{std}{end}" for std in ("", "_std") for end in ("", f"_{sample}")):
                    if name in obsm and name not in named:
                        named.add(name)
                        yield name, {"window": about, "of": sample}
        elif "marks" in about:
            marks = [str(m) for m in np.ravel(np.asarray(about["marks"], object))]
            base = str(key).removesuffix("_attention")
            parts = (base,) if base == key else (f"{base}_bin_attention", f"{base}_mark_attention")
            for sample in several:
                tracks = np.array([at.get((sample, m), -1) for m in marks])
                for name in (f"{part}{end}" for part in parts for end in (f"_{sample}", "")):
                    if name in obsm and name not in named and obsm[name].shape[1] == len(marks):
                        named.add(name)
                        yield name, {"tracks": tracks, "names": marks, "window": window, "of": sample}
    shape: tuple[int, ...] = obsm[BINS].shape if BINS in obsm else ()
    for key, array in obsm.items():
        if key == CODES:
            yield key, {"window": window}
        elif at and key not in named and len(shape) == 3 and array.shape == shape and shape[1] == adata.n_vars:
            yield key, {"tracks": np.arange(adata.n_vars), "window": window}


def _check_axes(adata, name: str) -> None:
    try:
        own = [k for of, k in ((CHROMATIN, BINS), (DNA, CODES)) if of == name and k in adata.obsm]
        for key in dict.fromkeys([*own, *_axes.keys_of(adata)]):
            if key == BINS:
                _axes.get(adata, key, quiet=True)
            elif _axes.has_tracks(adata, key):
                _axes.numbers_of(adata, key)
            elif key == CODES:
                _axes.check_window(adata, key)
    except InputError as error:
        msg = f'mdata["{name}"]: {error}'
        raise InputError(msg) from None


def _check_bins(adata) -> None:
    if BINS not in adata.obsm:
        msg = 'mdata["chromatin"].obsm has no "bins" (genes x tracks x bins): see gx.io.build_mudata'
        raise InputError(msg)
    bins = adata.obsm[BINS]
    if bins.ndim != 3 or (not _axes.is_named(adata, BINS) and bins.shape[1] != adata.n_vars):
        msg = (
            f'mdata["chromatin"].obsm["bins"] has shape {tuple(bins.shape)}, expected genes x tracks x bins with '
            f"{adata.n_vars} tracks as in .var"
        )
        raise InputError(msg)
    if np.dtype(bins.dtype).kind != "f":
        msg = f'mdata["chromatin"].obsm["bins"] is {bins.dtype}, expected float32 or float16: convert with .astype'
        raise InputError(msg)


def _check_codes(adata) -> None:
    codes = adata.obsm[CODES]
    if codes.ndim != 2 or np.dtype(codes.dtype) != np.uint8:
        msg = (
            f'mdata["dna"].obsm["codes"] is {codes.ndim}-D {codes.dtype}, expected genes x length uint8 with '
            "A C G T N = 0 1 2 3 4: see gx.io.read_codes"
        )
        raise InputError(msg)


def _need_columns(frame, columns, modality: str) -> None:
    missing = [c for c in columns if c not in frame]
    if missing:
        msg = f'mdata["{modality}"].var lacks the column {some(missing)}: it has {some(frame.columns, 6)}'
        raise InputError(msg)


def _need_once(frame, columns: list[str], modality: str) -> None:
    names = frame[columns].astype(str)
    if (twice := names.duplicated()).any():
        msg = (
            f'mdata["{modality}"].var has {" and ".join(columns)} {some(names[twice].agg(".".join, axis=1))} twice, so '
            "that it cannot be told which is meant: rename one"
        )
        raise InputError(msg)


def _need_values(values, allowed, where: str) -> None:
    wrong = sorted({str(v) for v in values} - set(allowed))
    if wrong:
        msg = f"{where} holds {some(wrong)}: allowed are {', '.join(allowed)}"
        raise InputError(msg)
