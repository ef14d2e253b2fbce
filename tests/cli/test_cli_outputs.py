from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import threading
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse.cli import main


@pytest.fixture
def copies(simulated, tmp_path):
    """A MuData as file and as zarr store, and a model, that may be spoilt."""
    assert main(["build", *simulated.build, "-o", str(tmp_path / "m.zarr")]) == 0
    shutil.copy(simulated.mudata, tmp_path / "m.h5mu")
    shutil.copytree(simulated.forest, tmp_path / "forest")
    return tmp_path


def content(folder):
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_table_replaces_nothing_that_is_read(copies, fails, command, monkeypatch):
    (copies / "link.tsv").symlink_to("m.h5mu")
    os.link(copies / "m.h5mu", copies / "hard.tsv")
    before = content(copies)
    monkeypatch.chdir(copies)
    for out, mudata, said in [
        ("m.h5mu", "m.h5mu", "m.h5mu is the same file as m.h5mu, which is read"),
        ("link.tsv", "m.h5mu", "link.tsv is the same file as"),
        ("hard.tsv", "m.h5mu", "hard.tsv is the same file as"),
        ("forest/model.json", "m.h5mu", "forest/model.json lies inside forest, which is read"),
        ("forest/new/table.tsv", "m.h5mu", "lies inside forest, which is read"),
        ("m.zarr/table.tsv", "m.zarr", "m.zarr/table.tsv lies inside m.zarr, which is read"),
        ("m.zarr/mod/rna/table.tsv", "m.h5mu", "lies inside the zarr store"),
    ]:
        assert said in fails(command, "forest", mudata, "-o", out)
    assert content(copies) == before


def test_build_and_train_replace_nothing_that_is_read(copies, simulated, fails):
    (copies / "genes.h5mu").symlink_to(simulated.files.genes)
    before = content(copies)
    assert "genes.h5mu is the same file as" in fails("build", *simulated.build, "-o", copies / "genes.h5mu")
    assert "lies inside the zarr store" in fails("build", *simulated.build, "-o", copies / "m.zarr" / "m.h5mu")
    sheet = gx.io.read_sheet(simulated.files.sheet)
    (copies / "track.h5mu").symlink_to(sheet["path"].iloc[0])
    assert "track.h5mu is the same file as" in fails("build", *simulated.build, "-o", copies / "track.h5mu")
    (copies / "track.h5mu").unlink()
    shutil.move(copies / "m.h5mu", copies / "forest" / "m.h5mu")
    line = fails("train", "Linear", copies / "forest" / "m.h5mu", "-o", copies / "forest")
    assert "forest holds " in line
    shutil.move(copies / "forest" / "m.h5mu", copies / "m.h5mu")
    assert content(copies) == before


def test_a_link_is_written_through(simulated, tmp_path):
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "table.tsv", tmp_path / "link.tsv"
    real.write_text("old")
    link.symlink_to(real)
    assert main(["predict", simulated.forest, simulated.mudata, "-o", str(link)]) == 0
    assert link.is_symlink()
    assert list(pd.read_csv(real, sep="\t", index_col="gene_id")) == ["A", "A:prob"]
    assert [p.name for p in real.parent.iterdir()] == ["table.tsv"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_written_into(simulated, tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_text()), daemon=True)
    reader.start()
    assert main(["predict", simulated.forest, simulated.mudata, "-o", str(pipe)]) == 0
    reader.join(timeout=10)
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert len(pd.read_csv(StringIO(got[0]), sep="\t")) == gx.io.read_mudata(simulated.mudata).n_obs
    assert list(tmp_path.iterdir()) == [pipe]


class Full(StringIO):
    def write(self, _text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("command", ["predict", "evaluate"])
def test_a_full_disk_behind_stdout(simulated, monkeypatch, capfd, command):
    capfd.readouterr()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Full())
        assert main([command, simulated.forest, simulated.mudata]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line == (
        f"genexp {command}: the table could not be written to standard output (No space left on device): name a "
        "file with -o"
    )


def test_a_file_behind_stdout_that_may_not_grow(tmp_path):
    """The interpreter flushes stdout once more when it ends; that must not add a second error."""
    pytest.importorskip("resource")
    code = (
        "import resource, sys\nimport pandas as pd\nfrom genexp_scverse._errors import InputError\n"
        "from genexp_scverse.cli._outputs import write_table\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "try:\n    write_table(pd.DataFrame({'a': range(1000)}), None)\nexcept InputError:\n    sys.exit(2)\n"
    )
    with Path(tmp_path / "out").open("w") as out:
        done = subprocess.run([sys.executable, "-c", code], stdout=out, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "")
