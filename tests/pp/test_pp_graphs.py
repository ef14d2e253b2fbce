"""No graph may carry the expression that is to be predicted into a model."""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.neighbors import kneighbors_graph

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.pp import graphs

N = 240


@pytest.fixture
def mdata():
    """Genes at random places whose level in A, B and C is half shared; D has labels alone."""
    rng = np.random.default_rng(0)
    names = [f"g{i}" for i in range(N)]
    level = 3 + rng.normal(0, 1, (N, 1)) + rng.normal(0, 1, (N, 3))
    level[::11] = np.nan
    expression = pd.DataFrame(level, index=names, columns=["A", "B", "C"])
    obs = pd.DataFrame(
        {"chrom": rng.choice(["chr1", "chr2", "chr3"], N), "tss": rng.integers(0, 10**6, N)}, index=names
    )
    bins = {s: rng.gamma(1, 1, (N, 2, 4)) for s in "ABC"}
    mdata = gx.io.from_bins(bins, genes=names, marks=["K4", "K27"], expression=expression, unit="log", obs=obs)
    mdata.obs["split"] = np.where(obs["chrom"] == "chr1", "train", np.where(obs["chrom"] == "chr2", "valid", "test"))
    return mdata


def level_of(mdata, sample):
    at = mdata["rna"].var["sample"].tolist().index(sample)
    return np.asarray(mdata["rna"].layers["log"])[:, at].astype(float)


def same_level(mdata, sample, k=8):
    """The leak: genes whose level in a sample is nearest."""
    y = level_of(mdata, sample)
    known = np.flatnonzero(np.isfinite(y))
    graph = kneighbors_graph(y[known, None], k).tocoo()
    return sp.csr_matrix((graph.data, (known[graph.row], known[graph.col])), shape=(N, N))


def test_own_graphs_pass_and_come_back_as_they_are(mdata, caplog):
    gx.pp.gene_neighbors(mdata, n_neighbors=4)
    gx.pp.similarity_neighbors(mdata, n_neighbors=4)
    caplog.clear()
    for key in ("neighbors", "similarity"):
        graph = gx.pp.check_graph(mdata, key, samples=["A", "B", "C"])
        assert isinstance(graph, sp.csr_matrix)
        assert (graph != mdata.obsp[key]).nnz == 0
        graph.data[:] = 7
        assert mdata.obsp[key].max() <= 1
    assert not caplog.records


def test_a_graph_of_other_samples_serves_for_those_left_out_alone(mdata):
    gx.pp.similarity_neighbors(mdata, n_neighbors=4)
    mdata.uns["graphs"]["similarity"] = {"method": "co-expression", "expression_of": ["B", "C"]}
    assert gx.pp.check_graph(mdata, "similarity", samples="A").nnz == 4 * N
    for samples in (["B"], ["A", "C"], "C"):
        with pytest.raises(InputError, match=r"was made from the expression of '[BC]', which is to be predicted"):
            gx.pp.check_graph(mdata, "similarity", samples=samples)


def test_coexpression_is_refused_to_the_samples_that_made_it():
    rng = np.random.default_rng(1)
    expression = pd.DataFrame(rng.normal(5, 1, (40, 5)), index=[f"g{i}" for i in range(40)], columns=list("ABCDE"))
    bins = {s: np.ones((40, 1, 1)) for s in "ABCDE"}
    mdata = gx.io.from_bins(bins, genes=expression.index, marks=["K4"], expression=expression, unit="log")
    gx.pp.similarity_neighbors(mdata, by="expression", predicted=["E"])
    gx.pp.check_graph(mdata, "similarity", samples=["E"])
    with pytest.raises(InputError, match="made from the expression of 'A', which"):
        gx.pp.check_graph(mdata, "similarity", samples=["A", "E"])


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_origin_is_known_after_a_file(mdata, tmp_path, suffix):
    said = {"one": ["B"], "two": ["B", "C"], "text": "B", "array": np.array(["B"], dtype=object)}
    for key, samples in said.items():
        gx.pp.gene_neighbors(mdata, n_neighbors=2, key_added=key)
        mdata.uns["graphs"][key]["expression_of"] = samples
    gx.io.write_mudata(mdata, tmp_path / f"a{suffix}")
    back = gx.io.read_mudata(tmp_path / f"a{suffix}")
    for one, key in itertools.product((mdata, back), said):
        gx.pp.check_graph(one, key, samples=["A"])
        with pytest.raises(InputError, match="expression of 'B'"):
            gx.pp.check_graph(one, key, samples=["B"])


# Graphs that do not say where they come from


def test_unknown_origin_is_taken_with_a_warning(mdata, caplog):
    rng = np.random.default_rng(2)
    mdata.obsp["ppi"] = sp.random(N, N, 0.05, random_state=rng, format="csr")
    gx.pp.check_graph(mdata, "ppi", samples=["A"])
    assert 'obsp["ppi"] does not say from whose expression it was made' in caplog.text
    assert 'mdata.uns["graphs"]["ppi"] = {"method": ..., "expression_of": [...]}' in caplog.text
    caplog.clear()
    mdata.uns["graphs"] = {"ppi": {"method": "STRING"}}
    gx.pp.check_graph(mdata, "ppi", samples=["A"])
    assert "does not say" in caplog.text
    caplog.clear()
    mdata.uns["graphs"]["ppi"]["expression_of"] = []
    gx.pp.check_graph(mdata, "ppi", samples=["A"])
    assert not [r for r in caplog.records if r.levelno >= logging.WARNING]


def test_a_planted_leak_is_refused(mdata):
    mdata.obsp["leak"] = same_level(mdata, "A")
    with pytest.raises(InputError) as error:
        gx.pp.check_graph(mdata, "leak", samples=["A"])
    assert 'the mean level of the neighbours in obsp["leak"] correlates' in str(error.value)
    assert "with the expression of 'A'" in str(error.value)
    # the level in another sample tells half of it
    gx.pp.check_graph(mdata, "leak", samples=["B"])


def test_a_leak_for_the_test_genes_alone_is_refused(mdata):
    gx.pp.gene_neighbors(mdata, n_neighbors=8, key_added="near")
    test = sp.diags((mdata.obs["split"] == "test").to_numpy().astype(float))
    mdata.obsp["leak"] = (test @ same_level(mdata, "A") + (sp.eye(N) - test) @ mdata.obsp["near"]).tocsr()
    with pytest.raises(InputError, match=r"\(test genes\)"):
        gx.pp.check_graph(mdata, "leak", samples=["A"])


@pytest.mark.parametrize("by", ["weight", "degree"])
def test_levels_hidden_in_the_weights_are_found(mdata, by):
    gx.pp.gene_neighbors(mdata, n_neighbors=20, key_added="near")
    y = np.nan_to_num(level_of(mdata, "B"), nan=3)
    if by == "weight":
        mdata.obsp["leak"] = (sp.diags(np.exp(-y)) @ mdata.obsp["near"]).tocsr()
    else:
        rank = np.argsort(np.argsort(y))
        rows = [np.arange(1, 2 + r // 12) for r in rank]
        gene = np.repeat(np.arange(N), [len(r) for r in rows])
        mdata.obsp["leak"] = sp.csr_matrix((np.ones(len(gene)), (gene, (gene + np.concatenate(rows)) % N)), (N, N))
    with pytest.raises(InputError, match="the sum of the weights"):
        gx.pp.check_graph(mdata, "leak", samples=["A", "B"])


def test_a_leak_of_labels_is_refused(mdata):
    label = (level_of(mdata, "A") > 3).astype(float)
    mdata["rna"].layers["log"][:, 0] = np.nan
    mdata["rna"].layers["label"] = np.column_stack([label, np.full((N, 2), np.nan)])
    rng = np.random.default_rng(0)
    of = {v: np.flatnonzero(label == v) for v in (0, 1)}
    others = np.concatenate([rng.choice(of[v][of[v] != i], 5, replace=False) for i, v in enumerate(label)])
    mdata.obsp["leak"] = sp.csr_matrix((np.ones(5 * N), (np.repeat(np.arange(N), 5), others)), shape=(N, N))
    with pytest.raises(InputError, match="with the expression of 'A'"):
        gx.pp.check_graph(mdata, "leak", samples=["A"])


def test_a_declared_graph_that_betrays_the_expression_is_warned_of(mdata, caplog):
    mdata.obsp["leak"] = same_level(mdata, "A")
    mdata.uns["graphs"] = {"leak": {"method": "mine", "expression_of": []}}
    assert gx.pp.check_graph(mdata, "leak", samples=["A"]).nnz > 0
    assert "although it is said not to be made from it" in caplog.text


def test_evidence_is_the_correlation_by_a_loop(mdata):
    gx.pp.gene_neighbors(mdata, n_neighbors=5)
    graph = gx.pp.check_graph(mdata, "neighbors", samples=["C"])
    graph.data = np.random.default_rng(3).gamma(1, 1, graph.nnz).astype(np.float32)
    y = level_of(mdata, "C")
    del mdata.obs["split"]
    found = graphs._evidence(mdata, graph, ["C"], "rna")
    mean, own, total = [], [], []
    for i in range(N):
        js = [j for j in range(N) if graph[i, j] > 0 and np.isfinite(y[j])]
        if js and np.isfinite(y[i]):
            w = [graph[i, j] for j in js]
            mean.append(np.average(y[js], weights=w))
            own.append(y[i])
            total.append(graph[i].sum())
    both = [abs(np.corrcoef(mean, own)[0, 1]), abs(pd.Series(total).corr(pd.Series(own), method="spearman"))]
    assert found.r == pytest.approx(max(both), rel=1e-5)
    z = np.arctanh(max(both)) - 1.96 / np.sqrt(len(own) - 3)
    assert found.low == pytest.approx(np.tanh(z), rel=1e-4)


def test_without_expression_there_is_nothing_to_betray(mdata, caplog):
    gx.pp.gene_neighbors(mdata)
    chromatin_alone = gx.io.from_bins(np.ones((N, 1, 1)), genes=mdata.obs_names, marks=["K4"], obs=mdata.obs)
    chromatin_alone.obsp["mine"] = mdata.obsp["neighbors"]
    gx.pp.check_graph(chromatin_alone, "mine", samples=["A"])
    assert "it is taken as made from none. Say it" in caplog.text


# Graphs that are none


def changed(mdata, change):
    graph = mdata.obsp["neighbors"].copy().astype(np.float64)
    change(graph)
    return graph


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g.data.__setitem__(3, np.nan), "has 1 missing or infinite weights"),
        (lambda g: g.data.__setitem__(slice(4), np.inf), "has 4 missing or infinite weights"),
        (lambda g: g.data.__setitem__(5, -1), "has 1 negative weights: a weight is 0 or more"),
        (lambda g: g.data.__setitem__(slice(None), 0), "has no edge"),
    ],
)
def test_weights_that_are_none(mdata, change, said):
    gx.pp.gene_neighbors(mdata)
    mdata.obsp["mine"] = changed(mdata, change)
    with pytest.raises(InputError, match=said):
        gx.pp.check_graph(mdata, "mine", samples=["A"])


def test_distances_are_no_graph(mdata):
    gx.pp.gene_neighbors(mdata)
    with pytest.raises(InputError, match="these are distances, and the graph is beside them"):
        gx.pp.check_graph(mdata, "distances", samples=["A"])


def test_a_missing_graph_names_those_there(mdata):
    with pytest.raises(InputError, match=r"no graph 'ppi' \(it has none\): make one"):
        gx.pp.check_graph(mdata, "ppi", samples=["A"])
    gx.pp.gene_neighbors(mdata)
    with pytest.raises(InputError, match=r"no graph 'ppi' \(it has 'neighbors'\)"):
        gx.pp.check_graph(mdata, "ppi", samples=["A"])


def test_edges_to_oneself_are_left_out_and_counted(mdata, caplog):
    caplog.set_level(logging.INFO)
    gx.pp.gene_neighbors(mdata, n_neighbors=2)
    mdata.obsp["mine"] = (mdata.obsp["neighbors"] + sp.eye(N)).tocsr()
    mdata.uns["graphs"]["mine"] = {"method": "with oneself", "expression_of": []}
    caplog.clear()
    assert (gx.pp.check_graph(mdata, "mine", samples=["A"]) != mdata.obsp["neighbors"]).nnz == 0
    assert "has 240 edges of a gene to itself, which are left out" in caplog.text
    assert mdata.obsp["mine"].diagonal().sum() == N


@pytest.mark.parametrize("kind", [sp.csc_matrix, sp.csr_array, lambda x: x.toarray()])
def test_other_kinds_of_matrices_are_taken(mdata, kind):
    gx.pp.gene_neighbors(mdata, n_neighbors=3)
    wanted = mdata.obsp["neighbors"]
    mdata.obsp["neighbors"] = kind(wanted)
    graph = gx.pp.check_graph(mdata, "neighbors", samples=["A"])
    assert isinstance(graph, sp.csr_matrix)
    assert (graph != wanted).nnz == 0
