"""The one place that says what a gene-centric MuData is: names, shapes, and :func:`validate`.

Observations are genes; every modality has the same genes in the same order.

======================= ===========================================================================
where                   what
======================= ===========================================================================
``mdata.obs``           chrom, tss (0-based), strand, gene_name, gene_type, split, start, end, ...
``mdata["rna"]``        X genes x samples; ``.var`` sample, unit; layers ``log``, ``label``, predictions
``mdata["chromatin"]``  ``.var`` sample, mark, scale, source; X track means; ``obsm["bins"]``
``mdata["dna"]``        ``obsm["codes"]`` uint8; X scalar features of the sequence
``mdata.uns``           schema_version, assembly, chrom_sizes, files, intervals
======================= ===========================================================================
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genexp_scverse._errors import InputError, some

if TYPE_CHECKING:
    from mudata import MuData

SCHEMA_VERSION = "1"

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

    Checks the order of genes in every modality, the columns of ``obs`` and ``var``, and the shapes and types
    of the arrays. Modalities other than ``rna``, ``chromatin`` and ``dna`` only have their genes checked.

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
        elif name == CHROMATIN:
            _need_columns(adata.var, ("sample", "mark", "scale"), "chromatin")
            _need_values(adata.var["scale"], SCALES, 'mdata["chromatin"].var["scale"]')
            _check_bins(adata)
        elif name == DNA and CODES in adata.obsm:
            _check_codes(adata)
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


def _check_bins(adata) -> None:
    if BINS not in adata.obsm:
        msg = 'mdata["chromatin"].obsm has no "bins" (genes x tracks x bins): see gx.io.build_mudata'
        raise InputError(msg)
    bins = adata.obsm[BINS]
    if bins.ndim != 3 or bins.shape[1] != adata.n_vars:
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


def _need_values(values, allowed, where: str) -> None:
    wrong = sorted({str(v) for v in values} - set(allowed))
    if wrong:
        msg = f"{where} holds {some(wrong)}: allowed are {', '.join(allowed)}"
        raise InputError(msg)
