"""Comparison and coverage on real histone marks: the 1,556 genes of chromosome 1."""

from __future__ import annotations

import numpy as np
import pytest

import genexp_scverse as gx


@pytest.fixture(scope="module")
def k562(shared_data):
    folder = shared_data / "roadmap_peaks_hg19"
    mdata = gx.io.build_mudata(
        folder / "sheet.tsv",
        genes=folder / "genes.tsv",
        expression=folder / "expression.tsv",
        unit={"K562": "log", "H1": "counts"},
        n_jobs=1,
    )
    gx.pp.split_by_chromosome(mdata, test="chr1", valid=["chr2", "chr10"])
    return mdata


def test_intervals_cover_the_genes_of_another_chromosome(k562):
    gx.model.Ensemble.setup_mudata(k562, samples=["K562"])
    model = gx.model.Ensemble(k562, model="Linear", n_members=1)
    model.train()
    table = gx.tl.interval_coverage(model, k562, coverages=(0.5, 0.8, 0.9, 0.95))
    assert (table["n"] == 1556).all()
    for row in table.to_dict("records"):
        error = np.sqrt(row["coverage"] * (1 - row["coverage"]) * (1 / 1556 + 1 / 1519))
        assert abs(row["observed"] - row["coverage"]) < 3 * error
    assert (np.diff(table["width"]) > 0).all()


def test_a_linear_model_is_at_its_reference_point(k562):
    """Ridge on 20 pooled bins of six marks has .950 and .808 here."""
    model = gx.model.model_class("LinearSVM")
    model.setup_mudata(k562, samples=["K562"])
    svm = model(k562)
    svm.train()
    forest = gx.model.model_class("RandomForest")
    forest.setup_mudata(k562, samples=["K562"])
    small = forest(k562, n_trees=10)
    small.train()
    table = gx.tl.compare({"SVM": svm, "forest of 10": small}, k562, reference="linear", n_bootstrap=200)
    assert list(table.index) == ["SVM", "forest of 10", "linear"]
    assert table.loc["linear", "auroc"] == pytest.approx(0.950, abs=0.006)
    assert table.loc["linear", "pearson"] == pytest.approx(0.808, abs=0.006)
    assert table.loc["forest of 10", "pearson_diff_low"] > 0
    assert abs(table.loc["SVM", "pearson_diff"]) < 0.01
    paired = table["pearson_diff_high"] - table["pearson_diff_low"]
    alone = table["pearson_high"] - table["pearson_low"]
    assert paired["SVM"] < alone["SVM"] / 3
