from __future__ import annotations

import logging
import time

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError


def genes_at(chrom, tss, **columns):
    names = columns.pop("names", None) or [f"g{i}" for i in range(len(tss))]
    obs = pd.DataFrame({"chrom": chrom, "tss": tss, **columns}, index=names)
    return gx.io.from_bins(np.ones((len(obs), 1, 1)), genes=obs.index, marks=["H3K4me3"], obs=obs)


def edges(mdata, key="neighbors"):
    graph = mdata.obsp[key].tocoo()
    names = mdata.obs_names
    return {(names[i], names[j]): w for i, j, w in zip(graph.row, graph.col, graph.data, strict=True)}


def by_loop(chrom, tss, ids, k, limit):
    """Neighbours gene by gene: nearest first; of equal distance the closer in the order of places, then the lower."""
    order = sorted(range(len(tss)), key=lambda i: (chrom[i], tss[i], ids[i]))
    rank = {i: r for r, i in enumerate(order)}
    found = set()
    for i in range(len(tss)):
        there = [j for j in range(len(tss)) if j != i and chrom[j] == chrom[i] and abs(tss[j] - tss[i]) <= limit]
        there.sort(key=lambda j: (abs(tss[j] - tss[i]), abs(rank[j] - rank[i]), rank[j]))
        found |= {(ids[i], ids[j]) for j in there[:k]}
    return found


def test_three_genes_by_hand():
    mdata = genes_at(["1", "1", "1", "2"], [1000, 4000, 5000, 4000], names=list("abcd"))
    gx.pp.gene_neighbors(mdata, n_neighbors=2, key_added="neighbors")
    assert edges(mdata) == {(i, j): 1 for i in "abc" for j in "abc" if i != j}
    assert edges(mdata, "distances") == {
        ("a", "b"): 3000, ("a", "c"): 4000, ("b", "a"): -3000,
        ("b", "c"): 1000, ("c", "a"): -4000, ("c", "b"): -1000,
    }  # fmt: skip
    assert mdata.obsp["neighbors"].dtype == np.float32
    assert mdata.uns["graphs"] == {"neighbors": {"method": "gene_neighbors", "n_neighbors": 2, "expression_of": []}}


@pytest.mark.parametrize(
    ("k", "limit"), [(1, None), (3, None), (3, 500), (None, 700), (50, None), (50, 0), (None, 0), (2, 10**9)]
)
def test_same_as_gene_by_gene(k, limit):
    rng = np.random.default_rng(5)
    n = 150
    # few places, so that there are many ties and genes at one place
    chrom, tss = rng.choice(["chr1", "chr2", "chrX"], n, p=[0.6, 0.38, 0.02]).tolist(), rng.integers(0, 40, n) * 100
    ids = [f"g{i:03d}" for i in rng.permutation(n)]
    mdata = genes_at(chrom, tss, names=ids)
    gx.pp.gene_neighbors(mdata, n_neighbors=k, max_distance=limit)
    wanted = by_loop(chrom, tss.tolist(), ids, k, np.inf if limit is None else limit)
    assert set(edges(mdata)) == wanted
    at = dict(zip(ids, tss.tolist(), strict=True))
    assert edges(mdata, "distances") == {(i, j): at[j] - at[i] for i, j in wanted}
    assert mdata.obsp["neighbors"].diagonal().sum() == 0


def test_order_of_the_genes_makes_no_difference():
    rng = np.random.default_rng(1)
    tss = rng.integers(0, 15, 60)
    ids = [f"g{i}" for i in range(60)]
    one = genes_at("chr1", tss, names=ids)
    turn = rng.permutation(60)
    other = genes_at("chr1", tss[turn], names=[ids[i] for i in turn])
    for mdata in (one, other):
        gx.pp.gene_neighbors(mdata, n_neighbors=3)
    assert edges(one) == edges(other)


def test_zero_distance_is_kept_beside_its_weight():
    mdata = genes_at("chr1", [100, 100, 200])
    gx.pp.gene_neighbors(mdata, n_neighbors=2)
    weights, distances = mdata.obsp["neighbors"], mdata.obsp["distances"]
    assert (weights.indptr == distances.indptr).all()
    assert (weights.indices == distances.indices).all()
    assert distances.nnz == 6
    assert edges(mdata, "distances")["g0", "g1"] == 0


def test_another_key_keeps_its_distances_apart():
    mdata = genes_at("chr1", [0, 10, 30])
    gx.pp.gene_neighbors(mdata, n_neighbors=1)
    gx.pp.gene_neighbors(mdata, n_neighbors=2, key_added="near")
    assert set(mdata.obsp) == {"neighbors", "distances", "near", "near_distances"}
    assert mdata.obsp["distances"].nnz == 3
    assert mdata.obsp["near_distances"].nnz == 6
    assert set(mdata.uns["graphs"]) == {"neighbors", "near"}


def test_few_and_no_neighbours_are_counted(caplog):
    caplog.set_level(logging.INFO)
    mdata = genes_at(["chr1"] * 3 + ["chrM", None, "chr2"], [10, 20, 30, 5, 7, np.nan])
    gx.pp.gene_neighbors(mdata, n_neighbors=2)
    assert "2 of 6 genes have no coordinates" in caplog.text
    assert "1 genes have fewer than 2 neighbours" in caplog.text
    assert "6 edges by gene_neighbors, 2.0 for each of the 3 genes that have any; 3 genes have none" in caplog.text


@pytest.mark.parametrize("asked", [{"n_neighbors": 5}, {"n_neighbors": None, "max_distance": 100}])
def test_every_gene_on_a_chromosome_of_its_own(asked):
    mdata = genes_at(["chr1", "chr2", "chr3"], [10, 20, 30])
    gx.pp.gene_neighbors(mdata, **asked)
    assert mdata.obsp["neighbors"].shape == (3, 3)
    assert mdata.obsp["neighbors"].nnz == 0
    with pytest.raises(InputError, match="has no edge"):
        gx.pp.check_graph(mdata, "neighbors", samples=[])


@pytest.mark.parametrize("dtype", ["category", "string", object])
def test_types_of_the_columns_make_no_difference(dtype):
    mdata = genes_at(pd.Series(["1", "1", "2", None], dtype=dtype, index=[f"g{i}" for i in range(4)]), [10, 20, 30, 40])
    gx.pp.gene_neighbors(mdata)
    assert edges(mdata) == {("g0", "g1"): 1, ("g1", "g0"): 1}
    contacts = matrix((0, 0, 3), chrom="chr1")
    contacts["chrom"] = contacts["chrom"].astype(dtype)
    gx.pp.contact_neighbors(mdata, contacts)
    assert edges(mdata, "contacts") == {("g0", "g1"): 3, ("g1", "g0"): 3}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"n_neighbors": 0}, "n_neighbors=0 is not possible: give a whole number of at least 1"),
        ({"n_neighbors": 2.5}, "n_neighbors=2.5"),
        ({"n_neighbors": None}, "both None"),
        ({"max_distance": -1}, "max_distance=-1"),
        ({"key_added": "distances"}, "is no name for a graph"),
        ({"key_added": "near_distances"}, "is no name for a graph"),
        ({"key_added": "a/b"}, "without a slash"),
    ],
)
def test_wrong_settings(change, said):
    mdata = genes_at("chr1", [0, 10, 30])
    with pytest.raises(InputError, match=said):
        gx.pp.gene_neighbors(mdata, **change)
    assert not mdata.obsp


@pytest.mark.parametrize("missing", [["chrom"], ["tss"], ["chrom", "tss"]])
def test_genes_without_coordinates(missing):
    mdata = genes_at("chr1", [0, 10, 30])
    for name in missing:
        del mdata.obs[name]
    with pytest.raises(InputError, match=f"no column '{missing[0]}'.* gx.pp.gene_neighbors needs"):
        gx.pp.gene_neighbors(mdata)


def test_twenty_thousand_genes_take_well_below_a_second():
    rng = np.random.default_rng(0)
    mdata = genes_at(rng.choice([f"chr{i}" for i in range(1, 24)], 20_000), rng.integers(0, 2 * 10**8, 20_000))
    start = time.process_time()
    gx.pp.gene_neighbors(mdata)
    assert time.process_time() - start < 1
    assert mdata.obsp["neighbors"].nnz == 200_000


@pytest.mark.parametrize("suffix", [".h5mu", ".zarr"])
def test_graphs_come_back_from_a_file_and_with_more_samples(tmp_path, suffix):
    mdata = genes_at("chr1", [0, 10, 10])
    gx.pp.gene_neighbors(mdata, n_neighbors=2, max_distance=50)
    gx.io.write_mudata(mdata, tmp_path / f"a{suffix}")
    back = gx.io.read_mudata(tmp_path / f"a{suffix}")
    for key in ("neighbors", "distances"):
        assert (back.obsp[key].toarray() == mdata.obsp[key].toarray()).all()
        assert back.obsp[key].nnz == 6
    entry = back.uns["graphs"]["neighbors"]
    assert (entry["method"], entry["max_distance"]) == ("gene_neighbors", 50)
    assert gx.pp.check_graph(back, "neighbors", samples=["sample"]).nnz == 6


# Contacts


def matrix(*rows, resolution=1000, chrom="chr1", **attrs):
    """Bins (first, second, count) as a table of contacts."""
    table = pd.DataFrame(
        [(chrom, a * resolution, (a + 1) * resolution, b * resolution, (b + 1) * resolution, c) for a, b, c in rows],
        columns=["chrom", "start1", "end1", "start2", "end2", "count"],
    )
    table.attrs = attrs
    return table


def test_contacts_of_bins_by_hand():
    # genes a and b in bin 0, c in bin 2, d at the first base of bin 3; nobody in bin 1
    mdata = genes_at("chr1", [100, 900, 2500, 3000], names=list("abcd"))
    contacts = matrix((0, 0, 9), (0, 1, 50), (0, 2, 4), (2, 3, 7), (2, 2, 11), file="x.cool", resolution_=1)
    gx.pp.contact_neighbors(mdata, contacts)
    wanted = {("a", "b"): 9, ("a", "c"): 4, ("b", "c"): 4, ("c", "d"): 7}
    assert edges(mdata, "contacts") == {**wanted, **{(j, i): w for (i, j), w in wanted.items()}}
    assert edges(mdata, "contacts_distances")["c", "a"] == -2400
    entry = mdata.uns["graphs"]["contacts"]
    assert (entry["method"], entry["file"], entry["expression_of"]) == ("contact_neighbors", "x.cool", [])


def test_the_strongest_are_kept_for_each_gene():
    mdata = genes_at("chr1", [500, 1500, 2500, 3500], names=list("abcd"))
    contacts = matrix((0, 1, 5), (0, 2, 6), (0, 3, 1), (1, 3, 1), (2, 3, 3))
    gx.pp.contact_neighbors(mdata, contacts, n_neighbors=1)
    # c has 6 with a; b's best is a; d's best is c, though d is not the best of c
    assert edges(mdata, "contacts") == {("a", "c"): 6, ("b", "a"): 5, ("c", "a"): 6, ("d", "c"): 3}


def test_of_equal_contacts_the_nearest_is_kept():
    mdata = genes_at("chr1", [9500, 500, 12500], names=list("abc"))
    gx.pp.contact_neighbors(mdata, matrix((0, 9, 5), (9, 12, 5)), n_neighbors=1)
    assert edges(mdata, "contacts")["a", "c"] == 5
    assert ("a", "b") not in edges(mdata, "contacts")


def contact_by_loop(mdata, contacts, slop):
    found = {}
    for row in contacts.itertuples():
        if not row.count > 0:
            continue
        inside = [
            [
                g
                for g, c, t in zip(mdata.obs_names, mdata.obs["chrom"], mdata.obs["tss"], strict=True)
                if c == row.chrom and start - slop <= t < end + slop
            ]
            for start, end in ((row.start1, row.end1), (row.start2, row.end2))
        ]
        for i in inside[0]:
            for j in inside[1]:
                if i != j:
                    for pair in ((i, j), (j, i)):
                        found[pair] = max(found.get(pair, 0), row.count)
    return found


@pytest.mark.parametrize("slop", [0, 300])
def test_same_as_loop_over_contacts(slop):
    rng = np.random.default_rng(3)
    mdata = genes_at(rng.choice(["chr1", "chr2"], 80), rng.integers(0, 60_000, 80))
    start1, start2 = rng.integers(0, 50_000, (2, 300))
    contacts = pd.DataFrame(
        {
            "chrom": rng.choice(["chr1", "chr2", "chr3"], 300),
            "start1": start1,
            "end1": start1 + rng.integers(1, 4000, 300),
            "start2": start2,
            "end2": start2 + rng.integers(1, 4000, 300),
            "count": rng.integers(0, 40, 300).astype(np.float32),
        }
    )
    contacts.loc[::9, "count"] = np.nan
    gx.pp.contact_neighbors(mdata, contacts, n_neighbors=1000, slop=slop)
    assert edges(mdata, "contacts") == contact_by_loop(mdata, contacts, slop)


def test_what_has_no_count_is_left_out_and_counted(caplog):
    caplog.set_level(logging.INFO)
    mdata = genes_at("chr1", [500, 1500, 2500], names=list("abc"))
    gx.pp.contact_neighbors(mdata, matrix((0, 1, np.nan), (1, 2, 2), (0, 2, 0), (0, 0, np.inf)))
    assert set(edges(mdata, "contacts")) == {("b", "c"), ("c", "b")}
    assert "2 of 4 contacts have no finite count, 1 a count of 0" in caplog.text
    assert "1 genes have none" in caplog.text


def test_names_of_chromosomes_are_matched(caplog):
    mdata = genes_at(["chr1", "chr1", "chr7"], [500, 1500, 99], names=list("abc"))
    gx.pp.contact_neighbors(mdata, matrix((0, 1, 3), chrom="1"))
    assert edges(mdata, "contacts") == {("a", "b"): 3, ("b", "a"): 3}
    assert "1 genes lie on chromosomes without contacts ('chr7')" in caplog.text
    with pytest.raises(InputError, match=r"none of the 2 chromosomes of mdata\.obs"):
        gx.pp.contact_neighbors(mdata, matrix((0, 1, 3), chrom="chrZ"))


@pytest.mark.parametrize(
    ("contacts", "change", "said"),
    [
        (matrix((0, 1, -3)), {}, "1 counts of contacts are negative"),
        (matrix((7, 9, 3)), {}, "none of the 1 contacts .* joins the TSSs of two genes"),
        (matrix((0, 1, 3)).drop(columns="end2"), {}, "lacks the column 'end2'"),
        (matrix((0, 1, 3)), {"n_neighbors": 0}, "n_neighbors=0"),
        (matrix((0, 1, 3)), {"slop": -1}, "slop=-1"),
    ],
)
def test_contacts_that_do_not_fit(contacts, change, said):
    mdata = genes_at("chr1", [500, 1500])
    with pytest.raises(InputError, match=said):
        gx.pp.contact_neighbors(mdata, contacts, **change)
    assert not mdata.obsp


# Likeness


def with_signal(bins, **kwargs):
    names = [f"g{i}" for i in range(len(bins))]
    mdata = gx.io.from_bins(bins, genes=names, **kwargs)
    mdata.obs["split"] = np.resize(["train", "train", "valid", "test"], len(bins))
    return mdata


def test_signal_neighbours_are_those_of_scikit_learn_scaled_by_training_genes():
    from sklearn.neighbors import NearestNeighbors

    rng = np.random.default_rng(0)
    bins = rng.gamma(1, 4, (120, 2, 12)).astype(np.float32)
    train = np.resize([True, True, False, False], 120)
    # the standard deviation over all genes is another one
    bins[~train, 0] *= 20
    mdata = with_signal(bins, marks=["A", "B"], scale="log")
    gx.pp.similarity_neighbors(mdata, n_bins=3, n_neighbors=8)

    def nearest_by(deviation):
        features = (bins / deviation).reshape(120, 2, 3, 4).mean(axis=3).reshape(120, -1)
        return NearestNeighbors(n_neighbors=8).fit(features).kneighbors(return_distance=False)

    nearest = nearest_by(bins[train].std(axis=(0, 2), keepdims=True))
    assert (nearest != nearest_by(bins.std(axis=(0, 2), keepdims=True))).any()
    graph = mdata.obsp["similarity"]
    found = [set(graph.indices[graph.indptr[i] : graph.indptr[i + 1]].tolist()) for i in range(120)]
    assert found == [set(row.tolist()) for row in nearest]
    assert ((graph.data > 0) & (graph.data <= 1)).all()
    # in the graph of UMAP the first neighbour has the weight 1
    np.testing.assert_allclose(graph.toarray()[np.arange(120), nearest[:, 0]], 1, rtol=1e-6)
    assert graph.data.min() < 0.5
    assert "similarity_distances" not in mdata.obsp


def test_equal_genes_are_neighbours_and_the_run_is_repeatable():
    bins = np.repeat(np.array([0.0, 0.0, 3.0]), 20)[:, None, None]
    graphs = []
    for _ in range(2):
        mdata = with_signal(bins, marks=["A"])
        gx.pp.similarity_neighbors(mdata, n_neighbors=5)
        graphs.append(mdata.obsp["similarity"].toarray())
    assert (graphs[0] == graphs[1]).all()
    assert (graphs[0][:40, 40:] == 0).all()
    assert (graphs[0].diagonal() == 0).all()


def samples_of(level, **kwargs):
    names = [f"s{i}" for i in range(level.shape[1])]
    expression = pd.DataFrame(level, columns=names, index=[f"g{i}" for i in range(len(level))])
    bins = {name: np.ones((len(level), 1, 2)) for name in names}
    return gx.io.from_bins(bins, genes=expression.index, marks=["A"], expression=expression, unit="log", **kwargs)


@pytest.fixture
def families():
    """Three families of genes that rise and fall together over samples s0..s4, at levels of their own; s5 is noise."""
    rng = np.random.default_rng(4)
    course = rng.normal(0, 1, (3, 5))
    level = 5 + np.repeat(course, 15, axis=0) + rng.normal(0, 0.05, (45, 5)) + rng.uniform(-3, 3, (45, 1))
    return samples_of(np.column_stack([level, rng.normal(0, 1, 45)]))


def test_coexpression_finds_what_goes_together(families):
    gx.pp.similarity_neighbors(families, by="expression", predicted="s5", n_neighbors=6)
    graph = families.obsp["similarity"].tocoo()
    assert (graph.row // 15 == graph.col // 15).all()
    entry = families.uns["graphs"]["similarity"]
    assert entry["expression_of"] == ["s0", "s1", "s2", "s3", "s4"]
    assert entry["by"] == "expression"


def test_the_expression_to_be_predicted_has_no_part_in_the_graph(families):
    gx.pp.similarity_neighbors(families, by="expression", predicted="s5")
    before = families.obsp["similarity"].toarray()
    families["rna"].layers["log"][:, 5] = np.arange(45)[::-1]
    families["rna"].layers["log"][::3, 5] = np.nan
    gx.pp.similarity_neighbors(families, by="expression", samples=["s0", "s1", "s2", "s3", "s4"])
    assert (families.obsp["similarity"].toarray() == before).all()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, "name the samples to be predicted"),
        ({"samples": ["s0", "s1", "s2"], "predicted": "s2"}, "'s2' is to be predicted, so it must not make the graph"),
        ({"samples": ["s0", "s1"]}, "over 2 samples .* at least 3"),
        ({"predicted": ["s0", "s1", "s2", "s3"]}, "over 2 samples"),
        ({"samples": ["s0", "K562", "s1"]}, "no sample 'K562': its samples are 's0'"),
        ({"by": "distance"}, "by='distance' is not known"),
        ({"by": "signal", "predicted": "s0"}, 'predicted= is for by="expression"'),
        ({"by": "signal"}, 'no column "split"'),
        ({"by": "signal", "samples": "K562"}, "no sample 'K562'"),
        ({"predicted": "s5", "n_neighbors": 0}, "n_neighbors=0"),
    ],
)
def test_likeness_that_cannot_be(families, asked, said):
    with pytest.raises(InputError, match=said):
        gx.pp.similarity_neighbors(families, **{"by": "expression", **asked})
    assert not families.obsp


def test_genes_without_a_course_have_no_neighbour(families, caplog):
    caplog.set_level(logging.INFO)
    families["rna"].layers["log"][3, 1] = np.nan
    families["rna"].layers["log"][7, :5] = 2.5
    gx.pp.similarity_neighbors(families, by="expression", predicted="s5")
    graph = families.obsp["similarity"].toarray()
    for gene in (3, 7):
        assert graph[gene].sum() == graph[:, gene].sum() == 0
    assert "1 genes were not measured in all of the 5 samples and 1 are constant" in caplog.text


def test_distances_of_likeness_are_those_on_one_chromosome():
    bins = np.arange(12.0)[:, None, None]
    obs = pd.DataFrame({"chrom": ["chr1", "chr2"] * 6, "tss": np.arange(12) * 10}, index=[f"g{i}" for i in range(12)])
    mdata = with_signal(bins, marks=["A"], scale="log", obs=obs)
    gx.pp.similarity_neighbors(mdata, n_neighbors=4)
    graph, apart = mdata.obsp["similarity"].tocoo(), mdata.obsp["similarity_distances"].tocoo()
    same = {(i, j) for i, j in zip(graph.row.tolist(), graph.col.tolist(), strict=True) if (i - j) % 2 == 0}
    assert {(i, j): d for i, j, d in zip(apart.row.tolist(), apart.col.tolist(), apart.data.tolist(), strict=True)} == {
        (i, j): (j - i) * 10 for i, j in same
    }
    assert 0 < len(same) < graph.nnz
    del mdata.obs["tss"]
    gx.pp.similarity_neighbors(mdata, n_neighbors=4)
    assert "similarity_distances" not in mdata.obsp
