from __future__ import annotations

import anndata
import mudata
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse.cli import main


def built(simulated, tmp_path, *, out="x.h5mu", without=(), extra=()):
    argv = list(simulated.build)
    for option in without:
        at = argv.index(option)
        del argv[at : at + 2]
    return ["build", *argv, *extra, "-o", str(tmp_path / out)]


@pytest.mark.parametrize(
    ("without", "extra", "said"),
    [
        (["--genes"], ["--genes", "none.gtf"], "none.gtf does not exist: give the path of"),
        (["--expression"], ["--expression", "none.tsv"], "none.tsv does not exist: give the path of"),
        (["--fasta"], ["--fasta", "none.fa"], "FASTA not found: none.fa: mend the path"),
        (["--unit"], ["--unit", "gallons"], "unit 'gallons' is not known: give one of tpm"),
        (["--unit"], ["--unit", "Z=tpm"], "there is no sample 'Z' in"),
        (["--unit"], ["--unit", "A=tpm"], "the unit of 1 of 2 samples"),
        (["--unit"], ["--unit", "tpm", "--unit", "A=log"], "is for all samples and stands beside --unit A=log"),
        (["--unit"], ["--unit", "tpm", "--unit", "log"], "--unit tpm is for all samples and stands beside --unit log"),
        (["--unit"], ["--unit", "A=tpm", "--unit", "A=log"], "--unit gives A two units, tpm and log: give it one"),
        (["--unit"], ["--unit", "=log"], "--unit =log names no sample or no unit: write --unit SAMPLE=UNIT"),
        (["--unit"], [], "the unit of 2 of 2 samples of"),
        (["--unit"], [], "give it for all, as in --unit tpm, or by sample, as in --unit A=tpm (one of"),
        (["--expression"], [], "--unit tpm is of no use without --expression"),
        (["--expression", "--unit"], ["--columns", "A"], "--columns A is of no use without --expression"),
        ([], ["--columns", "AB"], "there is no column 'AB' in"),
        ([], ["--columns", "mine=C"], "there is no column 'C' in"),
        ([], ["--layer", "sum"], "--layer sum is for an AnnData, and"),
        ([], ["--join-by", "gene_nam"], "there is no name of genes 'gene_nam' in either file"),
        (["--test-chroms"], ["--test-chroms", "chr9"], "test chromosome 'chr9' is not there; did you mean 'chr"),
        (["--test-chroms"], ["--test-chroms", "1"], "test chromosome '1' is not there; did you mean 'chr1'?"),
        (["--valid-chroms"], ["--valid-chroms", "chr1"], "'chr1' is in test and in valid: name every chromosome once"),
        ([], ["--bin-size", "300"], "bins of 300 bases do not fill the window of 2000 + 2000 = 4000 bases"),
        ([], ["--fold", "fold"], "--fold fold needs --test-folds"),
        ([], ["--test-folds", "1"], "--test-folds and --valid-folds need --fold COLUMN"),
        ([], ["--fold", "fold", "--test-folds", "1"], "are two ways to split: give one of them"),
        (["--test-chroms", "--valid-chroms"], ["--fold", "fold", "--test-folds", "1"], "no column 'fold'"),
        ([], ["--split", "random"], "--split random takes no chromosomes or folds: leave out"),
        (["--test-chroms"], ["--split", "none"], "--split none takes no chromosomes or folds: leave out"),
        (["--test-chroms", "--valid-chroms"], ["--split", "random", "--fold", "f", "--test-folds", "1"], "takes no"),
        (["--test-chroms", "--valid-chroms"], ["--split", "chromosome", "--fold", "f", "--test-folds", "1"], "two"),
        (["--test-chroms"], ["--test-chroms", "chr1,chr3,chr4"], "fewer of them, or use --split random"),
        ([], ["--biotypes", "miRNA"], "has the biotype 'miRNA': it has protein_coding"),
        ([], ["--tss-column", "tss_cage"], "is for tables, but"),
        ([], ["--gene-id", "gene_nam"], "did you mean 'gene_name'?"),
        ([], ["--upstream", "0", "--downstream", "0"], "upstream and downstream are both 0"),
    ],
)  # fmt: skip
def test_build(simulated, tmp_path, fails, without, extra, said):
    assert said in fails(*built(simulated, tmp_path, without=without, extra=extra))
    assert list(tmp_path.iterdir()) == []


def test_build_without_anything_to_predict_from(simulated, tmp_path, fails):
    files = simulated.files
    line = fails(
        "build", "--genes", files.genes, "--expression", files.expression, "--unit", "tpm", "-o", tmp_path / "x.h5mu"
    )
    assert "neither a sample sheet nor --fasta is given" in line


def test_build_with_a_wrong_sheet(simulated, tmp_path, fails):
    argv = built(simulated, tmp_path)
    argv[1] = str(tmp_path / "none.tsv")
    assert "the sample sheet" in fails(*argv)
    (tmp_path / "sheet.tsv").write_text("sample\tmark\tpath\nA\tH3K4me3\tnone.bw\n")
    argv[1] = str(tmp_path / "sheet.tsv")
    assert "1 of 1 files of" in fails(*argv)


def test_build_checks_the_output_before_anything_else(simulated, tmp_path, fails, monkeypatch):
    def read(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr("genexp_scverse.io.read_genes", read, raising=False)
    assert "the name must end in .h5mu or .zarr" in fails(*built(simulated, tmp_path, out="x.h5ad"))
    (tmp_path / "file").write_text("")
    assert "cannot be written to" in fails(*built(simulated, tmp_path, out="file/x.h5mu"))


def test_build_says_a_wrong_chromosome_before_the_tracks_are_read(simulated, tmp_path, fails, monkeypatch):
    def read(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr("genexp_scverse.io.build.bin_tracks", read)
    argv = built(simulated, tmp_path, without=["--valid-chroms"], extra=["--valid-chroms", "chrQ"])
    assert "valid chromosome 'chrQ' is not there" in fails(*argv)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["train", "DeepChrom", "{mudata}"], "there is no model 'DeepChrom': it has 'AttentiveChrome'"),
        (["train", "DeepChrome", "none.h5mu"], "none.h5mu does not exist: make it with"),
        (["train", "DeepChrome", "{mudata}", "--sample", "Z"], "there is no sample 'Z' in the MuData: it has 'A'"),
        (["train", "DeepChrome", "{mudata}", "--mark", "H3K9ac"], "there is no mark 'H3K9ac' in the MuData"),
        (["train", "DeepChrome", "{mudata}", "--sample", "A", "--sample", "A"], "'A' is named twice"),
        (["train", "DeepChrome", "{mudata}", "--setting", "best"], "there is no setting 'best' of DeepChrome"),
        (["train", "DeepChrome", "{mudata}", "--set", "n_filter=3"], "there is no argument 'n_filter' of DeepChrome"),
        (["train", "DeepChrome", "{mudata}", "--set", "n_filters=many"], "=many does not fit DeepChrome: give a whole"),
        (["train", "DeepChrome", "{mudata}", "--set", "n_filters=2.5"], "give a whole number"),
        (["train", "DeepChrome", "{mudata}", "--set", "dropout=\"0.1\""], "give a number, such as"),
        (["train", "DeepChrome", "{mudata}", "--set", "stranded=1"], "give true or false, such as true"),
        (["train", "DeepChrome", "{mudata}", "--set", "n_hidden=3"], "give a list, such as ["),
        (["train", "DeepChrome", "{mudata}", "--set", "transform=3"], "give a word, such as \"auto\""),
        (["train", "DeepChrome", "{mudata}", "--set", "n_filters"], "has no name or no value: write --set NAME=VALUE"),
        (["train", "DeepChrome", "{mudata}", "--set", "n_filters=3", "--set", "n_filters=4"], "twice (3 and 4)"),
        (["train", "DeepChrome", "{mudata}", "--set", "transform=log7"], "log7"),
        (["train", "RandomForest", "{mudata}", "--max-epochs", "3"], "has no epochs: leave out --max-epochs"),
    ],
)  # fmt: skip
def test_train(simulated, tmp_path, fails, argv, said):
    argv = [a.format(mudata=simulated.mudata) for a in argv]
    assert said in fails(*argv, "-o", tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_train_checks_the_output_before_training(simulated, tmp_path, fails):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    line = fails("train", "Linear", simulated.mudata, "-o", tmp_path / "thesis")
    assert "thesis exists and is not a saved model, so it is not replaced" in line
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"
    line = fails("train", "Linear", simulated.mudata, "-o", tmp_path / "thesis" / "chapter.txt")
    assert "chapter.txt exists and is not a saved model" in line


def test_train_without_expression(simulated, tmp_path, fails):
    out = tmp_path / "x.h5mu"
    argv = built(simulated, tmp_path, without=["--expression", "--unit"], extra=["--kmer", "0"])
    assert main(argv) == 0
    assert "genexp train: " in fails("train", "Linear", out, "-o", tmp_path / "model")


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_models_and_mudata_that_are_none(simulated, tmp_path, fails, command):
    assert "x.h5mu does not exist" in fails(command, simulated.forest, "x.h5mu")
    assert "none is not a saved model (it has no model.json)" in fails(command, "none", simulated.mudata)
    (tmp_path / "model").mkdir()
    assert "is not a saved model" in fails(command, tmp_path / "model", simulated.mudata)
    assert "is not an .h5mu file" in fails(command, simulated.forest, simulated.files.expression)
    cells = anndata.AnnData(np.ones((3, 2), np.float32), obs=pd.DataFrame(index=["c1", "c2", "c3"]))
    mudata.MuData({"rna": cells}).write_h5mu(tmp_path / "cells.h5mu")
    assert "is not a gene-centric MuData: " in fails(command, simulated.forest, tmp_path / "cells.h5mu")
    assert "is a folder: give the name of a TSV" in fails(command, simulated.forest, simulated.mudata, "-o", tmp_path)
    assert "'Z" in fails(command, simulated.forest, simulated.mudata, "--sample", "Z")


def test_a_mudata_that_the_model_does_not_fit(simulated, tmp_path, fails):
    bins = np.random.default_rng(0).random((5, 1, 7))
    other = gx.io.from_bins(bins, genes=list("abcde"), marks=["H3K9ac"], expression=bins[:, 0, 0], unit="log")
    gx.io.write_mudata(other, tmp_path / "other.h5mu")
    for command in ("predict", "evaluate"):
        assert f"genexp {command}: " in fails(command, simulated.network, tmp_path / "other.h5mu", *SPLIT[command])


SPLIT = {"predict": [], "evaluate": ["--split", "all"]}


def test_demo(tmp_path, fails):
    (tmp_path / "file").write_text("")
    assert "file is a file: give a directory" in fails("demo", "-o", tmp_path / "file")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "required: COMMAND"),
        (["bild"], "'bild' is not known: choose one of build, train"),
        (["build", "sheet.tsv"], "required: -o/--output, --genes"),
        (["build", "--genes", "g", "-o", "x.h5mu", "--bin-size", "0"], "'0' is no whole number from 1 on"),
        (["build", "--genes", "g", "-o", "x.h5mu", "--upstream", "-5"], "--upstream"),
        (["build", "--genes", "g", "-o", "x.h5mu", "--kmer", "9"], "'9' is no whole number from 0 to 8"),
        (
            ["build", "--genes", "g", "-o", "x.h5mu", "--summary", "median"],
            "'median' is not known: choose one of mean",
        ),
        (["train", "DeepChrome"], "required: MUDATA, -o/--output"),
        (["train", "DeepChrome", "m", "-o", "d", "--lr", "fast"], "'fast' is no number above 0"),
        (["train", "DeepChrome", "m", "-o", "d", "--max-epochs", "0"], "'0' is no whole number from 1 on"),
        (
            ["predict", "d", "m", "--split", "tests"],
            "'tests' is not known: choose one of train, valid",
        ),
        (["evaluate", "d", "m", "--bootstrap", "-1"], "--bootstrap"),
        (["demo"], "required: -o/--output"),
        (["demo", "-o", "d", "--seed", "-1"], "--seed"),
        (["build", "--genes", "g", "-o", "x.h5mu", "--seed", "4294967296"], "no whole number from 0 to 4294967295"),
        (["train", "Linear", "m", "-o", "d", "--seed", "4294967296"], "no whole number from 0 to 4294967295"),
        (["evaluate", "d", "m", "--seed", "4294967296"], "no whole number from 0 to 4294967295"),
    ],
)
def test_arguments(argv, said, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(argv)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
