from __future__ import annotations

import json

import h5py
import numpy as np
import pytest

import genexp_scverse as gx
from genexp_scverse import _rows


@pytest.fixture
def mdata(shared_data):
    """Real read counts of two cell lines, 200 bins of 5 marks."""
    z = np.load(shared_data / "read_counts_200bins" / "deepdiff_600genes.npz")
    mdata = gx.io.from_bins(
        {s: z[f"X_{s}"].transpose(0, 2, 1) for s in ("E123", "E003")},
        genes=z["ensembl_id"],
        marks=z["marks"],
        expression={s: z[f"expr_{s}"] for s in ("E123", "E003")},
        unit="counts",
        scale="counts",
    )
    mdata.obs["split"] = z["split"]
    return mdata


def test_divisors_are_those_of_numpy_on_the_whole_array(mdata, monkeypatch):
    monkeypatch.setattr(_rows, "BLOCK_BYTES", 4 * 2000 * 37)  # blocks of 37 genes
    bins = mdata["chromatin"].obsm["bins"]
    before = bins.copy()
    gx.pp.scale(mdata)
    train = (mdata.obs["split"] == "train").to_numpy()
    logged = np.log1p(bins.astype(np.float64))
    scaled = mdata["chromatin"].obsm["bins_scaled"]
    assert scaled.dtype == np.float32
    for mark in mdata["chromatin"].var["mark"].unique():
        tracks = np.flatnonzero(mdata["chromatin"].var["mark"] == mark)
        assert len(tracks) == 2
        divisor = logged[train][:, tracks].std()
        np.testing.assert_allclose(mdata["chromatin"].var["scale_divisor"].iloc[tracks], divisor, rtol=1e-6)
        np.testing.assert_allclose(scaled[:, tracks], logged[:, tracks] / divisor, rtol=1e-5)
        assert scaled[train][:, tracks].std() == pytest.approx(1, rel=1e-4)
    assert (scaled[bins == 0] == 0).all()
    np.testing.assert_array_equal(bins, before)


def test_test_genes_do_not_move_the_scale(mdata):
    bins, var = mdata["chromatin"].obsm["bins"], mdata["chromatin"].var
    rows = gx.pp.training_rows(mdata)
    changed = bins.copy()
    changed[np.setdiff1d(np.arange(600), rows)] *= 1000
    first, second = (gx.pp.SignalScaler().fit(x, list(var["scale"]), list(var["mark"]), rows) for x in (bins, changed))
    assert first.to_dict() == second.to_dict()


@pytest.mark.parametrize("form", ["memmap", "float16", "hdf5", "dask"])
def test_other_arrays_give_the_same(form, mdata, tmp_path):
    bins = mdata["chromatin"].obsm["bins"]
    if form == "memmap":
        other = np.memmap(tmp_path / "bins", np.float32, "w+", shape=bins.shape)
        other[:] = bins
    elif form == "float16":
        bins = bins.clip(max=2000)
        other = bins.astype(np.float16)
    elif form == "hdf5":
        other = h5py.File(tmp_path / "bins.h5", "w").create_dataset("bins", data=bins)
    else:
        other = pytest.importorskip("dask.array").from_array(bins, chunks=(100, -1, -1))
    var = mdata["chromatin"].var
    args = list(var["scale"]), list(var["mark"]), gx.pp.training_rows(mdata)
    ours, plain = gx.pp.SignalScaler().fit(other, *args), gx.pp.SignalScaler().fit(bins, *args)
    assert ours.divisors == pytest.approx(plain.divisors, rel=1e-3 if form == "float16" else 1e-9)


def test_chosen_tracks_only(mdata):
    bins, var, rows = mdata["chromatin"].obsm["bins"], mdata["chromatin"].var, gx.pp.training_rows(mdata)
    ours = gx.pp.SignalScaler("none").fit(bins, ["counts"] * 2, ["H3K4me3", "H3K9me3"], rows, tracks=[6, 2])
    assert list(var["mark"].iloc[[6, 2]]) == ["H3K4me3", "H3K9me3"]
    assert ours.divisors["H3K4me3"] == pytest.approx(bins[rows, 6].astype(float).std(), rel=1e-9)
    assert ours.divisors["H3K9me3"] == pytest.approx(bins[rows, 2].astype(float).std(), rel=1e-9)


def test_log_ratios_are_not_logged_and_gaps_become_zero(shared_data):
    z = np.load(shared_data / "yeast" / "marks26_nuc12.npz")
    x = z["x"]
    rows = np.arange(0, 4858, 2)
    scaler = gx.pp.SignalScaler().fit(x, ["log_ratio"] * 26, list(z["mark"]), rows)
    expected = np.nanstd(x[rows].astype(np.float64), axis=(0, 2))
    np.testing.assert_allclose(list(scaler.divisors.values()), expected, rtol=1e-9)
    scaled = scaler.transform(x, ["log_ratio"] * 26, list(z["mark"]))
    gaps = np.isnan(x)
    assert gaps.any()
    assert (scaled[gaps] == 0).all()
    np.testing.assert_allclose(scaled[~gaps], (x / expected[:, None])[~gaps], rtol=1e-5)


@pytest.mark.parametrize(
    "transform, scale, function",
    [
        ("auto", "coverage", np.log1p),
        ("auto", "fold_change", np.log1p),
        ("auto", "pvalue", np.log1p),
        ("auto", "log", lambda x: x),
        ("none", "counts", lambda x: x),
        ("arcsinh", "log_ratio", np.arcsinh),
        ("log1p", "log", np.log1p),
    ],
)
def test_transform_by_scale(transform, scale, function):
    x = np.random.default_rng(0).gamma(1, 5, (20, 1, 8))
    scaler = gx.pp.SignalScaler(transform).fit(x, [scale], ["m"], np.arange(10))
    divisor = function(x[:10]).std()
    assert scaler.divisors["m"] == pytest.approx(divisor, rel=1e-6)
    np.testing.assert_allclose(scaler.transform(x, [scale], ["m"]), function(x) / divisor, rtol=1e-5)


def test_far_from_zero_the_digits_are_kept():
    x = 1000 + np.random.default_rng(0).integers(0, 3, (5000, 1, 4)).astype(np.float32)
    scaler = gx.pp.SignalScaler("none").fit(x, ["log"], ["m"], np.arange(5000))
    assert scaler.divisors["m"] == pytest.approx(x.astype(np.float64).std(), rel=1e-10)


def test_state_goes_through_json(mdata):
    gx.pp.scale(mdata)
    chromatin = mdata["chromatin"]
    state = chromatin.uns["bins_scaled_scaler"]
    again = gx.pp.SignalScaler.from_dict(json.loads(json.dumps(state)))
    x = again.transform(chromatin.obsm["bins"], list(chromatin.var["scale"]), list(chromatin.var["mark"]))
    np.testing.assert_array_equal(x, chromatin.obsm["bins_scaled"])


def test_constant_mark_is_left_as_it_is(caplog):
    x = np.zeros((4, 2, 3))
    x[:, 1] = np.arange(3)
    scaler = gx.pp.SignalScaler("none").fit(x, ["counts"] * 2, ["empty", "full"], [0, 1])
    assert scaler.divisors["empty"] == 1.0
    assert "'empty' is constant" in caplog.text
    assert scaler.divisors["full"] == pytest.approx(np.std([0, 1, 2]))


def test_profile_is_the_mean_over_training_genes(shared_data):
    z = np.load(shared_data / "yeast" / "marks26_nuc12.npz")
    mdata = gx.io.from_bins(z["x"], genes=z["gene_id"], marks=z["mark"], scale="log_ratio")
    gx.pp.split_at_random(mdata)
    gx.pp.mean_profile(mdata)
    train = (mdata.obs["split"] == "train").to_numpy()
    expected = np.nanmean(mdata["chromatin"].obsm["bins"][train].astype(np.float64), axis=0)
    np.testing.assert_allclose(mdata["chromatin"].varm["profile"], expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(gx.InputError, match="no 'nothing'"):
        gx.pp.mean_profile(mdata, key="nothing")


def test_errors(mdata):
    x = np.ones((3, 1, 2))
    with pytest.raises(gx.InputError, match="transform='sqrt' is unknown: choose one of auto"):
        gx.pp.SignalScaler("sqrt")
    with pytest.raises(gx.InputError, match="no training genes"):
        gx.pp.SignalScaler().fit(x, ["counts"], ["m"], [])
    with pytest.raises(gx.InputError, match="'m' is negative"):
        gx.pp.SignalScaler().fit(-x, ["counts"], ["m"], [0])
    with pytest.raises(gx.InputError, match="'m' is not covered at all"):
        gx.pp.SignalScaler().fit(x * np.nan, ["counts"], ["m"], [0])
    with pytest.raises(gx.InputError, match="unknown scale 'rpkm'"):
        gx.pp.SignalScaler().fit(x, ["rpkm"], ["m"], [0])
    with pytest.raises(gx.InputError, match="no scale was fitted for mark 'other': fitted are 'm'"):
        gx.pp.SignalScaler().fit(x, ["counts"], ["m"], [0]).transform(x, ["counts"], ["other"])
    with pytest.raises(gx.InputError, match=r"shape \(1, 1, 2\), expected genes x 2 tracks"):
        gx.pp.SignalScaler().fit(x, ["counts"] * 2, ["m", "n"], [0])
    with pytest.raises(gx.InputError, match="2 scales for 1 marks"):
        gx.pp.SignalScaler().fit(x, ["counts"] * 2, ["m"], [0])
    with pytest.raises(gx.InputError, match="would write over the signal"):
        gx.pp.scale(mdata, key_added="bins")
    with pytest.raises(gx.InputError, match="no 'nothing'"):
        gx.pp.scale(mdata, key="nothing")
    del mdata.obs["split"]
    with pytest.raises(gx.InputError, match="split_by_chromosome"):
        gx.pp.scale(mdata)
