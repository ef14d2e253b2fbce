"""``genexp reproduce`` on files of the published format, from the loopback address and from a folder."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
from deepchrome_files import tar_of, write_cell, zenodo
from local_site import serving
from sklearn.metrics import average_precision_score, roc_auc_score

import genexp_scverse as gx
from genexp_scverse.cli import _reproduce, main
from genexp_scverse.cli._reproduce_results import COLUMNS, Results, digest, named, summary
from genexp_scverse.datasets import _download

CELLS = {"E003": (80, 24, 36), "E112": (60, 30, 40), "E123": (70, 20, 50)}
FAST = ["--max-epochs", "2", "--accelerator", "cpu"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three cells of different sizes, as unpacked."""
    folder = tmp_path_factory.mktemp("unpacked")
    for seed, (cell, sizes) in enumerate(CELLS.items()):
        write_cell(folder, cell, sizes=sizes, seed=seed, effect=0.3 * (seed + 1))
    return folder


@pytest.fixture(scope="module")
def archive(folder):
    return tar_of(folder)


@pytest.fixture
def site(archive, monkeypatch, tmp_path):
    monkeypatch.setattr(_download, "WAIT", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("GENEXP_DATA_DIR", str(tmp_path / "cache"))
    with serving() as state:
        state.files = zenodo(archive)
        yield state


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(_reproduce, "N_BOOTSTRAP", 50)


def reproduce(out, *argv) -> int:
    return main(["reproduce", "deepchrome", "-o", str(out), *FAST, *map(str, argv)])


def table(out) -> pd.DataFrame:
    text = {"cell": str, "model": str, "setting": str, "trained_on": str, "data": str}
    return pd.read_csv(out / "cells.tsv", sep="\t", dtype=text)


def names(out) -> set[str]:
    return {p.name for p in out.iterdir()}


def test_from_the_archive_to_the_tables(site, folder, tmp_path, caplog):
    out = tmp_path / "out"
    assert reproduce(out, "--cells", "E123,E003", "--base-url", site.url, "--figure") == 0
    rows = table(out)
    assert list(rows.columns) == COLUMNS
    jobs = [("DeepChrome", "paper"), ("DeepChrome", "default"), ("Linear", "default")]
    assert list(zip(rows["cell"], rows["model"], rows["setting"], strict=True)) == [
        (cell, *job) for cell in ("E123", "E003") for job in jobs
    ]
    assert rows["n"].tolist() == [50] * 3 + [36] * 3
    assert ((rows["auroc_low"] <= rows["auroc"]) & (rows["auroc"] <= rows["auroc_high"])).all()
    assert (rows.loc[rows["model"] == "DeepChrome", "epochs"] == 2).all()
    published = rows.set_index(["cell", "model"])["published"].sort_index()
    assert set(published["E123", "DeepChrome"]) == {0.9225}
    assert np.isnan(published["E003", "DeepChrome"]).all()
    assert np.isnan(published["E123", "Linear"]).all()
    assert "E123 DeepChrome paper: test AUROC" in caplog.text
    assert "50 genes, published 0.9225" in caplog.text

    short = pd.read_csv(out / "summary.tsv", sep="\t", index_col="model")
    for name, group in rows.groupby(rows["model"] + " " + rows["setting"]):
        values = group["auroc"].to_numpy()
        assert short.loc[name, ["mean", "median", "max", "min"]].tolist() == pytest.approx(
            [values.mean(), np.median(values), values.max(), values.min()], abs=1e-5
        )
        assert short.loc[name, "n_cells"] == 2
        assert short.loc[name, "max_cell"] == group["cell"].iloc[values.argmax()]
        assert short.loc[name, "min_cell"] == group["cell"].iloc[values.argmin()]
    assert short.loc["published: DeepChrome", ["mean", "min", "min_cell"]].tolist() == [0.8008, 0.6854, "E112"]
    assert names(out) == {"cells.tsv", "summary.tsv", "auroc.png"}
    assert (out / "auroc.png").read_bytes()[1:4] == b"PNG"


def test_the_figures_are_those_of_the_test_file(folder, tmp_path):
    """AUROC and AUPRC of scikit-learn, of the model trained by hand, on labels read by hand."""
    assert reproduce(tmp_path, "--data", folder, "--cells", "E112", "--settings", "default", "--seed", "3") == 0
    mdata = gx.io.read_deepchrome(folder / "E112")
    label = {}
    for line in (folder / "E112" / "classification" / "test.csv").read_text().splitlines():
        gene, *_, last = line.split(",")
        label[gene] = int(last)
    assert all(len(gene) == 6 and gene.startswith("00") for gene in label)
    for name in ("DeepChrome", "Linear"):
        cls = gx.model.model_class(name)
        cls.setup_mudata(mdata, target="label")
        model = cls(mdata, seed=3)
        if name == "DeepChrome":
            model.train(2, accelerator="cpu", enable_progress_bar=False)
        else:
            model.train()
        prob = model.predict(indices=list(label))["E112:prob"]
        row = table(tmp_path).set_index("model").loc[name]
        assert row["auroc"] == pytest.approx(roc_auc_score(list(label.values()), prob), abs=1e-5)
        assert row["auprc"] == pytest.approx(average_precision_score(list(label.values()), prob), abs=1e-5)
        assert row["n"] == len(label) == 40


def test_real_files(shared_data, tmp_path):
    """The three small files of the published format; too few genes for more than a run."""
    place = tmp_path / "E003" / "classification"
    place.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        shutil.copyfile(shared_data / "deepchrome_csv" / f"toy_{split}.csv", place / f"{split}.csv")
    for data in (tmp_path, tmp_path / "E003"):
        out = tmp_path / f"out_{data.name}"
        assert reproduce(out, "--data", data, "--cells", "all") == 0
        rows = table(out)
        assert rows["n"].tolist() == [9, 9, 9]
        assert set(rows["cell"]) == {"E003"}


def test_all_cells_and_a_further_model(site, tmp_path, caplog):
    out = tmp_path / "out"
    assert reproduce(out, "--cells", "E112", "--base-url", site.url, "--settings", "default") == 0
    first = (out / "cells.tsv").read_text()
    assert reproduce(out, "--cells", "all", "--base-url", site.url, "--settings", "default") == 0
    assert (out / "cells.tsv").read_text().startswith(first)
    assert table(out)["cell"].tolist() == ["E112"] * 2 + ["E003"] * 2 + ["E123"] * 2
    asked = len(site.asked)
    caplog.clear()
    more = ("--cells", "E003", "--base-url", site.url, "--models", "RandomForest,Linear")
    assert reproduce(out, *more) == 0
    assert len(site.asked) == asked
    assert "training RandomForest default\n" in caplog.text
    assert table(out)["model"].tolist()[6:] == ["RandomForest"]
    before = (out / "cells.tsv").stat().st_mtime_ns
    assert reproduce(out, *more) == 0
    assert (out / "cells.tsv").stat().st_mtime_ns == before
    assert "E003 (1 of 1) was done before" in caplog.text


def test_going_on_needs_what_was_asked_before(folder, tmp_path, fails, monkeypatch):
    out = tmp_path / "out"
    given = ["reproduce", "deepchrome", "-o", out, "--data", folder, "--settings", "default", "--cells", "E003"]
    assert main([str(a) for a in [*given, *FAST, "--seed", "1"]]) == 0
    before = (out / "cells.tsv").read_bytes()
    assert f"{out}/cells.tsv holds results with another seed (1, now 0): name another" in fails(*given, *FAST)
    line = fails(*given, "--seed", "1")
    assert (
        "another epochs at most (2, now as the setting): name another directory with -o, or give --max-epochs 2" in line
    )
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    test = other / "E003" / "classification" / "test.csv"
    test.write_text(test.read_text().replace("002003,", "002999,"))
    changed = [*given, *FAST, "--seed", "1"]
    changed[changed.index(folder)] = other
    assert "holds DeepChrome on E003 trained on other data" in fails(*changed)
    (out / "cells.tsv").write_text("cell\tauroc\nE003\t0.9\n")
    assert "cells.tsv is no table of genexp reproduce" in fails(*given, *FAST)
    (out / "cells.tsv").write_bytes(before.replace(b"\t0.1.0\t", b"\t0.0.9\t"))
    assert "another version of genexp_scverse (0.0.9, now 0.1.0)" in fails(*given, *FAST, "--seed", "1")


def test_a_stop_loses_only_the_training_under_way(tmp_path, monkeypatch):
    """Ctrl-C in the second cell's network; the same command then gives what one run gives."""
    out, data = tmp_path / "out", tmp_path / "data"
    write_cell(data, "E003", sizes=(6, 6, 6), seed=0)
    write_cell(data, "E112", sizes=(20, 10, 12), seed=1)
    argv = ["reproduce", "deepchrome", "-o", str(out), "--data", str(data), "--cells", "E003,E112"]
    argv += ["--models", "Linear,DeepChrome", "--settings", "paper", "--accelerator", "cpu", "--max-epochs", "20"]
    code = f"import sys\nfrom genexp_scverse.cli import main\nsys.exit(main({argv!r}))"
    process = subprocess.Popen([sys.executable, "-u", "-c", code], stderr=subprocess.PIPE, text=True)
    said = []
    for line in process.stderr:
        said.append(line)
        if line.startswith("E112 Linear"):
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, "".join(said)
    assert said[-1] == "genexp reproduce: interrupted; no file was left half-written\n"
    done = [("E003", "Linear"), ("E003", "DeepChrome"), ("E112", "Linear")]
    rows = table(out)
    assert list(zip(rows["cell"], rows["model"], strict=True)) == done
    assert names(out) == {"cells.tsv", "summary.tsv"}
    before = (out / "cells.tsv").read_text()
    monkeypatch.setattr(_reproduce, "N_BOOTSTRAP", 1000)
    assert main(argv) == 0
    assert (out / "cells.tsv").read_text().startswith(before)
    argv[3], argv[7] = str(tmp_path / "whole"), "E112"
    assert main(argv) == 0
    again, once = (t[t["cell"] == "E112"].drop(columns="seconds") for t in (table(out), table(tmp_path / "whole")))
    pd.testing.assert_frame_equal(again.reset_index(drop=True), once)


def test_an_unknown_cell_is_named_with_those_there_are(site, folder, tmp_path, fails):
    given = ["reproduce", "deepchrome", "-o", tmp_path / "out", "--cells", "E003,E999"]
    expected = "'E999' are not in the DeepChrome archive: choose from E003, E112, E123"
    assert expected in fails(*given, "--base-url", site.url)
    assert "has no cell 'E999': it has E003, E112, E123" in fails(*given, "--data", folder)
    assert not (tmp_path / "out").exists()


def test_a_damaged_archive(site, archive, tmp_path, fails):
    given = ["reproduce", "deepchrome", "-o", tmp_path / "out", "--cells", "all", "--base-url", site.url]
    site.files["/records/2652278/files/data.tar.gz"] = archive[:-9] + b"\0" + archive[-8:]
    assert "does not have the published hash" in fails(*given)
    site.files = zenodo(archive[: len(archive) // 2])
    assert "is damaged" in fails(*given)
    assert not (tmp_path / "out").exists()
    site.files = zenodo(archive)
    site.cut_after, site.cuts = len(archive) // 3, 2
    (tmp_path / "cache" / "deepchrome" / "data.tar.gz").unlink()
    assert main([str(a) for a in [*given, *FAST, "--settings", "default"]]) == 0
    assert any(wanted for _, wanted in site.asked)
    assert len(table(tmp_path / "out")) == 6


def test_a_broken_file_of_a_cell_keeps_what_is_done(folder, tmp_path, fails):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    file = data / "E112" / "classification" / "valid.csv"
    file.write_text(file.read_text()[:-300])
    given = ["--data", data, "--cells", "all", "--settings", "default"]
    assert "E112" in fails("reproduce", "deepchrome", "-o", tmp_path / "out", *given, *FAST)
    assert table(tmp_path / "out")["cell"].tolist() == ["E003"] * 2
    file.unlink()
    assert "cell 'E112' lacks one of train.csv, valid.csv and test.csv" in fails(
        "reproduce", "deepchrome", "-o", tmp_path / "new", *given, *FAST
    )
    assert not (tmp_path / "new").exists()


def test_one_model_of_several_cells(folder, tmp_path, caplog):
    out = tmp_path / "out"
    given = ("--data", folder, "--pooled", "--settings", "default")
    assert reproduce(out, *given, "--cells", "all", "--figure") == 0
    rows = table(out)
    assert list(zip(rows["model"], rows["cell"], strict=True)) == [
        (model, cell) for model in ("DeepChrome", "Linear") for cell in CELLS
    ]
    assert set(rows["trained_on"]) == {"E003,E112,E123"}
    assert rows["n"].tolist() == [36, 40, 50] * 2
    assert rows["published"].isna().all()
    assert names(out) == {"cells.tsv", "summary.tsv", "auroc.png"}
    assert reproduce(out, *given, "--cells", "E123,E003,E112") == 0
    assert "All of it was done before" in caplog.text
    caplog.clear()
    mdata = gx.io.read_deepchrome(folder)
    gx.model.Linear.setup_mudata(mdata, target="label")
    model = gx.model.Linear(mdata)
    model.train()
    by_hand = model.evaluate()["auroc"].to_numpy()
    np.testing.assert_allclose(rows.loc[rows["model"] == "Linear", "auroc"], by_hand, atol=1e-5)

    left = ["--data", folder, "--cells", "all", "--pooled", "--leave-out", "E003"]
    assert reproduce(out, *left) == 0
    rows = table(out)
    assert len(rows) == 12
    new = rows.iloc[6:]
    assert set(new["trained_on"]) == {"E112,E123"}
    mdata = gx.io.read_deepchrome(folder)
    gx.model.Linear.setup_mudata(mdata, samples=["E112", "E123"], target="label")
    model = gx.model.Linear(mdata)
    model.train()
    never_seen = new[(new["model"] == "Linear") & (new["cell"] == "E003")]["auroc"].item()
    assert never_seen == pytest.approx(model.evaluate(samples="E003")["auroc"].item(), abs=1e-5)
    short = pd.read_csv(out / "summary.tsv", sep="\t", index_col="model")
    assert short.loc["Linear default (pooled over 3)", "n_cells"] == 3
    assert short.loc["Linear default (pooled over 2)", "n_cells"] == 2
    assert short.loc["Linear default (left out, trained on 2 others)", "max_cell"] == "E003"
    before = (out / "cells.tsv").read_text()
    assert reproduce(out, *left) == 0
    assert (out / "cells.tsv").read_text() == before
    assert "All of it was done before" in caplog.text


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--cells", ","], "--cells names no cell"),
        (["--cells", "E003", "--leave-out", "E003"], "--leave-out is for a model of several cells: add --pooled"),
        (["--cells", "E003", "--pooled", "--leave-out", "E112"], "names 'E112', which --cells does not"),
        (["--cells", "all", "--pooled", "--leave-out", "E999"], "not among the cells: choose from E003, E112, E123"),
        (["--cells", "E003", "--pooled", "--leave-out", "E003"], "leaves no cell to train on"),
        (["--cells", "E003", "--base-url", "http://127.0.0.1:1"], "--data reads a folder and --base-url fetches"),
        (
            ["--cells", "E003", "--models", "Deepchrome"],
            "there is no model 'Deepchrome': it has 'AttentiveChrome', 'DeepChrome'",
        ),
        (["--cells", "E003", "--settings", "papr"], "--settings papr: DeepChrome, Linear have the settings"),
        (["--cells", "E003", "--settings", ","], "choose from them"),
    ],
)
def test_what_cannot_be_is_said_first(folder, tmp_path, fails, argv, said):
    out = tmp_path / "out"
    assert said in fails("reproduce", "deepchrome", "-o", out, "--data", folder, *argv)
    assert not out.exists()


def test_places_that_cannot_be_written_to(folder, tmp_path, fails):
    (tmp_path / "file").touch()
    given = ["--data", folder, "--cells", "E003", *FAST]
    assert "is a file: give a directory" in fails("reproduce", "deepchrome", "-o", tmp_path / "file", *given)
    assert "does not exist" in fails(
        "reproduce", "deepchrome", "-o", tmp_path / "out", "--data", tmp_path / "none", "--cells", "all"
    )


def test_rows_of_two_runs_at_once_are_all_kept(folder, tmp_path):
    """Each reads the table again before it adds to it."""
    first, second = (Results(tmp_path / "cells.tsv", seed=0, max_epochs=None) for _ in range(2))
    mdata = gx.io.read_deepchrome(folder, sample=["E003", "E112"])
    gx.model.Linear.setup_mudata(mdata, target="label")
    model = gx.model.Linear(mdata)
    model.train()
    evaluated = model.evaluate(n_bootstrap=20)
    data = {"E003": "a", "E112": "b"}
    first.add(evaluated.loc[["E003"]], model, ["E003"], data=data)
    second.add(evaluated.loc[["E112"]], model, ["E112"], data=data)
    assert first.read()["cell"].tolist() == ["E003", "E112"]
    assert first.done("E112", "Linear", "default", ["E112"], "b")
    assert not first.done("E112", "Linear", "default", ["E003", "E112"], "b")
    assert named(first.read()).tolist() == ["Linear default"] * 2
    assert summary(first.read(), "deepchrome").loc["Linear default", "n_cells"] == 2


def test_files_are_told_apart_by_content(tmp_path):
    a, b, c = (tmp_path / name for name in "abc")
    a.write_text("1,2\n")
    b.write_text("1,2\n")
    c.write_text("1,3\n")
    assert digest([a, c]) == digest([b, c]) != digest([c, a])
    with pytest.raises(gx.InputError, match="cannot be read"):
        digest([tmp_path / "none"])


def test_nothing_is_fetched_that_is_there(folder, tmp_path, monkeypatch):
    """A cache that was filled before needs no connection."""
    cache = tmp_path / "cache" / "deepchrome"
    shutil.copytree(folder, cache)
    (cache / "cells.json").write_text('["E003", "E112", "E123"]')
    monkeypatch.setenv("GENEXP_DATA_DIR", str(tmp_path / "cache"))
    given = ["--cells", "all", "--settings", "default", "--base-url", "http://127.0.0.1:1"]
    assert reproduce(tmp_path / "out", *given) == 0
    assert len(table(tmp_path / "out")) == 6
