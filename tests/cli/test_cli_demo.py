from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import genexp_scverse as gx
from genexp_scverse.cli import main

FIGURES = {"roc", "precision_recall", "observed_predicted", "calibration", "history", "profile", "heatmap", "patterns",
           "comparison"}  # fmt: skip


def test_demo_leaves_what_it_promises(tmp_path):
    out = tmp_path / "demo"
    # an earlier demo, which is replaced
    gx.datasets.simulate(out / "data", n_genes=60, n_chroms=3, seed=5)
    (out / ".genexp_demo").write_text("")
    assert main(["demo", "--small", "-o", str(out)]) == 0
    assert {p.name for p in out.iterdir()} == {".genexp_demo", "data", "demo.h5mu", "models", "tables", "figures"}
    mdata = gx.io.read_mudata(out / "demo.h5mu")
    assert sorted(mdata.mod) == ["chromatin", "dna", "rna"]
    metrics = pd.read_csv(out / "tables" / "metrics.tsv", sep="\t")
    assert len(metrics) == 6
    test = (mdata.obs["split"] == "test").to_numpy()
    assert (metrics["n"] == test.sum()).all()
    # far from the .5 and 0 of chance on chromosomes that were held out, in every sample
    assert (metrics["auroc_low"] > 0.7).all()
    assert (metrics["pearson_low"] > 0.5).all()
    for name in ("deepchrome", "linear", "random_forest"):
        table = pd.read_csv(out / "tables" / f"predictions_{name}.tsv", sep="\t", index_col="gene_id")
        again = gx.model.load(out / "models" / name).predict(mdata)
        np.testing.assert_allclose(table, again, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mdata["rna"].layers[name], table[["A", "B"]], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            mdata["rna"].layers[f"{name}_prob"], table[["A:prob", "B:prob"]], rtol=1e-4, atol=1e-5
        )
    assert {p.stem for p in (out / "figures").iterdir()} == FIGURES
    for path in (out / "figures").iterdir():
        image = plt.imread(path)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.03, path
    assert not plt.get_fignums()


def test_the_files_of_others_stay(tmp_path, fails):
    genome = tmp_path / "mine" / "data" / "genome.fa"
    genome.parent.mkdir(parents=True)
    genome.write_text(">chr1\nACGT\n")
    line = fails("demo", "--small", "-o", tmp_path / "mine")
    assert line == (
        f"genexp demo: {tmp_path / 'mine'} holds files that are not from genexp demo: name a new or empty directory "
        "with -o"
    )
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == [genome]
    assert genome.read_text() == ">chr1\nACGT\n"
