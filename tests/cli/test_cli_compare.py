"""genexp compare: one table from one command."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse.cli import _compare, main

QUICK = ["--max-epochs", "2", "--bootstrap", "30", "--accelerator", "cpu"]
FEW = ["--model", "svm=LinearSVM", "--model", "rf=RandomForest,n_trees=10"]


def read(path):
    return pd.read_csv(path, sep="\t", index_col="model")


def compare(simulated, *argv) -> int:
    return main(["compare", simulated.mudata, *map(str, argv)])


@pytest.fixture(scope="module")
def panel(simulated, tmp_path_factory):
    """The whole panel on one sample."""
    folder = tmp_path_factory.mktemp("panel")
    before = Path(simulated.mudata).read_bytes()
    out, figure = folder / "new" / "table.tsv", folder / "figure.png"
    assert compare(simulated, "--sample", "A", *QUICK, "-o", out, "--figure", figure) == 0
    assert Path(simulated.mudata).read_bytes() == before
    return out, figure


def test_the_whole_panel_is_in_one_table(panel, simulated):
    table = read(panel[0])
    expected = ["linear", "random forest"]
    expected += [label for label, name, _ in _compare.PANEL if name in gx.model.MODELS]
    assert list(table.index) == expected
    assert set(table["sample"]) == {"A"}
    assert set(table["reference"]) == {"random forest"}
    mdata = gx.io.read_mudata(simulated.mudata)
    assert (table["n"] == (mdata.obs["split"] == "test").sum()).all()
    for m in ("auroc", "auprc", "pearson", "spearman"):
        assert ((table[f"{m}_low"] <= table[m]) & (table[m] <= table[f"{m}_high"])).all()
        others = table.drop(index="random forest")
        assert (
            (others[f"{m}_diff_low"] <= others[f"{m}_diff"]) & (others[f"{m}_diff"] <= others[f"{m}_diff_high"])
        ).all()
        np.testing.assert_allclose(others[f"{m}_diff"], others[m] - table.loc["random forest", m], atol=2e-6)
        assert np.isnan(table.loc["random forest", f"{m}_diff"])
    assert (table["train_seconds"] > 0).all()
    assert (table["n_parameters"] > 0).all()
    # models of the table themselves, and the two numbers of Platt's sigmoid
    members = ["random forest", "DeepChrome", "AttentiveChrome", "SimpleChromeVAE, neighbours"]
    assert table.loc["ensemble", "n_parameters"] == table.loc[members, "n_parameters"].sum() + 2
    assert table.loc["ensemble", "train_seconds"] > table.loc[members, "train_seconds"].sum()


def test_rows_are_those_of_models_trained_alone(panel, simulated, tmp_path):
    """Tracks alone are read, with the same seed and options."""
    mdata = gx.io.read_mudata(simulated.mudata)
    table = read(panel[0])
    for label, name, training in (
        ("linear", "Linear", {}),
        ("DeepChrome", "DeepChrome", {"max_epochs": 2, "accelerator": "cpu", "enable_progress_bar": False}),
    ):
        cls = gx.model.model_class(name)
        cls.setup_mudata(mdata, samples=["A"], modalities={"dna": None})
        model = cls(mdata)
        model.train(**training)
        found = model.evaluate(n_bootstrap=30).iloc[0]
        for column in ("auroc", "auprc_low", "pearson", "spearman_high"):
            assert table.loc[label, column] == pytest.approx(found[column], abs=2e-6)


def test_the_figure_is_drawn(panel):
    import matplotlib.image

    image = matplotlib.image.imread(panel[1])
    assert image.shape[0] > 500
    assert image.shape[1] > 1000
    assert image[..., :3].std() > 0.05
    assert sorted(p.name for p in panel[1].parent.iterdir()) == ["figure.png", "new"]


def test_models_are_chosen_and_set(simulated, tmp_path, capfd):
    argv = ["--model", "wide = DeepChrome, n_filters=7, n_hidden=[8, 4]", "--model", "paper=DeepChrome,setting=paper"]
    argv += ["--model", 'both=Ensemble,model=["Linear",{"model":"DeepChrome","n_filters":3}],n_members=1']
    capfd.readouterr()
    assert compare(simulated, *argv, "--model", "rf=RandomForest,n_trees=10", *QUICK, "--seed", "3") == 0
    out, err = capfd.readouterr()
    (tmp_path / "t.tsv").write_text(out)
    table = read(tmp_path / "t.tsv")
    assert list(table.index) == ["linear", "wide", "paper", "both", "rf"] * 2
    assert list(table["sample"]) == ["A"] * 5 + ["B"] * 5
    assert set(table["reference"]) == {"rf"}
    assert (table.loc["wide", "n_parameters"] < 3000).all()
    assert (table.loc["paper", "n_parameters"] > 100_000).all()
    assert table.loc["paper", "pearson"].isna().all(), "as published: label alone"
    assert "1/5 Training linear" in err
    assert "5/5 rf: AUROC 0." in err
    assert "The models differ" not in err


def test_no_intervals_and_another_split_and_reference(simulated, tmp_path, capfd):
    out = tmp_path / "t.tsv"
    assert compare(simulated, *FEW, "--bootstrap", 0, "--split", "valid", "--reference", "svm", "-o", out) == 0
    table = read(out)
    assert not [c for c in table if c.endswith(("_low", "_high"))]
    assert set(table["reference"]) == {"svm"}
    mdata = gx.io.read_mudata(simulated.mudata)
    assert (table["n"] == (mdata.obs["split"] == "valid").sum()).all()
    assert "Validation genes have chosen the epochs" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--model", "DeepChrome"], "--model DeepChrome has no label or no model: write --model LABEL=NAME"),
        (["--model", "a="], "has no label or no model"),
        (["--model", "a=DeepCrome"], "there is no model 'DeepCrome': it has "),
        (["--model", "a=Linear,depth=3"], "there is no argument 'depth' of Linear for --model"),
        (["--model", "a=Linear,c"], "'c' has no name or no value, write KEY=VALUE once"),
        (["--model", "a=Linear,c=1,c=2"], "'c=2' is there twice"),
        (["--model", "a=Linear,n_pooled=many"], "--model n_pooled=many does not fit Linear: give a whole number"),
        (["--model", "a=Linear,c=-1"], "c=-1 is not possible"),
        (["--model", "a=Linear,setting=best"], "there is no setting 'best' of Linear"),
        (["--model", "a=Linear", "--model", "a=LinearSVM"], "--model names a twice"),
        (["--model", "linear=LinearSVM"], "has the label of the linear that is always there"),
        ([*FEW, "--reference", "best"], "there is no label 'best' among the models: it has 'linear', 'svm', 'rf'"),
        ([*FEW, "--sample", "Z"], "there is no sample 'Z' in the MuData"),
        (["--model", "net=DeepChrome", "--accelerator", "mps"], "--accelerator mps: PyTorch finds none"),
        (["--figure", "f.jpeg"], "f.jpeg names no kind of figure: let the name end in .png, .pdf, .svg"),
        (["--figure", "."], "names no kind of figure"),
        (["-o", "."], "is a folder: give the name of a TSV"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_trained(simulated, fails, argv, said, capfd):
    line = fails("compare", simulated.mudata, *argv)
    assert said in line


def test_nothing_that_is_read_is_replaced(simulated, tmp_path, fails):
    copy = tmp_path / "m.h5mu"
    shutil.copy(simulated.mudata, copy)
    (tmp_path / "f.png").symlink_to(copy)
    assert "is the same file as" in fails("compare", copy, "-o", copy)
    assert "is the same file as" in fails("compare", copy, "--figure", tmp_path / "f.png")
    (tmp_path / "t.png").write_text("")
    line = fails("compare", copy, "-o", tmp_path / "t.png", "--figure", tmp_path / "t.png")
    assert "is the same file as" in line
    assert "x.h5mu does not exist" in fails("compare", "x.h5mu")
    assert copy.read_bytes() == Path(simulated.mudata).read_bytes()


def interrupt_when(label: str, monkeypatch) -> None:
    """Press Ctrl-C while the model of this label is trained."""
    info = _compare.logger.info

    def watch(text, *args):
        info(text, *args)
        if text.startswith("%d/%d Training") and args[-1] == label:

            def press():
                time.sleep(0.3)
                os.kill(os.getpid(), signal.SIGINT)

            threading.Thread(target=press, daemon=True).start()

    monkeypatch.setattr(_compare.logger, "info", watch)


def test_ctrl_c_writes_the_table_of_complete_models(simulated, tmp_path, monkeypatch, capfd):
    out, figure = tmp_path / "t.tsv", tmp_path / "f.svg"
    interrupt_when("net", monkeypatch)
    argv = [*FEW, "--model", "net=DeepChrome", "--model", "last=LinearSVM", "--bootstrap", 20, "--max-epochs", 100_000]
    argv += ["--accelerator", "cpu"]
    assert compare(simulated, *argv, "-o", out, "--figure", figure) == 130
    assert list(read(out).index) == ["linear", "svm", "rf"] * 2
    assert figure.read_text().startswith("<?xml")
    assert "Interrupted: the table holds the 3 of 5 models that are complete" in capfd.readouterr().err


def test_ctrl_c_before_the_baselines_writes_nothing(simulated, tmp_path, monkeypatch, capfd):
    interrupt_when("net", monkeypatch)
    argv = ["--model", "net=DeepChrome", *FEW, "--max-epochs", 100_000, "--accelerator", "cpu"]
    assert compare(simulated, *argv, "-o", tmp_path / "t.tsv") == 130
    assert capfd.readouterr().err.splitlines()[-1] == "genexp compare: interrupted; no file was left half-written"
    assert list(tmp_path.iterdir()) == []


def test_genes_of_dna_alone_have_a_panel_of_baselines(simulated, tmp_path, capfd):
    files = simulated.files
    build = ["--genes", files.genes, "--expression", files.expression, "--unit", "tpm", "--fasta", files.genome]
    build += ["--upstream", "300", "--downstream", "100", "--kmer", "1", "--test-chroms", "chr1", "-o"]
    assert main(["build", *map(str, build), str(tmp_path / "dna.h5mu")]) == 0
    out = tmp_path / "t.tsv"
    assert main(["compare", str(tmp_path / "dna.h5mu"), "--bootstrap", "0", "--sample", "A", "-o", str(out)]) == 0
    assert list(read(out).index) == ["linear", "random forest", "linear SVM"]
    assert "DeepChrome is left out: the MuData has no tracks" in capfd.readouterr().err


def test_without_places_there_are_no_neighbours(tmp_path, capfd):
    rng = np.random.default_rng(0)
    bins = rng.random((200, 2, 20)).astype(np.float32)
    mdata = gx.io.from_bins(
        bins,
        genes=[f"g{i}" for i in range(200)],
        marks=["H3K4me3", "H3K27me3"],
        expression=bins[:, 0].mean(1),
        unit="log",
    )
    gx.pp.split_at_random(mdata)
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    out = tmp_path / "t.tsv"
    assert main(["compare", str(tmp_path / "m.h5mu"), *QUICK, "-o", str(out)]) == 0
    err = capfd.readouterr().err
    if "SimpleChromeVAE" in gx.model.MODELS:
        assert "SimpleChromeVAE, neighbours is left out: the genes have no chrom and tss" in err
        assert "SimpleChromeVAE" in read(out).index
    assert "SimpleChromeVAE, neighbours" not in read(out).index


def test_an_ensemble_is_trained_and_used_from_the_command_line(simulated, tmp_path):
    model, out = str(tmp_path / "model"), str(tmp_path / "p.tsv")
    members = 'model=["Linear",{"model":"DeepChrome","n_filters":4}]'
    train = ["train", "Ensemble", simulated.mudata, "--set", members, "--set", "n_members=1", "--max-epochs", "2"]
    assert main([*train, "-o", model]) == 0
    assert main(["predict", model, simulated.mudata, "-o", out]) == 0
    table = pd.read_csv(out, sep="\t", index_col="gene_id")
    assert list(table) == ["A", "A:prob", "B", "B:prob"]
    loaded = gx.model.load(model)
    assert [type(m).__name__ for m in loaded.members] == ["Linear", "DeepChrome"]
    assert len(loaded.members[1].history) == 2
