from __future__ import annotations

import tempfile

import anndata as ad
import matplotlib.pyplot as plt
import mudata as md
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx

N, BINS = 60, 20
TRACKS = [("K562", "H3K4me3"), ("K562", "H3K27me3"), ("H1", "H3K4me3")]


@pytest.fixture
def mdata():
    rng = np.random.default_rng(3)
    genes = pd.Index([f"g{i}" for i in range(N)])
    level = rng.gamma(2, 1, (N, 2))
    level[:5, 0] = np.nan
    rna = ad.AnnData(
        level.astype(np.float32),
        obs=pd.DataFrame(index=genes),
        var=pd.DataFrame({"sample": ["H1", "K562"], "unit": "log"}, index=["H1", "K562"]),
    )
    rna.layers["log"] = level[:, ::-1].copy()
    rna.layers["label"] = np.where(np.isnan(rna.layers["log"]), np.nan, rna.layers["log"] > 1.5)
    var = pd.DataFrame(TRACKS, columns=["sample", "mark"]).assign(scale=["coverage", "coverage", "log"])
    var.index = var["sample"] + "." + var["mark"]
    bins = rng.gamma(1, 2, (N, 3, BINS)).astype(np.float32)
    chromatin = ad.AnnData(bins.mean(2), obs=pd.DataFrame(index=genes), var=var)
    chromatin.obsm["bins"] = bins
    chromatin.uns["window"] = {"upstream": 600, "downstream": 400, "bin_size": 50, "stranded": True}
    mdata = md.MuData({"rna": rna, "chromatin": chromatin}, axis=0)
    mdata.obs["split"] = np.resize(["train", "test"], N)
    gx.schema.name_axes(mdata)
    return mdata


@pytest.fixture(autouse=True)
def _close_and_never_show(monkeypatch):
    def shown(*args, **kwargs):
        raise AssertionError("a plot called show")

    monkeypatch.setattr(plt, "show", shown)
    plt.close("all")
    yield
    plt.close("all")


def loop_mean(bins, label, track, wanted):
    """Mean by position with a loop over genes."""
    total, count = np.zeros(BINS), np.zeros(BINS)
    for gene, k in zip(np.asarray(bins, dtype=np.float64), label, strict=True):
        if k != wanted:
            continue
        for b in range(BINS):
            if not np.isnan(gene[track, b]):
                total[b] += gene[track, b]
                count[b] += 1
    return total / count


def lines(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def as_numpy(x):
    return x


def as_half(x):
    return x.astype(np.float16)


def as_dask(x):
    return pytest.importorskip("dask.array").from_array(x, chunks=(17, 1, BINS))


def as_memmap(x):
    with tempfile.TemporaryFile() as file:
        stored = np.memmap(file, dtype=x.dtype, shape=x.shape, mode="w+")
    stored[:] = x
    return stored


@pytest.mark.parametrize("kind", [as_numpy, as_half, as_dask, as_memmap])
def test_profile_is_the_mean_by_a_loop(mdata, kind):
    bins = mdata["chromatin"].obsm["bins"].copy()
    bins[3:30:4, 0, 5] = np.nan
    mdata["chromatin"].obsm["bins"] = kind(bins)
    drawn = lines(gx.pl.profile(mdata, sample="K562", normalize="none"))
    label = mdata["rna"].layers["label"][:, 1]
    rtol = 2e-3 if kind is as_half else 1e-6
    for t, mark in enumerate(["H3K4me3", "H3K27me3"]):
        for k, word in ((1, "high"), (0, "low")):
            y = drawn[f"{mark}, {word}"].get_ydata()
            np.testing.assert_allclose(y, loop_mean(bins, label, t, k), rtol=rtol)


def test_profile_is_divided_by_the_maximum_of_the_mark_and_says_so(mdata):
    ax = gx.pl.profile(mdata, sample="K562", split="test")
    rows = (mdata.obs["split"] == "test").to_numpy()
    label = mdata["rna"].layers["label"][rows, 1]
    bins = mdata["chromatin"].obsm["bins"][rows]
    for t, mark in enumerate(["H3K4me3", "H3K27me3"]):
        both = np.array([loop_mean(bins, label, t, k) for k in (1, 0)])
        for row, word in zip(both, ("high", "low"), strict=True):
            np.testing.assert_allclose(lines(ax)[f"{mark}, {word}"].get_ydata(), row / both.max(), rtol=1e-6)
    assert ax.get_ylabel() == "Mean signal / mark maximum"
    assert ax.get_title() == f"K562, {int((label == 1).sum())} high, {int((label == 0).sum())} low genes"
    raw = gx.pl.profile(mdata, sample="K562", normalize="none")
    assert raw.get_ylabel() == "Mean signal (coverage)"


def test_profile_of_one_sample_uses_its_own_tracks_and_labels(mdata):
    drawn = lines(gx.pl.profile(mdata, sample="H1", normalize="none"))
    label = mdata["rna"].layers["label"][:, 0]
    want = loop_mean(mdata["chromatin"].obsm["bins"], label, 2, 1)
    np.testing.assert_allclose(drawn["H3K4me3, high"].get_ydata(), want, rtol=1e-6)
    assert "H3K27me3, high" not in drawn


def test_profile_x_is_the_distance_to_the_tss_in_kb(mdata):
    ax = gx.pl.profile(mdata, sample="K562", marks=["H3K27me3"])
    x = lines(ax)["H3K27me3, low"].get_xdata()
    # first bin: bases -600 to -551 before the TSS, centre -575; the TSS is the left edge of bin 12
    assert x[0] == pytest.approx(-0.575) and x[12] == pytest.approx(0.025) and x[-1] == pytest.approx(0.375)
    assert ax.get_xlim() == pytest.approx((-0.6, 0.4))
    assert ax.get_xlabel() == "Distance to TSS (kb)"
    assert ax.get_lines()[-1].get_xdata() == [0, 0]
    mdata["chromatin"].uns["window"]["stranded"] = False
    gx.schema.name_axes(mdata, "bins")
    assert "+ strand" in gx.pl.profile(mdata, sample="K562").get_xlabel()


def test_profile_legend_covers_no_curve(mdata):
    for size in ((6, 4), (2.6, 2.2)):
        figure, ax = plt.subplots(figsize=size)
        gx.pl.profile(mdata, sample="K562", ax=ax)
        figure.canvas.draw()
        legend_bottom = ax.get_legend().get_window_extent().y0
        top = max(line.get_ydata().max() for line in ax.get_lines()[:4])
        assert ax.transData.transform((0, top))[1] <= legend_bottom


def test_bins_without_a_window_are_named_or_numbered(mdata):
    del mdata["chromatin"].uns["window"]
    ax = gx.pl.profile(mdata, sample="K562")
    assert ax.get_xlabel() == "Bin"
    assert list(ax.get_lines()[0].get_xdata()) == list(range(BINS))
    names = [f"{i - 4:+d}" for i in range(BINS)]
    mdata["chromatin"].uns["bin_names"] = np.array(names, dtype=object)
    for draw in (lambda: gx.pl.profile(mdata, sample="K562"), lambda: gx.pl.heatmap(mdata, "K562.H3K4me3")):
        ax = draw()
        drawn = dict(zip(ax.get_xticks().tolist(), [t.get_text() for t in ax.get_xticklabels()], strict=True))
        assert drawn and all(names[int(at)] == text for at, text in drawn.items())


def test_heatmap_is_sorted_by_expression(mdata):
    ax = gx.pl.heatmap(mdata, "K562.H3K27me3", vmax_quantile=0.9)
    level = mdata["rna"].layers["log"][:, 1]
    known = np.flatnonzero(~np.isnan(level))
    order = sorted(known, key=lambda g: -level[g])
    want = mdata["chromatin"].obsm["bins"][order, 1]
    image = ax.get_images()[0]
    np.testing.assert_allclose(image.get_array(), want, rtol=1e-6)
    assert image.get_clim() == pytest.approx((0, np.quantile(want, 0.9)), rel=1e-5)
    left, right, bottom, top = image.get_extent()
    assert (left, right) == pytest.approx((-0.6, 0.4)) and bottom > top == 0
    assert ax.get_title() == f"K562.H3K27me3, all genes, n = {len(known)}"
    assert len(ax.figure.axes) == 2, "a colour bar"
    assert ax.figure.axes[1].get_ylabel() == "Coverage"


def test_heatmap_leaves_out_unmeasured_genes_and_says_so(mdata, caplog):
    caplog.set_level("INFO")
    gx.pl.heatmap(mdata, "K562.H3K4me3")
    missing = int(np.isnan(mdata["rna"].layers["log"][:, 1]).sum())
    assert missing == 5 and "5 of 60 genes have no expression in sample 'K562'" in caplog.text


def test_heatmap_by_signal_in_groups(mdata):
    image = gx.pl.heatmap(mdata, "H1.H3K4me3", sort_by="signal", max_genes=20, split="test").get_images()[0]
    rows = np.flatnonzero(mdata.obs["split"] == "test")
    bins = mdata["chromatin"].obsm["bins"][rows, 2].astype(float)
    bins = bins[np.argsort(-bins.mean(1))]
    want = [bins[a:b].mean(0) for a, b in ((0, 2), (2, 4), (18, 20), (29, 30))]
    drawn = np.asarray(image.get_array())
    assert drawn.shape == (20, BINS)
    # 30 genes in 20 rows: ten rows of two genes, then ten of one
    np.testing.assert_allclose(drawn[[0, 1, 9, 19]], want, rtol=1e-6)


def test_heatmap_of_a_signed_track_is_centred(mdata):
    mdata["chromatin"].obsm["bins"] -= 2
    low, high = gx.pl.heatmap(mdata, "K562.H3K4me3").get_images()[0].get_clim()
    assert low == -high < 0


def test_heatmap_of_a_track_without_signal_draws(mdata):
    mdata["chromatin"].obsm["bins"][:] = 0
    assert gx.pl.heatmap(mdata, "K562.H3K4me3").get_images()[0].get_clim() == (0, 1)


@pytest.mark.parametrize(
    "draw",
    [lambda m, ax: gx.pl.profile(m, sample="K562", ax=ax), lambda m, ax: gx.pl.heatmap(m, "K562.H3K4me3", ax=ax)],
)
def test_axes_given_are_axes_returned(mdata, draw):
    _, ax = plt.subplots()
    before = mdata["chromatin"].obsm["bins"].copy()
    assert draw(mdata, ax) is ax
    assert len(plt.get_fignums()) == 1
    np.testing.assert_array_equal(before, mdata["chromatin"].obsm["bins"])


def test_errors(mdata):
    with pytest.raises(gx.InputError, match=r"2 samples \('K562', 'H1'\)"):
        gx.pl.profile(mdata)
    with pytest.raises(gx.InputError, match=r"no sample 'HeLa'"):
        gx.pl.profile(mdata, sample="HeLa")
    with pytest.raises(gx.InputError, match=r"no mark 'H3K9ac': its marks are 'H3K4me3', 'H3K27me3'"):
        gx.pl.profile(mdata, sample="K562", marks=["H3K9ac"])
    with pytest.raises(gx.InputError, match="normalize"):
        gx.pl.profile(mdata, sample="K562", normalize="mean")
    with pytest.raises(gx.InputError, match=r"no track 'K562.H3K9ac'.*'K562.H3K4me3'"):
        gx.pl.heatmap(mdata, "K562.H3K9ac")
    with pytest.raises(gx.InputError, match="sort_by"):
        gx.pl.heatmap(mdata, "K562.H3K4me3", sort_by="name")
    with pytest.raises(gx.InputError, match="max_genes=0 is not possible"):
        gx.pl.heatmap(mdata, "K562.H3K4me3", max_genes=0)
    mdata["rna"].layers["log"][:] = np.nan
    with pytest.raises(gx.InputError, match='sort_by="signal"'):
        gx.pl.heatmap(mdata, "K562.H3K4me3")
    mdata["rna"].layers["label"][:] = 0
    with pytest.raises(gx.InputError, match="label 0, but high"):
        gx.pl.profile(mdata, sample="K562")
    del mdata["rna"].layers["label"]
    with pytest.raises(gx.InputError, match=r"gx\.pp\.label"):
        gx.pl.profile(mdata, sample="K562")
    del mdata.obs["split"]
    with pytest.raises(gx.InputError, match='no column "split"'):
        gx.pl.heatmap(mdata, "K562.H3K4me3", split="test")
    assert not plt.get_fignums(), "errors come before a figure is made"


def test_real_k562_signal_is_higher_in_high_genes(shared_data):
    """H3K4me3 peaks lie behind the TSS of expressed genes; chr22 read straight from the bigWig."""
    bigwig = pytest.importorskip("pyBigWig")
    folder = shared_data / "roadmap_peaks_hg19"
    genes = pd.read_csv(folder / "genes.tsv", sep="\t", index_col="gene_id")
    genes = genes[(genes["chrom"] == "chr22") & (genes["strand"] == "+")]
    expression = pd.read_csv(folder / "expression.tsv", sep="\t", index_col="gene_id")["K562"].reindex(genes.index)
    with bigwig.open(str(folder / "K562.H3K4me3.bigWig")) as track:
        values = [track.values("chr22", tss - 2000, tss + 2000, numpy=True) for tss in genes["tss"]]
    bins = np.nan_to_num(np.array(values)).reshape(len(genes), 1, 40, 100).mean(3)
    mdata = gx.io.from_bins(
        bins,
        genes=list(genes.index),
        marks=["H3K4me3"],
        sample="K562",
        labels=np.where(expression.isna(), np.nan, expression > expression.median()),
        scale="log",
        window={"upstream": 2000, "downstream": 2000, "bin_size": 100, "stranded": True},
    )
    drawn = lines(gx.pl.profile(mdata, normalize="none"))
    high, low = (drawn[f"H3K4me3, {k}"].get_ydata() for k in ("high", "low"))
    assert high[15:25].mean() > 3 * low[15:25].mean()
    assert drawn["H3K4me3, high"].get_xdata()[np.argmax(high)] > 0
