from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.patches import StepPatch
from scored import made, stored

import genexp_scverse as gx
from genexp_scverse import InputError, _rows

GENES = [("a", 500, "+"), ("b", 560, "-"), ("c", 900, "+")]


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def mdata():
    """Three genes, two tracks, a mask with its spread, called elements and peaks."""
    rng = np.random.default_rng(0)
    columns = {"start": [500, 401, np.nan], "end": [700, 561, np.nan]}
    bins = rng.random((3, 2, 20))
    mdata = made(GENES, upstream=120, downstream=80, bin_size=10, bins=bins, marks=("DNase", "H3K27ac"), **columns)
    values = np.zeros((3, 20))
    values[0, 3:5], values[1, 16:19] = 0.9, 0.8
    stored(mdata, values, std=np.full((3, 20), 0.05))
    mdata.uns["intervals"] = {
        "peaks": pd.DataFrame({"chrom": ["chr1", "chr2"], "start": [470, 470], "end": [520, 520]})
    }
    gx.tl.call_elements(None, mdata, key="mask", exclude_promoter=20)
    return mdata


def steps(ax) -> np.ndarray:
    return next(p for p in ax.patches if isinstance(p, StepPatch)).get_data()


@pytest.mark.parametrize("gene", ["a", "b"])
def test_all_lies_along_the_plus_strand(mdata, gene):
    axes = gx.pl.locus(mdata, gene, mask="mask")
    assert len(axes) == 5
    i, strand, start = {"a": (0, 1, 380), "b": (1, -1, 481)}[gene]
    assert axes[0].get_xlim() == (start, start + 200)
    for ax, values in zip(
        axes[:3], [*mdata["chromatin"].obsm["bins"][i], mdata["chromatin"].obsm["mask"][i]], strict=True
    ):
        drawn = steps(ax)
        np.testing.assert_allclose(drawn.values, values[::strand], rtol=1e-6)
        np.testing.assert_array_equal(drawn.edges, start + 10 * np.arange(21))
    band = [c for c in axes[2].collections if isinstance(c, PolyCollection)]
    assert len(band) == 1
    top = max(v[1] for v in band[0].get_paths()[0].vertices)
    assert top == pytest.approx(max(mdata["chromatin"].obsm["mask"][i]) + 0.05)


def spans(ax) -> list[tuple[float, float]]:
    return [tuple(c.get_paths()[0].get_extents().intervalx) for c in ax.collections]


def test_elements_of_this_gene_and_all_peaks_are_drawn(mdata):
    table = mdata.uns["intervals"]["elements"]
    ax = gx.pl.locus(mdata, "b", mask="mask", intervals=["elements", "peaks"])[3]
    own = table[table["gene_id"] == "b"]
    assert spans(ax) == [*zip(own["start"], own["end"], strict=True), (470, 520)]
    assert [t.get_text() for t in ax.texts] == ["elements", "peaks"]
    joined = gx.tl.union_elements(table).assign(gene_id="x,b")
    mdata.uns["intervals"] = {"joined": joined, "loops": pd.DataFrame({"chrom1": []})}
    assert len(spans(gx.pl.locus(mdata, "b", mask=None, window=(400, 700))[2])) == len(joined) == 2


def test_elements_of_the_chosen_sample_are_drawn(mdata):
    starts = {"A": 400, "B": 440, "": 480, "A,B": 520, np.nan: 560, "AB": 600}
    table = pd.DataFrame({"chrom": "chr1", "start": starts.values(), "gene_id": "a", "sample": starts.keys()})
    table["end"] = table["start"] + 20
    # as they come out of a file
    mdata.uns["intervals"] = {"elements": table.astype({"sample": "category"})}
    options = {"mask": None, "tracks": [], "window": (350, 650)}
    for sample, expected in (("A", [400, 480, 520, 560]), ("B", [440, 480, 520, 560]), (None, starts.values())):
        ax = gx.pl.locus(mdata, "a", sample=sample, **options)[0]
        assert [start for start, _ in spans(ax)] == list(expected)


@pytest.mark.parametrize("chrom", ["1", "chr1", "Chr1", "NC_000001.11"])
def test_peaks_of_a_chromosome_that_is_spelt_otherwise_are_drawn(mdata, chrom):
    peaks = pd.DataFrame({"chrom": [chrom, "11", "chr2"], "start": [470, 480, 490], "end": [520, 530, 540]})
    mdata.uns["intervals"] = {"peaks": peaks}
    assert spans(gx.pl.locus(mdata, "a", mask=None, tracks=[], window=100)[0]) == [(470, 520)]


def test_genes_in_view_by_body_or_tss(mdata):
    ax = gx.pl.locus(mdata, "a", mask=None, tracks=[], intervals=[], window=(400, 950))[-1]
    texts = {t.get_text(): t for t in ax.texts if t.get_text() not in ("", "genes")}
    assert list(texts) == ["B", "A", "C"]
    assert texts["A"].get_fontweight() == "bold"
    bodies = [tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 4.5]
    assert bodies == [(401, 561), (500, 700)]
    # B and A overlap, so that they lie in two rows; C has no body, but a TSS
    assert texts["A"].get_position()[1] != texts["B"].get_position()[1]
    assert (900, 900) in [tuple(line.get_xdata()) for line in ax.lines]
    arrows = {t.xy[0]: t.xyann[0] for t in ax.texts if hasattr(t, "xy") and t.arrow_patch is not None}
    assert {tss: np.sign(to) for tss, to in arrows.items()} == {500: 1, 560: -1, 900: 1}


def test_what_to_show(mdata):
    axes = gx.pl.locus(mdata, "A", tracks=["H3K27ac"], mask=None, intervals=[], window=50)
    assert len(axes) == 2
    assert axes[0].get_xlim() == (450, 550)
    np.testing.assert_allclose(steps(axes[0]).values, mdata["chromatin"].obsm["bins"][0, 1, 7:17], rtol=1e-6)
    _, own = plt.subplots(2)
    assert gx.pl.locus(mdata, "a", tracks=["K562.DNase"], mask=None, intervals=[], axes=own) == list(own)
    assert own[0].get_title() == "A (+), chr1:381–580"
    # beyond the window there is nothing to draw, which is no error
    gx.pl.locus(mdata, "a", mask="mask", window=(900, 950))
    del mdata.obs["start"], mdata.obs["strand"]
    mdata["chromatin"].uns["window"]["stranded"] = mdata["chromatin"].uns["mask"]["stranded"] = False
    gx.schema.name_axes(mdata, ["bins", "mask"])
    gx.pl.locus(mdata, "b", mask="mask")


def test_what_cannot_be_drawn_is_said(mdata):
    for options, said in (
        ({"tracks": ["H3K9me3"]}, r"has no track 'H3K9me3' in sample 'K562': it has 'DNase', 'H3K27ac'"),
        ({"mask": "other"}, r"no scores per position are stored as 'other' \(there are 'mask'\)"),
        ({"intervals": ["dhs"]}, r"has no table 'dhs' \(it has 'peaks', 'elements'\)"),
        ({"window": 0}, r"window is 0: give 1 base or more"),
        ({"window": (9, 9)}, r"window is 9 to 9: its end has to come after its start"),
        (
            {"axes": [None]},
            r"axes holds 1 axes, but there are 5 panels \(K562.DNase, K562.H3K27ac, mask, intervals, genes\)",
        ),
        ({"tracks": [], "mask": None}, r"neither tracks nor scores have a window: say what to show by window="),
    ):
        with pytest.raises(InputError, match=said):
            gx.pl.locus(mdata, "a", **({"mask": "mask"} | options))
    with pytest.raises(InputError, match="no genes have the id or name 'z'"):
        gx.pl.locus(mdata, "z")


def test_summary_counts_by_hand(mdata):
    axes = gx.pl.elements(mdata, key="mask")
    mean, share = (line.get_ydata() for line in axes[0].get_lines()[:2])
    np.testing.assert_allclose(mean, mdata["chromatin"].obsm["mask"].mean(axis=0), rtol=1e-6)
    inside = mdata["chromatin"].obsm["mask"] > 0.5
    np.testing.assert_allclose(share, inside.mean(axis=0))
    np.testing.assert_allclose(axes[0].get_lines()[0].get_xdata(), (np.arange(20) * 10 + 5 - 120) / 1000)
    widths = [bar.get_width() for bar in axes[1].patches]
    bins = mdata["chromatin"].obsm["bins"]
    expected = [[bins[:, t][which].mean() / bins[:, t].mean() for t in (0, 1)] for which in (inside, ~inside)]
    np.testing.assert_allclose(widths, np.ravel(expected), rtol=1e-5)
    assert [bar.get_height() for bar in axes[2].patches] == [1, 2]
    assert sum(bar.get_height() for bar in axes[3].patches) == 2
    assert axes[3].get_title() == "median 25 bp, 20 to 30"
    assert axes[1].get_title() == "Elements take 8.3 % of the windows"


def test_summary_without_tracks_or_elements(mdata):
    mdata.uns["intervals"]["elements"] = mdata.uns["intervals"]["elements"].iloc[:0]
    axes = gx.pl.elements(mdata, key="mask")
    assert axes[3].get_title() == "no elements"
    assert axes[2].get_title() == "0 elements, 0.0 a gene"
    del mdata["chromatin"].uns["window"]
    gx.schema.name_axes(mdata, "bins")
    assert [t.get_text() for t in gx.pl.elements(mdata, key="mask")[1].texts] == ["no tracks"]
    with pytest.raises(InputError, match="axes holds 1 axes, but there are 4 panels"):
        gx.pl.elements(mdata, key="mask", axes=[axes[0]])
    with pytest.raises(InputError, match=r"lacks the column 'gene_id', 'score': elements are called by"):
        gx.pl.elements(mdata, key="mask", intervals="peaks")


def test_tracks_of_a_genome_store_are_drawn(tmp_path):
    paths = gx.datasets.simulate(tmp_path, n_genes=30, n_chroms=2)
    mdata = gx.io.build_mudata(genes=paths.genes, fasta=paths.genome, upstream=20, downstream=20)
    gx.io.write_genome(tmp_path / "genome", sheet=paths.sheet, bin_size=1)
    gx.io.attach_genome(mdata, tmp_path / "genome", upstream=3000, downstream=2000)
    windows = gx.io.genome_windows(mdata)
    name = windows.tracks["sample"].iloc[0] + "." + windows.tracks["mark"].iloc[0]
    row = int(np.flatnonzero(mdata.obs["strand"] == "-")[0])
    gene, tss = mdata.obs_names[row], int(mdata.obs["tss"].iloc[row])
    (ax, _) = gx.pl.locus(mdata, gene, mask=None, tracks=[name], windows=windows)
    assert ax.get_xlim() == (tss - 1999, tss + 3001)
    # 5,000 bases are drawn as means of two
    values = windows.signal([row], [0])[0, 0, ::-1].reshape(-1, 2).mean(axis=1)
    np.testing.assert_allclose(steps(ax).values, values, rtol=1e-5)
    np.testing.assert_array_equal(steps(ax).edges, tss - 1999 + 2 * np.arange(2501))
    (ax, _) = gx.pl.locus(mdata, gene, mask=None, tracks=[name], windows=windows, window=500)
    np.testing.assert_allclose(steps(ax).values, windows.signal([row], [0])[0, 0, ::-1][1499:2499], rtol=1e-6)
    with pytest.raises(InputError, match=r"the genome store .* holds 2 samples \(.*\): choose one with sample="):
        gx.pl.locus(mdata, gene, mask=None, windows=windows)


def test_tracks_of_a_genome_store_are_summarised(tmp_path, monkeypatch):
    # a few genes in a block
    monkeypatch.setattr(_rows, "BLOCK_BYTES", 4 * 2 * 500 * 4)
    paths = gx.datasets.simulate(tmp_path, n_genes=30, n_chroms=2)
    window = {"upstream": 3000, "downstream": 2000}
    mdata = gx.io.build_mudata(paths.sheet, genes=paths.genes, bin_size=50, **window)
    gx.io.write_genome(tmp_path / "genome", sheet=paths.sheet, bin_size=10)
    gx.io.attach_genome(mdata, tmp_path / "genome", **window)
    windows = gx.io.genome_windows(mdata)
    gx.tl.fixed_mask(mdata, "random", sample="A", key_added="mask")
    table = gx.tl.call_elements(None, mdata, key="mask", threshold=0.9)
    (_, ax, _, _) = gx.pl.elements(mdata, key="mask", sample="A", windows=windows)
    tracks = np.flatnonzero(windows.tracks["sample"] == "A")
    signal = windows.signal(np.arange(30), tracks)
    inside = np.zeros((30, 500), bool)
    for gene, start, end in table[["gene_id", "start", "end"]].itertuples(index=False):
        row = mdata.obs_names.get_loc(gene)
        tss, minus = int(mdata.obs["tss"].iloc[row]), mdata.obs["strand"].iloc[row] == "-"
        at = tss - 3000 + 10 * np.arange(500) if not minus else tss + 3001 - 10 * (np.arange(500) + 1)
        inside[row] |= (at + 10 > start) & (at < end)
    assert 0.01 < inside.mean() < 0.5
    expected = [
        [signal[:, t][which].mean() / signal[:, t].mean() for t in range(len(tracks))] for which in (inside, ~inside)
    ]
    np.testing.assert_allclose([bar.get_width() for bar in ax.patches], np.ravel(expected), rtol=1e-4)
    assert ax.get_title() == f"Elements take {100 * inside.mean():.2g} % of the windows"
