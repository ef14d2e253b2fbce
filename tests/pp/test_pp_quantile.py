"""Quantile maps against numpy and against numbers worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError, _rows
from genexp_scverse.pp.quantiles import LEVELS, QuantileMaps, SignalHistogram
from genexp_scverse.pp.scaler import SignalScaler


def interpolated(x: np.ndarray, knots: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The map by its definition: 0 to 0, quantile to quantile, straight between; ties at the mean of their values."""
    points = sorted({0.0, *knots.tolist()})
    heights = [np.mean([0.0, *values[knots == p]] if p == 0 else values[knots == p]) for p in points]
    return np.interp(x, points, heights)


def test_histogram_has_the_quantiles_of_numpy():
    rng = np.random.default_rng(0)
    # whole numbers up to 2048 are exact in float16
    x = rng.poisson([[[1.0]], [[40.0]]], (2, 3, 4000)).astype(np.float32)
    x[0, 0, :50] = np.nan
    histogram = SignalHistogram(3)
    for part in np.split(x, 8, axis=2):
        histogram.add(part)
    for i in range(3):
        positive = x[:, i][x[:, i] > 0]
        np.testing.assert_allclose(histogram.quantiles(i), np.quantile(positive, LEVELS), rtol=1e-12)
        assert histogram.zeros[i] == (x[:, i] == 0).sum()
    values, n = histogram.values(1)
    assert dict(zip(values, n, strict=True)) == {
        v: c for v, c in zip(*np.unique(x[:, 1], return_counts=True), strict=True) if v
    }


def test_histogram_of_any_numbers_is_within_a_thousandth():
    rng = np.random.default_rng(1)
    x = np.concatenate([rng.lognormal(0, 3, 20_000), [1e6, 3e-8], -rng.lognormal(-2, 1, 5000)])[None, None]
    histogram = SignalHistogram(1)
    histogram.add(x.astype(np.float32))
    high, low = x[x > 0], -x[x < 0]
    exact = np.quantile(high, LEVELS)
    # float16 ends at 65504
    np.testing.assert_allclose(histogram.quantiles(0)[1:-1], exact[1:-1], rtol=1e-3)
    assert histogram.quantiles(0)[-1] == 65504
    np.testing.assert_allclose(histogram.quantiles(0, side="negative"), np.quantile(low, LEVELS), rtol=1e-3)
    assert histogram.quantiles(0, side="negative", levels=[0.5]) == pytest.approx(np.median(low), rel=1e-3)


def test_map_by_hand():
    """Two tracks, quantiles 2, 4 and 6, 12: their mean is 4, 8."""
    histogram = SignalHistogram(2)
    histogram.add(np.array([[[0, 2, 3, 4], [6, 9, 12, 0]]], np.float32))
    maps = QuantileMaps()
    maps.fit(histogram, ["A.x", "B.x"], ["x", "x"])
    assert maps.reference["x"]["positive"][0] == 4
    assert maps.reference["x"]["positive"][-1] == 8
    # below the least quantile on the line to 0, above the largest flat
    a = maps.apply(np.array([0, 1, 2, 3, 4, 100, np.nan]), "A.x", "x")
    np.testing.assert_allclose(a, [0, 2, 4, 6, 8, 8, np.nan], rtol=1e-6)
    b = maps.apply(np.array([0, 3, 6, 9, 12, 100, np.nan]), "B.x", "x")
    np.testing.assert_allclose(b, a, rtol=1e-6)


def test_ties_take_the_mean_of_their_ranks_and_maps_rise():
    rng = np.random.default_rng(0)
    x = np.stack([rng.choice([0, 1, 1, 1, 5, 9], 3000), rng.choice([0, 2, 3, 3, 4], 3000)])[None].astype(np.float32)
    histogram = SignalHistogram(2)
    histogram.add(x)
    maps = QuantileMaps()
    maps.fit(histogram, ["A.x", "B.x"], ["x", "x"])
    quantiles = [np.quantile(x[0, i][x[0, i] > 0], LEVELS) for i in range(2)]
    reference = np.mean(quantiles, axis=0)
    grid = np.linspace(0, 10, 400)
    for i, name in enumerate(["A.x", "B.x"]):
        found = maps.apply(grid, name, "x")
        np.testing.assert_allclose(found, interpolated(grid, quantiles[i], reference), rtol=1e-9)
        assert (np.diff(found) >= -1e-12).all()


def test_negative_signal_is_mapped_by_its_size():
    histogram = SignalHistogram(2)
    histogram.add(np.array([[[-2, -4, 1, 3], [-1, -1, 10, 30]]], np.float32))
    maps = QuantileMaps()
    maps.fit(histogram, ["A.x", "B.x"], ["x", "x"])
    found = maps.apply(np.array([-4.0, -2.0, 0.0, 1.0, 3.0]), "A.x", "x")
    np.testing.assert_allclose(found, [-2.5, -1.5, 0, 5.5, 16.5])


@pytest.fixture
def two():
    """B is A seen through another instrument: more depth and another response, gaps in both."""
    rng = np.random.default_rng(0)
    a = rng.poisson(rng.gamma(0.6, 4, (300, 2, 30))).astype(np.float32)
    b = np.floor(3 * a**1.4).astype(np.float32)
    bins = np.concatenate([a, b], axis=1)
    bins[rng.random(bins.shape) < 0.05] = np.nan
    return bins


MARKS, SAMPLES, SCALES = ["x", "y", "x", "y"], ["A", "A", "B", "B"], ["counts"] * 4


def test_scaler_is_what_numpy_says(two, monkeypatch):
    monkeypatch.setattr(_rows, "BLOCK_BYTES", 4 * 120 * 41)
    rows = np.arange(0, 300, 2)
    scaler = SignalScaler("quantile").fit(two, SCALES, MARKS, rows, samples=SAMPLES)
    scaled = scaler.transform(two, SCALES, MARKS, samples=SAMPLES)
    z = np.log1p(two.astype(np.float64))
    for first in (0, 1):
        tracks = [first, first + 2]
        quantiles = [np.quantile(z[rows, t][z[rows, t] > 0], LEVELS) for t in tracks]
        reference = np.mean(quantiles, axis=0)
        mapped = np.stack([interpolated(z[:, t], q, reference) for t, q in zip(tracks, quantiles, strict=True)], 1)
        divisor = np.nanstd(mapped[rows])
        assert scaler.divisors[MARKS[first]] == pytest.approx(divisor, rel=2e-3)
        expected = np.nan_to_num(np.where(z[:, tracks] == 0, 0, mapped) / divisor)
        # the quantiles are those of float16 numbers
        np.testing.assert_allclose(scaled[:, tracks], expected, atol=0.02)
        assert np.abs(scaled[:, tracks] - expected).mean() < 1e-3
    assert (scaled[np.isnan(two)] == 0).all()
    assert (scaled[two == 0] == 0).all()


def test_the_same_signal_by_two_instruments_becomes_the_same(two):
    rows = np.arange(200)
    scaled = {}
    for transform in ("auto", "quantile"):
        scaler = SignalScaler(transform).fit(two, SCALES, MARKS, rows, samples=SAMPLES)
        scaled[transform] = scaler.transform(two, SCALES, MARKS, samples=SAMPLES)
    both = ~np.isnan(two[:, :2]) & ~np.isnan(two[:, 2:])
    apart = {k: np.abs(x[:, :2] - x[:, 2:])[both].mean() for k, x in scaled.items()}
    assert apart["quantile"] < 0.05 * apart["auto"]


def test_a_new_sample_is_mapped_by_its_own_signal(two):
    rows = np.arange(200)
    scaler = SignalScaler("quantile").fit(two, ["counts"] * 2, ["x", "y"], rows, tracks=[0, 1], samples=["A", "A"])
    with pytest.raises(InputError, match=r"no quantiles were taken of the track 'B\.x'"):
        scaler.transform(two[:, 2:], ["counts"] * 2, ["x", "y"], samples=["B", "B"])
    before = json.dumps(scaler.to_dict())
    again = SignalScaler.from_dict(json.loads(before))
    assert again.adapt(two, SCALES, MARKS, rows, samples=SAMPLES) == ["B.x", "B.y"]
    assert again.adapt(two, SCALES, MARKS, rows, samples=SAMPLES) == []
    assert again.divisors == scaler.divisors
    assert again.maps.reference == scaler.maps.reference
    new = again.transform(two, SCALES, MARKS, samples=SAMPLES)
    old = scaler.transform(two[:, :2], ["counts"] * 2, ["x", "y"], samples=["A", "A"])
    np.testing.assert_array_equal(new[:, :2], old)
    both = ~np.isnan(two[:, :2]) & ~np.isnan(two[:, 2:])
    assert np.abs(new[:, :2] - new[:, 2:])[both].mean() < 0.03


def test_one_sample_alone_is_left_as_auto_has_it(two):
    """Its own distribution is the reference, so the map is the identity."""
    rows = np.arange(200)
    quantile, auto = (
        SignalScaler(t)
        .fit(two, ["counts"], ["x"], rows, tracks=[0], samples=["A"])
        .transform(two[:200, :1], ["counts"], ["x"], samples=["A"])
        for t in ("quantile", "auto")
    )
    np.testing.assert_allclose(quantile, auto, rtol=2e-3)


def test_signal_of_test_genes_does_not_move_a_map(two):
    changed = two.copy()
    changed[200:] *= 1000
    first, second = (
        SignalScaler("quantile").fit(x, SCALES, MARKS, np.arange(200), samples=SAMPLES).to_dict()
        for x in (two, changed)
    )
    assert first == second


def test_a_track_without_signal_in_training_is_left(caplog):
    bins = np.zeros((4, 2, 3), np.float32)
    bins[:, 0] = [1, 2, 3]
    bins[3, 1] = 5
    scaler = SignalScaler("quantile").fit(bins, ["log"] * 2, ["x", "x"], [0, 1, 2], samples=["A", "B"])
    scaled = scaler.transform(bins, ["log"] * 2, ["x", "x"], samples=["A", "B"])
    assert (scaled[:3, 1] == 0).all()
    np.testing.assert_allclose(scaled[3, 1], 5 / scaler.divisors["x"])


def test_what_is_missing_is_said(two):
    with pytest.raises(InputError, match="give samples="):
        SignalScaler("quantile").fit(two, SCALES, MARKS, [0])
    infinite = two.copy()
    infinite[0, 1, 0] = np.inf
    with pytest.raises(InputError, match="mark 'y' holds infinite values"):
        SignalScaler("quantile").fit(infinite, SCALES, MARKS, [0, 1], samples=SAMPLES)


def test_scale_writes_it_and_a_file_keeps_it(two, tmp_path):
    mdata = gx.io.from_bins(
        {"A": two[:, :2], "B": two[:, 2:]}, genes=[f"g{i}" for i in range(300)], marks=["x", "y"], scale="counts"
    )
    mdata.obs["split"] = np.where(np.arange(300) < 200, "train", "test")
    gx.pp.scale(mdata, transform="quantile")
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    back = gx.io.read_mudata(tmp_path / "m.h5mu")["chromatin"]
    scaler = SignalScaler.from_dict(back.uns["bins_scaled_scaler"])
    np.testing.assert_array_equal(scaler.transform(two, SCALES, MARKS, samples=SAMPLES), back.obsm["bins_scaled"])
    assert np.std(back.obsm["bins_scaled"][:200][~np.isnan(two[:200])]) == pytest.approx(1, rel=0.05)
