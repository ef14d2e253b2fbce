from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx


def mdata_of(chrom, tss, strand):
    genes = [f"g{i}" for i in range(len(tss))]
    obs = pd.DataFrame({"chrom": chrom, "tss": tss, "strand": strand}, index=genes)
    return gx.io.from_bins(np.ones((len(genes), 1, 1)), genes=genes, marks=["H3K4me3"], obs=obs)


def table_of(*intervals):
    return pd.DataFrame(intervals, columns=["chrom", "start", "end"])


def test_by_hand_at_the_ends_and_on_both_strands():
    peaks = table_of(("chr1", 0, 4), ("chr1", 3, 6), ("chr1", 18, 21), ("chr1", 18, 19))
    mdata = mdata_of("chr1", [2, 2, 19, 19], ["+", "-", "+", "-"])
    window = {"upstream": 10, "downstream": 5, "bin_size": 5}
    # + of 2: [-8, -3), [-3, 2), [2, 7); covered are 0, 2 and 4 bases
    # - of 2, [-2, 13) backwards: [8, 13), [3, 8), [-2, 3); 0, 3 and 3 bases
    # + of 19: [9, 14), [14, 19), [19, 24); 0, 1 and 2 bases
    # - of 19, [15, 30) backwards: [25, 30), [20, 25), [15, 20); 0, 1 and 2 bases
    expected = np.array([[0, 2, 4], [0, 3, 3], [0, 1, 2], [0, 1, 2]])
    for share, least in ((0, 1), (0.2, 1), (0.4, 2), (0.5, 3), (0.8, 4), (1, 5)):
        mask = gx.pp.interval_mask(mdata, peaks, **window, min_share=share)
        assert mask.dtype == bool
        assert mask.tolist() == (expected >= least).tolist()
    assert gx.pp.interval_mask(mdata, peaks, **window).tolist() == (expected >= 3).tolist()
    unstranded = gx.pp.interval_mask(mdata, peaks, **window, stranded=False, min_share=0)
    assert unstranded.astype(int).tolist() == [[0, 1, 1]] * 2 + [[0, 1, 1]] * 2


@pytest.mark.parametrize("bin_size", [1, 7, 30])
def test_as_by_a_loop_over_bases(bin_size):
    rng = np.random.default_rng(bin_size)
    chroms = np.array(["chr1", "chr2", "chr3"])
    mdata = mdata_of(rng.choice(chroms, 40), rng.integers(0, 400, 40), rng.choice(["+", "-"], 40))
    start = rng.integers(0, 420, 25)
    peaks = pd.DataFrame({"chrom": rng.choice(["1", "2"], 25), "start": start, "end": start + rng.integers(1, 40, 25)})
    mask = gx.pp.interval_mask(mdata, peaks, upstream=120, downstream=90, bin_size=bin_size)
    covered = {c: np.zeros(1000, bool) for c in chroms}
    for c, s, e in peaks.itertuples(index=False):
        covered[f"chr{c}"][300 + s : 300 + e] = True
    for row, (c, t, strand) in zip(mask, mdata.obs[["chrom", "tss", "strand"]].itertuples(index=False), strict=True):
        bases = [t + i if strand == "+" else t - i for i in range(-120, 90)]
        share = covered[c][300 + np.array(bases)].reshape(-1, bin_size).mean(axis=1)
        assert row.tolist() == (share >= 0.5).tolist()


def test_stored_under_a_name(tmp_path, caplog):
    mdata = mdata_of("chr1", [50], ["+"])
    mdata.uns["chrom_sizes"] = pd.DataFrame({"chrom": ["chr1"], "size": [60]}, index=["0"])
    path = tmp_path / "a.narrowPeak"
    path.write_text("1\t40\t52\t.\t53\t.\t2.9\t5.3\t-1\t12\n1\t55\t61\tp2\t.\t+\t2\t5.3\t3.3\t-1\n")
    peaks = gx.io.read_intervals(path)
    gx.pp.add_intervals(mdata, peaks, "peaks")
    assert "1 of 2 intervals of peaks end beyond their chromosome ('1')" in caplog.text
    gx.pp.add_intervals(mdata, peaks[:1], "first")
    for suffix in (".h5mu", ".zarr"):
        gx.io.write_mudata(mdata, tmp_path / f"m{suffix}")
        again = gx.io.read_mudata(tmp_path / f"m{suffix}")
        assert sorted(again.uns["intervals"]) == ["first", "peaks"]
        kept = again.uns["intervals"]["peaks"]
        assert kept.columns.tolist() == peaks.columns.tolist()
        assert kept.drop(columns="score").values.tolist() == peaks.drop(columns="score").values.tolist()
        mask = gx.pp.interval_mask(again, "peaks", upstream=10, downstream=10, bin_size=5)
        assert mask.tolist() == [[True, True, False, True]]
    with pytest.raises(gx.InputError, match=r"there are no intervals 'all': there are 'peaks', 'first'"):
        gx.pp.interval_mask(mdata, "all", upstream=10, downstream=10, bin_size=5)


def test_errors():
    mdata = mdata_of("chr1", [50], ["+"])
    peaks = table_of(("chr1", 40, 52))
    window = {"upstream": 10, "downstream": 10, "bin_size": 5}
    with pytest.raises(gx.InputError, match="min_share=2: give a share from 0"):
        gx.pp.interval_mask(mdata, peaks, **window, min_share=2)
    with pytest.raises(gx.InputError, match=r"none of the 1 chromosomes of mdata\.obs"):
        gx.pp.interval_mask(mdata, peaks.assign(chrom="chr7"), **window)
    with pytest.raises(gx.InputError, match=r"none of the 1 chromosomes of mdata\.obs .* of the intervals p"):
        gx.pp.add_intervals(mdata, peaks.assign(chrom="chr7"), "p")
    for wrong, said in (
        (peaks.drop(columns="end"), "the intervals lacks the column 'end'"),
        (peaks[:0], "has no interval"),
        (peaks.assign(start=40.5), "positions that are no whole numbers"),
        (peaks.assign(start=52), "has an interval from 52 to 52"),
    ):
        with pytest.raises(gx.InputError, match=said):
            gx.pp.interval_mask(mdata, wrong, **window)
    with pytest.raises(gx.InputError, match="name='a/b' is no name for intervals"):
        gx.pp.add_intervals(mdata, peaks, "a/b")
    assert "intervals" not in mdata.uns


def test_a_genome_takes_seconds():
    rng = np.random.default_rng(0)
    chroms = np.array([f"chr{i}" for i in range(1, 23)])
    mdata = mdata_of(rng.choice(chroms, 4000), rng.integers(0, 100_000_000, 4000), rng.choice(["+", "-"], 4000))
    start = rng.integers(0, 100_000_000, 100_000)
    peaks = pd.DataFrame({"chrom": rng.choice(chroms, 100_000), "start": start, "end": start + 500})
    begin = time.process_time()
    mask = gx.pp.interval_mask(mdata, peaks, upstream=100_000, downstream=100_000, bin_size=32)
    assert time.process_time() - begin < 8
    assert mask.mean() == pytest.approx(1 - np.exp(-100_000 * 500 / 2.2e9), rel=0.05)


def test_real_peaks_and_blacklist(shared_data):
    folder = shared_data / "k562_chr22_abc_hg38"
    peaks = gx.io.read_intervals(folder / "macs2_peaks.narrowPeak.gz")
    genes = gx.io.read_genes(shared_data / "k562_elements_hg38" / "genes.tsv")
    genes = genes[genes["chrom"] == "chr22"]
    mdata = mdata_of(genes["chrom"].to_numpy(), genes["tss"].to_numpy(), genes["strand"].to_numpy())
    mask = gx.pp.interval_mask(mdata, peaks, upstream=1000, downstream=1000, bin_size=1)
    covered = np.zeros(51_000_000, bool)
    for s, e in peaks[["start", "end"]].itertuples(index=False):
        covered[s:e] = True
    for row, t, strand in zip(mask[::50], genes["tss"][::50], genes["strand"][::50], strict=True):
        bases = covered[t - 1000 : t + 1000] if strand == "+" else covered[t - 999 : t + 1001][::-1]
        assert (row == bases).all()
    assert 0.1 < mask.mean() < 0.9
