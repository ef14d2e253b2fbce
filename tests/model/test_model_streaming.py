"""Signal that does not fit in memory: the same numbers, bounded memory, nothing left behind."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import lightning
import numpy as np
import pandas as pd
import pytest
import torch
from small_models import make_mdata, make_model

from genexp_scverse import InputError, _rows
from genexp_scverse.model.base import _data, _signal, _spool
from genexp_scverse.model.base._data import PairBatches, ReadAhead
from genexp_scverse.model.base._signal import SignalTable
from genexp_scverse.model.base._spool import Spool
from genexp_scverse.pp.scaler import SignalScaler

SOURCES = ("array", "memmap", "memmap r+", "memmap c", "view", "turned", "float16", "h5py", "h5py chunks", "dask")


def stored(bins: np.ndarray, kind: str, folder: Path):
    """The same numbers as something else than an array in memory."""
    if kind == "array":
        return bins
    if kind == "float16":
        return bins.astype(np.float16)
    if kind.startswith("h5py"):
        file = h5py.File(folder / "x.h5", "w")
        return file.create_dataset("bins", data=bins, chunks=(7, 2, 3) if kind == "h5py chunks" else None)
    if kind == "dask":
        return pytest.importorskip("dask.array").from_array(bins, chunks=(11, 2, -1))
    if kind == "turned":
        np.save(folder / "x.npy", bins.transpose(1, 0, 2))
        return np.load(folder / "x.npy", mmap_mode="r").transpose(1, 0, 2)
    if kind == "view":
        np.save(folder / "x.npy", np.concatenate([bins[:5], bins])[:, [0, *range(bins.shape[1])]])
        return np.load(folder / "x.npy", mmap_mode="r")[5:, 1:]
    np.save(folder / "x.npy", bins)
    return np.load(folder / "x.npy", mmap_mode=[*kind.split(), "r"][1])


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("how", ["spooled", "by rows"])
def test_every_source_gives_what_a_loop_over_pairs_gives(kind, how, tmp_path, monkeypatch):
    """Also where a sample lacks a mark, bins are turned round, and blocks are short."""
    monkeypatch.setattr(_rows, "BLOCK_BYTES", 4 * 6 * 4 * 9)
    rng = np.random.default_rng(0)
    bins = rng.poisson(3, (43, 5, 6)).astype(np.float32)
    bins[4, 2, 1] = np.nan
    tracks, scales = np.array([[3, 0], [1, -1], [2, 4]]), ["counts", "counts", "counts", "log", "counts"]
    flip = np.arange(43) % 3 == 1
    table = SignalTable(
        stored(bins, kind, tmp_path),
        tracks=tracks,
        marks=["x", "y"],
        scales=scales,
        scaler=SignalScaler.from_dict({"transform": "auto", "marks": ["x", "y"], "divisors": [2.0, 4.0]}),
        flip=flip,
        resident_bytes=1 if how == "spooled" else 0,
    )
    table.to("cpu")
    assert not table.resident
    genes, samples = rng.integers(0, 43, 300), rng.integers(0, 3, 300)
    expected = np.zeros((300, 2, 6))
    for i, (g, s) in enumerate(zip(genes, samples, strict=True)):
        for m, divisor in enumerate((2.0, 4.0)):
            if (t := tracks[s, m]) >= 0:
                x = bins[g, t].astype(float)
                x = np.nan_to_num((x if scales[t] == "log" else np.log1p(x)) / divisor)
                expected[i, m] = x[::-1] if flip[g] else x
    found = table.gather(torch.as_tensor(genes), torch.as_tensor(samples))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    few = torch.tensor([5]), torch.tensor([2])
    np.testing.assert_allclose(
        table.gather(*few)[0], table.gather(torch.tensor([5, 1]), torch.tensor([2, 0]))[0], rtol=0
    )


@pytest.mark.parametrize("name", ["DeepChrome", "Linear"])
@pytest.mark.parametrize("transform", ["auto", "quantile"])
def test_a_model_on_disk_is_the_model_in_memory(name, transform, tmp_path, monkeypatch, caplog):
    memory = make_model(name, make_mdata(), transform=transform)
    expected = memory.predict()
    assert "temporary file" not in caplog.text
    monkeypatch.setattr(_signal, "STREAMED_BYTES", 0)
    mdata = make_mdata()
    mdata["chromatin"].obsm["bins"] = stored(mdata["chromatin"].obsm["bins"], "memmap", tmp_path)
    disk = make_model(name, mdata, transform=transform)
    assert "is streamed from a temporary file" in caplog.text
    assert isinstance(mdata["chromatin"].obsm["bins"], np.memmap)
    pd.testing.assert_frame_equal(disk.predict(), expected, check_exact=True)
    pd.testing.assert_frame_equal(disk.evaluate(), memory.evaluate(), check_exact=True)
    pd.testing.assert_frame_equal(disk.predict(indices=[3, 77]), expected.iloc[[3, 77]], rtol=1e-5)


def test_what_lies_on_disk_stays_there_unless_it_is_small(tmp_path, monkeypatch):
    bins = np.ones((20, 1, 4), np.float32)
    scaler = SignalScaler.from_dict({"transform": "none", "marks": ["x"], "divisors": [1.0]})
    arguments = {"tracks": np.array([[0]]), "marks": ["x"], "scales": ["log"], "scaler": scaler}

    def resident(source) -> bool:
        table = SignalTable(source, **arguments)
        table.to("cpu")
        return table.resident

    disk = stored(bins, "memmap", tmp_path)
    assert resident(bins)
    assert resident(disk)
    monkeypatch.setattr(_signal, "STREAMED_BYTES", 20 * 4 * 4 - 1)
    assert resident(bins)
    assert not resident(disk)
    assert not resident(stored(bins, "dask", tmp_path))
    # a copy of a memmap is of its type, and in memory
    assert resident(disk.copy())


def test_records_come_back_in_any_order():
    rng = np.random.default_rng(0)
    records = rng.random((50, 2, 3)).astype(np.float32)
    spool = Spool(50, (2, 3))
    for start in (30, 0, 10, 20, 40):
        spool.write(start, records[start : start + 10])
    for which in ([7], [], [3, 3, 4, 5, 49, 0], rng.integers(0, 50, 400), np.arange(50)):
        at = np.asarray(which, np.int64)
        np.testing.assert_array_equal(spool.read(at), records[at])
    with pytest.raises(OSError, match="was cut short"):
        spool.read(np.array([50]))


def test_threads_may_read_at_once():
    records = np.arange(4000, dtype=np.float32).reshape(1000, 4)
    spool = Spool(1000, (4,))
    spool.write(0, records)
    wanted = [np.random.default_rng(i).integers(0, 1000, 50) for i in range(200)]
    with ThreadPoolExecutor(8) as pool:
        for at, found in zip(wanted, pool.map(spool.read, wanted), strict=True):
            np.testing.assert_array_equal(found, records[at])


class Tables:
    """What reads ahead wants to know of tables; every reading is noted, and that of gene 7 fails."""

    resident, on_gpu = False, True

    def __init__(self):
        self.read_of = []

    def read(self, genes, samples):
        self.read_of.append(genes.tolist())
        if 7 in genes:
            raise OSError("the disk is gone")
        return {"bins": 10 * genes}


def test_batches_that_are_read_ahead_keep_their_order():
    pairs, tables = torch.arange(20).repeat(2, 1).T, Tables()
    ahead = ReadAhead(PairBatches(pairs + 10, 3, shuffle=True, seed=1), tables)
    batches = list(ahead)
    assert len(ahead) == len(batches) == 7
    expected = list(PairBatches(pairs + 10, 3, shuffle=True, seed=1))
    for (genes, samples, read), (genes_, samples_) in zip(batches, expected, strict=True):
        assert torch.equal(genes, genes_)
        assert torch.equal(samples, samples_)
        assert torch.equal(read["bins"], 10 * genes)
    tables.resident = True
    assert all(len(batch) == 2 for batch in ahead)


def test_what_fails_ahead_fails_at_its_batch():
    pairs, tables = torch.arange(60).repeat(2, 1).T, Tables()
    seen = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(genes.tolist() for genes, *_ in ReadAhead(PairBatches(pairs, 2), tables))
    assert seen == [[0, 1], [2, 3], [4, 5]]


def test_who_stops_stops_the_reading():
    class Slow(Tables):
        def read(self, genes, samples):
            if genes[0]:
                go_on.wait(60)
            return super().read(genes, samples)

    go_on, tables = threading.Event(), Slow()
    batches = iter(ReadAhead(PairBatches(torch.arange(60).repeat(2, 1).T, 1), tables))
    next(batches)
    # the threads hold a batch each, and the last that was asked for waits for one of them
    threading.Timer(0.5, go_on.set).start()
    batches.close()
    assert len(tables.read_of) <= 1 + _data.THREADS
    assert not [each for each in threading.enumerate() if each.name.startswith("read_ahead")]


def open_spools() -> int:
    """Temporary files of this process that have no name any more."""
    links = [str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.is_symlink()]
    return sum("(deleted)" in link and tempfile.gettempdir() in link for link in links)


class Fails(lightning.Callback):
    def on_train_batch_end(self, *_) -> None:
        assert open_spools() == 1
        msg = "the power is gone"
        raise RuntimeError(msg)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc to count open files")
def test_nothing_is_left_after_training_and_prediction(tmp_path, monkeypatch):
    monkeypatch.setattr(_signal, "STREAMED_BYTES", 0)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    mdata = make_mdata()
    mdata["chromatin"].obsm["bins"] = stored(mdata["chromatin"].obsm["bins"], "memmap", tmp_path)
    model = make_model("DeepChrome", mdata)
    model.evaluate()
    gc.collect()
    assert open_spools() == 0
    with pytest.raises(RuntimeError, match="the power is gone"):
        model.train(1, accelerator="cpu", enable_progress_bar=False, callbacks=[Fails()])
    gc.collect()
    assert open_spools() == 0
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="a file in use has a name on Windows")
def test_a_killed_process_leaves_no_file(tmp_path):
    # the file alone, without the package around it, which takes seconds to load
    path = Path(_spool.__file__)
    code = (
        "import sys, numpy as np, runpy; Spool = runpy.run_path(sys.argv[1])['Spool']\n"
        "s = Spool(1000, (100,)); s.write(0, np.ones((1000, 100), np.float32)); print('ready', flush=True)\n"
        "sys.stdin.read()"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout.readline() == b"ready\n"
        assert [p for p in tmp_path.iterdir() if p.is_file()] == []
        process.kill()
        process.wait()
    assert [p for p in tmp_path.iterdir() if p.is_file()] == []


def test_room_is_asked_for_before_the_work(monkeypatch):
    usage = shutil.disk_usage(tempfile.gettempdir())
    monkeypatch.setattr(_spool.shutil, "disk_usage", lambda folder: usage._replace(free=3 * 10**9))
    with pytest.raises(InputError, match=r"needs 4\.0 GB of temporary room .* has 3\.0 GB: set TMPDIR"):
        Spool(10**6, (1000,))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_up_is_said(monkeypatch):
    spool = Spool(4, (2,))
    spool._file.close()
    spool._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115
    with pytest.raises(InputError, match="set TMPDIR to a folder with more"):
        spool.write(0, np.zeros((4, 2), np.float32))
    assert spool._file.closed


MEMORY = """
import sys, numpy as np, torch
import genexp_scverse as gx
from genexp_scverse.model.base._tables import build_tables
from genexp_scverse.model.base._statistics import fit_statistics
from genexp_scverse.model import Linear
from genexp_scverse.pp.scaler import SignalScaler
# ru_maxrss would begin with the peak of the process that started this one
peak = lambda: int(open("/proc/self/status").read().split("VmHWM:")[1].split()[0]) / 1024
before = peak()
bins = np.load(sys.argv[1], mmap_mode="r")
n, samples = len(bins), [f"s{i}" for i in range(bins.shape[1] // 2)]
level = np.random.default_rng(0).random(n)
mdata = gx.io.from_bins(
    {s: bins[:, 2 * i : 2 * i + 2] for i, s in enumerate(samples)}, genes=[f"g{i}" for i in range(n)],
    marks=["x", "y"], expression={s: level for s in samples}, unit="log", scale="counts",
)
gx.pp.split_at_random(mdata)
gx.pp.mean_profile(mdata)
setup = Linear(mdata).setup_
for transform in ("auto", "quantile"):
    scaler = SignalScaler.from_dict(fit_statistics(mdata, setup, transform)["scaler"])
    tables = build_tables(mdata, setup, samples=samples, thresholds={}, scaler=scaler, stranded=True).to("cpu")
    assert not tables.signal.resident
    for _ in range(10):
        tables.gather(torch.randint(n, (1024,)), torch.randint(len(samples), (1024,)))
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to tell the peak of memory")
def test_memory_does_not_grow_with_the_file(tmp_path):
    """320 MB of signal through every step of a training, with touched pages of the file counted."""
    file = tmp_path / "bins.npy"
    out = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(8000, 20, 500))
    out[:] = np.random.default_rng(0).poisson(2, (1, 20, 500))
    del out
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", MEMORY, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert float(done.stdout.split()[-1]) < 200
