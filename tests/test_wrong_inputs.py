"""Wrong inputs over all commands and the Python API: one sentence with the thing, the value and the fix, nothing left.

A row is a call and what its sentence must hold; a command also speaks its own language and never that of Python.
"""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from small_models import FAST

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.cli import main
from genexp_scverse.io.assemble import assemble_chromatin, assemble_mudata

PYTHON = re.compile(
    r"\bgx\.|\bmdata\b|\bmodel\.\w+\(|=(True|False|None)\b|\bNone\b|\b[a-z_]+=\[|"
    r"\b(samples|marks|split|target|seed|modalities|keep_scaffolds|key|n_bootstrap)="
)
"""What is typed in Python and not in a shell."""


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """A small genome, MuData that lack something each, and trained models; no test changes them."""
    folder = tmp_path_factory.mktemp("there")
    files = gx.datasets.simulate(folder / "data", n_genes=60, n_chroms=4, marks=["H3K4me3", "H3K27ac", "H3K27me3"])
    mdata = gx.io.build_mudata(
        files.sheet, genes=files.genes, expression=files.expression, unit="tpm", fasta=files.genome,
        upstream=1000, downstream=1000,
    )  # fmt: skip
    gx.pp.split_by_chromosome(mdata, test="chr1", valid="chr2")
    gx.pp.label(mdata)
    gx.pp.sequence_features(mdata, k=1)
    mods, obs = dict(mdata.mod), mdata.obs
    bins = mods["chromatin"]
    half = assemble_chromatin(
        obs.index,
        bins.var.reset_index(drop=True),
        np.array(bins.obsm["bins"])[:, :, 5:],
        {**bins.uns["window"], "upstream": 500},
    )
    others = {
        "dna": ({k: mods[k] for k in ("rna", "dna")}, obs),
        "tracks": ({k: mods[k] for k in ("rna", "chromatin")}, obs),
        "unmeasured": ({k: mods[k] for k in ("chromatin", "dna")}, obs),
        "nosplit": (mods, obs.drop(columns="split")),
        "window": ({**mods, "chromatin": half}, obs),
    }
    here = SimpleNamespace(folder=folder, data=files.sheet.parent, sheet=files.sheet, genes=files.genes, mdata=mdata)
    here.expression, here.genome = files.expression, files.genome
    for name, (modalities, table) in {"m": (mods, obs), **others}.items():
        one = mdata if name == "m" else assemble_mudata(table, modalities)
        gx.io.write_mudata(one, folder / f"{name}.h5mu")
        setattr(here, name, one)
    for name, cls, on in (
        ("net", "DeepChrome", "tracks"),
        ("forest", "RandomForest", "m"),
        ("linear", "Linear", "dna"),
    ):
        model = gx.model.model_class(cls)(getattr(here, on), **FAST[cls]["hyper"])
        model.train(**{**FAST[cls]["train"], **({"max_epochs": 1} if cls == "DeepChrome" else {})})
        model.save(folder / name)
        setattr(here, f"{name}_model", model)
    (folder / "words.tsv").write_text("gene_id\tA\nENSG1\tmany\n")
    (folder / "empty.tsv").write_text("")
    return here


def listing(folder: Path) -> list[tuple[str, int]]:
    return sorted((str(p), p.stat().st_mtime_ns) for p in folder.rglob("*"))


# command, and what its sentence holds: the thing, the value, the fix
COMMANDS = [
    # names of commands, options and models
    ("trian DeepChrome {m} -o x", ("'trian' is not known", "did you mean 'train'?")),
    ("", ("the following arguments are required: COMMAND",)),
    ("train DeepChrome {m} -o x --sampel A", ("there is no option '--sampel'", "did you mean '--sample'?")),
    ("train DeepChrome {m} {m} -o x", ("is one argument too many", "genexp train --help")),
    ("train DeepChrome {m}", ("required: -o/--output",)),
    ("train DeepChrom {m} -o x", ("there is no model 'DeepChrom'", "'LinearSVM'", "did you mean 'DeepChrome'?")),
    ("train randomforest {m} -o x", ("there is no model 'randomforest'", "did you mean 'RandomForest'?")),
    # build
    ("build {sheet} --genes none.gtf -o x.h5mu", ("none.gtf does not exist",)),
    ("build {sheet} --genes {genes} -o x.csv", ("x.csv", ".h5mu or .zarr")),
    ("build {sheet} --genes {genes} --expression none.tsv --unit tpm -o x.h5mu", ("none.tsv", "does not exist")),
    ("build {sheet} --genes {genes} --expression {expression} -o x.h5mu", ("the unit of 2 of 2 samples", "--unit")),
    ("build {sheet} --genes {genes} --expression {expression} --unit tmp -o x.h5mu", ("'tmp'", "tpm")),
    ("build {sheet} --genes {genes} --unit tpm -o x.h5mu", ("--unit tpm", "--expression")),
    ("build --genes {genes} -o x.h5mu", ("neither a sample sheet nor --fasta",)),
    ("build none.tsv --genes {genes} -o x.h5mu", ("none.tsv",)),
    ("build {sheet} --genes {genes} --bin-size 0 -o x.h5mu", ("--bin-size", "'0' is no whole number from 1 on")),
    ("build {sheet} --genes {genes} --upstream -5 -o x.h5mu", ("--upstream", "'-5' is no whole number from 0 on")),
    ("build {sheet} --genes {genes} --bin-size 300 -o x.h5mu", ("bins of 300 bases", "10000 bases")),
    ("build {sheet} --genes {genes} --kmer 9 -o x.h5mu", ("--kmer", "'9' is no whole number from 0 to 8")),
    ("build {sheet} --genes {genes} --jobs none -o x.h5mu", ("--jobs", "'none' is no whole number from 1 on")),
    ("build {sheet} --genes {genes} --summary maen -o x.h5mu", ("--summary: 'maen'", "did you mean 'mean'?")),
    ("build {sheet} --genes {genes} --biotypes lncrna -o x.h5mu", ("'lncrna'", "it has")),
    ("build {sheet} --genes {genes} --test-chroms chrX -o x.h5mu", ("test chromosome 'chrX'", "did you mean")),
    ("build {sheet} --genes {genes} --fold fold -o x.h5mu", ("--fold fold needs --test-folds",)),
    ("build {sheet} --genes {genes} --split random --test-chroms chr1 -o x.h5mu", ("--split random takes no chrom",)),
    ("build {sheet} --genes {genes} --seed 4294967296 -o x.h5mu", ("--seed", "from 0 to 4294967295")),
    ("build {sheet} --genes {genes} --fasta none.fa -o x.h5mu", ("none.fa",)),
    # train
    ("train DeepChrome none.h5mu -o x", ("none.h5mu does not exist", "genexp build")),
    ("train DeepChrome {genes} -o x", ("is not an .h5mu file",)),
    ("train DeepChrome {m} -o {data}", ("is not a saved model, so it is not replaced",)),
    ("train DeepChrome {m} -o x --sample a", ("there is no sample 'a'", "it has 'A', 'B'", "did you mean 'A'?")),
    ("train DeepChrome {m} -o x --sample A --sample A", ("'A' is named twice",)),
    ("train DeepChrome {m} -o x --mark H3K4me", ("there is no mark 'H3K4me'", "did you mean 'H3K4me3'?")),
    ("train DeepChrome {m} -o x --setting papr", ("there is no setting 'papr'", "did you mean 'paper'?")),
    ("train DeepChrome {m} -o x --set n_filter=3", ("no argument 'n_filter'", "did you mean 'n_filters'?")),
    ("train DeepChrome {m} -o x --set n_filters", ("--set n_filters has no name or no value", "--set NAME=VALUE")),
    ("train DeepChrome {m} -o x --set n_filters=0", ("--set n_filters=0", "a whole number of at least 1")),
    ("train DeepChrome {m} -o x --set dropout=2", ("--set dropout=2", "at least 0, below 1")),
    ("train DeepChrome {m} -o x --set dropout=much", ("--set dropout=much", "give a number")),
    ("train DeepChrome {m} -o x --set stranded=1", ("--set stranded=1", "give true or false")),
    ("train DeepChrome {m} -o x --set transform=log7", ("--set transform=log7", "did you mean 'log1p'?")),
    ("train SimpleChromeVAE {m} -o x --set mode=joined", ("--set mode=joined", "choose one of joint, two_stage")),
    ("train SimpleChromeVAE {m} -o x --set neighbors=nobody", ("no graph 'nobody'",)),
    ("train Seq2ExpModel {m} -o x --set backbone=mama", ("there is no backbone 'mama'", "did you mean 'mamba'?")),
    ("train Ensemble {m} -o x --set model=DeepChrom", ("there is no model 'DeepChrom'", "did you mean 'DeepChrome'?")),
    ("train DeepChrome {m} -o x --lr -1", ("--lr", "'-1' is no number above 0")),
    ("train DeepChrome {m} -o x --lr nan", ("--lr", "'nan' is no number above 0")),
    ("train DeepChrome {m} -o x --max-epochs 1.5", ("--max-epochs", "'1.5' is no whole number from 1 on")),
    ("train DeepChrome {m} -o x --batch-size 0", ("--batch-size", "'0' is no whole number from 1 on")),
    ("train DeepChrome {m} -o x --accelerator gpus", ("--accelerator: 'gpus'", "did you mean 'gpu'?")),
    ("train DeepChrome {m} -o x --accelerator mps", ("--accelerator mps", "PyTorch finds none", "auto or cpu")),
    ("train DeepChrome {m} -o x --seed zero", ("--seed", "'zero' is no whole number from 0 to 4294967295")),
    ("train DeepChrome {m} -o x --target levels", ("--target: 'levels'", "choose one of label, expression, both")),
    ("train RandomForest {m} -o x --lr 0.1", ("RandomForest has no epochs", "leave out --max-epochs")),
    ("train DeepChrome {dna} -o x", ('no modality "chromatin"', "genexp build")),
    ("train DeepChrome {unmeasured} -o x", ("no expression to learn from", "--expression")),
    # predict and evaluate
    ("predict none {m}", ("none is not a saved model",)),
    ("predict {net} none.h5mu", ("none.h5mu does not exist", "genexp build")),
    ("predict {m} {net}", ("net is a folder and no zarr store",)),
    ("predict {net} {m} --sample a", ("there is no sample 'a'", "did you mean 'A'?")),
    ("predict {net} {m} --split tset", ("--split: 'tset'", "did you mean 'test'?")),
    ("predict {net} {m} -o {data}", ("data is a folder", "a TSV file")),
    ("predict {net} {dna}", ('no modality "chromatin"',)),
    ("predict {forest} {dna}", ("the MuData has no tracks", "'H3K4me3'", "genexp build")),
    ("predict {forest} {tracks}", ('reads the modality "dna"', "it has rna, chromatin")),
    ("predict {linear} {tracks}", ("features",)),
    ("predict {net} {window}", ("20 bins", "15 bins", "build it with the same window")),
    ("predict {net} {nosplit} --split test", ('no column "split"', "genexp build")),
    ("evaluate {net} {nosplit}", ('no column "split"', "genexp build")),
    ("evaluate {net} {unmeasured}", ("the MuData has no expression",)),
    ("evaluate {net} {dna}", ('no modality "chromatin"',)),
    ("evaluate {net} {m} --bootstrap -3", ("--bootstrap", "'-3' is no whole number from 0 on")),
    ("evaluate {net} {m} --sample C", ("there is no sample 'C'", "it has 'A', 'B'")),
    ("evaluate {net} {m} --split vaild", ("--split: 'vaild'", "did you mean 'valid'?")),
    ("evaluate {net} {m} --seed -1", ("--seed", "'-1' is no whole number")),
    # compare
    ("compare {m} --model DeepChrome", ("--model DeepChrome has no label", "--model LABEL=NAME")),
    ("compare {m} --model wide=DeepChrom", ("there is no model 'DeepChrom'", "did you mean 'DeepChrome'?")),
    ("compare {m} --model wide=DeepChrome,n_filter=2", ("no argument 'n_filter'", "did you mean 'n_filters'?")),
    ("compare {m} --model wide=DeepChrome,dropout=2", ("--model LABEL=NAME with dropout=2", "below 1")),
    ("compare {m} --model a=Linear --model a=Linear", ("--model names a twice",)),
    ("compare {m} --reference foret --model a=Linear", ("there is no label 'foret'", "did you mean 'random forest'?")),
    ("compare {m} --sample C", ("there is no sample 'C'",)),
    ("compare {m} --figure x.jpg", ("x.jpg names no kind of figure", ".png")),
    ("compare {unmeasured}", ("no expression to learn from",)),
    ("compare {m} --split train", ("--split: 'train'", "choose one of valid, test")),
    # elements
    ("elements {net} {m} -o x.bed", ("is a DeepChrome, which has no mask",)),
    ("elements - {m} -o x.bed", ("stored as 'seq2exp_mask' (there are none)",)),
    ("elements - {m} -o x.txt", ("x.txt has another ending", ".bed")),
    ("elements - {m} -o x.bed --bedpe x.bed", ("x.bed is to hold two of the outputs",)),
    ("elements - {m} -o x.bed --top 2", ("--top", "'2' is no share above 0 and below 1")),
    ("elements - {m} -o x.bed --threshold high", ("--threshold", "'high' is no number")),
    ("elements - {m} -o x.bed --merge-gap -1", ("--merge-gap", "'-1' is no whole number from 0 on")),
    ("elements - {m} -o x.bed --sample C", ("there is no sample 'C'",)),
    # reproduce and demo
    ("reproduce deepchrom --cells E003 -o x", ("'deepchrom'", "did you mean 'deepchrome'?")),
    ("reproduce deepchrome --cells , -o x", ("--cells names no cell",)),
    ("reproduce deepchrome --cells E003 --leave-out E003 -o x", ("--leave-out", "--pooled")),
    ("reproduce deepchrome --cells E003 --data {data} --models DeepChrom -o x", ("no model 'DeepChrom'",)),
    ("reproduce deepchrome --cells E003 --data {data} --settings papr -o x", ("--settings papr", "default, paper")),
    ("demo", ("required: -o/--output",)),
    ("demo -o {m}", ("m.h5mu is a file",)),
    ("demo -o x --seed -1", ("--seed", "'-1' is no whole number")),
]  # fmt: skip


@pytest.mark.parametrize(("command", "said"), COMMANDS, ids=[c[0] or "nothing" for c in COMMANDS])
def test_commands(there, tmp_path, monkeypatch, capfd, command, said):
    if command.endswith("mps"):
        torch = pytest.importorskip("torch")
        if torch.backends.mps.is_available():
            pytest.skip("needs a machine without mps")
    monkeypatch.chdir(tmp_path)
    paths = {n: there.folder / f"{n}.h5mu" for n in ("m", "dna", "tracks", "unmeasured", "nosplit", "window")}
    paths |= {n: there.folder / n for n in ("net", "forest", "linear", "data")}
    paths |= {n: getattr(there, n) for n in ("sheet", "genes", "expression")}
    before = listing(there.folder)
    try:
        code = main(shlex.split(command.format(**paths)))
    except SystemExit as stopped:
        code = stopped.code
    out, err = capfd.readouterr()
    assert code == 2, err
    assert out == ""
    assert "Traceback" not in err
    line = err.splitlines()[-1]
    assert re.match(r"genexp( \w+)?: ", line), err
    assert sum(bool(re.match(r"genexp( \w+)?: ", each)) for each in err.splitlines()) == 1
    for part in said:
        assert part in line, line
    assert not PYTHON.search(line), line
    assert list(tmp_path.iterdir()) == []
    assert listing(there.folder) == before


def fresh(there, name: str = "DeepChrome"):
    return gx.model.model_class(name)(there.tracks, **FAST[name]["hyper"])


# what is called, what the sentence holds
CALLS = {
    # training
    "lr=-1": (lambda t: fresh(t).train(lr=-1), ("lr=-1", "a number above 0")),
    "lr=nan": (lambda t: fresh(t).train(lr=float("nan")), ("lr=nan", "a number above 0")),
    "lr=0": (lambda t: fresh(t).train(lr=0), ("lr=0", "a number above 0")),
    "lr='fast'": (lambda t: fresh(t).train(lr="fast"), ("lr='fast'", "a number above 0")),
    "train('3')": (lambda t: fresh(t).train("3"), ("max_epochs='3'", "a whole number of at least 1")),
    "train(0)": (lambda t: fresh(t).train(0), ("max_epochs=0", "at least 1")),
    "train(True)": (lambda t: fresh(t).train(True), ("max_epochs=True", "a whole number")),
    "train(2.5)": (lambda t: fresh(t).train(2.5), ("max_epochs=2.5", "a whole number")),
    "train(1, 2)": (lambda t: fresh(t).train(1, 2), ("2 values are given without a name", "name the others")),
    "train(epochs=1)": (lambda t: fresh(t).train(epochs=1), ("no argument 'epochs'", "did you mean 'max_epochs'?")),
    "train(learning_rate)": (lambda t: fresh(t).train(learning_rate=1), ("no argument 'learning_rate'",)),
    "patience=-1": (lambda t: fresh(t).train(patience=-1), ("patience=-1", "at least 0")),
    "batch_size=0": (lambda t: fresh(t).train(batch_size=0), ("batch_size=0", "at least 1")),
    "weight_decay=-1": (lambda t: fresh(t).train(weight_decay=-1), ("weight_decay=-1", "at least 0")),
    "optimizer": (lambda t: fresh(t).train(optimizer="adm"), ("optimizer='adm'", "did you mean 'adam'?")),
    "schedule": (lambda t: fresh(t).train(schedule="cosine"), ("schedule='cosine'", "one_cycle, constant, inverse")),
    "early_stopping=1": (lambda t: fresh(t).train(early_stopping=1), ("early_stopping=1", "True or False")),
    "accelerator=gpus": (lambda t: fresh(t).train(accelerator="gpus"), ("accelerator='gpus'", "mean 'gpu'?")),
    "accelerator=mps": (lambda t: fresh(t).train(accelerator="mps"), ("accelerator='mps'", "PyTorch finds none")),
    "devices=0": (lambda t: fresh(t).train(accelerator="cpu", devices=0), ("devices=0", "give 'auto'")),
    "devices=[0]": (lambda t: fresh(t).train(accelerator="cpu", devices=[0]), ("devices=[0]", "a CPU takes")),
    "devices='two'": (lambda t: fresh(t).train(devices="two"), ("devices='two'", "a number of devices")),
    "a name that is too long": (lambda t: gx.io.read_sheet("a" * 5000), ("5,000 letters", "give a shorter one")),
    "devices=array": (lambda t: fresh(t).train(devices=np.array(["A"])), ("devices", "a list of whole numbers")),
    "train(seed='zero')": (lambda t: fresh(t).train(seed="zero"), ("seed='zero'", "a whole number of at least 0")),
    "forest epochs": (lambda t: fresh(t, "RandomForest").train(max_epochs=2), ("no argument 'max_epochs'", "'seed'")),
    "ensemble epochs": (
        lambda t: gx.model.Ensemble(t.tracks, model="Linear").train(epochs=2),
        ("epochs", "none of the members takes"),
    ),
    # models and their setup
    "seed='zero'": (lambda t: gx.model.DeepChrome(t.tracks, seed="zero"), ("seed='zero'", "a whole number")),
    "seed=-1": (lambda t: gx.model.DeepChrome(t.tracks, seed=-1), ("seed=-1", "at least 0")),
    "dropout=2": (lambda t: gx.model.DeepChrome(t.tracks, dropout=2), ("dropout=2", "below 1")),
    "n_filter=2": (lambda t: gx.model.DeepChrome(t.tracks, n_filter=2), ("no argument 'n_filter'", "'n_filters'?")),
    "setting": (lambda t: gx.model.DeepChrome(t.tracks, setting="papr"), ("no setting 'papr'", "mean 'paper'?")),
    "setting=1": (lambda t: gx.model.DeepChrome(t.tracks, setting=1), ("setting=1", "a name")),
    "no MuData": (lambda t: gx.model.DeepChrome(), ("DeepChrome needs a MuData", "gx.io.build_mudata")),
    "a path": (lambda t: gx.model.DeepChrome("m.h5mu"), ("expected a MuData of genes, got str",)),
    "an AnnData": (lambda t: gx.model.DeepChrome(t.m["rna"]), ("expected a MuData of genes, got AnnData",)),
    "a view": (lambda t: gx.model.DeepChrome(t.tracks[:20]), ("the MuData is a view", "copy")),
    "no model": (lambda t: gx.model.model_class("DeepChrom"), ("no model 'DeepChrom'", "did you mean 'DeepChrome'?")),
    "samples=3": (lambda t: gx.model.DeepChrome.setup_mudata(t.tracks, samples=3), ("samples=3", "a list of names")),
    "samples=[]": (lambda t: gx.model.DeepChrome.setup_mudata(t.tracks, samples=[]), ("at least one",)),
    "samples=a": (lambda t: gx.model.DeepChrome.setup_mudata(t.tracks, samples="a"), ("no sample 'a'", "mean 'A'?")),
    "marks": (lambda t: gx.model.DeepChrome.setup_mudata(t.tracks, marks=["H3K4"]), ("no mark 'H3K4'", "did you mean")),
    "target": (lambda t: gx.model.DeepChrome.setup_mudata(t.tracks, target="lable"), ("target='lable'", "'label'?")),
    "split_key": (lambda t: gx.model.DeepChrome.setup_mudata(t.tracks, split_key=3), ("split_key=3", "a name")),
    "modalities": (
        lambda t: gx.model.DeepChrome.setup_mudata(t.tracks, modalities={"chromatine": "x"}),
        ("no role 'chromatine'", "did you mean 'chromatin'?"),
    ),
    "setup of no tracks": (lambda t: gx.model.DeepChrome.setup_mudata(t.dna), ('no modality "chromatin"',)),
    # prediction and evaluation
    "split": (lambda t: t.net_model.evaluate(split="tset"), ("split='tset'", "did you mean 'test'?")),
    "n_bootstrap=-3": (lambda t: t.net_model.evaluate(n_bootstrap=-3), ("n_bootstrap=-3", "at least 0")),
    "n_bootstrap=True": (lambda t: t.net_model.evaluate(n_bootstrap=True), ("n_bootstrap=True", "a whole number")),
    "layer_key=3": (lambda t: t.net_model.predict(layer_key=3), ("layer_key=3", "a name")),
    "layer_key=''": (lambda t: t.net_model.predict(layer_key=""), ("layer_key=''", "a name")),
    "layer_key=log": (lambda t: t.net_model.predict(layer_key="log"), ("layer_key='log'", "choose another name")),
    "samples of none": (lambda t: t.net_model.predict(samples="C"), ("no sample 'C'", "it has 'A', 'B'")),
    "indices of none": (lambda t: t.net_model.predict(indices=["BRCA1"]), ("no gene 'BRCA1'",)),
    "indices beyond": (lambda t: t.net_model.predict(indices=[1000]), ("positions from 0 to 59",)),
    "untrained": (lambda t: fresh(t).predict(), ("is not trained", "train")),
    "another window": (lambda t: t.net_model.predict(t.window), ("build it with the same window",)),
    "no tracks": (lambda t: t.forest_model.predict(t.dna), ("chromatin",)),
    "no rna": (lambda t: t.net_model.evaluate(t.unmeasured), ("the MuData has no expression",)),
    "no split": (lambda t: t.net_model.evaluate(t.nosplit), ('no column "split"', "gx.pp.split_by_chromosome")),
    "latent of two": (lambda t: t.net_model.get_latent_representation(), ("several samples", "samples='A'")),
    "load(adata=)": (
        lambda t: gx.model.load(t.folder / "net", adata=t.m),
        ("no argument 'adata' of load", "did you mean 'mdata'?"),
    ),
    "Model.load(adata=)": (
        lambda t: gx.model.DeepChrome.load(t.folder / "net", adata=t.m),
        ("no argument 'adata'", "did you mean 'mdata'?"),
    ),
    "load(3)": (lambda t: gx.model.load(3), ("directory=3", "a path")),
    "load another": (lambda t: gx.model.Linear.load(t.folder / "net"), ("holds a DeepChrome", "gx.model.load")),
    "save(overwrite=1)": (lambda t: t.net_model.save("x", overwrite=1), ("overwrite=1", "True or False")),
    "coverage": (
        lambda t: gx.model.Ensemble(t.tracks, model="Linear").predict_interval(coverage=90),
        ("coverage=90", "above 0, below 1"),
    ),
    # io
    "read_genes(3)": (lambda t: gx.io.read_genes(3), ("path=3", "a path")),
    "read_genes()": (lambda t: gx.io.read_genes(), ("'path' is missing",)),
    "read_genes(mdata)": (lambda t: gx.io.read_genes(t.m), ("path is a MuData", "a path")),
    "tss_source": (lambda t: gx.io.read_genes(t.genes, tss_source="gne"), ("tss_source='gne'", "mean 'gene'?")),
    "keep_scaffolds": (lambda t: gx.io.read_genes(t.genes, keep_scaffolds="no"), ("keep_scaffolds='no'", "True or")),
    "read_mudata": (lambda t: gx.io.read_mudata("none.h5mu"), ("none.h5mu does not exist",)),
    "upstream=-1": (
        lambda t: gx.io.build_mudata(t.sheet, genes=t.genes, upstream=-1),
        ("upstream=-1", "at least 0"),
    ),
    "bin_size=2.5": (
        lambda t: gx.io.build_mudata(t.sheet, genes=t.genes, bin_size=2.5),
        ("bin_size=2.5", "a whole number"),
    ),
    "gene=": (lambda t: gx.io.build_mudata(t.sheet, gene=t.genes), ("no argument 'gene'", "did you mean 'genes'?")),
    "n_jobs=0": (lambda t: gx.io.build_mudata(t.sheet, genes=t.genes, n_jobs=0), ("n_jobs=0", "at least 1")),
    "write to 3": (lambda t: gx.io.write_mudata(t.m, 3), ("path=3", "a path")),
    "from_bins(genes=5)": (
        lambda t: gx.io.from_bins(np.ones((5, 1, 2)), genes=5, marks=["m"]),
        ("genes=5", "a list of names"),
    ),
    # pp
    "split seed": (lambda t: gx.pp.split_at_random(t.m, seed=1.5), ("seed=1.5", "a whole number")),
    "split of a frame": (lambda t: gx.pp.split_by_chromosome(t.m.obs), ("expected a MuData of genes, got DataFrame",)),
    "chromosome": (lambda t: gx.pp.split_by_chromosome(t.m, test="1"), ("test chromosome '1'", "mean 'chr1'?")),
    "k=9": (lambda t: gx.pp.sequence_features(t.m, k=9), ("k=9", "at most 8")),
    "n_neighbors=0": (lambda t: gx.pp.gene_neighbors(t.m, n_neighbors=0), ("n_neighbors=0", "at least 1")),
    "by": (lambda t: gx.pp.similarity_neighbors(t.m, by="signals"), ("by='signals'", "did you mean 'signal'?")),
    "label(3)": (lambda t: gx.pp.label(t.m, modality=3), ("modality=3", "a name")),
    # tl
    "n_steps=0": (lambda t: gx.tl.class_patterns(t.net_model, n_steps=0), ("n_steps=0", "at least 1")),
    "patterns of forest": (lambda t: gx.tl.class_patterns(t.forest_model), ("RandomForest is no network",)),
    "patterns of a name": (lambda t: gx.tl.class_patterns("DeepChrome"), ("model='DeepChrome'", "a model")),
    "seeds": (lambda t: gx.tl.ablate_marks("Linear", t.m, seeds=("a",)), ("seeds=('a',)", "whole numbers")),
    "ablate none": (lambda t: gx.tl.ablate_marks("Linea", t.m), ("no model 'Linea'", "did you mean 'Linear'?")),
    "ablate tset": (lambda t: gx.tl.ablate_marks("Linear", t.m, split="tset"), ("split='tset'", "mean 'test'?")),
    "curve sizes": (
        lambda t: gx.tl.learning_curve({"l": "Linear"}, t.m, sizes=(0,)),
        ("sizes holds 0", "whole numbers of genes"),
    ),
    "compare reference": (lambda t: gx.tl.compare({"a": t.net_model}, t.m, reference=3), ("reference=3", "a name")),
    "merge_gap": (lambda t: gx.tl.call_elements(None, t.m, merge_gap=-1), ("merge_gap=-1", "at least 0")),
    # pl
    "roc of none": (lambda t: gx.pl.roc(t.m, "deepchrome"), ("'deepchrome_prob'", "model.predict")),
    "roc split": (lambda t: gx.pl.roc(t.m, "deepchrome", split="tset"), ("split='tset'", "did you mean 'test'?")),
    "roc positional": (lambda t: gx.pl.roc(t.m, "d", "A"), ("3 values are given without a name", "sample=")),
    "roc()": (lambda t: gx.pl.roc(t.m), ("'predictions' is missing",)),
    "n_bins=0": (lambda t: gx.pl.calibration(t.m, "d", n_bins=0), ("n_bins=0", "at least 1")),
    "profile sample": (lambda t: gx.pl.profile(t.m, sample="a"), ("no sample 'a'", "did you mean 'A'?")),
    "heatmap": (lambda t: gx.pl.heatmap(t.m, "A.H3K4me3", sort_by="level"), ("sort_by='level'", "expression, signal")),
    "ax": (lambda t: gx.pl.roc(t.m, "d", ax="left"), ("ax='left'", "the axes of a figure")),
    # datasets and metrics
    "simulate": (lambda t: gx.datasets.simulate("x", n_genes=0), ("n_genes=0", "at least 1")),
    "simulate(gene)": (lambda t: gx.datasets.simulate("x", genes=5), ("no argument 'genes'", "mean 'n_genes'?")),
    "metrics": (lambda t: gx.metrics.bootstrap_metrics(observed=[1], predicted=[1], seed=-1), ("seed=-1",)),
}  # fmt: skip


@pytest.mark.parametrize("what", list(CALLS))
def test_python(there, tmp_path, monkeypatch, what):
    call, said = CALLS[what]
    if "mps" in what and pytest.importorskip("torch").backends.mps.is_available():
        pytest.skip("needs a machine without mps")
    monkeypatch.chdir(tmp_path)
    before = listing(there.folder)
    with pytest.raises(InputError) as error:
        call(there)
    message = str(error.value)
    assert "\n" not in message
    for part in said:
        assert part in message, message
    assert "--" not in message
    assert list(tmp_path.iterdir()) == []
    assert listing(there.folder) == before


def test_there_are_enough_rows():
    assert len(COMMANDS) + len(CALLS) >= 120
    commands = {row[0].split()[0] for row in COMMANDS if row[0]}
    assert {"build", "train", "predict", "evaluate", "compare", "elements", "reproduce", "demo"} <= commands


def test_numbers_of_numpy_are_numbers(there):
    model = fresh(there)
    model.train(np.int64(1), lr=np.float32(0.01), early_stopping=np.bool_(False), enable_progress_bar=False)
    assert len(model.history) == 1
    assert type(gx.model.DeepChrome(there.tracks, seed=np.int32(3)).seed) is int
    assert len(model.evaluate(n_bootstrap=np.uint8(2))) == 2


def public_functions():
    for room in ("io", "pp", "tl", "pl", "datasets", "model"):
        part = getattr(gx, room)
        for name in part.__all__:
            there = getattr(part, name)
            if inspect.isclass(there):
                for cls in there.__mro__:
                    if cls.__module__.startswith("genexp_scverse"):
                        for key, method in vars(cls).items():
                            method = getattr(method, "__func__", method)
                            if inspect.isfunction(method) and (not key.startswith("_") or key == "__init__"):
                                yield f"{room}.{name}.{key}", method
            elif inspect.isfunction(there):
                yield f"{room}.{name}", there


def test_every_public_function_is_checked_and_keeps_its_signature():
    found = dict(public_functions())
    assert len(found) > 150
    for name, function in found.items():
        assert hasattr(function, "__genexp_checked__"), name
        assert inspect.signature(function) == inspect.signature(function.__wrapped__), name
        assert function.__doc__ == function.__wrapped__.__doc__


MISTYPED = [
    ["trian", "DeepChrome", "m.h5mu", "-o", "x"],
    ["train", "DeepChrom", "m.h5mu", "-o", "x"],
    ["train", "DeepChrome", "{m}", "-o", "x", "--sample", "C"],
    ["train", "DeepChrome", "{m}", "-o", "x", "--mark", "H3K4me"],
    ["predict", "{net}", "{m}", "--sample", "C"],
    ["evaluate", "{net}", "{m}", "--sample", "C"],
    ["compare", "{m}", "--model", "a=DeepChrom"],
    ["compare", "{m}", "--sample", "C"],
    ["elements", "{net}", "{m}", "-o", "x.bed", "--sample", "C"],
    ["reproduce", "deepchrome", "--cells", "E003", "--data", ".", "--models", "DeepChrom", "-o", "x"],
    ["train", "--help"],
]


def test_mistyped_names_are_said_before_torch_is_imported(there, tmp_path):
    """In a process of its own: whatever is mistyped, torch and scvi-tools are not there when it is said."""
    calls = [[a.format(m=there.folder / "m.h5mu", net=there.folder / "net") for a in argv] for argv in MISTYPED]
    code = (
        "import sys\nfrom genexp_scverse.cli import main\n"
        f"for argv in {calls!r}:\n"
        "    try:\n        code = main(argv)\n    except SystemExit as stopped:\n        code = stopped.code\n"
        "    assert code == (0 if argv[-1] == '--help' else 2), (argv, code)\n"
        "    assert not {'torch', 'scvi', 'lightning'} & set(sys.modules), argv\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("did you mean") == 5
    for model in gx.model.MODELS:
        assert model in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_lines_of_the_readme_warn_of_nothing(there, tmp_path):
    """README's Python on two samples of which one is trained on, every FutureWarning an error."""
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    names = {"sheet.tsv": there.sheet, "genes.gtf.gz": there.genes, "rna.tsv.gz": there.expression}
    for name, path in names.items():
        assert f'"{name}"' in code
        code = code.replace(f'"{name}"', repr(str(path)))
    code = code.replace('"chr10"', '"chr3"').replace("train()", "train(2, enable_progress_bar=False)")
    code = code.replace("model = gx", 'gx.model.DeepChrome.setup_mudata(mdata, samples=["A"])\nmodel = gx')
    code += "copied = mdata.copy()\nmodel.predict(copied[:30].copy())\n"
    code += "import matplotlib.pyplot as plt\n"
    code += "print([t.get_text() for t in plt.gca().get_legend().get_texts()])\n"
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "MPLBACKEND": "Agg"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert re.search(r"\['deepchrome  AUROC 0\.\d+'\]", done.stdout), done.stdout
    assert "'B': left out of the figure, no prediction among the genes of split 'test'" in done.stderr


def test_levels_of_another_unit_are_not_compared(there, caplog):
    other = there.tracks.copy()
    other["rna"].var["unit"] = ["tpm", "counts"]
    table = there.net_model.evaluate(other, n_bootstrap=5)
    distances = [c for c in table if c.split("_")[0] in ("r2", "mse", "mae")]
    assert len(distances) == 9
    assert table.loc["B", distances].isna().all()
    rest = [c for c in table if c not in distances]
    pd.testing.assert_frame_equal(table[rest], there.net_model.evaluate(n_bootstrap=5)[rest])
    assert table.loc["A", distances].notna().all()
    assert "sample 'B' is in counts here and the levels that the model learned were in tpm" in caplog.text
    assert "sample 'A' is" not in caplog.text


def test_a_summary_names_the_dna_that_is_read(there):
    whole = gx.model.Seq2ExpModel(there.m, **FAST["Seq2ExpModel"]["hyper"])
    assert "2000 bases of DNA (1000 upstream, 1000 downstream of the TSS)" in whole.summary
    assert "bases of DNA" not in there.net_model.summary
