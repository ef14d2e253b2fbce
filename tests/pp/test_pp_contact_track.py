from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx


def mdata_of(*places, sizes=None):
    genes = [f"g{i}" for i in range(len(places))]
    obs = pd.DataFrame(places, columns=["chrom", "tss", "strand"], index=genes)
    mdata = gx.io.from_bins(np.ones((len(genes), 1, 1)), genes=genes, marks=["H3K4me3"], obs=obs)
    if sizes:
        mdata.uns["chrom_sizes"] = pd.DataFrame({"chrom": list(sizes), "size": list(sizes.values())})
    return mdata


def matrix(counts, size, chrom="chr1", resolution=10):
    """A symmetric matrix of contacts as gx.io.read_contacts gives it."""
    row, column = np.triu_indices(len(counts))
    count = np.asarray(counts, float)[row, column]
    start = resolution * np.arange(len(counts))
    end = np.minimum(start + resolution, size)
    columns = {"start1": start[row], "end1": end[row], "start2": start[column], "end2": end[column], "count": count}
    table = pd.DataFrame({"chrom": chrom, **columns})[count > 0]
    table.attrs = {"file": "a.mcool", "resolution": resolution, "normalization": "weight"}
    return table


def back(mdata, key="contact"):
    return (10 ** mdata["chromatin"].obsm[key].astype(float) - 1).round(4).tolist()


def test_ends_of_the_chromosome_on_both_strands():
    # 5 bins of 10 bases, the last one of 6: contact of bins i and j is 10 i + j (i <= j), plus 1
    counts = np.array([[10 * min(i, j) + max(i, j) + 1 for j in range(5)] for i in range(5)])
    contacts = matrix(counts, 46)
    mdata = mdata_of(("chr1", 10, "+"), ("chr1", 9, "-"), ("chr1", 40, "+"), ("chr1", 39, "-"))
    gx.pp.contact_track(mdata, contacts, upstream=20, downstream=20, bin_size=10)
    assert back(mdata) == [
        # bin 1 at the TSS; window [-10, 30): beyond, bins 0, 1, 2
        [0, 2, 12, 13],
        # bin 0; window [-10, 30) read backwards: bins 2, 1, 0, beyond
        [3, 2, 1, 0],
        # bin 4; window [20, 60): bins 2, 3, 4 (6 of 10 bases), beyond
        [25, 35, 45 * 0.6, 0],
        # bin 3; window [20, 60) backwards: beyond, bin 4, 3, 2
        [0, 35 * 0.6, 34, 24],
    ]
    about = mdata["chromatin"].uns["contact"]
    assert about == {
        "upstream": 20, "downstream": 20, "bin_size": 10, "stranded": True, "source": "a.mcool", "resolution": 10,
        "normalization": "weight",
    }  # fmt: skip
    gx.pp.contact_track(mdata, contacts, upstream=20, downstream=20, bin_size=10, stranded=False, key_added="plus")
    # [tss - 20, tss + 20) for all: gene 1 [-11, 29), one base off the bins
    assert back(mdata, "plus")[1] == [0, 0.9, 1.9, 2.9]


def by_base(counts, tss, start, n_bins, bin_size, size, resolution=10):
    """A loop over bases."""
    out = []
    for b in range(n_bins):
        bases = range(start + b * bin_size, start + (b + 1) * bin_size)
        here = [counts[tss // resolution][x // resolution] if 0 <= x < size else 0 for x in bases]
        out.append(sum(here) / bin_size)
    return out


@pytest.mark.parametrize("bin_size", [4, 10, 28])
def test_bins_of_other_sizes_and_edges_as_by_a_loop_over_bases(bin_size):
    rng = np.random.default_rng(0)
    half = rng.integers(0, 9, (20, 20))
    counts, size = half + half.T, 197
    tss = rng.integers(0, size, 30)
    strand = rng.choice(["+", "-"], 30)
    mdata = mdata_of(*(("1", t, s) for t, s in zip(tss, strand, strict=True)))
    up, down = (80, 60) if bin_size == 10 else (84, 56)
    gx.pp.contact_track(mdata, matrix(counts, size), upstream=up, downstream=down, bin_size=bin_size)
    for got, t, s in zip(mdata["chromatin"].obsm["contact"], tss, strand, strict=True):
        start = t - up if s == "+" else t - down + 1
        expected = by_base(counts, t, start, 140 // bin_size, bin_size, size)
        np.testing.assert_allclose(got, np.log10(1 + np.array(expected[:: 1 if s == "+" else -1])), rtol=1e-5)


def test_loops():
    loops = pd.DataFrame(
        {"chrom": "chr1", "start1": [10, 12], "end1": [20, 18], "start2": [40, 45], "end2": [50, 55], "count": [9, 4]}
    )
    mdata = mdata_of(("chr1", 15, "+"), ("chr1", 47, "-"), ("chr1", 18, "+"), ("chr1", 70, "+"))
    gx.pp.contact_track(mdata, loops, upstream=35, downstream=45, bin_size=10)
    values = back(mdata)
    # window [-20, 60): [40, 50) has all of one and half of the other
    assert values[0] == [0, 0, 0, 0, 0, 0, 9 + 2, 2]
    # window [3, 83) backwards, last bin [3, 13): 3 of 10 bases of one, 1 of the other; before it [13, 23)
    assert values[1][-2:] == [round(0.7 * 9 + 0.5 * 4, 4), round(0.3 * 9 + 0.1 * 4, 4)]
    assert values[2] == [0, 0, 0, 0, 0, round(0.3 * 9, 4), round(0.7 * 9, 4), 0]
    assert not any(values[3])


def test_power_law_by_hand():
    sizes = {"1": 130_000}
    mdata = mdata_of(
        ("chr1", 50_000, "+"), ("chr1", 50_000, "-"), ("chr1", 3_000, "-"), ("chr1", 120_000, "+"), sizes=sizes
    )
    gx.pp.contact_track(mdata, upstream=40_000, downstream=20_000)
    track = mdata["chromatin"].obsm["contact"]
    assert track.shape == (4, 12)
    distance = np.array([37_500, 32_500, 27_500, 22_500, 17_500, 12_500, 7_500, 5000, 5000, 7_500, 12_500, 17_500])
    expected = np.log10(1 + 100 * (distance / 5000) ** -1.024238616787792)
    np.testing.assert_allclose(track[0], expected, atol=1e-3)
    np.testing.assert_array_equal(track[0], track[1])
    # upstream on - is to the right: [-16999, 43001), and the last bins lie before the start
    assert (track[2, -4:] > 0).tolist() == [True, False, False, False]
    # [80000, 140000): the last two bins lie behind the end
    assert (track[3, -3:] > 0).tolist() == [True, False, False]
    np.testing.assert_array_equal(track[3, :10], track[0, :10])
    assert mdata["chromatin"].uns["contact"]["source"] == "power law"


def test_place_and_round_trip(tmp_path):
    obs = pd.DataFrame({"chrom": ["chr1", None], "tss": [50.0, np.nan], "strand": "+"}, index=["a", "b"])
    mdata = gx.io.from_bins(np.ones((2, 1, 1)), genes=["a", "b"], marks=["H3K4me3"], obs=obs)
    del mdata.mod["chromatin"]
    expression = pd.DataFrame({"K562": [1.0, 2.0]}, index=["a", "b"])
    expression.attrs["unit"] = {"K562": "log"}
    mdata.mod["rna"] = gx.io.assemble.assemble_rna(["a", "b"], expression)
    gx.pp.contact_track(mdata, upstream=10, downstream=10, bin_size=10)
    assert list(mdata.mod) == ["rna", "dna"]
    gx.schema.validate(mdata)
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    dna = gx.io.read_mudata(tmp_path / "m.h5mu")["dna"]
    np.testing.assert_allclose(dna.obsm["contact"], [[np.log10(101)] * 2, [0, 0]], rtol=1e-6)
    assert int(dna.uns["contact"]["upstream"]) == 10
    assert bool(dna.uns["contact"]["stranded"])


def test_errors(caplog):
    mdata = mdata_of(("chr1", 15, "+"), ("chr2", 15, "+"))
    contacts = matrix(np.ones((3, 3)), 30)
    gx.pp.contact_track(mdata, contacts, upstream=10, downstream=10, bin_size=10)
    assert "1 genes lie on chromosomes without contacts ('chr2')" in caplog.text
    with pytest.raises(gx.InputError, match="bins of 15 bases do not fill the window"):
        gx.pp.contact_track(mdata, contacts, upstream=10, downstream=10, bin_size=15)
    with pytest.raises(gx.InputError, match=r"none of the 2 chromosomes of mdata.obs"):
        gx.pp.contact_track(mdata, contacts.assign(chrom="chr7"), upstream=10, downstream=10, bin_size=10)
    far = contacts.assign(start1=1000, end1=1010, start2=1000, end2=1010)
    with pytest.raises(gx.InputError, match=r"none of the 6 contacts of a.mcool lies in the window of a TSS"):
        gx.pp.contact_track(mdata, far, upstream=10, downstream=10, bin_size=10)
    with pytest.raises(gx.InputError, match="counts of contacts are negative"):
        gx.pp.contact_track(mdata, contacts.assign(count=-1), upstream=10, downstream=10, bin_size=10)
    with pytest.raises(gx.InputError, match="key_added='bins' is no name"):
        gx.pp.contact_track(mdata, contacts, upstream=10, downstream=10, bin_size=10, key_added="bins")
    contacts.attrs["between_genes"] = True
    with pytest.raises(gx.InputError, match=r"a.mcool was read with genes=, .* read it again without"):
        gx.pp.contact_track(mdata, contacts, upstream=10, downstream=10, bin_size=10)
    del mdata.obs["tss"]
    with pytest.raises(gx.InputError, match=r"mdata.obs has no column 'tss', and gx.pp.contact_track needs"):
        gx.pp.contact_track(mdata, upstream=10, downstream=10, bin_size=10)
