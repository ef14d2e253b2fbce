"""Numbers per gene from a table, for models that read features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pp._dna_features import SEQUENCE, replace_features

if TYPE_CHECKING:
    from mudata import MuData


def add_gene_features(
    mdata: MuData, table: pd.DataFrame | Mapping[str, pd.DataFrame], *, key: str = "gene_features"
) -> None:
    """Add numbers per gene, such as half-life features of the mRNA, to the features that models read.

    What differs between samples, such as one value of ATAC per gene and sample, is given as a table for each sample;
    a model then reads the numbers of the sample that it predicts.

    Parameters
    ----------
    mdata
        Gene-centric MuData; it needs no DNA.
    table
        Genes x features, indexed by gene id, as :func:`genexp_scverse.io.read_gene_features` gives; or sample -> such a
        table, all with the same columns.
    key
        Name of the group; features of a group of that name are replaced.

    Returns
    -------
    None. Writes

    ``mdata["dna"].X`` : ndarray (genes x features, float32), and ``.var_names``
        The columns of `table`, behind the features that are there; NaN for genes that the table lacks, which are
        counted in the log. Of several tables ``<column>.<sample>``. Without a modality ``dna`` one is made.
    ``mdata["dna"].var["group"]`` : Series (str)
        `key` for these, ``sequence`` for those of :func:`sequence_features`.
    ``mdata["dna"].var["sample"]`` : Series (str)
        Of tables by sample, the sample of each column; empty for features of the gene.

    The modality is replaced by a new one with the same obs, obsm, obsp and uns.

    Raises
    ------
    InputError
        When no gene is in a table, one is there twice, a value is no number or infinite, a name is taken, or tables of
        samples differ in their columns.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((2, 1, 1)), genes=["a", "b"], marks=["H3K4me3"])
    >>> gx.pp.add_gene_features(mdata, pd.DataFrame({"UTR5GC": [0.5]}, index=["b"]), key="half_life")
    >>> mdata["dna"].var_names.tolist(), mdata["dna"].X.tolist()
    (['UTR5GC'], [[nan], [0.5]])
    >>> of_sample = {s: pd.DataFrame({"ATAC": [1.0, v]}, index=["a", "b"]) for s, v in {"T1": 2, "T2": 3}.items()}
    >>> gx.pp.add_gene_features(mdata, of_sample, key="atac")
    >>> mdata["dna"].var_names.tolist()
    ['UTR5GC', 'ATAC.T1', 'ATAC.T2']
    """
    if not isinstance(key, str) or not key or key == SEQUENCE:
        msg = f'key={key!r} is no name for a group of features: give text other than "{SEQUENCE}"'
        raise InputError(msg)
    samples = None
    if isinstance(table, Mapping):
        tables = {str(sample): of for sample, of in table.items()}
        read = {sample: _numbers(mdata, of, f"the table of features of {sample}") for sample, of in tables.items()}
        if not read or len({tuple(names) for names, _ in read.values()}) > 1:
            columns = some([f"{sample}: {some(names)}" for sample, (names, _) in read.items()])
            msg = f"tables of features by sample need the same columns ({columns}): give one table for each sample"
            raise InputError(msg)
        samples = [sample for sample, (names, _) in read.items() for _ in names]
        names = [f"{name}.{sample}" for sample, (names, _) in read.items() for name in names]
        features = np.hstack([of for _, of in read.values()])
    else:
        names, features = _numbers(mdata, table, "the table of features")
    replace_features(mdata, names, features, group=key, samples=samples)
    gaps = int(np.isnan(features).any(axis=1).sum())
    logger.info("%s: %d features; %d of %d genes lack one or all (NaN)", key, len(names), gaps, mdata.n_obs)


def _numbers(mdata: MuData, table: pd.DataFrame, what: str) -> tuple[list[str], np.ndarray]:
    """Check a table; its columns, and genes x columns for the genes of `mdata`."""
    if not isinstance(table, pd.DataFrame) or not table.shape[1]:
        msg = f"{what} has no column: give a DataFrame indexed by gene id, see gx.io.read_gene_features"
        raise InputError(msg)
    ids = pd.Index([str(g) for g in table.index])
    if not ids.is_unique:
        msg = f"{what} has {some(ids[ids.duplicated()].unique())} more than once: keep one row of each"
        raise InputError(msg)
    names = [str(c) for c in table.columns]
    wrong = [n for n in names if "/" in n or not n] + [n for n in set(names) if names.count(n) > 1]
    if wrong:
        msg = f"{what} has the column {some(wrong)}, twice or with a slash: rename it"
        raise InputError(msg)
    found = mdata.obs_names.isin(ids)
    if not found.any():
        msg = (
            f"none of the {mdata.n_obs} genes ({some(mdata.obs_names)}) is in {what} ({some(ids)}): "
            "give both with ids of the same kind"
        )
        raise InputError(msg)
    values = table.set_axis(ids, axis=0).reindex(mdata.obs_names)
    try:
        features = values.astype(np.float64).to_numpy(np.float32, copy=True)
    except (ValueError, TypeError) as error:
        text = [n for n, c in zip(names, values, strict=True) if pd.to_numeric(values[c], errors="coerce").isna().any()]
        msg = f"{what} holds other things than numbers (in {some(text)}): leave such columns out"
        raise InputError(msg) from error
    if np.isinf(features).any():
        at = names[int(np.isinf(features).any(axis=0).argmax())]
        msg = f"the feature {at!r} is infinite for a gene, or beyond what float32 holds: mend it or take its log"
        raise InputError(msg)
    return names, features
