from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from mudata import MuData
from scipy import stats
from sklearn import metrics as sk
from small_models import make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError

MEASURES = ["auroc", "auprc", "pearson", "spearman"]


@pytest.fixture(scope="module")
def mdata():
    return make_mdata(n_genes=300)


@pytest.fixture(scope="module")
def models(mdata):
    return {"SVM": make_model("LinearSVM", mdata), "forest": make_model("RandomForest", mdata)}


def by_libraries(level, label, said, prob):
    return {
        "auroc": sk.roc_auc_score(label, prob),
        "auprc": sk.average_precision_score(label, prob),
        "pearson": stats.pearsonr(level, said).statistic,
        "spearman": stats.spearmanr(level, said).statistic,
    }


def test_measures_and_paired_differences_are_those_of_a_plain_loop(mdata, models):
    table = gx.tl.compare(models, mdata, reference="forest", n_bootstrap=40, seed=7)
    assert list(table.index) == ["SVM", "forest", "linear"] * 2
    assert list(table["sample"]) == ["A", "A", "A", "B", "B", "B"]
    test, train = ((mdata.obs["split"] == s).to_numpy() for s in ("test", "train"))
    log = mdata["rna"].layers["log"].astype(float)
    for j, sample in enumerate("AB"):
        known = test & ~np.isnan(log[:, j])
        level = log[known, j]
        label = (level > np.nanmedian(log[train, j])).astype(int)
        said = {
            k: (m.predict()[sample].to_numpy(float)[known], m.predict()[f"{sample}:prob"].to_numpy(float)[known])
            for k, m in models.items()
        }
        drawn = np.random.default_rng(7).integers(0, len(level), (40, len(level)))
        loop = {k: [by_libraries(level[r], label[r], a[r], b[r]) for r in drawn] for k, (a, b) in said.items()}
        row = table[table["sample"] == sample].loc["SVM"]
        assert row["n"] == known.sum()
        whole = {k: by_libraries(level, label, *pair) for k, pair in said.items()}
        for name in MEASURES:
            values = np.array([each[name] for each in loop["SVM"]])
            difference = values - [each[name] for each in loop["forest"]]
            expected = [whole["SVM"][name], *np.percentile(values, (2.5, 97.5))]
            assert row[[name, f"{name}_low", f"{name}_high"]].tolist() == pytest.approx(expected, abs=1e-5)
            expected = [whole["SVM"][name] - whole["forest"][name], *np.percentile(difference, (2.5, 97.5))]
            found = row[[f"{name}_diff", f"{name}_diff_low", f"{name}_diff_high"]].tolist()
            assert found == pytest.approx(expected, abs=1e-5)
    assert table.loc["forest", [c for c in table if "_diff" in c]].isna().all(axis=None)
    assert (table["reference"] == "forest").all()
    ends = ["", "_low", "_high"]
    assert list(table) == [
        "sample",
        "n",
        *(m + e for m in MEASURES for e in ends),
        *(f"{m}_diff{e}" for m in MEASURES for e in ends),
        "train_seconds",
        "n_parameters",
        "reference",
    ]


def test_what_it_cost_is_in_the_table(mdata, models):
    table = gx.tl.compare(models, mdata, n_bootstrap=0)
    assert not [c for c in table if c.endswith(("_low", "_high"))]
    assert (table.loc["SVM", "train_seconds"] == models["SVM"].fitted_["train_seconds"]).all()
    assert (table.loc["SVM", "n_parameters"] == models["SVM"].n_parameters).all()
    assert (table["train_seconds"] > 0).all()


def test_a_linear_model_and_a_forest_are_always_there_with_the_same_setup(caplog):
    mdata = make_mdata(n_genes=150)
    gx.model.RandomForest.setup_mudata(mdata, samples=["A"])
    setup = {"samples": ["B"], "marks": ["H3K27me3", "H3K4me3"]}
    svm = make_model("LinearSVM", mdata, setup=setup)
    table = gx.tl.compare({"SVM": svm}, mdata, n_bootstrap=20, seed=3)
    assert list(table.index) == ["SVM", "linear", "random forest"]
    assert (table["sample"] == "B").all()
    assert "Training a linear" in caplog.text
    assert "differ in their" not in caplog.text
    forest = gx.model.RandomForest(mdata)
    assert forest.setup_["samples"] == ["A"], "the user's own setup stays"
    linear = make_model("Linear", mdata, setup=setup, seed=3)
    assert table.loc["linear", "pearson"] == pytest.approx(linear.evaluate()["pearson"].iloc[0], abs=1e-6)
    alone = gx.tl.compare({}, make_mdata(n_genes=150), n_bootstrap=0)
    assert list(alone.index) == ["linear", "random forest", "linear", "random forest"]


def test_models_of_these_classes_stand_for_the_baselines(mdata, models):
    given = {"mine": models["forest"], "random forest": models["SVM"], "ridge": make_model("Linear", mdata)}
    table = gx.tl.compare(given, mdata, n_bootstrap=0, samples="A")
    assert list(table.index) == ["mine", "random forest", "ridge"]
    assert table["reference"].iloc[0] == "random forest", "a label that is there is what is meant"
    table = gx.tl.compare({"mine": models["forest"], "ridge": given["ridge"]}, mdata, n_bootstrap=0, samples="A")
    assert table["reference"].iloc[0] == "mine"
    table = gx.tl.compare({"linear": models["SVM"]}, mdata, n_bootstrap=0, samples="A")
    assert list(table.index) == ["linear", "linear (baseline)", "random forest"]


def test_only_genes_that_all_have_predicted_are_compared(mdata, models, monkeypatch):
    predict = models["SVM"].predict

    def with_gaps(*args, **kwargs):
        frame = predict(*args, **kwargs)
        frame.iloc[:10, :2] = np.nan
        return frame

    monkeypatch.setattr(models["SVM"], "predict", with_gaps)
    table = gx.tl.compare(models, mdata, n_bootstrap=0)
    test = np.flatnonzero(mdata.obs["split"] == "test")
    level = mdata["rna"].layers["log"][:, 0].astype(float)
    known = [i for i in test[10:] if not np.isnan(level[i])]
    of_a = table[table["sample"] == "A"]
    assert (of_a["n"] == len(known)).all()
    said = models["forest"].predict()["A"].to_numpy(float)
    assert of_a.loc["forest", "pearson"] == pytest.approx(stats.pearsonr(level[known], said[known]).statistic, abs=1e-6)
    assert (table[table["sample"] == "B"]["n"] > len(known)).all()


def test_the_label_is_that_of_the_reference(mdata, models, caplog):
    """A model of other training genes has another median; what counts as high must not depend on it."""
    fewer = make_mdata(n_genes=300)
    train = np.flatnonzero((fewer.obs["split"] == "train").to_numpy())
    order = train[np.argsort(fewer["rna"].layers["log"][train, 0])]
    fewer.obs["split"] = fewer.obs["split"].astype(str)
    fewer.obs.iloc[order[: len(order) // 2], fewer.obs.columns.get_loc("split")] = "valid"
    other = make_model("Linear", fewer)
    assert other.fitted_["thresholds"]["A"] > models["forest"].fitted_["thresholds"]["A"] + 0.2
    table = gx.tl.compare({**models, "linear": other}, mdata, reference="forest", n_bootstrap=0)
    assert "The models differ in their training genes" in caplog.text
    test = (mdata.obs["split"] == "test").to_numpy()
    level = mdata["rna"].layers["log"][:, 0].astype(float)
    known = test & ~np.isnan(level)
    label = level[known] > models["forest"].fitted_["thresholds"]["A"]
    expected = sk.roc_auc_score(label, other.predict(mdata)["A:prob"].to_numpy()[known])
    assert table[table["sample"] == "A"].loc["linear", "auroc"] == pytest.approx(expected, abs=1e-6)


def test_models_that_differ_are_said(mdata, models, caplog):
    one = make_model("Linear", mdata, setup={"samples": ["A"], "marks": ["H3K4me3"]})
    table = gx.tl.compare({**models, "one": one}, mdata, n_bootstrap=0)
    assert (table["sample"] == "A").all(), "what all can predict by default"
    assert "The models differ in their samples, not in the method alone (SVM, forest: A, B; one: A)" in caplog.text
    assert "The models differ in their marks" in caplog.text
    caplog.clear()
    table = gx.tl.compare({**models, "one": one}, mdata, n_bootstrap=0, samples=["B"])
    assert (table["sample"] == "B").all(), "a sample that one was not trained on"


def test_targets_that_differ_leave_gaps(mdata, models):
    label = make_model("Linear", mdata, target="label")
    table = gx.tl.compare({**models, "classes": label}, mdata, n_bootstrap=20)
    assert table.loc["classes", ["pearson", "pearson_low", "pearson_diff", "pearson_diff_low"]].isna().all(axis=None)
    assert table.loc["classes", ["auroc", "auroc_diff"]].notna().all(axis=None)


def test_training_genes_are_refused(mdata, models, caplog):
    swapped = mdata.copy()
    swapped.obs["split"] = np.where(swapped.obs["split"] == "test", "train", "test")
    with pytest.raises(InputError, match=r"'SVM' was trained on \d+ of the \d+ genes that are to be compared, such as"):
        gx.tl.compare(models, swapped)
    with pytest.raises(InputError, match="'SVM' was trained on"):
        gx.tl.compare(models, mdata, split=None)
    caplog.clear()
    gx.tl.compare(models, mdata, split="train", n_bootstrap=0)
    assert "compared on their training genes" in caplog.text
    gx.tl.compare(models, mdata, split="valid", n_bootstrap=0)
    assert "Validation genes have chosen the epochs" in caplog.text


def test_what_cannot_be_compared_is_said(mdata, models):
    with pytest.raises(InputError, match="'new' is not trained"):
        gx.tl.compare({"new": make_model("Linear", mdata, train=False)}, mdata)
    with pytest.raises(InputError, match="reference='best' is not among the models: choose one of SVM, forest, linear"):
        gx.tl.compare(models, mdata, reference="best")
    with pytest.raises(InputError, match="split='dev' is not known"):
        gx.tl.compare(models, mdata, split="dev")
    empty = mdata.copy()
    empty["rna"].layers["log"][(empty.obs["split"] == "test").to_numpy(), 1] = np.nan
    empty["rna"].layers["label"][:, 1] = np.nan
    assert set(gx.tl.compare(models, empty, n_bootstrap=0)["sample"]) == {"A"}
    with pytest.raises(InputError, match="sample 'B' has no measured gene in split 'test'"):
        gx.tl.compare(models, empty, n_bootstrap=0, samples="B")


def test_the_table_is_stored_and_comes_back_from_a_file(mdata, models, tmp_path):
    table = gx.tl.compare(models, mdata, n_bootstrap=20, key_added="mine")
    pd.testing.assert_frame_equal(mdata.uns["mine"], table)
    gx.io.write_mudata(mdata, tmp_path / "x.h5mu")
    again = gx.io.read_mudata(tmp_path / "x.h5mu").uns["mine"]
    assert list(again.index) == list(table.index)
    assert again.index.name == "model"
    pd.testing.assert_frame_equal(again, table, check_dtype=False, check_index_type=False)
    ax = gx.pl.comparison(gx.io.read_mudata(tmp_path / "x.h5mu"), "pearson", key="mine")
    assert {t.get_text() for t in ax.get_yticklabels()} == set(table.index)


def test_same_seed_same_table(mdata, models):
    first, again, other = (gx.tl.compare(models, mdata, n_bootstrap=20, seed=s) for s in (0, 0, 1))
    cost = ["train_seconds"]
    pd.testing.assert_frame_equal(first.drop(columns=cost), again.drop(columns=cost))
    assert (first["pearson_low"] != other["pearson_low"]).any()


def test_baselines_read_kmers_where_models_read_bare_dna(caplog):
    caplog.set_level("INFO")
    rng = np.random.default_rng(0)
    genes = pd.DataFrame({"chrom": "chr1", "tss": 40 + 100 * np.arange(150), "strand": "+"})
    genes.index = [f"g{i}" for i in range(150)]
    gc = rng.uniform(0.2, 0.8, 150)
    codes = np.where(
        rng.random((150, 40)) < gc[:, None], rng.integers(1, 3, (150, 40)), 3 * rng.integers(0, 2, (150, 40))
    )
    mdata = gx.io.from_bins(
        np.ones((150, 1, 4)), genes=genes.index, marks=["H3K4me3"], sample="A", obs=genes, expression=gc, unit="log"
    )
    dna = AnnData(np.zeros((150, 0), np.float32), obs=pd.DataFrame(index=genes.index))
    dna.obsm["codes"] = codes.astype(np.uint8)
    dna.uns["window"] = {"upstream": 20, "downstream": 20, "stranded": True}
    gx.schema.name_axes(dna)
    mdata = MuData({"rna": mdata["rna"], "dna": dna}, axis=0)
    mdata.obs = genes
    gx.pp.split_at_random(mdata)
    model = make_model("Seq2ExpModel", mdata)
    table = gx.tl.compare({"Seq2Exp": model}, mdata, n_bootstrap=0)
    assert list(table.index) == ["Seq2Exp", "linear", "random forest"]
    # GC is one of the features, and the level is GC
    assert table.loc[["linear", "random forest"], "pearson"].min() > 0.8
    assert mdata["dna"].n_vars == 0, "the user's own MuData has no k-mers"
    del mdata["dna"].obsm["codes"]
    with pytest.raises(InputError, match=r"the models read the DNA of a genome store alone"):
        gx.tl.compare({"Seq2Exp": model}, mdata, n_bootstrap=0)
