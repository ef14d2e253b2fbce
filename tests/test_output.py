"""One way to put an output in its place: whole or not at all, whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from deepchrome_files import write_cell

import genexp_scverse as gx
from genexp_scverse import InputError, _output
from genexp_scverse._output import recover, written

posix = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


def make(path: Path, text: str, **how) -> None:
    """Write a folder (a name without ending) of two files that say the same, or a file."""
    with written(path, **how) as made:
        if path.suffix:
            made.write_text(text)
        else:
            made.mkdir()
            for name in ("a", "b"):
                (made / name).write_text(text)


def said(path: Path) -> str:
    if path.is_file():
        return path.read_text()
    texts = {p.read_text() for p in path.iterdir() if p.is_file()}
    assert len(texts) == 1
    return texts.pop()


def child(code: str, *args, **kwargs) -> subprocess.Popen:
    head = (
        "import os, sys, time\nfrom pathlib import Path\nfrom genexp_scverse import _output\n"
        "sys.path.insert(0, sys.argv[1])\nfrom test_output import make\n"
    )
    command = [sys.executable, "-c", head + code, str(Path(__file__).parent), *map(str, args)]
    kwargs["env"] = {**os.environ, "PYTHONPATH": str(Path(gx.__file__).parents[1])}
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)


def finished(process: subprocess.Popen) -> str:
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return out


@pytest.mark.parametrize("name", ["a.tsv", "folder"])
def test_what_is_there_stays_until_the_new_one_is_whole(tmp_path, name):
    path = tmp_path / name
    make(path, "old")
    for error in (OSError(28, "full"), KeyboardInterrupt(), InputError("wrong")):
        with pytest.raises((InputError, KeyboardInterrupt)), written(path) as made:
            assert made.name == name
            made.write_text("half") if path.suffix else made.mkdir()
            raise error
        assert said(path) == "old"
    path.chmod(0o750)
    make(path, "new")
    assert said(path) == "new"
    assert path.stat().st_mode & 0o777 == 0o750
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_folders_that_were_made_for_a_failure_go_with_it(tmp_path):
    (tmp_path / "there").mkdir()
    with (
        pytest.raises(InputError, match=r"a\.tsv could not be written \(No space left on device\): nothing was"),
        written(tmp_path / "there" / "x" / "y" / "a.tsv"),
    ):
        raise OSError(28, "No space left on device")
    assert list((tmp_path / "there").iterdir()) == []


@pytest.mark.parametrize("name", ["a.tsv", "folder"])
@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(tmp_path, monkeypatch, name, there):
    (tmp_path / "store").mkdir()
    real = tmp_path / "store" / name
    if there:
        make(real, "old")
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / name).symlink_to(Path("..") / "store" / name)
    monkeypatch.chdir(tmp_path / "links")
    make(Path(name), "new")
    assert (tmp_path / "links" / name).is_symlink()
    assert not real.is_symlink()
    assert said(real) == "new"
    assert [p.name for p in real.parent.iterdir()] == [name]
    assert [p.name for p in Path.cwd().iterdir()] == [name]


def test_files_of_others_stay_in_a_folder(tmp_path):
    path = tmp_path / "folder"
    make(path, "old")
    (path / "notes").mkdir()
    (path / "notes" / "n.txt").write_text("mine")
    (path / "stale").write_text("old")
    make(path, "new", own=lambda p: p.name in ("a", "b", "stale"))
    assert (path / "notes" / "n.txt").read_text() == "mine"
    assert sorted(p.name for p in path.iterdir()) == ["a", "b", "notes"]
    assert said(path) == "new"


def test_a_folder_is_never_missing_while_it_is_replaced(tmp_path):
    path, going, seen = tmp_path / "folder", threading.Event(), []
    make(path, "0")
    going.set()

    def watch():
        while going.is_set():
            seen.append(path.is_dir() and (path / "a").exists())

    reader = threading.Thread(target=watch)
    reader.start()
    for i in range(50):
        make(path, str(i))
    going.clear()
    reader.join()
    assert said(path) == "49"
    if _output._exchange(*(make(tmp_path / n, n) or tmp_path / n for n in ("x", "y"))):
        assert len(seen) > 50
        assert all(seen)


def test_a_system_that_exchanges_no_folders(tmp_path, monkeypatch):
    monkeypatch.setattr(_output, "_exchange", lambda *_: False)
    path = tmp_path / "folder"
    make(path, "old")
    make(path, "new")
    assert said(path) == "new"
    rename = Path.rename

    def broken(self, target):
        if self.name == "folder" and self.parent != tmp_path:
            raise OSError("disk is gone")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(InputError, match="disk is gone"):
        make(path, "newer")
    assert said(path) == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


@posix
@pytest.mark.parametrize("reading", [True, False])
def test_a_death_between_the_two_steps_is_made_good(tmp_path, reading):
    path = tmp_path / "folder"
    make(path, "old")
    code = (
        "_output._exchange = lambda *_: False\nrename = Path.rename\n"
        "def dying(self, target):\n"
        "    if Path(target) == Path(sys.argv[2]): os._exit(0)\n"
        "    rename(self, target)\n"
        "Path.rename = dying\nmake(Path(sys.argv[2]), 'new')\n"
    )
    finished(child(code, path))
    assert not path.exists()
    recover(path) if reading else make(tmp_path / "other.tsv", "x")
    assert said(path) == "new"
    assert [p.name for p in tmp_path.iterdir() if p.name != "other.tsv"] == ["folder"]


@posix
def test_the_folder_that_is_worked_in_is_replaced_from_within(tmp_path, monkeypatch):
    path = tmp_path / "folder"
    make(path, "old")
    (path / "stale").write_text("old")
    (path / "sub").mkdir()
    monkeypatch.chdir(path)
    make(Path(), "new")
    assert Path.cwd() == path
    assert Path("a").read_text() == "new"
    assert sorted(p.name for p in Path().iterdir()) == ["a", "b"]
    code = (
        "replace = Path.replace\n"
        "def dying(self, target):\n"
        "    if self.name == 'b': os._exit(0)\n"
        "    replace(self, target)\n"
        "Path.replace = dying\nmake(Path(), 'newer')\n"
    )
    finished(child(code, cwd=path))
    assert (path / "a").read_text() != (path / "b").read_text()
    recover(path)
    assert said(path) == "newer"
    assert sorted(p.name for p in path.iterdir()) == ["a", "b"]


@posix
def test_what_the_dead_leave_is_removed_and_what_the_living_make_is_not(tmp_path):
    path = tmp_path / "folder"
    make(path, "old")
    code = "with _output.written(Path(sys.argv[2])) as made:\n    made.mkdir(); print(flush=True); time.sleep(60)\n"
    dead, living = child(code, path), child(code, path)
    for each in (dead, living):
        each.stdout.readline()
    assert len(list(tmp_path.glob(".genexp-*"))) == 2
    dead.kill()
    dead.wait()
    make(path, "new")
    assert said(path) == "new"
    assert len(list(tmp_path.glob(".genexp-*"))) == 1
    living.kill()
    living.communicate()
    dead.communicate()
    make(tmp_path / "a.tsv", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tsv", "folder"]


@posix
@pytest.mark.parametrize("name", ["a.tsv", "folder"])
def test_two_processes_that_write_one_output(tmp_path, name):
    path = tmp_path / name
    code = "for i in range(40):\n    make(Path(sys.argv[2]), sys.argv[3] * 2000)\n"
    both = [child(code, path, text) for text in "xy"]
    texts = set()
    while any(each.poll() is None for each in both):
        if path.is_file():
            texts.add(path.read_text())
        time.sleep(0.001)
    for each in both:
        finished(each)
    assert texts <= {"x" * 2000, "y" * 2000}
    assert said(path) in ("x" * 2000, "y" * 2000)
    assert [p.name for p in tmp_path.iterdir()] == [name]


WRITERS = {
    "m.h5mu": "gx.io.write_mudata(m, path)",
    "m.zarr": "gx.io.write_mudata(m, path)",
    "mask.bigWig": "gx.io.write_bigwig(m, path, key='mask')",
    "elements.bed": "gx.io.write_bed(table, path)",
    "elements.bedpe": "gx.io.write_bedpe(table.assign(gene_tss=5), path)",
    "table.tsv": "write_table(table, path)",
    "figure.png": "write_figure(gx.pl.roc(m, 'p', sample='K562').figure, path)",
    "model": "forest.save(path)",
    "simulated": "gx.datasets.simulate(path, n_genes=20, n_chroms=2)",
    "elements": "gx.datasets.simulate_elements(path, n_genes=4, n_chroms=2)",
    "genome": "gx.io.write_genome(path, fasta=files.genome)",
    "bins.npy": "gx.io.read_deepchrome(folder, bins_path=path)",
}


@posix
def test_a_file_that_may_not_grow_is_one_sentence_and_leaves_nothing(tmp_path):
    write_cell(tmp_path / "cells", "E003")
    code = f"""
import os, resource, sys, numpy as np, pandas as pd, genexp_scverse as gx
from genexp_scverse.cli._outputs import write_figure, write_table
root, folder = sys.argv[1:]
files = gx.datasets.simulate(root + "/in", n_genes=20, n_chroms=2)
x = np.random.default_rng(0).random((200, 2, 200)).astype("f4")
obs = pd.DataFrame({{"chrom": "chr1", "tss": np.arange(200) * 3000 + 30000, "strand": "+"}},
                   index=[f"g{{i}}" for i in range(200)])
window = {{"upstream": 1000, "downstream": 1000, "bin_size": 10, "stranded": True}}
m = gx.io.from_bins(x, genes=list(obs.index), marks=["a", "b"], obs=obs, window=window,
                    expression=x[:, 0].mean(1), unit="log", sample="K562")
m.uns["chrom_sizes"] = pd.DataFrame({{"chrom": ["chr1"], "size": [700_000]}})
m["chromatin"].obsm["mask"] = x[:, 0]
m["chromatin"].uns["mask"] = window
gx.schema.name_axes(m, "mask")
gx.pp.split_at_random(m)
gx.pp.label(m)
m["rna"].layers["p"] = m["rna"].layers["p_prob"] = np.array(m["rna"].layers["log"])
table = pd.DataFrame({{"chrom": "chr1", "start": np.arange(9000) * 10, "end": np.arange(9000) * 10 + 5}})
forest = gx.model.RandomForest(m)
forest.train()
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for name, call in {WRITERS!r}.items():
    path = f"{{root}}/out/{{name}}"
    try:
        eval(call)
        print(name, "was written")
    except gx.InputError as error:
        print(error)
    assert not os.path.exists(root + "/out"), name
"""
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path, tmp_path / "cells"], capture_output=True, text=True, timeout=120
    )
    lines = done.stdout.splitlines()
    assert len(lines) == len(WRITERS), done.stderr
    for name, line in zip(WRITERS, lines, strict=True):
        assert line.startswith(f"{tmp_path}/out/{name} could not be written (File too large"), line
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells", "in"]


def test_an_output_that_is_read_is_refused(tmp_path):
    bins = np.random.default_rng(0).random((4, 1, 600))
    window = {"upstream": 300, "downstream": 300, "bin_size": 1, "stranded": True}
    obs = pd.DataFrame({"chrom": "chr1", "tss": 400, "strand": "+"}, index=list("abcd"))
    mdata = gx.io.from_bins(bins, genes=list("abcd"), marks=["H3K4me3"], obs=obs, window=window)
    mdata.uns["chrom_sizes"] = pd.DataFrame({"chrom": ["chr1"], "size": [1000]})
    mdata["chromatin"].uns["mask"] = window
    for ending in (".h5mu", ".zarr"):
        path = tmp_path / f"m{ending}"
        gx.io.write_mudata(mdata, path)
        lazy = gx.io.read_mudata(path, on_disk=True)
        lazy["chromatin"].obsm["mask"] = bins[:, 0]
        (tmp_path / "link").unlink(missing_ok=True)
        (tmp_path / "link").symlink_to(path)
        with pytest.raises(InputError, match="is a folder" if ending == ".zarr" else "link is the same file as"):
            gx.io.write_bigwig(lazy, tmp_path / "link", key="mask")
        with pytest.raises(InputError, match=r"zarr store|lies inside"):
            gx.io.write_bigwig(lazy, path / "mask.bigWig", key="mask")
        gx.io.read_mudata(path)
    files = gx.datasets.simulate(tmp_path / "in", n_genes=20, n_chroms=2)
    gx.io.write_genome(tmp_path / "genome", fasta=files.genome)
    (tmp_path / "genome" / "codes").rename(tmp_path / "codes")
    files.genome.rename(tmp_path / "genome" / "codes")
    with pytest.raises(InputError, match=r"genome holds .*codes, which is read"):
        gx.io.write_genome(tmp_path / "genome", fasta=tmp_path / "genome" / "codes")


def test_a_bigwig_of_many_chromosomes_is_what_pybigwig_reads(tmp_path):
    """Trees of two levels, blocks and zooms, against libBigWig."""
    from genexp_scverse.io._bigwig_write import new_bigwig

    rng = np.random.default_rng(0)
    sizes = {f"chr{i}": int(rng.integers(200_000, 400_000)) for i in range(300)}
    runs = {}
    with new_bigwig(tmp_path / "a.bigWig", sizes) as out:
        for chrom, size in sizes.items():
            at = np.sort(rng.choice(size, 2 * (3000 if chrom == "chr7" else 20), replace=False))
            runs[chrom] = at[::2], at[1::2], rng.normal(size=len(at) // 2).astype(np.float32)
            for first in range(0, len(at) // 2, 1700):
                out.add(chrom, *(values[first : first + 1700] for values in runs[chrom]))
    with pyBigWig.open(str(tmp_path / "a.bigWig")) as read:
        assert read.chroms() == sizes
        width = sum(int((e - s).sum()) for s, e, _ in runs.values())
        assert read.header()["nBasesCovered"] == width
        for chrom in ("chr0", "chr7", "chr255", "chr256", "chr299"):
            start, end, value = runs[chrom]
            got = pd.DataFrame(read.intervals(chrom), columns=["start", "end", "value"])
            np.testing.assert_array_equal(got["start"], start)
            np.testing.assert_array_equal(got["end"], end)
            np.testing.assert_array_equal(got["value"].astype(np.float32), value)
            mean = np.average(value.astype(float), weights=end - start)
            assert read.stats(chrom, 0, sizes[chrom], exact=True)[0] == pytest.approx(mean, abs=1e-6)
            # of the zoom levels
            assert read.stats(chrom, 0, sizes[chrom])[0] == pytest.approx(mean, abs=2e-3)
            assert read.stats(chrom, 0, sizes[chrom], type="max")[0] == pytest.approx(value.max())
    with new_bigwig(tmp_path / "empty.bigWig", {"chr1": 10}):
        pass
    with pyBigWig.open(str(tmp_path / "empty.bigWig")) as read:
        assert (read.chroms(), read.intervals("chr1")) == ({"chr1": 10}, None)
