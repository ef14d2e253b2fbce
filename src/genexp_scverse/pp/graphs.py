"""The guard at the gate: no model gets a graph that knows the expression which it is to predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import csr_matrix

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pp._graph_store import EXPRESSION_OF, GRAPHS
from genexp_scverse.schema import LABEL, LOG, RNA, SPLIT, SPLITS

if TYPE_CHECKING:
    from mudata import MuData

TOO_WELL = 0.9
"""Correlation with the expression above which a graph is taken to be made from it."""
_FEWEST_GENES = 20


def check_graph(mdata: MuData, key: str, *, samples: str | Sequence[str], modality: str = RNA) -> csr_matrix:
    """Check that a graph is fit for a model that predicts `samples`, and does not know their expression.

    A graph that :mod:`genexp_scverse.pp` made says in ``uns["graphs"]`` whose expression made it; it is refused
    where that is one of `samples`. A graph of one's own says it likewise::

        mdata.uns["graphs"]["ppi"] = {"method": "STRING 12", "expression_of": []}

    A graph that says nothing is taken with a warning, unless it betrays the expression: for every sample, and every
    part of the split, two correlations with the level of the gene are taken, that of the (weighted) mean level of
    its neighbours, and the rank correlation of the sum of its weights. Where the 95 % interval of one lies above
    0.9, more than chromatin explains, the graph is refused. For a graph that has declared its origin that is a
    warning. The measure finds plain leaks; a graph that knows a little of the expression passes it, so that what a
    graph was made from is for its maker to say.

    Parameters
    ----------
    mdata
        Gene-centric MuData.
    key
        Key of the graph in ``mdata.obsp``: row i holds the weights of the neighbours of gene i.
    samples
        Samples whose expression is to be predicted.
    modality
        The modality with expression.

    Returns
    -------
    The graph as a new csr_matrix (genes x genes, float32) without self-edges and zeros. Nothing is written.

    Raises
    ------
    InputError
        The graph is missing, is not genes x genes, has missing, infinite or negative weights or no edge, or it was
        made from the expression of one of `samples`.

    Examples
    --------
    >>> import numpy as np
    >>> from scipy.sparse import csr_matrix
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((3, 1, 1)), genes=list("abc"), marks=["H3K4me3"])
    >>> mdata.obsp["mine"] = csr_matrix(np.array([[0, 1, 0], [0, 0, 1], [1, 0, 0]]))
    >>> mdata.uns["graphs"] = {"mine": {"method": "by hand", "expression_of": ["K562"]}}
    >>> gx.pp.check_graph(mdata, "mine", samples=["H1"]).nnz
    3
    >>> gx.pp.check_graph(mdata, "mine", samples=["K562"])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    InputError: the graph obsp["mine"] was made from the expression of 'K562', which is to be predicted
    """
    samples = [samples] if isinstance(samples, str) else [str(s) for s in samples]
    graph = _graph(mdata, key)
    origin = _expression_of(mdata, key)
    if origin is not None:
        known = [s for s in samples if s in origin]
        if known:
            msg = (
                f'the graph obsp["{key}"] was made from the expression of {some(known, 6)}, which is to be predicted: '
                "make it from other samples, from signal or from places (gx.pp.similarity_neighbors, "
                "gx.pp.gene_neighbors, gx.pp.contact_neighbors)"
            )
            raise InputError(msg)
    found = _evidence(mdata, graph, samples, modality)
    if found is not None and found.low > TOO_WELL:
        said = (
            f'{found.what} in obsp["{key}"] correlates {found.r:.3f} with the expression of {found.sample!r} '
            f"({found.genes}), more than chromatin explains"
        )
        if origin is None:
            msg = (
                f"{said}: the graph seems to be made from the expression that is to be predicted; make it from "
                f'something else, or, if it was not, say so by mdata.uns["graphs"]["{key}"] = '
                '{"method": ..., "expression_of": []}'
            )
            raise InputError(msg)
        logger.warning("%s, although it is said not to be made from it", said)
    elif origin is None:
        measured = "" if found is None else f" ({found.what} correlates {found.r:.2f} with the expression at most)"
        logger.warning(
            'obsp["%s"] does not say from whose expression it was made; it is taken as made from none%s. Say it by '
            'mdata.uns["graphs"]["%s"] = {"method": ..., "expression_of": [...]}',
            *(key, measured, key),
        )
    return graph


class _Correlation(NamedTuple):
    r: float
    low: float
    """Lower end of the 95 % interval."""
    what: str
    sample: str
    genes: str


def _graph(mdata: MuData, key: str) -> csr_matrix:
    if key not in mdata.obsp:
        there = [k for k in mdata.obsp if "distances" not in str(k)]
        found = f"it has {some(there, 8)}" if there else "it has none"
        msg = f"mdata.obsp has no graph {key!r} ({found}): make one, for example by gx.pp.gene_neighbors(mdata)"
        raise InputError(msg)
    stored = mdata.obsp[key]
    graph = csr_matrix(stored.to_numpy() if isinstance(stored, pd.DataFrame) else stored, dtype=np.float32, copy=True)
    where = f'mdata.obsp["{key}"]'
    n = mdata.n_obs
    if graph.shape != (n, n):
        msg = f"{where} has shape {graph.shape}, expected ({n}, {n}), genes x genes"
        raise InputError(msg)
    graph.sum_duplicates()
    wrong = int((~np.isfinite(graph.data)).sum())
    if wrong:
        msg = f"{where} has {wrong} missing or infinite weights: take these edges out"
        raise InputError(msg)
    if (graph.data < 0).any():
        hint = "these are distances, and the graph is beside them" if "distances" in key else "a weight is 0 or more"
        msg = f"{where} has {int((graph.data < 0).sum())} negative weights: {hint}"
        raise InputError(msg)
    own = int((graph.diagonal() != 0).sum())
    if own:
        logger.info("%s has %d edges of a gene to itself, which are left out", where, own)
        graph.data[graph.indices == np.repeat(np.arange(n), np.diff(graph.indptr))] = 0
    graph.eliminate_zeros()
    if graph.nnz == 0:
        msg = f"{where} has no edge: make it anew, for example by gx.pp.gene_neighbors(mdata)"
        raise InputError(msg)
    return graph


def _expression_of(mdata: MuData, key: str) -> list[str] | None:
    """Name the samples whose expression made the graph; None where it does not say."""
    graphs = mdata.uns.get(GRAPHS)
    entry = graphs.get(key) if isinstance(graphs, Mapping) else None
    if not isinstance(entry, Mapping) or EXPRESSION_OF not in entry:
        return None
    value: Any = entry[EXPRESSION_OF]
    return [str(s) for s in np.atleast_1d(np.asarray(value, dtype=object))]


def _evidence(mdata: MuData, graph: csr_matrix, samples: list[str], modality: str) -> _Correlation | None:
    """Give the correlation of the graph with the expression whose lower end is the highest; None without any."""
    rna = mdata.mod.get(modality)
    if rna is None or "sample" not in rna.var:
        return None
    of = rna.var["sample"].astype(str).tolist()
    parts: dict[str, np.ndarray] = {"all genes": np.ones(mdata.n_obs, bool)}
    if SPLIT in mdata.obs:
        split = mdata.obs[SPLIT].astype(object).to_numpy()
        parts |= {f"{name} genes": split == name for name in SPLITS}
    total = np.asarray(graph.sum(axis=1)).ravel().astype(np.float64)
    found: list[_Correlation] = []
    for sample in (s for s in samples if s in of):
        layers = [np.asarray(rna.layers[name])[:, of.index(sample)] for name in (LOG, LABEL) if name in rna.layers]
        level = next((y.astype(np.float64) for y in layers if np.isfinite(y).any()), None)
        if level is None:
            continue
        known = np.isfinite(level)
        weight = graph @ known.astype(np.float64)
        mean = np.divide(graph @ np.where(known, level, 0), weight, out=np.full(len(level), np.nan), where=weight > 0)
        for genes, chosen in parts.items():
            for what, x, ranked in (
                ("the mean level of the neighbours", mean, False),
                ("the sum of the weights", total, True),
            ):
                rows = chosen & known & np.isfinite(x)
                r = abs(_correlation(x[rows], level[rows], ranked=ranked))
                n = int(rows.sum())
                if n >= _FEWEST_GENES and np.isfinite(r):
                    found.append(_Correlation(r, _low(r, n), what, sample, genes))
    return max(found, key=lambda c: c.low, default=None)


def _correlation(x: np.ndarray, y: np.ndarray, *, ranked: bool) -> float:
    if ranked:
        x, y = (pd.Series(v).rank().to_numpy() for v in (x, y))
    x, y = x - x.mean() if len(x) else x, y - y.mean() if len(y) else y
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 1e-12 else np.nan


def _low(r: float, n: int) -> float:
    """Lower end of the 95 % interval by Fisher's z."""
    return float(np.tanh(np.arctanh(min(r, 1 - 1e-12)) - 1.96 / np.sqrt(n - 3)))
