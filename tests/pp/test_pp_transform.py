from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx


@pytest.fixture
def h1(shared_data):
    """The 400 bins around 100 genes of H1, 7 marks, float16 on disk."""
    regions = np.load(shared_data / "h1_seven_marks" / "E003_regions_100bp.npz")
    table = pd.read_csv(shared_data / "h1_seven_marks" / "demo_meta.csv").set_index("gene_id")
    names = [f"{c}:{s - 20000}-{s + 20000}" for c, s in zip(table["chrom"], table["start"], strict=True)]
    found = [n in regions for n in names]
    assert sum(found) > 90
    bins = np.stack([regions[n] for n in names if n in regions])
    marks = [f"mark{i}" for i in range(7)]
    return gx.io.from_bins(bins, genes=table.index[found], marks=marks, sample="H1", scale="fold_change")


def test_log1p(h1):
    before = h1["chromatin"].obsm["bins"].copy()
    gx.pp.log1p(h1)
    after = h1["chromatin"].obsm["bins_log1p"]
    np.testing.assert_allclose(np.exp(after.astype(float)) - 1, before, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(h1["chromatin"].obsm["bins"], before)


def test_arcsinh(shared_data):
    z = np.load(shared_data / "yeast" / "marks26_nuc12.npz")
    mdata = gx.io.from_bins(z["x"], genes=z["gene_id"], marks=z["mark"], scale="log_ratio")
    gx.pp.arcsinh(mdata, cofactor=0.5, key_added="asinh")
    x = mdata["chromatin"].obsm["bins"].astype(float)
    expected = np.log(2 * x + np.sqrt(4 * x**2 + 1))
    np.testing.assert_allclose(mdata["chromatin"].obsm["asinh"], expected, rtol=1e-4, atol=1e-6)
    assert np.isnan(expected).sum() == np.isnan(x).sum() > 0


def test_errors(h1):
    with pytest.raises(gx.InputError, match="cofactor=0 has to be above 0"):
        gx.pp.arcsinh(h1, cofactor=0)
    with pytest.raises(gx.InputError, match="would write over"):
        gx.pp.log1p(h1, key_added="bins")
    with pytest.raises(gx.InputError, match="no 'nothing': it has 'bins'"):
        gx.pp.log1p(h1, key="nothing")
    h1["chromatin"].var["scale"] = ["log"] + ["counts"] * 5 + ["log_ratio"]
    with pytest.raises(gx.InputError, match=r"2 of 7 tracks \('H1.mark0', 'H1.mark6'\) are logarithms already"):
        gx.pp.log1p(h1)
