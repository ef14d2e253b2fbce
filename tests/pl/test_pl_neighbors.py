from __future__ import annotations

import logging

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from matplotlib.collections import LineCollection

import genexp_scverse as gx
from genexp_scverse import InputError


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def mdata():
    """Five genes on chr1 around c at 10,000, one on chr2; the weights of c are those written here."""
    obs = pd.DataFrame(
        {
            "chrom": ["chr1"] * 5 + ["chr2"],
            "tss": [1_000, 9_000, 10_000, 10_400, 60_000, 10_000],
            "strand": ["+", "-", "+", "-", "+", "+"],
            "gene_name": ["AA", "BB", "CC", None, "EE", "EE"],
        },
        index=list("abcdef"),
    )
    mdata = gx.io.from_bins(np.ones((6, 1, 1)), genes=obs.index, marks=["H3K4me3"], obs=obs)
    weights = np.zeros((6, 6), np.float32)
    weights[2] = [0.1, 0.4, 0.9, 0.2, 0.3, 0.5]
    weights[0, 1] = 1
    weights[5, 0] = 1
    mdata.obsp["simplechrome_attention"] = sp.csr_matrix(weights)
    return mdata


def arcs(ax):
    (found,) = [c for c in ax.collections if isinstance(c, LineCollection)]
    return found


def ends(ax):
    """Where arcs begin and end, by weight."""
    lines = arcs(ax)
    return {
        round(float(w), 5): (s[0][0], s[-1][0]) for w, s in zip(lines.get_array(), lines.get_segments(), strict=True)
    }


@pytest.mark.parametrize("scale", ["linear", "log", "auto"])
def test_an_arc_to_every_neighbour_on_the_chromosome(mdata, scale):
    ax = gx.pl.neighbors(mdata, "c", scale=scale)
    wanted = {0.1: -9000, 0.4: -1000, 0.2: 400, 0.3: 50_000}
    found = ends(ax)
    assert set(found) == set(wanted)
    for weight, far in wanted.items():
        start, end = found[weight]
        assert start == pytest.approx(0, abs=1e-6)
        assert end == pytest.approx(far, rel=1e-6)
    assert all((s[:, 1] <= 1e-9).all() for s in arcs(ax).get_segments())
    low, high = ax.get_xlim()
    assert low < -9000
    assert high > 50_000
    assert ax.get_xscale() == ("linear" if scale == "linear" else "symlog")


def test_stronger_is_wider_and_darker_and_on_top(mdata):
    ax = gx.pl.neighbors(mdata, "CC")
    lines = arcs(ax)
    weight = lines.get_array()
    assert (np.diff(weight) > 0).all()
    assert (np.diff(lines.get_linewidths()) > 0).all()
    ax.figure.draw_without_rendering()
    assert (np.diff(lines.get_colors()[:, :3].sum(axis=1)) < 0).all()
    (bar,) = [a for a in ax.figure.axes if a is not ax]
    assert bar.get_ylabel() == "Attention"


def test_names_strands_and_title(mdata):
    ax = gx.pl.neighbors(mdata, "c")
    assert [t.get_text() for t in ax.texts] == ["CC", "BB", "EE", "d", "AA"]
    assert [t.get_fontweight() for t in ax.texts] == ["bold", *["normal"] * 4]
    markers = [line.get_marker() for line in ax.get_lines() if line.get_marker() not in ("None", None, "")]
    assert markers == [">", "<", ">", "<", ">"]
    # the TSS is given 1-based there, as genome browsers do
    assert ax.get_title() == "CC, chr1:10,001 (+) – 1 more on other chromosomes"


def test_only_the_strongest_are_drawn(mdata, caplog):
    caplog.set_level(logging.INFO)
    ax = gx.pl.neighbors(mdata, "c", n_neighbors=2)
    assert set(ends(ax)) == {0.4, 0.3}
    assert "2 of 4 neighbours are drawn" in caplog.text


def test_equal_weights_need_no_colour_bar(mdata):
    gx.pp.gene_neighbors(mdata, n_neighbors=3)
    ax = gx.pl.neighbors(mdata, "c", key="neighbors")
    assert ax.figure.axes == [ax]
    assert arcs(ax).get_array() is None
    assert sorted(s[-1][0].round() for s in arcs(ax).get_segments()) == [-9000, -1000, 400]


def test_axes_given_are_used_and_nothing_is_shown(mdata, monkeypatch):
    monkeypatch.setattr(plt, "show", lambda *a, **k: pytest.fail("shown"))
    _, (first, second) = plt.subplots(1, 2)
    assert gx.pl.neighbors(mdata, "c", ax=second) is second
    assert not first.lines


def boxes(ax):
    ax.figure.draw_without_rendering()
    return [t.get_window_extent() for t in ax.texts]


@pytest.mark.parametrize("n", [1, 4, 20])
@pytest.mark.parametrize("spread", [300, 3_000, 2_000_000])
def test_names_never_overlap_and_stay_inside(n, spread):
    """Also where all genes lie within 300 bases, or one far from the rest."""
    rng = np.random.default_rng(n)
    tss = 5_000_000 + np.r_[0, rng.integers(-spread, spread, n - 1), spread // 2]
    names = [f"GENE{i}AS1" for i in range(n + 1)]
    obs = pd.DataFrame(
        {"chrom": "chr1", "tss": tss, "strand": "+", "gene_name": names}, index=list(map(str, range(n + 1)))
    )
    mdata = gx.io.from_bins(np.ones((n + 1, 1, 1)), genes=obs.index, marks=["H3K4me3"], obs=obs)
    gx.pp.gene_neighbors(mdata, n_neighbors=n)
    ax = gx.pl.neighbors(mdata, "0", key="neighbors")
    drawn = boxes(ax)
    assert len(drawn) == n + 1
    for i, one in enumerate(drawn):
        assert not any(one.overlaps(other) for other in drawn[i + 1 :])
    width, height = ax.figure.bbox.width, ax.figure.bbox.height
    title = ax.title.get_window_extent()
    for box in drawn:
        assert box.x0 >= 0
        assert box.x1 <= width
        assert box.y1 <= min(height, title.y0)


def test_names_stand_in_the_order_of_the_genes(mdata):
    ax = gx.pl.neighbors(mdata, "c")
    at = {t.get_text(): t.get_position()[0] for t in ax.texts}
    assert at["AA"] < at["BB"] < at["CC"] < at["d"] < at["EE"]


def test_genes_at_one_place(mdata):
    mdata.obs["tss"] = 77
    ax = gx.pl.neighbors(mdata, "c")
    assert len(arcs(ax).get_segments()) == 4
    ax.figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"gene": "ZZ"}, "no genes have the id or name 'ZZ'"),
        ({"gene": "EE"}, "2 genes have the id or name 'EE': choose one by its id, 'e', 'f'"),
        ({"key": "ppi"}, r"no graph 'ppi' \(it has 'simplechrome_attention'\)"),
        ({"gene": "f"}, "gene 'f' has 1 neighbours .* none of them on its own chromosome"),
        ({"gene": "b"}, "gene 'b' has 0 neighbours"),
        ({"scale": "loglog"}, "scale='loglog' is not known: choose one of auto, linear, log"),
        ({"n_neighbors": 0}, "n_neighbors=0 is not possible"),
    ],
)
def test_what_cannot_be_drawn(mdata, asked, said):
    with pytest.raises(InputError, match=said):
        gx.pl.neighbors(mdata, **{"gene": "c", **asked})


def test_genes_without_coordinates(mdata):
    mdata.obs["tss"] = [1, 2, np.nan, 4, 5, 6]
    with pytest.raises(InputError, match="gene 'c' has no chromosome or no TSS"):
        gx.pl.neighbors(mdata, "c")
    del mdata.obs["tss"]
    with pytest.raises(InputError, match="no column 'tss'"):
        gx.pl.neighbors(mdata, "c")
