"""Many cells of DeepChrome in one MuData: in memory, and with the bins in a file."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from deepchrome_files import write_cell

import genexp_scverse as gx
from genexp_scverse import _rows
from genexp_scverse.io import _bins_by_cell
from genexp_scverse.io._bins_by_cell import BinsByCell


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Three cells: the second lacks genes of the first, the third has some that no other has."""
    folder = tmp_path_factory.mktemp("cells")
    for seed, (cell, sizes) in enumerate({"E003": (12, 5, 7), "E004": (9, 5, 7), "E123": (12, 8, 4)}.items()):
        write_cell(folder, cell, sizes=sizes, seed=seed)
    return folder


@pytest.fixture
def small_blocks(monkeypatch):
    """Every cell is a block of its own."""
    monkeypatch.setattr(_bins_by_cell, "BLOCK_BYTES", 1)


def test_each_number_of_a_cell_is_in_its_tracks(cells):
    mdata = gx.io.read_deepchrome(cells)
    chromatin = mdata["chromatin"]
    assert mdata.n_obs == 12 + 8 + 7
    assert list(dict.fromkeys(chromatin.var["sample"])) == ["E003", "E004", "E123"]
    for cell in ("E003", "E004", "E123"):
        alone = gx.io.read_deepchrome(cells / cell)
        at = mdata.obs_names.get_indexer(alone.obs_names)
        mine = (chromatin.var["sample"] == cell).to_numpy()
        np.testing.assert_array_equal(chromatin.obsm["bins"][at][:, mine], alone["chromatin"].obsm["bins"])
        np.testing.assert_array_equal(chromatin.X[at][:, mine], alone["chromatin"].X)
        np.testing.assert_allclose(alone["chromatin"].X, alone["chromatin"].obsm["bins"].mean(2), rtol=1e-6)
        np.testing.assert_array_equal(mdata["rna"][:, cell].layers["label"][at], alone["rna"].layers["label"])
        others = np.setdiff1d(np.arange(mdata.n_obs), at)
        assert np.isnan(chromatin.obsm["bins"][others][:, mine]).all()
        assert np.isnan(chromatin.X[others][:, mine]).all()
        assert np.isnan(mdata["rna"][:, cell].layers["label"][others]).all()


@pytest.mark.parametrize("block", [1, 50_000, 2**27])
def test_a_file_holds_the_same(cells, tmp_path, monkeypatch, block):
    monkeypatch.setattr(_bins_by_cell, "BLOCK_BYTES", block)
    expected = gx.io.read_deepchrome(cells)
    path = tmp_path / "new" / "bins.npy"
    mdata = gx.io.read_deepchrome(cells, bins_path=path)
    bins = mdata["chromatin"].obsm["bins"]
    assert isinstance(bins, np.memmap)
    assert not bins.flags.writeable
    assert bins.dtype == np.float32
    np.testing.assert_array_equal(bins, expected["chromatin"].obsm["bins"])
    np.testing.assert_array_equal(np.load(path), bins)
    np.testing.assert_array_equal(mdata["chromatin"].X, expected["chromatin"].X)
    assert mdata["chromatin"].uns["window"] == expected["chromatin"].uns["window"]
    assert mdata["chromatin"].var.equals(expected["chromatin"].var)
    assert mdata.obs["split"].equals(expected.obs["split"])
    assert [p.name for p in path.parent.iterdir()] == ["bins.npy"]


def test_a_model_reads_the_file_as_it_reads_memory(cells, tmp_path, small_blocks):
    predicted = []
    for bins_path in (None, tmp_path / "bins.npy"):
        mdata = gx.io.read_deepchrome(cells, bins_path=bins_path)
        model = gx.model.DeepChrome(mdata, n_filters=4, n_hidden=[8, 4])
        model.train(2, enable_progress_bar=False, accelerator="cpu", batch_size=8)
        predicted.append(model.predict(split="test"))
    assert isinstance(mdata["chromatin"].obsm["bins"], np.memmap)
    assert list(predicted[0]) == ["E003:prob", "E004:prob", "E123:prob"]
    np.testing.assert_array_equal(predicted[0], predicted[1])


@pytest.mark.parametrize("name", ["m.h5mu", "m.zarr"])
def test_it_can_be_written_and_read(cells, tmp_path, name):
    mdata = gx.io.read_deepchrome(cells, bins_path=tmp_path / "bins.npy")
    gx.io.write_mudata(mdata, tmp_path / name)
    assert isinstance(mdata["chromatin"].obsm["bins"], np.memmap)
    again = gx.io.read_mudata(tmp_path / name)
    np.testing.assert_array_equal(again["chromatin"].obsm["bins"], mdata["chromatin"].obsm["bins"])


def test_what_lies_in_memory_does_not_grow_with_the_cells(tmp_path, monkeypatch):
    monkeypatch.setattr(_bins_by_cell, "BLOCK_BYTES", 2**19)
    monkeypatch.setattr(_rows, "BLOCK_BYTES", 2**17)
    for i in range(24):
        write_cell(tmp_path / "cells", f"E{i:03d}", sizes=(80, 10, 10), seed=i)
    gx.io.read_deepchrome(tmp_path / "cells", sample=["E000", "E001"], bins_path=tmp_path / "bins.npy")
    peaks = {}
    for n in (6, 24):
        names = [f"E{i:03d}" for i in range(n)]
        tracemalloc.start()
        mdata = gx.io.read_deepchrome(tmp_path / "cells", sample=names, bins_path=tmp_path / "bins.npy")
        peaks[n] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert mdata["chromatin"].obsm["bins"].nbytes == n * 100 * 5 * 100 * 4
    assert peaks[24] < peaks[6] + 6e5 < 0.75 * 24 * 100 * 5 * 100 * 4


def test_a_failure_leaves_what_was_there(cells, tmp_path):
    path = tmp_path / "bins.npy"
    gx.io.read_deepchrome(cells, sample="E003", bins_path=path)
    before = path.read_bytes()
    broken = write_cell(tmp_path / "broken", "E005", sizes=(3, 2, 2))
    write_cell(tmp_path / "broken", "E004", sizes=(3, 2, 2))
    (broken / "test.csv").write_text((broken / "test.csv").read_text()[:-400])
    with pytest.raises(gx.InputError, match=r"E005.*test\.csv"):
        gx.io.read_deepchrome(tmp_path / "broken", bins_path=path)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bins.npy", "broken"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("bins.dat", "must end in .npy"), ("folder.npy", "is a folder"), ("file/bins.npy", "cannot be written to")],
)
def test_names_that_cannot_be_are_refused_first(cells, tmp_path, name, said):
    (tmp_path / "folder.npy").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(gx.InputError, match=said):
        gx.io.read_deepchrome(cells / "nowhere", bins_path=tmp_path / name)


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    said = r"bins\.npy could not be written"
    with pytest.raises(gx.InputError, match=said), BinsByCell(5, 100, tmp_path / "bins.npy") as bins:
        bins.put(np.arange(50), np.ones((50, 5, 100), np.float32))
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        try:
            bins.finish()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []
