"""Neighbours by likeness: of chromatin, or of expression over other samples."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import SparseEfficiencyWarning

from genexp_scverse import _axes
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import blocks_of
from genexp_scverse.pp._graph_store import check_count, check_key, write_graph
from genexp_scverse.pp.scaler import SignalScaler
from genexp_scverse.pp.split import training_rows
from genexp_scverse.schema import BINS, CHROMATIN, LOG, RNA

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

_FEWEST_SAMPLES = 3


def similarity_neighbors(
    mdata: MuData,
    *,
    by: Literal["signal", "expression"] = "signal",
    samples: str | Sequence[str] | None = None,
    predicted: str | Sequence[str] | None = None,
    n_bins: int = 10,
    n_neighbors: int = 10,
    key_added: str = "similarity",
) -> None:
    """Take the genes that are most alike as neighbours, by the neighbours and weights of scanpy.

    By ``signal``: the tracks of `samples`, averaged to `n_bins` bins along the window and scaled by a
    :class:`SignalScaler` that is fitted on the training genes; likeness is Euclidean. By ``expression``: the log
    expression of a gene over `samples`, centred and divided by its standard deviation, so that the likeness is the
    correlation over samples. The levels of the samples that are to be predicted must not make the graph, so
    `samples` and `predicted` have none in common, and :func:`check_graph` refuses the graph to a model that
    predicts one of `samples`.

    Parameters
    ----------
    mdata
        With ``obs["split"]`` for ``signal``.
    by
        ``signal`` or ``expression``.
    samples
        Samples that make the graph. By signal all without it; by expression those that are not `predicted`, at
        least three.
    predicted
        Samples that are to be predicted, for ``expression``; those that are not in `samples` without it.
    n_bins
        Bins to average the window to, for ``signal``; 1 is the mean of each track.
    n_neighbors
        Largest number of neighbours of a gene.
    key_added
        Key of the graph.

    Returns
    -------
    None. Writes

    ``mdata.obsp[key_added]`` : csr_matrix (genes x genes, float32)
        Connectivities of :func:`scanpy.pp.neighbors`, above 0 to 1, in row i with the nearest of gene i.
    ``mdata.obsp[f"{key_added}_distances"]`` : csr_matrix (int64)
        Where genes have coordinates: TSS of the neighbour minus TSS of the gene in bases for those pairs that are on
        one chromosome, zeros kept.
    ``mdata.uns["graphs"][key_added]`` : dict
        method, settings and ``expression_of``: the samples whose expression made the graph.

    By expression, genes that were not measured in all samples or that are constant have no neighbour; they are
    counted in the log.

    Raises
    ------
    InputError
        A sample is unknown or both used and predicted, fewer than three make a co-expression, there is no split,
        no track, or fewer than three genes.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> bins = np.array([0.0, 0.1, 5.0, 5.2])[:, None, None]
    >>> mdata = gx.io.from_bins(bins, genes=list("abcd"), marks=["H3K4me3"])
    >>> mdata.obs["split"] = ["train", "train", "train", "test"]
    >>> gx.pp.similarity_neighbors(mdata, n_neighbors=1)
    >>> mdata.obsp["similarity"].toarray().round().astype(int).tolist()
    [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]]
    """
    check_key(key_added)
    n_neighbors = check_count(n_neighbors, "n_neighbors")
    n_bins = check_count(n_bins, "n_bins")
    used: list[str]
    settings: dict[str, Any] = {"by": by}
    if by == "signal":
        if predicted is not None:
            msg = 'predicted= is for by="expression": signal may be that of any sample, so leave it out'
            raise InputError(msg)
        used, features = _signal(mdata, samples, n_bins)
        rows = np.arange(mdata.n_obs)
        settings["n_bins"] = n_bins
    elif by == "expression":
        used, rows, features = _coexpression(mdata, samples, predicted)
    else:
        msg = f'by={by!r} is not known: choose "signal" or "expression"'
        raise InputError(msg)
    if len(rows) < 3:
        msg = f"{len(rows)} genes are too few for neighbours by {by}: give at least 3"
        raise InputError(msg)
    gene, other, weight = _connected(features, n_neighbors)
    write_graph(
        mdata,
        key_added,
        *(rows[gene], rows[other], weight),
        method="similarity_neighbors",
        **settings,
        samples=used,
        n_neighbors=n_neighbors,
        expression_of=used if by == "expression" else (),
    )


def _connected(features: np.ndarray, n_neighbors: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    import scanpy as sc
    from anndata import AnnData

    genes = AnnData(np.ascontiguousarray(features, dtype=np.float32))
    # scanpy counts the gene itself; exact search, the same in every run
    n = min(n_neighbors + 1, len(features))
    with warnings.catch_warnings():
        # scanpy takes out self-edges in a way that scipy calls slow
        warnings.simplefilter("ignore", SparseEfficiencyWarning)
        sc.pp.neighbors(genes, n_neighbors=n, use_rep="X", transformer="sklearn", random_state=0)
    # connectivities join both directions; those kept are the gene's own nearest, also where these are at distance 0
    nearest = genes.obsp["distances"].tocoo()
    gene, other = nearest.row.astype(np.int64), nearest.col.astype(np.int64)
    weight = np.asarray(genes.obsp["connectivities"].tocsr()[gene, other]).ravel()
    kept = (gene != other) & (weight > 0)
    return gene[kept], other[kept], weight[kept]


def _signal(mdata: MuData, samples: str | Sequence[str] | None, n_bins: int) -> tuple[list[str], np.ndarray]:
    """Give the samples, and genes x (tracks x pooled bins)."""
    chromatin = _modality(mdata, CHROMATIN)
    of = chromatin.var["sample"].astype(str).to_numpy()
    used = _named(samples, of, "samples", CHROMATIN) or list(dict.fromkeys(of))
    tracks = np.flatnonzero(np.isin(of, used))
    bins = _axes.get(chromatin, BINS)
    scales, marks = ([str(v) for v in chromatin.var[c].iloc[tracks]] for c in ("scale", "mark"))
    scaler = SignalScaler().fit(bins, scales, marks, training_rows(mdata), tracks=tracks)
    parts = np.array_split(np.arange(bins.shape[2]), min(n_bins, bins.shape[2]))
    pooled = np.empty((bins.shape[0], len(tracks), len(parts)), np.float32)
    for block, signal in blocks_of(bins, np.arange(bins.shape[0]), tracks):
        scaled = scaler.transform(signal, scales, marks)
        for i, part in enumerate(parts):
            pooled[block, :, i] = scaled[:, :, part].mean(axis=2)
    return used, pooled.reshape(len(pooled), -1)


def _coexpression(
    mdata: MuData, samples: str | Sequence[str] | None, predicted: str | Sequence[str] | None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Give the samples, rows of the genes that vary over them, and their standardised levels."""
    rna = _modality(mdata, RNA)
    of = rna.var["sample"].astype(str).to_numpy()
    there = list(dict.fromkeys(of))
    used, held = _named(samples, of, "samples", RNA), _named(predicted, of, "predicted", RNA)
    if used is None and held is None:
        msg = (
            "co-expression must not know the levels that are to be predicted: name the samples to be predicted "
            f"(predicted=) or those that make the graph (samples=), of {some(there, 6)}"
        )
        raise InputError(msg)
    if used is None:
        used = [s for s in there if s not in (held or ())]
    both = [s for s in used if s in (held or ())]
    if both:
        msg = f"sample {some(both)} is to be predicted, so it must not make the graph: take it out of samples="
        raise InputError(msg)
    if len(used) < _FEWEST_SAMPLES:
        msg = (
            f"co-expression over {len(used)} samples ({some(used) or 'none'}) says nothing: it takes at least "
            f'{_FEWEST_SAMPLES} besides those to be predicted; use by="signal", or add samples'
        )
        raise InputError(msg)
    if LOG not in rna.layers:
        msg = 'mdata["rna"].layers has no "log" (log expression), so there is no co-expression: use by="signal"'
        raise InputError(msg)
    level = np.asarray(rna.layers[LOG])[:, [int(np.flatnonzero(of == s)[0]) for s in used]].astype(np.float64)
    measured = np.asarray(np.isfinite(level).all(axis=1))
    level[~measured] = 0
    centred = level - level.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1)
    # the rounding of equal levels is no variation
    varies = measured & (spread > 1e-6 * np.abs(level).max(axis=1))
    if not varies.all():
        logger.info(
            "%d genes were not measured in all of the %d samples and %d are constant: they have no neighbour",
            *(int((~measured).sum()), len(used), int((measured & ~varies).sum())),
        )
    rows = np.flatnonzero(varies)
    logger.info(
        "co-expression over %s; the samples that are left to be predicted are %s",
        *(some(used, 6), some([s for s in there if s not in used], 6) or "none"),
    )
    return used, rows, centred[rows] / spread[rows, None]


def _modality(mdata: MuData, name: str) -> AnnData:
    if name not in mdata.mod:
        msg = f'the MuData has no modality "{name}": it has {some(mdata.mod, 6)}; see gx.io.build_mudata'
        raise InputError(msg)
    return mdata.mod[name]


def _named(samples: str | Sequence[str] | None, of: np.ndarray, argument: str, modality: str) -> list[str] | None:
    if samples is None:
        return None
    named = [samples] if isinstance(samples, str) else list(dict.fromkeys(str(s) for s in samples))
    unknown = pd.Index(named).difference(pd.Index(of))
    if len(unknown) or not named:
        there = some(dict.fromkeys(of.tolist()), 12)
        msg = f'{argument}: mdata["{modality}"] has no sample {some(unknown)}: its samples are {there}'
        raise InputError(msg)
    return named
