"""What reordered, joined, old and handmade MuData are read as: values worked out by hand, and what is refused."""

from __future__ import annotations

import logging

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
from small_models import make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError, _axes, _tracks
from genexp_scverse._compat import nothing_pulled
from genexp_scverse._rows import Aligned, blocks_of, on_disk, rows_of

WINDOW = {"upstream": 20, "downstream": 20, "bin_size": 10, "stranded": True}


def two_samples(**options):
    """Bins of gene g, track t: 10 g + t, in four bins."""
    bins = {s: np.full((3, 2, 4), np.arange(3)[:, None, None] * 10) for s in ("A", "B")}
    bins = {s: b + 2 * i + np.arange(2)[None, :, None] for i, (s, b) in enumerate(bins.items())}
    table = pd.DataFrame({"A": [1.0, 2.0, 3.0], "B": [4.0, 5.0, 6.0]}, index=list("abc"))
    options = {"window": WINDOW, "genes": list("abc"), "marks": ["K4", "K27"]} | options
    return gx.io.from_bins(bins, expression=table, unit="log", **options)


def with_tracks(mdata, chromatin):
    with nothing_pulled():
        out = md.MuData({**mdata.mod, "chromatin": chromatin}, axis=0)
        for column in mdata.obs:
            out.obs[column] = mdata.obs[column].array
    return out


def first_bins(mdata) -> list:
    return np.asarray(_tracks.tracks_of(mdata).bins[:, :, 0]).tolist()


def test_reordered_tracks_are_read_in_the_order_of_var(caplog):
    mdata = two_samples()
    turned = with_tracks(mdata, mdata["chromatin"][:, [3, 0, 2, 1]].copy())
    gx.schema.validate(turned)
    assert first_bins(turned) == [[3, 0, 2, 1], [13, 10, 12, 11], [23, 20, 22, 21]]
    assert caplog.text.count('obsm["bins"] holds its tracks in another order than var') == 1
    caplog.clear()
    few = with_tracks(mdata, mdata["chromatin"][:, ["A.K27", "B.K27"]].copy())
    assert first_bins(few) == [[1, 3], [11, 13], [21, 23]]
    assert "another order" not in caplog.text
    assert first_bins(gx.pp.select(turned)) == first_bins(turned)


@pytest.mark.parametrize("name", ["DeepChrome", "Linear"])
def test_a_trained_model_predicts_the_same_whatever_is_done_to_genes_and_tracks(name, tmp_path):
    """To the last digit; on r = -0.74 they differed when tracks were read by position."""
    mdata = make_mdata(n_genes=80)
    model = make_model(name, mdata, train=True)
    expected = model.predict()
    n = mdata["chromatin"].n_vars
    turned = with_tracks(mdata, mdata["chromatin"][:, np.random.default_rng(0).permutation(n)].copy())
    pd.testing.assert_frame_equal(model.predict(turned), expected, check_exact=True)
    # in place, after the model was registered for it
    mdata.mod["chromatin"] = turned["chromatin"]
    pd.testing.assert_frame_equal(model.predict(), expected, check_exact=True)
    pd.testing.assert_frame_equal(model.predict(gx.pp.select(turned)), expected, check_exact=True)
    other = gx.pp.select(turned, samples=["B", "A"], marks=turned["chromatin"].var["mark"].unique()[::-1])
    pd.testing.assert_frame_equal(model.predict(other)[list(expected)], expected, check_exact=True)
    gx.io.write_mudata(turned, tmp_path / "m.h5mu")
    for on_disk_ in (False, True):
        again = gx.io.read_mudata(tmp_path / "m.h5mu", on_disk=on_disk_)
        pd.testing.assert_frame_equal(model.predict(again), expected, check_exact=True)
    halves = [m[at].copy() for m, at in ((mdata, slice(40, 80)), (gx.pp.select(turned), slice(0, 40)))]
    joined = {k: ad.concat([h[k] for h in halves], merge="first") for k in mdata.mod}
    with nothing_pulled():
        joined = md.MuData(joined, axis=0)
    joined.obs["strand"] = pd.concat([h.obs["strand"] for h in halves]).array
    np.testing.assert_allclose(model.predict(joined).loc[expected.index], expected, rtol=1e-6, atol=1e-6)


def test_swapped_labels_are_no_reordering(caplog):
    """The signal stays with its row of var, which has another name now."""
    mdata = two_samples()
    var = mdata["chromatin"].var
    mdata["chromatin"].var = var.iloc[[1, 0, 2, 3]]
    assert first_bins(mdata) == [[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]
    assert not any(r.levelno >= logging.WARNING for r in caplog.records)


@pytest.mark.parametrize("uns_merge", [None, "same", "unique", "first", "only"])
def test_genes_of_another_order_of_tracks_are_joined(uns_merge):
    mdata = two_samples()
    other = gx.pp.select(mdata, samples=["B", "A"])
    other["chromatin"].obs_names = ["d", "e", "f"]
    joined = ad.concat([mdata["chromatin"], other["chromatin"]], merge="first", uns_merge=uns_merge)
    assert joined.obsm["bins"][:, :, 0].tolist()[3] == [2, 3, 0, 1]
    with nothing_pulled():
        assert first_bins(md.MuData({"chromatin": joined}, axis=0)) == 2 * first_bins(mdata)
    assert _axes.window_of(joined, "bins") == WINDOW


def wrong_width(c):
    c.obsm["bins"] = c.obsm["bins"][:, :3]


def exchanged(c):
    c.obsm["bins"] = c.obsm["bins"][:, [1, 0, 2, 3]]
    return c[:, [1, 0, 2, 3]].copy()


def other_window(c):
    other = two_samples(window=WINDOW | {"upstream": 30, "downstream": 10})["chromatin"]
    other.obs_names = list("def")
    return ad.concat([c, other], merge="first", uns_merge="first")


def other_samples(c):
    other = c.copy()
    other.X = other.X + 1
    other.var["sample"] += "2"
    other.var_names = [f"{n}2" for n in other.var_names]
    gx.schema.name_axes(other)
    _axes.number_tracks(other)
    return ad.concat([c, other], axis=1, merge="first", uns_merge="first")


def same_samples(c):
    other = c.copy()
    other.var["sample"] += "2"
    other.var_names = [f"{n}2" for n in other.var_names]
    return ad.concat([c, other], axis=1, merge="first", uns_merge="first")


def other_uns(c):
    c.uns["window"] = WINDOW | {"stranded": False}


def no_record(c):
    del c.obsm["bins_axes"]


def no_numbers(c):
    del c.layers["track"]


def same_names(c):
    c.var["mark"] = "K4"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (wrong_width, r'"bins"\] has shape \(3, 3, 4\) and had 4 tracks'),
        (exchanged, r'"bins"\] was changed'),
        (other_window, r"window 20 \+ 20 bases in bins of 10 in 3 genes and of 30 \+ 10 bases in bins of 10 in 3"),
        (other_samples, r"does not hold the track 'A.K42', 'A.K272'"),
        (same_samples, r"holds a track twice"),
        (other_uns, r"made of the window 20 \+ 20 bases in bins of 10 and .* says stranded False"),
        (no_record, r'not known what the axes of obsm\["bins"\] are'),
        (no_numbers, r'layers has no "track"'),
        (same_names, r"var has sample and mark 'A.K4', 'B.K4' twice"),
    ],
    ids=lambda v: getattr(v, "__name__", ""),
)
def test_what_is_not_known_is_refused_with_what_to_do(change, said):
    mdata = two_samples()
    chromatin = change(mdata["chromatin"])
    with nothing_pulled():
        mdata = mdata if chromatin is None else md.MuData({"chromatin": chromatin}, axis=0)
    with pytest.raises(InputError, match=said) as error:
        gx.schema.validate(mdata)
    assert "gx.schema.name_axes(mdata" in str(error.value) or change in (other_window, same_names)


def test_names_are_given_to_an_array_made_by_hand():
    mdata = two_samples()
    chromatin = mdata["chromatin"][:, [1, 0, 2, 3]].copy()
    chromatin.obsm["bins"] = np.asarray(mdata["chromatin"].obsm["bins"])[:, [1, 0, 2, 3]]
    gx.schema.name_axes(chromatin, "bins")
    assert first_bins(with_tracks(mdata, chromatin))[0] == [1, 0, 2, 3]
    # what is known stays, unless it is named
    turned = mdata["chromatin"][:, [1, 0, 2, 3]].copy()
    gx.schema.name_axes(turned)
    assert first_bins(with_tracks(mdata, turned))[0] == [1, 0, 2, 3]
    with pytest.raises(InputError, match=r"no array 'other' whose axes are tracks, bins or bases: it has 'bins'"):
        gx.schema.name_axes(turned, "other")


@pytest.mark.parametrize("ending", [".h5mu", ".zarr"])
def test_older_files_are_named_when_they_are_read(ending, tmp_path, caplog):
    mdata = two_samples()
    gx.pp.log1p(mdata)
    del mdata["chromatin"].obsm["bins_axes"], mdata["chromatin"].obsm["bins_log1p_axes"]
    del mdata["chromatin"].layers["track"]
    mdata.uns["schema_version"] = "1"
    path = tmp_path / f"old{ending}"
    gx.io.write_mudata(mdata, path)
    for on_disk_ in (False, True):
        caplog.clear()
        old = gx.io.read_mudata(path, on_disk=on_disk_)
        assert caplog.text.count("of schema version 1") == 1
        assert old.uns["schema_version"] == gx.schema.SCHEMA_VERSION
        turned = with_tracks(old, old["chromatin"][:, [2, 3, 1, 0]].copy())
        assert first_bins(turned)[1] == [12, 13, 11, 10]
        log = np.asarray(_axes.get(turned["chromatin"], "bins_log1p"))
        np.testing.assert_allclose(log[1, :, 0], np.log1p([12, 13, 11, 10]), rtol=1e-6)


def test_select_takes_samples_and_marks_in_the_order_given():
    mdata = two_samples()
    mdata["rna"].layers["model"] = np.asarray(mdata["rna"].X) + 100
    gx.pp.log1p(mdata)
    gx.pp.add_gene_features(mdata, pd.DataFrame({"length": [1.0, 2.0, 3.0]}, index=list("abc")), key="length")
    for sample in "AB":
        _axes.put(mdata["chromatin"], f"mask_{sample}", np.full((3, 4), ord(sample)), window=WINDOW, of=sample)
    mdata["chromatin"].uns["mask"] = WINDOW | {"samples": ["A", "B"]}
    few = gx.pp.select(mdata, samples=["B", "A"], marks=["K27", "K4"])
    assert few["chromatin"].var_names.tolist() == ["B.K27", "B.K4", "A.K27", "A.K4"]
    assert few["chromatin"].obsm["bins"][:, :, 0].tolist()[0] == [3, 2, 1, 0]
    np.testing.assert_allclose(few["chromatin"].obsm["bins_log1p"][0, :, 0], np.log1p([3, 2, 1, 0]), rtol=1e-6)
    assert few["rna"].var_names.tolist() == ["B", "A"]
    assert few["rna"].layers["model"].tolist()[0] == [104, 101]
    assert few["dna"].var_names.tolist() == ["length"]
    one = gx.pp.select(mdata, samples="B")
    assert one["chromatin"].X.tolist() == [[2, 3], [12, 13], [22, 23]]
    assert {k for k in one["chromatin"].obsm if "mask" in k} == {"mask", "mask_axes"}
    assert one["chromatin"].uns["mask"]["samples"].tolist() == ["B"]
    assert mdata["chromatin"].n_vars == 4 and "mask_A" in mdata["chromatin"].obsm
    for options, said in (
        ({"samples": "C"}, "there is no sample 'C': it has 'A', 'B'"),
        ({"marks": ["K5"]}, "there is no mark 'K5': it has 'K4', 'K27'"),
        ({"samples": ["A", "A"]}, "name at least one sample, and each once"),
        ({"marks": []}, "name at least one mark, and each once"),
    ):
        with pytest.raises(InputError, match=said):
            gx.pp.select(mdata, **options)


@pytest.mark.parametrize("kind", ["memmap", "dask", "h5py"])
def test_arrays_on_disk_stay_there(kind, tmp_path):
    x = np.random.default_rng(0).random((50, 4, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    disk = np.load(tmp_path / "x.npy", mmap_mode="r")
    if kind == "dask":
        disk = pytest.importorskip("dask.array").from_array(disk, chunks=(20, -1, -1), name=False)
    elif kind == "h5py":
        h5py = pytest.importorskip("h5py")
        disk = h5py.File(tmp_path / "x.h5", "w").create_dataset("x", data=x, chunks=(7, 4, 6))
    array = Aligned(disk, np.array([[2, -1, 0], [3, 1, 0]]), np.arange(50) % 2)
    expected = np.where(
        (np.arange(50) % 2)[:, None, None], x[:, [3, 1, 0]], np.where([[[0], [1], [0]]], np.nan, x[:, [2, 1, 0]])
    )
    assert on_disk(array) and array.shape == (50, 3, 6)
    np.testing.assert_array_equal(np.asarray(array), expected)
    np.testing.assert_array_equal(
        rows_of(array, np.array([7, 3, 3, 40]), np.array([2, 1])), expected[[7, 3, 3, 40]][:, [2, 1]]
    )
    np.testing.assert_array_equal(np.concatenate([b for _, b in blocks_of(array, np.arange(50))]), expected)
    np.testing.assert_array_equal(array[4, 1, 2:4], expected[4, 1, 2:4])
    np.testing.assert_array_equal(array[:, 2], expected[:, 2])
    mdata = gx.io.from_bins(disk, genes=[f"g{i}" for i in range(50)], marks=list("abcd"))
    few = gx.pp.select(mdata, marks=["d", "a"])
    pytest.importorskip("dask")
    assert on_disk(few["chromatin"].obsm["bins"])
    np.testing.assert_array_equal(np.asarray(few["chromatin"].obsm["bins"]), x[:, [3, 0]])


def test_windows_of_a_genome_are_those_of_the_genes_in_their_order(tmp_path):
    paths = gx.datasets.simulate(tmp_path, n_genes=20, n_chroms=2)
    mdata = gx.io.build_mudata(genes=paths.genes, fasta=paths.genome, upstream=20, downstream=20)
    gx.io.write_genome(tmp_path / "genome", sheet=paths.sheet, bin_size=1)
    gx.io.attach_genome(mdata, tmp_path / "genome", upstream=100, downstream=100)
    windows = gx.io.genome_windows(mdata)
    turned = mdata[np.arange(mdata.n_obs)[::-1]].copy()
    assert _tracks.tracks_of(mdata, windows) is not None
    with pytest.raises(InputError, match="windows are of other genes than the MuData, or in another order"):
        _tracks.tracks_of(turned, windows)
