from __future__ import annotations

import numpy as np
import pytest

import genexp_scverse as gx


@pytest.fixture
def mdata(shared_data):
    z = np.load(shared_data / "read_counts_200bins" / "deepdiff_600genes.npz")
    expression = {s: z[f"expr_{s}"].astype(float) for s in ("E123", "E003")}
    expression["E003"][[1, 5, 599]] = np.nan
    mdata = gx.io.from_bins(
        {s: z[f"X_{s}"].transpose(0, 2, 1) for s in ("E123", "E003")},
        genes=z["ensembl_id"],
        marks=z["marks"],
        expression=expression,
        unit="counts",
        scale="counts",
    )
    mdata.obs["split"] = z["split"]
    return mdata


def test_above_the_median_of_training_genes(mdata):
    gx.pp.label(mdata)
    train = (mdata.obs["split"] == "train").to_numpy()
    for j in range(2):
        x = np.asarray(mdata["rna"].X)[:, j].astype(float)
        measured = ~np.isnan(x)
        ranked = np.sort(np.log1p(x[train & measured]))
        middle = (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2
        assert mdata["rna"].var["label_threshold"].iloc[j] == pytest.approx(middle, rel=1e-6)
        label = mdata["rna"].layers["label"][:, j]
        np.testing.assert_array_equal(np.isnan(label), ~measured)
        np.testing.assert_array_equal(label[measured], np.log1p(x[measured]) > middle)
    assert mdata["rna"].layers["label"].dtype == np.float32


def test_given_labels_stay(shared_data):
    mdata = gx.io.read_deepchrome(shared_data / "deepchrome_csv")
    before = mdata["rna"].layers["label"].copy()
    gx.pp.label(mdata)
    np.testing.assert_array_equal(mdata["rna"].layers["label"], before)
    assert mdata["rna"].var["label_threshold"].isna().all()


def test_one_sample_with_levels_one_with_labels():
    mdata = gx.io.from_bins(
        {"a": np.ones((3, 1, 1)), "b": np.ones((3, 1, 1))},
        genes=["g1", "g2", "g3"],
        marks=["m"],
        expression={"a": [1, 2, 3]},
        labels={"b": [1, 0, np.nan]},
        unit="tpm",
    )
    mdata.obs["split"] = "train"
    gx.pp.label(mdata)
    np.testing.assert_array_equal(mdata["rna"].layers["label"], [[0, 1], [0, 0], [1, np.nan]])


def test_errors(mdata):
    del mdata.obs["split"]
    with pytest.raises(gx.InputError, match=r"gx\.pp\.split_by_chromosome"):
        gx.pp.label(mdata)
    mdata.obs["split"] = "test"
    with pytest.raises(gx.InputError, match='no gene has "train"'):
        gx.pp.label(mdata)
    mdata.obs["split"] = ["test", "train"] + ["test"] * 598
    with pytest.raises(gx.InputError, match="no training gene of sample 'E003' was measured"):
        gx.pp.label(mdata)
    with pytest.raises(gx.InputError, match=r'no modality "expression".*rna'):
        gx.pp.label(mdata, modality="expression")


def test_the_gene_that_is_the_median_is_low():
    """High is above the median of the training genes, for the layer, for a model and for its evaluation alike."""
    levels = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 3.0, 3.5])
    mdata = gx.io.from_bins(
        np.ones((7, 1, 4)), genes=list("abcdefg"), marks=["H3K4me3"], expression=levels, unit="log", sample="A"
    )
    mdata.obs["split"] = ["train"] * 5 + ["test"] * 2
    gx.pp.label(mdata)
    assert mdata["rna"].var["label_threshold"].tolist() == [3.0]
    assert mdata["rna"].layers["label"].ravel().tolist() == [0, 0, 0, 1, 1, 0, 1]
    model = gx.model.Linear(mdata)
    model.train()
    assert model.fitted_["thresholds"] == {"A": 3.0}
    learned = model._tables(mdata, ["A"]).label.ravel()
    assert learned.tolist() == [0, 0, 0, 1, 1, 0, 1]
