"""Figures of latents: what is drawn is what was stored."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError


@pytest.fixture
def mdata():
    rng = np.random.default_rng(0)
    bins = {s: rng.poisson(4, (6, 2, 10)).astype(np.float32) for s in ("K562", "H1")}
    obs = pd.DataFrame(
        {"gene_name": ["GATA1", "", "TAL1", "LMO2", "KLF1", "MYC"], "split": ["train", "valid", "test"] * 2},
        index=[f"g{i}" for i in range(6)],
    )
    mdata = gx.io.from_bins(
        bins, genes=list(obs.index), marks=["H3K4me3", "H3K27me3"], scale="counts", obs=obs,
        window={"upstream": 500, "downstream": 500, "bin_size": 100, "stranded": True},
    )  # fmt: skip
    chromatin = mdata["chromatin"]
    chromatin.obsm["simplechrome_reconstruction"] = rng.random((6, 2, 10)).astype(np.float32) * 5
    chromatin.uns["simplechrome_reconstruction"] = {
        "sample": "H1",
        "marks": ["H3K27me3", "H3K4me3"],
        "units": "file",
        "scaler": {"transform": "auto", "marks": ["H3K27me3", "H3K4me3"], "divisors": [2.0, 0.5]},
    }
    gx.schema.name_axes(mdata)
    yield mdata
    plt.close("all")


def drawn(ax):
    """Observed and reconstructed blocks of the image."""
    image = ax.get_images()[0].get_array().filled(np.nan)
    return image[:, :10], image[:, -10:]


def test_one_gene_is_drawn_as_stored(mdata):
    ax = gx.pl.reconstruction(mdata, "g2")
    observed, again = drawn(ax)
    # tracks of H1 are the third and the fourth, and the model read them the other way round
    np.testing.assert_array_equal(observed, mdata["chromatin"].obsm["bins"][2, [3, 2]])
    np.testing.assert_allclose(again, mdata["chromatin"].obsm["simplechrome_reconstruction"][2])
    assert [t.get_text() for t in ax.get_yticklabels()] == ["H3K27me3", "H3K4me3"]
    assert ax.get_title() == "TAL1, H1"
    assert gx.pl.reconstruction(mdata, "g1").get_title() == "g1, H1"


def test_scaled_signal_is_observed_in_the_same_units(mdata):
    mdata["chromatin"].uns["simplechrome_reconstruction"]["units"] = "scaled"
    observed, _ = drawn(gx.pl.reconstruction(mdata, "g4"))
    expected = np.log1p(mdata["chromatin"].obsm["bins"][4, [3, 2]]) / np.array([[2.0], [0.5]])
    np.testing.assert_allclose(observed, expected, rtol=1e-6)


def test_mean_over_the_genes_that_were_reconstructed(mdata):
    mdata["chromatin"].obsm["simplechrome_reconstruction"][0] = np.nan
    ax = gx.pl.reconstruction(mdata, split="train")
    observed, again = drawn(ax)
    np.testing.assert_allclose(observed, mdata["chromatin"].obsm["bins"][3, [3, 2]])
    np.testing.assert_allclose(again, mdata["chromatin"].obsm["simplechrome_reconstruction"][3])
    assert ax.get_title() == "H1, train genes, n = 1"
    observed, _ = drawn(gx.pl.reconstruction(mdata))
    np.testing.assert_allclose(observed, mdata["chromatin"].obsm["bins"][1:, [3, 2]].mean(0), rtol=1e-6)


def test_a_mark_that_was_not_measured_is_blank(mdata):
    mdata["chromatin"].uns["simplechrome_reconstruction"]["marks"] = ["H3K27me3", "H3K9ac"]
    observed, again = drawn(gx.pl.reconstruction(mdata, "g2"))
    assert np.isnan(observed[1]).all()
    assert np.isfinite(again).all()


def test_axes_are_those_given_and_say_distances(mdata):
    _, ax = plt.subplots()
    assert gx.pl.reconstruction(mdata, "g2", ax=ax) is ax
    assert ax.get_xlabel() == "Distance to TSS (kb)"
    assert [t.get_text() for t in ax.texts] == ["observed", "reconstructed"]


def test_what_is_missing_is_said(mdata):
    with pytest.raises(InputError, match="no gene 'BRCA1'"):
        gx.pl.reconstruction(mdata, "BRCA1")
    with pytest.raises(InputError, match=r'make it with model.reconstruct\(key_added="other"\)'):
        gx.pl.reconstruction(mdata, key="other")
    mdata["chromatin"].obsm["simplechrome_reconstruction"][:] = np.nan
    with pytest.raises(InputError, match="nothing of gene 'g2' was reconstructed"):
        gx.pl.reconstruction(mdata, "g2")


def test_it_survives_a_file(mdata, tmp_path):
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    again = gx.io.read_mudata(tmp_path / "m.h5mu")
    for one, other in zip(drawn(gx.pl.reconstruction(mdata)), drawn(gx.pl.reconstruction(again)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_history_sets_stages_apart():
    frame = pd.DataFrame(
        {
            "stage": ["vae", "vae", "predictor", "predictor", "predictor"],
            "valid_loss": [-3.0, -4.0, 0.9, 0.8, 0.85],
            "valid_auroc": [np.nan, np.nan, 0.8, 0.9, 0.88],
            "valid_score": [3.0, 4.0, 0.8, 0.9, 0.88],
        },
        index=pd.RangeIndex(1, 6, name="epoch"),
    )
    ax = gx.pl.history(frame)
    lines = {}
    for line in ax.get_lines():
        lines.setdefault(line.get_label(), []).append(line.get_xdata())
    # no line leads from the loss of one stage to that of the next
    np.testing.assert_array_equal(lines["valid loss"][0], [1, 2])
    np.testing.assert_array_equal(lines["valid loss"][1], [3, 4, 5])
    # the score of the first stage is on another scale
    assert "best epoch 4" in lines
    assert [t.get_text() for t in ax.texts] == ["vae", "predictor"]
    assert [line.get_xdata()[0] for line in ax.get_lines() if line.get_xdata()[0] == 2.5]
