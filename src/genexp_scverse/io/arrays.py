"""Arrays that are binned already to a gene-centric MuData."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import blocks_of, on_disk
from genexp_scverse.io._join_arrays import join_tracks_of
from genexp_scverse.io.assemble import assemble_chromatin, assemble_mudata, assemble_rna
from genexp_scverse.io.ids import check_samples
from genexp_scverse.schema import CHROMATIN, RNA


def from_bins(
    bins: Any,
    *,
    genes: Sequence[str],
    marks: Sequence[str],
    sample: str = "sample",
    expression: Any = None,
    unit: str | Mapping[str, str] | None = None,
    labels: Any = None,
    scale: str | Mapping[str, str] = "coverage",
    obs: pd.DataFrame | None = None,
    window: Mapping[str, Any] | None = None,
    bin_names: Sequence[str] | None = None,
) -> MuData:
    """Make a MuData from signal that is binned already.

    Bins may be anything along the gene (100 bins of 100 bp, 12 nucleosomes, one mean per gene). NaN means not
    covered, is kept in ``obsm["bins"]`` and counted in the log; the models fill it with 0 after scaling.
    Genes with an empty id are dropped, and counted.

    Parameters
    ----------
    bins
        Genes x marks x bins, or a mapping sample -> such an array when there are several samples. A numpy memmap,
        dask array or h5py dataset of float32 or float16 stays on disk: slices of one memmap of genes x tracks x bins
        become that memmap, others are joined by dask (up to 256 MB in memory).
    genes
        Gene ids, one per row.
    marks
        Names of the marks, one per column, the same in every sample.
    sample
        Name of the sample when `bins` is one array.
    expression
        DataFrame genes x samples (matched by gene id), a Series by gene id (in the order of `genes` where its
        index is the default 0, 1, ... and does not hold the ids), or a vector in the order of `genes`; with
        several samples a DataFrame or a mapping sample -> vector. NaN where not measured.
    unit
        Unit of expression (:data:`genexp_scverse.schema.UNITS`), one for all or sample -> unit. Taken from
        ``expression.attrs["unit"]`` when not given.
    labels
        Classes 0 (low) and 1 (high), in any form that `expression` may have.
    scale
        Scale of the tracks (:data:`genexp_scverse.schema.SCALES`), one for all or mark -> scale.
        Negative values need ``log_ratio``.
    obs
        What is known of the genes (chrom, tss 0-based, strand, ...), index gene id.
    window
        upstream, downstream and bin_size in bases, and stranded, when bins are stretches of bases
        around the TSS.
    bin_names
        Names of the bins.

    Returns
    -------
    MuData with ``chromatin`` (X track means; ``obsm["bins"]`` float32 or, on disk, as it is; ``.var`` sample, mark,
    scale, source;
    ``uns["window"]`` and ``uns["bin_names"]`` when given) and, with expression or labels, ``rna`` (X, layers
    ``log`` and ``label``; ``.var`` sample, cell_type, unit).

    Raises
    ------
    InputError
        Shapes, names, units or scales do not fit, a gene is there twice, or values are impossible.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(
    ...     np.ones((2, 1, 10)), genes=["g1", "g2"], marks=["H3K4me3"],
    ...     sample="K562", expression=[0, 9], unit="tpm",
    ... )
    >>> mdata["rna"].X.ravel().tolist(), mdata["chromatin"].var_names.tolist()
    ([0.0, 9.0], ['K562.H3K4me3'])
    """
    arrays = {str(k): v for k, v in bins.items()} if isinstance(bins, Mapping) else {str(sample): bins}
    check_samples(arrays, "bins")
    marks = [str(m) for m in marks]
    ids = _gene_ids(genes)
    arrays = {name: _checked_bins(array, name, len(ids), len(marks)) for name, array in arrays.items()}
    widths = {name: array.shape[2] for name, array in arrays.items()}
    if len(set(widths.values())) > 1:
        msg = f"samples have different numbers of bins ({widths}): give every sample the same bins"
        raise InputError(msg)
    keep = _named(ids)
    joined = join_tracks_of(list(arrays.values()), keep)
    expression_table = _table(expression, ids, list(arrays), "expression")
    label_table = _table(labels, ids, list(arrays), "labels")
    kept = ids[keep]
    tracks = pd.DataFrame(
        [(name, mark, _scale_of(mark, scale), "array") for name in arrays for mark in marks],
        columns=["sample", "mark", "scale", "source"],
    )
    mods = {}
    if expression_table is not None or label_table is not None:
        for table, what in ((expression_table, "expression"), (label_table, "labels")):
            _report_match(table, kept, list(arrays), what)
        if expression_table is not None:
            expression_table.attrs["unit"] = unit if unit is not None else getattr(expression, "attrs", {}).get("unit")
        mods[RNA] = assemble_rna(kept, expression_table, label_table)
    chromatin = assemble_chromatin(kept, tracks, joined, window)
    mods[CHROMATIN] = chromatin
    if bin_names is not None:
        if len(bin_names) != joined.shape[2]:
            msg = f"{len(bin_names)} bin_names for {joined.shape[2]} bins: give one name per bin"
            raise InputError(msg)
        chromatin.uns["bin_names"] = np.array([str(b) for b in bin_names], dtype=object)
    _report_uncovered(joined)
    return assemble_mudata(_gene_table(obs, kept), mods)


def _gene_ids(genes: Sequence[str]) -> np.ndarray:
    ids = np.asarray(pd.Series(list(genes), dtype=object).map(lambda g: "" if pd.isna(g) else str(g)), dtype=object)
    named = pd.Index(ids[ids != ""])
    if not named.is_unique:
        msg = f"gene ids must be unique, but {some(named[named.duplicated()].unique())} occur more than once"
        raise InputError(msg)
    return ids


def _named(ids: np.ndarray) -> np.ndarray:
    keep = ids != ""
    if not keep.all():
        logger.info("%d of %d genes have no id and are dropped", int((~keep).sum()), len(ids))
    return keep


def _checked_bins(array: Any, sample: str, n_genes: int, n_marks: int) -> Any:
    array = array if hasattr(array, "ndim") and hasattr(array, "dtype") else np.asarray(array)
    if array.ndim == 3 and array.shape[:2] == (n_genes, n_marks):
        if on_disk(array) and np.dtype(array.dtype) in (np.dtype("float16"), np.dtype("float32")):
            return array
        # a dask array stays one; the astype of h5py would be a view of the file without the shape of an array
        return array.astype(np.float32) if hasattr(array, "dask") else np.array(array, np.float32)
    hint = ""
    if array.ndim == 3 and array.shape[0] == n_genes and array.shape[2] == n_marks:
        hint = ": it looks like genes x bins x marks, turn it with bins.transpose(0, 2, 1)"
    elif array.ndim == 2:
        hint = ": for one value per gene and mark pass bins[:, :, None]"
    shape = f"{n_genes} genes x {n_marks} marks x bins"
    msg = f"bins of sample {sample!r} has shape {tuple(array.shape)}, expected {shape}{hint}"
    raise InputError(msg)


def _scale_of(mark: str, scale: str | Mapping[str, str]) -> str:
    if isinstance(scale, str):
        return scale
    if mark not in scale:
        msg = f"scale names no scale for the mark {mark!r}: it has {some(scale)}"
        raise InputError(msg)
    return scale[mark]


def _table(values: Any, ids: np.ndarray, samples: list[str], what: str) -> pd.DataFrame | None:
    """Genes x samples of named genes, from any of the accepted forms; rows of a DataFrame stay its own."""
    if values is None:
        return None
    if isinstance(values, pd.DataFrame):
        return values.copy()
    if isinstance(values, pd.Series):
        by_id = not values.index.equals(pd.RangeIndex(len(values))) or not isinstance(values.index, pd.RangeIndex)
        if by_id or set(ids[ids != ""]) <= {str(i) for i in values.index}:
            return values.to_frame(samples[0])
        logger.info("%s is a Series without gene ids (its index is 0, 1, ...): taken in the order of genes", what)
    if isinstance(values, Mapping):
        columns = {str(k): np.asarray(v) for k, v in values.items()}
    elif len(samples) == 1:
        columns = {samples[0]: np.asarray(values)}
    else:
        msg = f"with {len(samples)} samples give {what} as a DataFrame or a mapping sample -> vector"
        raise InputError(msg)
    for name, vector in columns.items():
        if vector.shape != (len(ids),):
            msg = f"{what} of {name!r} has shape {vector.shape}, not one value for each of {len(ids)} genes"
            raise InputError(msg)
    named = ids != ""
    return pd.DataFrame({name: vector[named] for name, vector in columns.items()}, index=ids[named])


def _report_match(table: pd.DataFrame | None, genes: np.ndarray, samples: list[str], what: str) -> None:
    if table is None:
        return
    columns = [str(c) for c in table.columns]
    check_samples(columns, what)
    if not set(columns) & set(samples):
        msg = f"{what} is of {some(columns)}, but the bins are of {some(samples)}: name them alike (sample=)"
        raise InputError(msg)
    others = [c for c in columns if c not in samples]
    if others:
        logger.info("%s of sample %s has no bins", what, some(others))
    there = set(table.index.astype(str))
    found = sum(g in there for g in genes)
    if found == 0:
        msg = f"{what} names none of the genes: it has {some(table.index)}, the bins have {some(genes)}"
        raise InputError(msg)
    if found < len(genes) or found < len(there):
        logger.info(
            "%s: %d of %d genes are in the table (NaN for the others); %d genes of the table have no bins",
            *(what, found, len(genes), len(there) - found),
        )


def _report_uncovered(bins: Any) -> None:
    n = sum(int(np.isnan(block).sum()) for _, block in blocks_of(bins, np.arange(bins.shape[0])))
    if n:
        size = math.prod(bins.shape)
        logger.info("%d of %d bins (%.1f %%) are NaN: not covered", n, size, 100 * n / size)


def _gene_table(obs: pd.DataFrame | None, genes: np.ndarray) -> pd.DataFrame:
    if obs is None:
        return pd.DataFrame(index=pd.Index(genes, dtype=object))
    obs = obs.copy()
    obs.index = pd.Index([str(g) for g in obs.index])
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()].unique()
        msg = f"obs holds gene {some(twice)} more than once: drop the duplicates"
        raise InputError(msg)
    missing = int((~pd.Index(genes).isin(obs.index)).sum())
    if missing == len(genes):
        msg = f"obs names none of the genes: its index has {some(obs.index)}, the bins have {some(genes)}"
        raise InputError(msg)
    if missing:
        logger.info("%d of %d genes are not in obs: NaN there", missing, len(genes))
    return obs.reindex(genes)
