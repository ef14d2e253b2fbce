from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse.cli import main


def read(path):
    return pd.read_csv(path, sep="\t", index_col=0)


def test_build_chooses_columns_and_joins_by_name(simulated, tmp_path):
    files = simulated.files
    genes = gx.io.read_genes(files.genes)
    table = pd.read_csv(files.expression, sep="\t", index_col=0)
    named = table.set_axis([f"SYM-{i}" for i in table.index], axis=0).assign(mean=table.mean(axis=1))
    named.to_csv(tmp_path / "rna.tsv", sep="\t", index_label="symbol")
    genes.assign(gene_name="SYM-" + genes["gene_id_version"]).to_csv(tmp_path / "genes.tsv", sep="\t")
    argv = ["--genes", str(tmp_path / "genes.tsv"), "--expression", str(tmp_path / "rna.tsv"), "--unit", "tpm"]
    argv += ["--fasta", str(files.genome), "--kmer", "0", "--upstream", "100", "--downstream", "100", "--split", "none"]
    argv += ["--columns", "mine=B,A=A", "--join-by", "gene_name", "--min-joined", "0.9", "-o", str(tmp_path / "x.h5mu")]
    assert main(["build", *argv]) == 0
    mdata = gx.io.read_mudata(tmp_path / "x.h5mu")
    expected = table.reindex(mdata.obs["gene_id_version"].astype(str))[["B", "A"]]
    assert mdata["rna"].var_names.tolist() == ["mine", "A"]
    np.testing.assert_array_equal(mdata["rna"][:, ["mine", "A"]].X, expected.to_numpy(np.float32))


def test_build_makes_what_the_python_api_makes(simulated):
    mdata = gx.io.read_mudata(simulated.mudata)
    files = simulated.files
    same = gx.io.build_mudata(
        files.sheet, genes=files.genes, expression=files.expression, unit="tpm", fasta=files.genome, upstream=2000,
        downstream=2000,
    )  # fmt: skip
    np.testing.assert_array_equal(mdata["chromatin"].obsm["bins"], same["chromatin"].obsm["bins"])
    np.testing.assert_array_equal(mdata["dna"].obsm["codes"], same["dna"].obsm["codes"])
    np.testing.assert_array_equal(mdata["rna"].X, same["rna"].X)
    assert mdata.uns["files"]["path"].tolist() == same.uns["files"]["path"].tolist()
    assert set(mdata.obs["split"][mdata.obs["chrom"] == "chr1"]) == {"test"}
    assert set(mdata.obs["split"][mdata.obs["chrom"] == "chr2"]) == {"valid"}
    assert set(mdata.obs["split"][mdata.obs["chrom"].isin(["chr3", "chr4"])]) == {"train"}
    train = (mdata.obs["split"] == "train").to_numpy()
    x = mdata["rna"].X
    np.testing.assert_array_equal(mdata["rna"].layers["label"], x > np.median(x[train], axis=0))
    profile = mdata["chromatin"].obsm["bins"][train].mean(axis=0)
    np.testing.assert_allclose(mdata["chromatin"].varm["profile"], profile, rtol=1e-4)
    assert mdata["dna"].n_vars == 3 + 16


def test_evaluate_agrees_with_sklearn_and_scipy_on_what_predict_writes(simulated, tmp_path):
    from scipy.stats import pearsonr
    from sklearn.metrics import roc_auc_score

    predictions, metrics = tmp_path / "new" / "predictions.tsv", tmp_path / "metrics.tsv"
    assert main(["predict", simulated.network, simulated.mudata, "-o", str(predictions)]) == 0
    assert main(["evaluate", simulated.network, simulated.mudata, "--bootstrap", "50", "-o", str(metrics)]) == 0
    table, measured = read(predictions), gx.io.read_mudata(simulated.mudata)
    assert table.index.name == "gene_id"
    assert table.index.tolist() == measured.obs_names.tolist()
    assert list(table) == ["A", "A:prob", "B", "B:prob"]
    test = (measured.obs["split"] == "test").to_numpy()
    found = read(metrics)
    assert found.index.tolist() == ["A", "B"]
    names = ["auroc", "auprc", "pearson", "spearman", "r2", "mse", "mae"]
    assert list(found) == ["n", *names, *(f"{m}_{end}" for m in names for end in ("low", "high"))]
    for j, sample in enumerate(["A", "B"]):
        log, label = measured["rna"].layers["log"][test, j], measured["rna"].layers["label"][test, j]
        assert found.loc[sample, "n"] == test.sum()
        assert found.loc[sample, "auroc"] == pytest.approx(
            roc_auc_score(label, table[f"{sample}:prob"][test]), abs=1e-4
        )
        assert found.loc[sample, "pearson"] == pytest.approx(pearsonr(log, table[sample][test])[0], abs=1e-4)
        assert found.loc[sample, "mse"] == pytest.approx(np.mean((log - table[sample][test]) ** 2), rel=1e-4)
    assert ((found["auroc_low"] <= found["auroc"]) & (found["auroc"] <= found["auroc_high"])).all()


def test_splits_and_samples_are_chosen(simulated, tmp_path, capfd):
    out = str(tmp_path / "p.tsv")
    assert main(["predict", simulated.network, simulated.mudata, "--split", "test", "--sample", "B", "-o", out]) == 0
    measured = gx.io.read_mudata(simulated.mudata)
    assert read(out).index.tolist() == measured.obs_names[measured.obs["split"] == "test"].tolist()
    assert list(read(out)) == ["B", "B:prob"]
    capfd.readouterr()
    assert main(["evaluate", simulated.forest, simulated.mudata, "--split", "all", "--bootstrap", "0"]) == 0
    table = pd.read_csv(StringIO(capfd.readouterr().out), sep="\t")
    assert table["sample"].tolist() == ["A"]
    assert table["n"].tolist() == [measured.n_obs]
    assert not any(c.endswith("_low") for c in table)


def test_training_takes_settings(simulated, tmp_path):
    out = str(tmp_path / "model")
    train = ["train", "DeepChrome", simulated.mudata, "--sample", "A", "--mark", "H3K4me3", "--mark", "H3K27ac"]
    train += ["--target", "label", "--max-epochs", "1", "--batch-size", "16", "--lr", "0.01", "--seed", "3"]
    train += [
        "--set",
        "n_filters=7",
        "--set",
        "n_hidden=[8, 4]",
        "--set",
        "transform=arcsinh",
        "--set",
        "stranded=false",
    ]
    assert main([*train, "--accelerator", "cpu", "-o", out]) == 0
    model = gx.model.load(out)
    assert model.setup_["marks"] == ["H3K4me3", "H3K27ac"]
    assert model.setup_["target"] == "label"
    assert model.seed == 3
    for name, value in {"n_filters": 7, "n_hidden": [8, 4], "transform": "arcsinh", "stranded": False}.items():
        assert model.hyperparameters_[name] == value
    assert len(model.history) == 1


def test_a_model_is_replaced_and_the_dna_alone_is_learned(simulated, tmp_path):
    out = str(tmp_path / "linear")
    files = simulated.files
    dna = str(tmp_path / "dna.zarr")
    window = ["--upstream", "500", "--downstream", "100", "--kmer", "3"]
    expression = ["--expression", str(files.expression), "--unit", "A=tpm", "--unit", "B=tpm"]
    assert (
        main(["build", "--genes", str(files.genes), "--fasta", str(files.genome), *expression, *window, "-o", dna]) == 0
    )
    assert sorted(gx.io.read_mudata(dna).mod) == ["dna", "rna"]
    for _ in range(2):
        assert main(["train", "Linear", dna, "-o", out]) == 0
    assert list(gx.model.load(out).predict(gx.io.read_mudata(dna))) == ["A", "A:prob", "B", "B:prob"]


def test_split_by_fold_and_given_split(simulated, tmp_path):
    files = simulated.files
    genes = gx.io.read_genes(files.genes).drop(columns="gene_id_version").reset_index()
    genes["fold"] = np.arange(len(genes)) % 5
    genes.to_csv(tmp_path / "genes.tsv", sep="\t", index=False)
    build = ["build", "--genes", str(tmp_path / "genes.tsv"), "--fasta", str(files.genome), "--kmer", "0"]
    build += ["--upstream", "50", "--downstream", "50"]
    out = str(tmp_path / "m.h5mu")
    assert main([*build, "--fold", "fold", "--test-folds", "3", "--valid-folds", "0,1", "-o", out]) == 0
    split = gx.io.read_mudata(out).obs["split"].astype(str).tolist()
    assert split == [{3: "test", 0: "valid", 1: "valid"}.get(i % 5, "train") for i in range(len(genes))]
    given = ["valid", "train", "test", *["train"] * (len(genes) - 3)]
    genes.assign(split=given).to_csv(tmp_path / "genes.tsv", sep="\t", index=False)
    assert main([*build, "-o", out]) == 0
    assert gx.io.read_mudata(out).obs["split"].astype(str).tolist() == given


def test_genes_on_two_chromosomes(simulated, tmp_path, fails, capfd):
    files = simulated.files
    genes = gx.io.read_genes(files.genes).drop(columns="gene_id_version").reset_index()
    genes = genes[genes["chrom"].isin(["chr1", "chr2"])].assign(split="train")
    genes.to_csv(tmp_path / "genes.tsv", sep="\t", index=False)
    build = ["build", str(files.sheet), "--genes", str(tmp_path / "genes.tsv"), "--kmer", "0", "--upstream", "100"]
    build += ["--downstream", "300", "--expression", str(files.expression), "--unit", "tpm"]
    out = str(tmp_path / "m.h5mu")
    assert "2 chromosomes ('chr1', 'chr2') are too few" in fails(*build, "--split", "chromosome", "-o", out)
    capfd.readouterr()
    splits = []
    for seed in ("0", "0", "1"):
        assert main([*build, "--split", "random", "--seed", seed, "-o", out]) == 0
        mdata = gx.io.read_mudata(out)
        n = mdata.n_obs
        parts = {"train": n - round(0.1 * n) - round(0.2 * n), "valid": round(0.1 * n), "test": round(0.2 * n)}
        assert mdata.obs["split"].value_counts().to_dict() == parts
        splits.append(mdata.obs["split"].astype(str).tolist())
    assert splits[0] == splits[1] != splits[2]
    assert "(100 + 300 bases around the TSS)" in capfd.readouterr().err
    train = (mdata.obs["split"] == "train").to_numpy()
    x = mdata["rna"].X
    np.testing.assert_array_equal(mdata["rna"].layers["label"], x > np.median(x[train], axis=0))
    assert main([*build, "--split", "none", "-o", out]) == 0
    mdata = gx.io.read_mudata(out)
    assert "split" not in mdata.obs
    assert "label" not in mdata["rna"].layers
    np.testing.assert_array_equal(mdata["rna"].X, x)


def test_a_new_sample_is_predicted(simulated, tmp_path):
    """A model of sample A predicts another sample with the same marks, which was never measured."""
    sheet = gx.io.read_sheet(simulated.files.sheet)
    sheet[sheet["sample"] == "B"].to_csv(tmp_path / "b.tsv", sep="\t", index=False)
    out, table = str(tmp_path / "b.h5mu"), str(tmp_path / "p.tsv")
    build = [str(tmp_path / "b.tsv"), "--genes", str(simulated.files.genes), "--fasta", str(simulated.files.genome)]
    build += ["--upstream", "2000", "--downstream", "2000", "--kmer", "2"]
    assert main(["build", *build, "-o", out]) == 0
    assert main(["predict", simulated.forest, out, "-o", table]) == 0
    assert list(read(table)) == ["B", "B:prob"]
    assert read(table).notna().all(axis=None)


def test_roadmap_as_the_guide_says(shared_data, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(shared_data / "roadmap_peaks_hg19")
    out = str(tmp_path / "k562.h5mu")
    command = (
        "build sheet.tsv --genes genes.tsv --expression expression.tsv --unit K562=log --unit H1=counts "
        "--upstream 5000 --downstream 5000 --bin-size 100 --test-chroms chr1 --valid-chroms chr2,chr10 -o"
    )
    assert main([*command.split(), out]) == 0
    assert "14158 genes, rna: 2 samples, chromatin: 9 tracks, assembly hg19" in capfd.readouterr().err
    mdata = gx.io.read_mudata(out)
    assert mdata["chromatin"].obsm["bins"].shape == (14_158, 9, 100)
    test = mdata.obs["split"] == "test"
    assert set(mdata.obs["chrom"][test]) == {"chr1"}
    assert test.sum() == 1556
    assert set(mdata.obs["chrom"][mdata.obs["split"] == "valid"]) == {"chr2", "chr10"}
    assert (~np.isnan(mdata["rna"].layers["label"][test.to_numpy(), 0])).sum() > 0


GENEXP = str(Path(sys.executable).with_name("genexp"))


@pytest.fixture(scope="module")
def genexp():
    if not Path(GENEXP).is_file():
        pytest.skip(f"needs the entry point {GENEXP}")
    return GENEXP


def test_a_reader_that_goes_away_is_no_error(simulated, monkeypatch, capfd):
    """As in ``genexp predict ... | head -1``, with the other end of the pipe closed at once."""
    capfd.readouterr()
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert main(["predict", simulated.forest, simulated.mudata]) == 0
    assert capfd.readouterr().err == ""


def test_the_table_goes_to_the_terminal(simulated, capfd):
    capfd.readouterr()
    assert main(["predict", simulated.forest, simulated.mudata, "--split", "valid"]) == 0
    out, err = capfd.readouterr()
    table = pd.read_csv(StringIO(out), sep="\t", index_col="gene_id")
    assert list(table) == ["A", "A:prob"]
    assert err == ""


def test_the_entry_point_says_errors_in_one_line(genexp, tmp_path):
    done = subprocess.run([genexp, "predict", "none", str(tmp_path / "none.h5mu")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        f"genexp predict: {tmp_path / 'none.h5mu'} does not exist: make it with genexp build"
    ]


def test_an_unexpected_exception_is_not_swallowed(simulated, monkeypatch):
    def broken(*_args, **_kwargs):
        raise ZeroDivisionError

    monkeypatch.setattr("genexp_scverse.io.read_mudata", broken, raising=False)
    with pytest.raises(ZeroDivisionError):
        main(["predict", simulated.network, simulated.mudata])


def test_ctrl_c(simulated, monkeypatch, capfd):
    def stop(*_args, **_kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("genexp_scverse.io.read_mudata", stop, raising=False)
    assert main(["predict", simulated.network, simulated.mudata]) == 130
    assert capfd.readouterr().err.splitlines()[-1] == "genexp predict: interrupted; no file was left half-written"


def test_a_bar_on_a_terminal(simulated, tmp_path, monkeypatch):
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    seen = bytearray()

    def watch():
        with contextlib.suppress(OSError):
            while part := os.read(ours, 65_536):
                seen.extend(part)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setattr(sys, "stderr", terminal)
        code = main(["train", "DeepChrome", simulated.mudata, "--max-epochs", "2", "-o", str(tmp_path / "model")])
        monkeypatch.undo()
    watcher.join()
    os.close(ours)
    assert code == 0, seen.decode()
    assert "Epoch 2/2: 100%" in seen.decode()
    assert "valid_auroc=" in seen.decode()


def test_no_bar_elsewhere(simulated, tmp_path, capfd):
    capfd.readouterr()
    assert main(["train", "DeepChrome", simulated.mudata, "--max-epochs", "1", "-o", str(tmp_path / "model")]) == 0
    out, err = capfd.readouterr()
    assert out == ""
    assert "Epoch" not in err
    assert f"Wrote {tmp_path / 'model'}" in err
