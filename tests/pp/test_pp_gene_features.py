from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.pp._dna_features import feature_columns

WINDOW = {"upstream": 20, "downstream": 30, "bin_size": 10, "stranded": True}


def mdata_of(bins, samples=("A",), marks=("H3K27ac", "DNase"), **kwargs):
    genes = [f"g{i}" for i in range(len(bins))]
    per_sample = {s: np.asarray(bins)[:, i * len(marks) : (i + 1) * len(marks)] for i, s in enumerate(samples)}
    return gx.io.from_bins(per_sample, genes=genes, marks=list(marks), window=WINDOW, **kwargs)


def test_genes_are_matched_by_id_and_missing_ones_counted(caplog):
    caplog.set_level("INFO")
    mdata = mdata_of(np.ones((3, 2, 5)))
    table = pd.DataFrame({"UTR5GC": [0.5, 0.25], "CDSLEN": [3, 4]}, index=["g2", "g0"])
    gx.pp.add_gene_features(mdata, table, key="half_life")
    np.testing.assert_array_equal(mdata["dna"].X, np.float32([[0.25, 4], [np.nan, np.nan], [0.5, 3]]))
    assert "half_life: 2 features; 1 of 3 genes lack one or all (NaN)" in caplog.text
    gx.schema.validate(mdata)


def test_groups_stand_side_by_side_and_are_replaced_alone(tmp_path):
    mdata = mdata_of(np.ones((2, 2, 5)))
    mdata.uns["kept"] = "yes"
    first = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]}, index=["g0", "g1"])
    gx.pp.add_gene_features(mdata, first, key="one")
    mdata["dna"].obsm["codes"] = np.array([[0, 1, 2, 3], [1, 1, 1, 1]], np.uint8)
    gx.schema.name_axes(mdata)
    gx.pp.sequence_features(mdata, k=None)
    gx.pp.promoter_activity(mdata, half_width=10)
    gx.pp.add_gene_features(mdata, first[["b"]] + 10, key="one")
    dna = mdata["dna"]
    assert dna.var_names.tolist() == ["GC", "CpG_oe", "N", "promoter_activity", "b"]
    assert dna.var["group"].tolist() == ["sequence"] * 3 + ["promoter_activity", "one"]
    assert dna.X[:, 3:].tolist() == [[1, 13], [1, 14]]
    gx.pp.sequence_features(mdata, k=None)
    assert mdata["dna"].var_names.tolist() == ["promoter_activity", "b", "GC", "CpG_oe", "N"]
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    again = gx.io.read_mudata(tmp_path / "m.h5mu")
    assert again["dna"].var["group"].astype(str).tolist() == ["promoter_activity", "one"] + ["sequence"] * 3
    assert again.uns["kept"] == "yes"
    gx.pp.add_gene_features(again, first[["a"]], key="one")
    assert again["dna"].var_names.tolist()[-1] == "a"


def test_what_is_no_table_of_features():
    mdata = mdata_of(np.ones((2, 2, 5)))
    table = pd.DataFrame({"a": [1.0, 2.0]}, index=["g0", "g1"])

    def refused(table, said, key="k"):
        with pytest.raises(gx.InputError, match=said):
            gx.pp.add_gene_features(mdata, table, key=key)
        assert "k" not in mdata.mod

    refused(table.set_axis(["x", "y"]), r"none of the 2 genes \('g0', 'g1'\) is in the table of features \('x', 'y'\)")
    refused(table.set_axis(["g0", "g0"]), "has 'g0' more than once")
    refused(table.assign(t=["x", "y"]), r"holds other things than numbers \(in 't'\)")
    refused(table.assign(a=[1.0, np.inf]), "the feature 'a' is infinite")
    refused(table.rename(columns={"a": "a/b"}), "has the column 'a/b', twice or with a slash")
    refused(table, "key='sequence' is no name for a group", key="sequence")
    refused(table.rename(columns={"a": "kmer_AC"}), "the features 'kmer_AC' of \"k\" have names that others")
    refused(table[[]], "has no column")
    gx.pp.add_gene_features(mdata, table, key="one")
    refused(table, "the features 'a' of \"k\" have names that others")


@pytest.mark.parametrize("name", ["Linear", "RandomForest"])
def test_models_read_them_without_dna(name):
    rng = np.random.default_rng(0)
    genes = [f"g{i}" for i in range(120)]
    value = rng.normal(size=120)
    expression = pd.DataFrame({"A": value}, index=genes)
    mdata = gx.io.from_bins(
        np.ones((120, 1, 4)), genes=genes, marks=["H3K4me3"], sample="A", expression=expression, unit="log"
    )
    mdata.obs["split"] = ["train"] * 80 + ["valid"] * 20 + ["test"] * 20
    gx.pp.add_gene_features(mdata, pd.DataFrame({"f": value}, index=genes)[5:], key="half_life")
    model = getattr(gx.model, name)(mdata)
    model.train()
    assert model.evaluate(split="test")["pearson"].iloc[0] > 0.95


def test_activity_is_the_geometric_mean_of_means_around_the_tss():
    # bins of 10 bases; the TSS is the first base of bin 2
    bins = np.zeros((2, 4, 5))
    bins[0, 0], bins[0, 1] = [1, 2, 6, 9, 9], [9, 4, 14, 2, 2]
    bins[1, 2], bins[1, 3] = [1, 2, 6, 9, 9], [np.nan, np.nan, 4, 2, 2]
    mdata = mdata_of(bins, samples=("A", "B"))
    gx.pp.promoter_activity(mdata, half_width=10)
    assert mdata["dna"].var_names.tolist() == ["promoter_activity.A", "promoter_activity.B"]
    np.testing.assert_allclose(mdata["dna"].X, [[6, 0], [0, np.sqrt(4 * 2)]], rtol=1e-6)
    # half of bins 0 and 3: (5 * 1 + 10 * 2 + 10 * 6 + 5 * 9) / 30
    gx.pp.promoter_activity(mdata, "H3K27ac", half_width=15)
    np.testing.assert_allclose(mdata["dna"].X, [[130 / 30, 0], [0, 130 / 30]], rtol=1e-6)
    assert mdata["dna"].n_vars == 2
    with pytest.raises(
        gx.InputError, match="half_width=21 reaches beyond the window of 20 bases before the TSS and 30"
    ):
        gx.pp.promoter_activity(mdata, half_width=21)
    with pytest.raises(gx.InputError, match=r"no sample has tracks of all of 'H3K27ac', 'ATAC': there are 'H3K27ac'"):
        gx.pp.promoter_activity(mdata, ("H3K27ac", "ATAC"), half_width=10)
    with pytest.raises(gx.InputError, match="half_width=0: give a whole number"):
        gx.pp.promoter_activity(mdata, half_width=0)


def test_three_marks_and_negative_signal():
    bins = np.ones((1, 3, 5)) * np.array([2, 4, 27])[None, :, None]
    mdata = mdata_of(bins, marks=("a", "b", "c"))
    gx.pp.promoter_activity(mdata, ("a", "b", "c"), half_width=10)
    assert mdata["dna"].X[0, 0] == pytest.approx(6.0)
    mdata = mdata_of(-bins, marks=("a", "b", "c"), scale="log_ratio")
    with pytest.raises(gx.InputError, match=r"A\.a has negative signal, which is no activity"):
        gx.pp.promoter_activity(mdata, ("a", "b"), half_width=10)


def test_a_genome_store_gives_the_same_as_bins(tmp_path):
    paths = gx.datasets.simulate(tmp_path / "s", n_genes=40, n_chroms=2)
    window = {"upstream": 600, "downstream": 600}
    mdata = gx.io.build_mudata(paths.sheet, genes=paths.genes, bin_size=1, **window)
    marks = ("H3K27ac", "H3K4me3")
    gx.pp.promoter_activity(mdata, marks, half_width=500)
    expected = mdata["dna"].X.copy()
    assert (expected > 0).any()
    gx.io.write_genome(tmp_path / "g", sheet=paths.sheet)
    gx.io.attach_genome(mdata, tmp_path / "g", upstream=5000, downstream=5000)
    for windows in (gx.io.genome_windows(mdata), gx.io.genome_windows(mdata, upstream=500, downstream=500)):
        gx.pp.promoter_activity(mdata, marks, windows=windows)
        np.testing.assert_allclose(mdata["dna"].X, expected, rtol=1e-5)
    with pytest.raises(gx.InputError, match="windows are of 40 genes and the MuData has 20"):
        gx.pp.promoter_activity(mdata[:20].copy(), marks, windows=windows)
    del mdata.mod["chromatin"]
    with pytest.raises(gx.InputError, match="the MuData has no tracks with a window"):
        gx.pp.promoter_activity(mdata, marks)


def test_tables_of_samples():
    genes = ["a", "b"]
    mdata = gx.io.from_bins(np.ones((2, 1, 1)), genes=genes, marks=["H3K4me3"])
    tables = {s: pd.DataFrame({"ATAC": v, "RNAPII": 0.0}, index=genes) for s, v in {"T1": 1, "T2": 2}.items()}
    gx.pp.add_gene_features(mdata, pd.DataFrame({"length": [5, 6]}, index=genes), key="length")
    gx.pp.add_gene_features(mdata, tables, key="atac")
    dna = mdata["dna"]
    assert dna.var_names.tolist() == ["length", "ATAC.T1", "RNAPII.T1", "ATAC.T2", "RNAPII.T2"]
    assert dna.var["sample"].tolist() == ["", "T1", "T1", "T2", "T2"]
    assert dna.X[0].tolist() == [5, 1, 0, 2, 0]
    names, columns = feature_columns(dna.var, ["T2", "T3", "T1"])
    assert names == ["length", "ATAC", "RNAPII"]
    assert columns.tolist() == [[0, 3, 4], [0, -1, -1], [0, 1, 2]]
    with pytest.raises(InputError, match=r"tables of features by sample need the same columns .*T1: 'ATAC', 'RNAPII'"):
        gx.pp.add_gene_features(mdata, tables | {"T3": tables["T1"][["ATAC"]]}, key="atac")
    with pytest.raises(InputError, match="the table of features of T3 has no column"):
        gx.pp.add_gene_features(mdata, tables | {"T3": None}, key="atac")
