"""Bins that lie on disk stay there, and are what they are in memory."""

from __future__ import annotations

import builtins

import h5py
import numpy as np
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse._rows import blocks_of, mapped, on_disk, rows_of
from genexp_scverse.io import _join_arrays

GENES = [f"g{i}" for i in range(20)]
MARKS = ["H3K4me3", "H3K27me3"]


@pytest.fixture
def values():
    x = np.random.default_rng(0).poisson(3, (20, 6, 5)).astype(np.float32)
    x[3, 2, 1] = np.nan
    return x


@pytest.fixture
def file(values, tmp_path):
    np.save(tmp_path / "bins.npy", values)
    return tmp_path / "bins.npy"


def parts(array) -> dict:
    return {s: array[:, 2 * i : 2 * i + 2] for i, s in enumerate("ABC")}


def same(a, b) -> None:
    """Every table of two MuData, and their bins."""
    np.testing.assert_array_equal(np.asarray(a["chromatin"].obsm["bins"]), np.asarray(b["chromatin"].obsm["bins"]))
    np.testing.assert_array_equal(a["chromatin"].X, b["chromatin"].X)
    assert a["chromatin"].var.equals(b["chromatin"].var)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_one_memmap_is_kept(values, tmp_path, dtype):
    np.save(tmp_path / "x.npy", values[:, :2].astype(dtype))
    disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    mdata = gx.io.from_bins(disk, genes=GENES, marks=MARKS)
    assert isinstance(mdata["chromatin"].obsm["bins"], np.memmap)
    assert mdata["chromatin"].obsm["bins"].dtype == dtype
    same(mdata, gx.io.from_bins(values[:, :2], genes=GENES, marks=MARKS))


def test_parts_of_one_memmap_become_it_again(values, file, caplog):
    disk = np.load(file, mmap_mode="r")
    mdata = gx.io.from_bins(parts(disk), genes=GENES, marks=MARKS)
    bins = mdata["chromatin"].obsm["bins"]
    assert mapped(bins)._mmap is disk._mmap
    assert bins.shape == (20, 6, 5)
    same(mdata, gx.io.from_bins(parts(values), genes=GENES, marks=MARKS))
    assert "1 of 600 bins (0.2 %) are NaN" in caplog.text
    np.testing.assert_array_equal(rows_of(bins, np.array([3, 19, 3])), values[[3, 19, 3]])


def test_parts_in_another_order_or_of_a_window_are_not_taken_for_the_whole(values, file):
    disk = np.load(file, mmap_mode="r")
    swapped = dict(reversed(parts(disk).items()))
    same(
        gx.io.from_bins(swapped, genes=GENES, marks=MARKS),
        gx.io.from_bins(dict(reversed(parts(values).items())), genes=GENES, marks=MARKS),
    )
    inner = gx.io.from_bins(parts(disk[4:18, :, 1:4]), genes=GENES[4:18], marks=MARKS)
    same(inner, gx.io.from_bins(parts(values[4:18, :, 1:4]), genes=GENES[4:18], marks=MARKS))
    repeated = {"A": disk[:, :2], "B": disk[:, :2]}
    same(
        gx.io.from_bins(repeated, genes=GENES, marks=MARKS),
        gx.io.from_bins(dict.fromkeys("AB", values[:, :2]), genes=GENES, marks=MARKS),
    )


@pytest.mark.parametrize("kind", ["files", "h5py", "dask", "mixed"])
@pytest.mark.parametrize("named", [True, False])
def test_several_files_are_joined_by_dask(values, tmp_path, monkeypatch, kind, named):
    da = pytest.importorskip("dask.array")
    monkeypatch.setattr(_join_arrays, "IN_MEMORY_BYTES", 0)
    h5 = h5py.File(tmp_path / "x.h5", "w")
    arrays = {}
    for i, (sample, part) in enumerate(parts(values).items()):
        np.save(tmp_path / f"{sample}.npy", part)
        forms = {
            "files": np.load(tmp_path / f"{sample}.npy", mmap_mode="r"),
            "h5py": h5.create_dataset(sample, data=part),
            "dask": da.from_array(part, chunks=(7, 1, 2)),
        }
        arrays[sample] = forms[kind] if kind != "mixed" else (part, *forms.values())[i]
    genes = GENES if named else ["", *GENES[1:7], "", *GENES[8:]]
    mdata = gx.io.from_bins(arrays, genes=genes, marks=MARKS)
    assert type(mdata["chromatin"].obsm["bins"]).__module__.startswith("dask")
    same(mdata, gx.io.from_bins(parts(values), genes=genes, marks=MARKS))


def test_small_files_are_joined_in_memory(values, file):
    disk = np.load(file, mmap_mode="r")
    arrays = {"A": disk[:, 0:2], "B": np.array(disk[:, 2:4])}
    mdata = gx.io.from_bins(arrays, genes=GENES, marks=MARKS)
    assert not on_disk(mdata["chromatin"].obsm["bins"])
    same(mdata, gx.io.from_bins({"A": values[:, :2], "B": values[:, 2:4]}, genes=GENES, marks=MARKS))


def test_without_dask_it_is_said(values, file, monkeypatch):
    monkeypatch.setattr(_join_arrays, "IN_MEMORY_BYTES", 0)
    load = builtins.__import__

    def no_dask(name, *args, **kwargs):
        if name.startswith("dask"):
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_dask)
    disk = np.load(file, mmap_mode="r")
    with pytest.raises(InputError, match="2 arrays on disk can only be joined there with dask: install it"):
        gx.io.from_bins({"A": disk[:, :2], "B": disk[:, 4:]}, genes=GENES, marks=MARKS)


@pytest.mark.parametrize("dtype", ["float64", "int16"])
def test_other_types_become_float32_in_memory(values, tmp_path, dtype):
    x = np.nan_to_num(values[:, :2]).astype(dtype)
    np.save(tmp_path / "x.npy", x)
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        for source in (np.load(tmp_path / "x.npy", mmap_mode="r"), h5.create_dataset("x", data=x)):
            bins = gx.io.from_bins(source, genes=GENES, marks=MARKS)["chromatin"].obsm["bins"]
            assert bins.dtype == np.float32
            assert not on_disk(bins)
            np.testing.assert_array_equal(bins, x)


def test_an_array_in_memory_is_copied(values):
    x = values[:, :2].copy()
    mdata = gx.io.from_bins(x, genes=GENES, marks=MARKS)
    x[:] = 0
    np.testing.assert_array_equal(mdata["chromatin"].obsm["bins"], values[:, :2])


def test_what_is_impossible_is_found_on_disk_too(values, tmp_path):
    values[7, 1, 2] = -1
    np.save(tmp_path / "x.npy", values)
    disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    with pytest.raises(InputError, match=r"track 'A.H3K27me3' holds negative values"):
        gx.io.from_bins(parts(disk), genes=GENES, marks=MARKS)


def test_changes_to_a_copy_on_write_map_are_kept(values, file):
    """Pages of such a map hold what no file has; they are not given back."""
    disk = np.load(file, mmap_mode="c")
    disk[5] = 77
    mdata = gx.io.from_bins(parts(disk), genes=GENES, marks=MARKS)
    assert (mdata["chromatin"].X[5] == 77).all()
    assert (rows_of(disk, np.array([5])) == 77).all()
    written = np.load(file, mmap_mode="r+")
    written[6] = 88
    assert (rows_of(written, np.array([6])) == 88).all()
    assert (rows_of(np.load(file, mmap_mode="r"), np.array([6])) == 88).all()


def test_blocks_hold_whole_chunks(values, tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        chunked = h5.create_dataset("x", data=np.zeros((50, 1000, 300), np.float32), chunks=(16, 100, 300))
        blocks = [rows.tolist() for rows, _ in blocks_of(chunked, np.arange(50))]
    assert [b[0] for b in blocks] == [0, 16, 32, 48]
    rows = np.array([2, 3, 11, 19])
    found = list(blocks_of(values, rows, np.array([4, 1])))
    np.testing.assert_array_equal(np.concatenate([at for at, _ in found]), rows)
    np.testing.assert_array_equal(np.concatenate([x for _, x in found]), values[rows][:, [4, 1]])


@pytest.mark.parametrize("rows", [[], [5], [19, 0, 5], [4, 4, 3], list(range(20))])
@pytest.mark.parametrize("tracks", [None, [5, 1], [2]])
@pytest.mark.parametrize("form", ["memory", "memmap", "h5py", "dask"])
def test_rows_in_any_order(values, file, tmp_path, rows, tracks, form):
    with h5py.File(tmp_path / "x.h5", "w") as h5:
        source = {
            "memory": lambda: values,
            "memmap": lambda: np.load(file, mmap_mode="r"),
            "h5py": lambda: h5.create_dataset("x", data=values),
            "dask": lambda: pytest.importorskip("dask.array").from_array(values, chunks=(3, 4, 5)),
        }[form]()
        at = np.array(rows, np.int64)
        columns = None if tracks is None else np.array(tracks)
        expected = values[at] if tracks is None else values[at][:, columns]
        np.testing.assert_array_equal(rows_of(source, at, columns), expected)
