"""The figure of attention draws what is stored, and says what is missing."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError

MARKS = ["H3K4me3", "H3K27me3"]
BINS = np.array(
    [
        [[0.1, 0.2, 0.7], [0.5, 0.25, 0.25]],
        [[0.3, 0.4, 0.3], [0.0, 0.5, 0.5]],
        [[0.2, 0.6, 0.2], [0.1, 0.1, 0.8]],
        [[0.9, 0.1, 0.0], [0.6, 0.2, 0.2]],
    ]
)
SHARES = np.array([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5], [0.1, 0.9]])


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


@pytest.fixture
def mdata():
    """High genes a and b, the low gene c, and d without a label."""
    signal = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
    signal[0, 1] = 0
    obs = pd.DataFrame(
        {"gene_name": ["AA", "BB", "BB", None], "split": ["train", "test", "test", "test"]}, index=list("abcd")
    )
    window = {"upstream": 100, "downstream": 200, "bin_size": 100, "stranded": True}
    mdata = gx.io.from_bins(
        signal, genes=list("abcd"), marks=MARKS, sample="K562", labels=[1, 1, 0, np.nan], obs=obs, window=window
    )
    store(mdata, "attentivechrome")
    return mdata


def store(mdata, name, suffix="", samples=("K562",)):
    chromatin = mdata["chromatin"]
    chromatin.obsm[f"{name}_bin_attention{suffix}"] = BINS
    chromatin.obsm[f"{name}_mark_attention{suffix}"] = SHARES
    chromatin.uns[f"{name}_attention"] = {"marks": np.array(MARKS), "samples": np.array(samples)}
    gx.schema.name_axes(chromatin)


def drawn(ax):
    """The maps without the room between them, and the bars of every map."""
    wide = np.asarray(ax.get_images()[0].get_array().filled(np.nan))
    columns = np.flatnonzero(~np.isnan(wide).all(axis=0))
    maps = np.split(wide[:, columns], np.flatnonzero(np.diff(columns) > 1) + 1, axis=1)
    return maps, [[bar.get_width() for bar in bars] for bars in ax.containers]


def words(ax):
    return [t.get_text() for t in ax.texts]


def test_means_of_low_and_high_genes_side_by_side(mdata):
    _, ax = plt.subplots()
    assert gx.pl.attention(mdata, ax=ax) is ax
    (low, high), (low_bars, high_bars) = drawn(ax)
    np.testing.assert_allclose(low, 3 * BINS[2])
    np.testing.assert_allclose(high, 3 * np.array([[0.2, 0.3, 0.5], [0.25, 0.375, 0.375]]))
    # shares of marks: low 0.5 and 0.5, high 0.6 and 0.4
    np.testing.assert_allclose(np.array(low_bars) / high_bars[0], [0.5 / 0.6, 0.5 / 0.6])
    assert high_bars[1] / high_bars[0] == pytest.approx(0.4 / 0.6)
    assert words(ax) == ["low genes, n = 1", "50", "50", "high genes, n = 2", "60", "40"]
    assert ax.get_title() == "K562, all genes"
    assert [t.get_text() for t in ax.get_yticklabels()] == MARKS
    assert [t.get_text() for t in ax.get_xticklabels()] == ["−0.1", "TSS", "+0.2"] * 2
    assert ax.get_xlabel().startswith("Distance to TSS (kb)\n")


def test_a_split_is_averaged_alone(mdata):
    (low, high), _ = drawn(gx.pl.attention(mdata, split="test"))
    np.testing.assert_allclose(low, 3 * BINS[2])
    np.testing.assert_allclose(high, 3 * BINS[1])


@pytest.mark.parametrize("gene", ["a", "AA"])
def test_one_gene_with_its_signal(mdata, gene):
    ax = gx.pl.attention(mdata, gene=gene)
    (drawing,), (bars,) = drawn(ax)
    np.testing.assert_allclose(drawing, 3 * BINS[0])
    assert bars[1] / bars[0] == pytest.approx(0.25)
    assert ax.get_title() == "AA, K562"
    lines = [p for p in ax.patches if hasattr(p, "get_data")]
    # 0, 1, 2 rises by half of the row at a time; a mark without signal lies on the ground of its row
    np.testing.assert_allclose(lines[0].get_data().values, [0.42, 0, -0.42])
    np.testing.assert_allclose(lines[1].get_data().values, [1.42, 1.42, 1.42])


def test_a_gene_without_a_name_goes_by_its_id(mdata):
    assert gx.pl.attention(mdata, gene="d").get_title() == "d, K562"


def test_samples_are_told_apart(mdata):
    chromatin = mdata["chromatin"]
    for part in ("bin", "mark"):
        del chromatin.obsm[f"attentivechrome_{part}_attention"]
    store(mdata, "attentivechrome", "_K562", samples=("K562", "H1"))
    with pytest.raises(InputError, match="has 2 samples: choose sample= from 'K562', 'H1'"):
        gx.pl.attention(mdata)
    (drawing,), _ = drawn(gx.pl.attention(mdata, sample="K562", gene="a"))
    np.testing.assert_allclose(drawing, 3 * BINS[0])
    with pytest.raises(InputError, match="no sample 'HeLa'"):
        gx.pl.attention(mdata, sample="HeLa")
    with pytest.raises(InputError, match=r"store it anew with model\.get_attention"):
        gx.pl.attention(mdata, sample="H1")


def test_what_is_missing_is_said(mdata):
    with pytest.raises(InputError, match=r"no attention of 'mine': there is that of 'attentivechrome'.*get_attention"):
        gx.pl.attention(mdata, "mine")
    with pytest.raises(InputError, match="no genes have the id or name 'MYC'"):
        gx.pl.attention(mdata, gene="MYC")
    with pytest.raises(InputError, match="2 genes have the id or name 'BB': choose one by its id, 'b', 'c'"):
        gx.pl.attention(mdata, gene="BB")
    with pytest.raises(InputError, match=r"high .* and low .* genes are both needed"):
        gx.pl.attention(mdata, split="train")
    del mdata["chromatin"].uns["attentivechrome_attention"]
    with pytest.raises(InputError, match=r"there is none; store it with model\.get_attention"):
        gx.pl.attention(mdata)
