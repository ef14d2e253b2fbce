"""Small genes with scores per position, as a mask is stored."""

from __future__ import annotations

import numpy as np
import pandas as pd

import genexp_scverse as gx


def made(genes, *, upstream, downstream, bin_size, stranded=True, bins=None, marks=("DNase",), size=1000, **columns):
    """Genes as (id, tss, strand) on a chromosome of 1,000 bases, tracks of ones unless `bins` are given."""
    ids = [g for g, _, _ in genes]
    obs = pd.DataFrame(
        {
            "chrom": "chr1",
            "tss": [t for _, t, _ in genes],
            "strand": [s for _, _, s in genes],
            "gene_name": [g.upper() for g in ids],
            **columns,
        },
        index=ids,
    )
    window = {"upstream": upstream, "downstream": downstream, "bin_size": bin_size, "stranded": stranded}
    n = (upstream + downstream) // bin_size
    bins = np.ones((len(ids), len(marks), n)) if bins is None else bins
    mdata = gx.io.from_bins(bins, genes=ids, marks=list(marks), obs=obs, window=window, sample="K562", scale="coverage")
    mdata.uns["chrom_sizes"] = pd.DataFrame({"chrom": ["chr1"], "size": [size]})
    return mdata


def stored(mdata, values, *, key="mask", std=None):
    """Store scores as `get_mask` does: an array, or one per sample."""
    chromatin = mdata["chromatin"]
    several = values if isinstance(values, dict) else {"K562": values}
    for sample, array in several.items():
        name = key if len(several) == 1 else f"{key}_{sample}"
        chromatin.obsm[name] = np.asarray(array, dtype=np.float32)
        if std is not None:
            chromatin.obsm[f"{name}_std"] = np.asarray(std, dtype=np.float32)
    chromatin.uns[key] = dict(chromatin.uns["window"]) | {"samples": list(several)}
    gx.schema.name_axes(chromatin)
    return mdata
