from __future__ import annotations

import gzip
import shutil
import struct

import numpy as np
import pandas as pd
import pyBigWig
import pytest

from genexp_scverse import InputError
from genexp_scverse.io import _bigwig_blocks, bin_tracks, check_bigwigs

NAN = float("nan")


def write_bigwig(path, chroms, entries):
    """Entries: (chrom, start, end, value), sorted."""
    with pyBigWig.open(str(path), "w") as bw:
        bw.addHeader(list(chroms.items()))
        for chrom in chroms:
            mine = [e for e in entries if e[0] == chrom]
            if mine:
                _, start, end, value = zip(*mine, strict=True)
                bw.addEntries([chrom] * len(mine), list(start), ends=list(end), values=list(map(float, value)))
    return path


def make_genes(rows):
    return pd.DataFrame(rows, columns=["chrom", "tss", "strand"], index=[f"g{i}" for i in range(len(rows))])


def loop_over_bases(genes, paths, upstream, downstream, bin_size, summary="mean", uncovered=0.0):
    """Each bin from its bases, one after the other, as the definition says."""
    result = np.zeros((len(genes), len(paths), (upstream + downstream) // bin_size))
    for j, path in enumerate(paths):
        with pyBigWig.open(str(path)) as bw:
            for i, (chrom, tss, strand) in enumerate(zip(genes.chrom, genes.tss, genes.strand, strict=True)):
                if strand == "+":
                    positions = range(tss - upstream, tss + downstream)
                else:
                    positions = range(tss + upstream, tss - downstream, -1)
                low, high = max(0, min(positions)), min(bw.chroms(chrom), max(positions) + 1)
                values = bw.values(chrom, low, high) if low < high else []
                signal = dict(zip(range(low, high), values, strict=True))
                bases = [signal.get(p, NAN) for p in positions]
                for b in range(result.shape[2]):
                    part = np.array(bases[b * bin_size : (b + 1) * bin_size])
                    if not np.isnan(uncovered):
                        part[np.isnan(part)] = uncovered
                    part = part[~np.isnan(part)]
                    result[i, j, b] = getattr(np, summary)(part) if len(part) else NAN
    return result


@pytest.fixture
def made(tmp_path):
    """Gaps, 1-bp intervals, abutting intervals, negatives, both chromosome ends, a chromosome without data."""
    rng = np.random.default_rng(0)
    entries, at = [("chr1", 0, 7, 3.5)], 7
    while at < 4990:
        at += int(rng.choice([0, 0, 1, 3, 40, 200]))
        end = min(at + int(rng.choice([1, 1, 2, 10, 33, 150])), 5000)
        if at < end:
            entries.append(("chr1", at, end, float(np.round(rng.normal(), 3))))
        at = end
    entries += [("chr2", 0, 1000, 2.0), ("chr3", 299, 300, 5.0)]
    chroms = {"chr1": 5000, "chr2": 1000, "chr3": 300, "chr4": 500}
    return write_bigwig(tmp_path / "made.bigWig", chroms, entries)


@pytest.fixture
def made_genes():
    rng = np.random.default_rng(1)
    rows = [("chr1", int(p), s) for p in rng.integers(0, 5000, 60) for s in "+-"]
    ends = {"chr1": 5000, "chr2": 1000, "chr3": 300, "chr4": 500}
    rows += [(c, p, s) for c, n in ends.items() for p in (0, 1, n // 2, n - 1) for s in "+-"]
    return make_genes(rows).sample(frac=1, random_state=0)


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("uncovered", [0.0, NAN])
@pytest.mark.parametrize("summary", ["mean", "max", "sum"])
def test_equals_a_loop_over_bases(made, made_genes, summary, uncovered, dense, monkeypatch):
    monkeypatch.setattr(_bigwig_blocks, "_DENSE", 0.0 if dense else 10.0)
    for upstream, downstream, bin_size in [(100, 100, 10), (300, 90, 13), (50, 0, 1), (0, 64, 64)]:
        window = {"upstream": upstream, "downstream": downstream, "bin_size": bin_size}
        bins = bin_tracks(made_genes, [made], **window, summary=summary, uncovered=uncovered)
        expected = loop_over_bases(made_genes, [made], *window.values(), summary, uncovered)
        assert bins.dtype == np.float32
        np.testing.assert_allclose(bins, expected, rtol=1e-5, atol=1e-5)
        assert np.isnan(bins).any() == np.isnan(uncovered)


def test_blocks_do_not_change_the_result(made, made_genes, monkeypatch):
    window = {"upstream": 100, "downstream": 100, "bin_size": 10}
    whole = bin_tracks(made_genes, [made], **window)
    monkeypatch.setattr(_bigwig_blocks, "_BLOCK_BASES", 400)
    np.testing.assert_array_equal(bin_tracks(made_genes, [made], **window), whole)
    monkeypatch.setattr(_bigwig_blocks, "_GAP_INTERVALS", 0)
    monkeypatch.setattr(_bigwig_blocks, "_BLOCK_BINS", 1)
    np.testing.assert_array_equal(bin_tracks(made_genes, [made], **window), whole)


def test_bins_are_in_the_direction_of_transcription(tmp_path):
    path = write_bigwig(tmp_path / "a.bw", {"chr1": 1000}, [("chr1", 500, 510, 1.0), ("chr1", 520, 530, 8.0)])
    genes = make_genes([("chr1", 505, "+"), ("chr1", 505, "-")])
    window = {"upstream": 5, "downstream": 30, "bin_size": 5}
    bins = bin_tracks(genes, [path], **window)[:, 0]
    assert bins[0].tolist() == [1, 1, 0, 0, 8, 8, 0]
    assert bins[1].tolist() == pytest.approx([0.8, 1, 0.2, 0, 0, 0, 0])
    unstranded = bin_tracks(genes.drop(columns="strand"), [path], **window, stranded=False)[:, 0]
    assert unstranded[0].tolist() == unstranded[1].tolist() == bins[0].tolist()


def test_small_values_survive_beside_huge_ones(tmp_path):
    rows = [("chr1", 10 * i, 10 * i + 10, 1e30 if i % 2 else 1e-6) for i in range(400)]
    path = write_bigwig(tmp_path / "a.bw", {"chr1": 5000}, rows)
    bins = bin_tracks(make_genes([("chr1", 2000, "+")]), [path], upstream=2000, downstream=3000, bin_size=10)
    np.testing.assert_allclose(bins[0, 0, 0:400:2], 1e-6, rtol=1e-6)
    np.testing.assert_allclose(bins[0, 0, 1:400:2], 1e30, rtol=1e-6)
    assert (bins[0, 0, 400:] == 0).all()


def test_steps_of_fixed_and_variable_width(tmp_path):
    path = tmp_path / "steps.bw"
    values = np.arange(1, 101, dtype=float)
    with pyBigWig.open(str(path), "w") as bw:
        bw.addHeader([("chr1", 1000)])
        bw.addEntries("chr1", 100, values=values.tolist(), span=1, step=1)
        bw.addEntries("chr1", [300, 310, 330], values=[1.0, 2.0, 3.0], span=5)
    genes = make_genes([("chr1", 200, "+"), ("chr1", 200, "-")])
    expected = loop_over_bases(genes, [path], 200, 200, 20)
    bins = bin_tracks(genes, [path], upstream=200, downstream=200, bin_size=20)
    np.testing.assert_allclose(bins, expected, rtol=1e-6)
    assert bins[0, 0, 5] == pytest.approx(values[:20].mean())


def test_real_small_files(shared_data):
    names = ["lamp5_sample.bw", "GM12878_Stat1.chr22_1-30000000.bigWig", "hg19.dnase1.bw"]
    rng = np.random.default_rng(0)
    for name in names:
        path = shared_data / "small_bigwigs" / name
        with pyBigWig.open(str(path)) as bw:
            chroms = {c: bw.intervals(c) for c in bw.chroms()}
        chrom, intervals = next((c, i) for c, i in chroms.items() if i)
        tss = [intervals[i][0] for i in rng.integers(0, len(intervals), 15)]
        genes = make_genes([(chrom, p, s) for p in tss for s in "+-"])
        for uncovered in (0.0, NAN):
            window = {"upstream": 700, "downstream": 500, "bin_size": 40}
            bins = bin_tracks(genes, [path], **window, uncovered=uncovered)
            expected = loop_over_bases(genes, [path], *window.values(), uncovered=uncovered)
            np.testing.assert_allclose(bins, expected, rtol=1e-5, atol=1e-5)
            assert np.nanmax(bins) > 0


def test_roadmap(shared_data, caplog):
    folder = shared_data / "roadmap_peaks_hg19"
    genes = pd.read_csv(folder / "genes.tsv", sep="\t", index_col="gene_id")
    paths = [folder / "K562.H3K4me3.bigWig", folder / "H1.H3K27me3.bigWig"]
    window = {"upstream": 5000, "downstream": 5000, "bin_size": 100}
    bins = bin_tracks(genes, paths, **window, scales=["log", "log"])
    assert bins.shape == (14158, 2, 100)
    assert not [r for r in caplog.records if r.levelname == "WARNING"]
    rows = np.random.default_rng(0).choice(len(genes), 60, replace=False)
    expected = loop_over_bases(genes.iloc[rows], paths, *window.values())
    np.testing.assert_allclose(bins[rows], expected, rtol=1e-5, atol=1e-5)
    # H3K4me3 marks promoters: the first bins after the TSS are the highest on both strands.
    for strand in "+-":
        profile = bins[(genes.strand == strand).to_numpy(), 0].mean(axis=0)
        assert 50 <= profile.argmax() <= 60


def test_processes_give_the_same(made, made_genes, tmp_path):
    copy = shutil.copy(made, tmp_path / "copy.bigWig")
    window = {"upstream": 100, "downstream": 100, "bin_size": 10}
    alone = bin_tracks(made_genes, [made, copy], **window, n_jobs=1)
    np.testing.assert_array_equal(bin_tracks(made_genes, [made, copy], **window, n_jobs=2), alone)
    assert bin_tracks(made_genes.iloc[:0], [made], **window).shape == (0, 1, 20)
    bad = write_bigwig(tmp_path / "bad.bw", {"chr1": 5000}, [("chr1", 0, 5000, np.inf)])
    with pytest.raises(InputError, match=r"bad\.bw holds inf at chr1:0-5,000"):
        bin_tracks(made_genes[made_genes.chrom == "chr1"], [made, bad], **window, n_jobs=2)


def test_other_names_and_missing_chromosomes(tmp_path, caplog):
    a = write_bigwig(tmp_path / "a.bw", {"1": 1000, "MT": 500}, [("1", 0, 1000, 2.0), ("MT", 0, 500, 3.0)])
    b = write_bigwig(tmp_path / "b.bw", {"chr1": 1000, "chr2": 900}, [("chr1", 0, 1000, 4.0)])
    genes = make_genes([("chr1", 500, "+"), ("chrM", 200, "-"), ("chr2", 100, "+"), ("chr9", 7, "+")])
    bins = bin_tracks(genes, [a, b], upstream=10, downstream=10, bin_size=20)
    assert bins[:, :, 0].tolist() == [[2, 4], [3, 0], [0, 0], [0, 0]]
    assert "2 of 4 genes are on chromosomes" in caplog.text
    assert "'chr2', 'chr9'" in caplog.text
    assert "'chrM', 'chr9'" in caplog.text
    bins = bin_tracks(genes, [a, b], upstream=10, downstream=10, bin_size=20, uncovered=NAN)
    assert np.isnan(bins[3]).all()
    with pytest.raises(InputError, match=r"none of the 1 chromosomes.*'chrX'.*a\.bw"):
        bin_tracks(make_genes([("chrX", 5, "+")]), [a], upstream=10, downstream=10, bin_size=20)


def test_half_precision(tmp_path):
    path = write_bigwig(tmp_path / "a.bw", {"chr1": 1000}, [("chr1", 0, 1000, 65_000.0)])
    genes = make_genes([("chr1", 500, "+")])
    bins = bin_tracks(genes, [path], upstream=10, downstream=10, bin_size=20, dtype="float16")
    assert bins.dtype == np.float16
    assert bins[0, 0, 0] == pytest.approx(65_000, rel=1e-3)
    with pytest.raises(InputError, match="float16: take dtype float32"):
        bin_tracks(genes, [path], upstream=10, downstream=10, bin_size=20, dtype="float16", summary="sum")


@pytest.mark.parametrize("dense", [0.0, 10.0])
def test_values_that_are_not_finite(tmp_path, dense, monkeypatch):
    monkeypatch.setattr(_bigwig_blocks, "_DENSE", dense)
    window = {"upstream": 500, "downstream": 500, "bin_size": 20}
    rows = [("chr1", i, i + 1, 1.0) for i in range(1000)]
    rows[300] = ("chr1", 300, 301, float("inf"))
    path = write_bigwig(tmp_path / "a.bw", {"chr1": 1000}, rows)
    genes = make_genes([("chr1", 500, "+")])
    with pytest.raises(InputError, match=r"a\.bw holds inf at chr1:300-301"):
        bin_tracks(genes, [path], **window)
    # NaN is a base without a value
    rows[300] = ("chr1", 300, 301, NAN)
    path = write_bigwig(tmp_path / "b.bw", {"chr1": 1000}, rows)
    assert bin_tracks(genes, [path], **window)[0, 0, 14:17].tolist() == [1, np.float32(0.95), 1]
    assert bin_tracks(genes, [path], **window, uncovered=NAN)[0, 0, 14:17].tolist() == [1, 1, 1]


@pytest.mark.parametrize("summary", ["mean", "max", "sum"])
@pytest.mark.parametrize("uncovered", [0.0, NAN])
@pytest.mark.parametrize("step", [1, 7])
def test_nan_in_a_file_is_a_base_without_a_value(tmp_path, summary, uncovered, step):
    rng = np.random.default_rng(0)
    rows = [("chr1", i, i + step, -rng.random() if i % 3 else NAN) for i in range(0, 700 - step, step)]
    rows += [("chr2", 100, 200, NAN)]
    path = write_bigwig(tmp_path / "a.bw", {"chr1": 1000, "chr2": 300}, rows)
    genes = make_genes([("chr1", 300, "+"), ("chr1", 690, "-"), ("chr2", 150, "+"), ("chr1", 900, "+")])
    window = {"upstream": 60, "downstream": 60, "bin_size": 10, "summary": summary, "uncovered": uncovered}
    bins = bin_tracks(genes, [path], **window)
    clean = write_bigwig(tmp_path / "b.bw", {"chr1": 1000, "chr2": 300}, [r for r in rows if not np.isnan(r[3])])
    np.testing.assert_array_equal(bins, bin_tracks(genes, [clean], **window))
    np.testing.assert_allclose(bins, loop_over_bases(genes, [path], *window.values()), rtol=1e-6)


def test_positions_beyond_two_to_the_31(tmp_path):
    """The axolotl has chromosomes of 3 Gb; pyBigWig gives such positions as negative numbers."""
    edge = 2**31
    rows = [("chr1", 100, 200, 1.0), ("chr1", edge - 10, edge + 10, 2.0), ("chr1", 2_500_000_000, 2_500_000_020, 3.0)]
    path = write_bigwig(tmp_path / "big.bw", {"chr1": 3_000_000_000}, rows)
    genes = make_genes(
        [("chr1", edge, "+"), ("chr1", 2_500_000_000, "-"), ("chr1", 150, "+"), ("chr1", 2_999_999_990, "+")]
    )
    bins = bin_tracks(genes, [path], upstream=20, downstream=20, bin_size=10)
    # gene 2 goes from 2,500,000,020 down to 2,499,999,981; the track covers 19 of its first 20 bases, and its TSS
    np.testing.assert_allclose(bins[:, 0], [[0, 2, 2, 0], [2.7, 3, 0.3, 0], [1, 1, 1, 1], [0, 0, 0, 0]], rtol=1e-6)


def test_negative_values_need_a_log_ratio(made, made_genes):
    window = {"upstream": 10, "downstream": 10, "bin_size": 20}
    with pyBigWig.open(str(made)) as bw:
        minimum = min(v for c in ("chr1", "chr2") for *_, v in bw.intervals(c))
    with pytest.raises(
        InputError, match=rf"made.bigWig has values down to {minimum:g}, .*scale fold_change.*log_ratio"
    ):
        bin_tracks(made_genes, [made], **window, scales=["fold_change"])
    assert bin_tracks(made_genes, [made], **window, scales=["log_ratio"]).min() < 0
    with pytest.raises(InputError, match=r"scale of .* is 'ratio': allowed are counts"):
        bin_tracks(made_genes, [made], **window, scales=["ratio"])
    with pytest.raises(InputError, match="2 entries for 1 tracks"):
        bin_tracks(made_genes, [made], **window, scales=["log", "log"])


def test_tracks_of_zero_are_named(tmp_path, caplog):
    path = write_bigwig(tmp_path / "none.bw", {"chr1": 10_000}, [("chr1", 0, 10, 1.0)])
    bin_tracks(make_genes([("chr1", 5000, "+")]), [path], upstream=10, downstream=10, bin_size=20)
    assert "none.bw is zero in every window" in caplog.text


def test_tss_beyond_the_end(tmp_path):
    path = write_bigwig(tmp_path / "a.bw", {"chr1": 1000}, [("chr1", 0, 10, 1.0)])
    with pytest.raises(InputError, match=r"1 of 2 genes .*g1 at chr1:1,000 of 1,000.*another assembly"):
        bin_tracks(
            make_genes([("chr1", 999, "+"), ("chr1", 1000, "+")]), [path], upstream=10, downstream=10, bin_size=5
        )


def test_assemblies_must_agree(tmp_path, caplog):
    a = write_bigwig(tmp_path / "a.bw", {"chr1": 1000, "chrM": 500}, [("chr1", 0, 10, 1.0)])
    b = write_bigwig(tmp_path / "b.bw", {"1": 1001, "MT": 500}, [("1", 0, 10, 1.0)])
    c = write_bigwig(tmp_path / "c.bw", {"1": 1000, "MT": 502, "2": 70}, [("1", 0, 10, 1.0)])
    with pytest.raises(InputError, match=r"chr1 has 1,000 bases in .*a\.bw and 1,001 in .*b\.bw"):
        check_bigwigs([a, b])
    assert check_bigwigs([a, c]) == {"chr1": 1000, "chrM": 500, "2": 70}
    assert "mitochondrion" in caplog.text
    with pytest.raises(InputError, match=r"chr1 has 1,000 bases in .*a\.bw and 7 in chrom_sizes"):
        check_bigwigs([a], chrom_sizes={"chr1": 7})
    assert check_bigwigs([a], chrom_sizes={"chr1": 1000, "chr5": 7}) == {"chr1": 1000, "chrM": 500}


def test_files_that_are_no_bigwigs(tmp_path, made):
    raw = made.read_bytes()
    cases = {
        "peaks.bb": (struct.pack("<I", 0x8789F2EB) + bytes(600), "is a bigBed file"),
        "a.bedGraph": (b"chr1\t0\t10\t1.5\n", "text file .wig, bedGraph or BED.*bedGraphToBigWig"),
        "a.wig": (b"track type=wiggle_0\nfixedStep chrom=chr1 start=1\n", "bedGraphToBigWig"),
        "b.wig": (b"fixedStep chrom=chr1 start=1 step=1\n1\n", "wigToBigWig"),
        "a.html": (b"\n<!DOCTYPE html><html>", "is a web page"),
        "a.gz": (gzip.compress(raw), "is gzipped"),
        "a.bam": (b"\x1f\x8b\x08\x04" + bytes(8) + b"BC\x02\x00", "BAM"),
        "empty.bw": (b"", "is empty"),
        "big.bw": (struct.pack(">I", 0x888FFC26) + bytes(600), "big-endian"),
        "odd.bw": (b"\x00\x01\x02\x03" * 200, "is not a bigWig"),
        "short.bw": (raw[:40], "is cut short"),
    }
    for name, (content, text) in cases.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=text):
            check_bigwigs([path])


def test_any_cut_is_found_or_harmless(made, made_genes, tmp_path):
    """A file cut anywhere is refused, unless all that is missing is the mark at its end."""
    raw = made.read_bytes()
    window = {"upstream": 100, "downstream": 100, "bin_size": 10}
    whole = bin_tracks(made_genes, [made], **window)
    cut, refused = tmp_path / "cut.bw", 0
    lengths = sorted({int(x) for x in np.linspace(1, len(raw) - 1, 150)} | set(range(len(raw) - 12, len(raw))))
    for n in lengths:
        cut.write_bytes(raw[:n])
        try:
            bins = bin_tracks(made_genes, [cut], **window)
        except InputError as error:
            assert "cut.bw" in str(error)
            refused += 1
        else:
            np.testing.assert_array_equal(bins, whole)
    assert refused >= len(lengths) - 12


def test_damaged_index(made, tmp_path):
    raw = bytearray(made.read_bytes())
    index = struct.unpack("<Q", raw[24:32])[0]
    raw[index : index + 4] = b"\0\0\0\0"
    path = tmp_path / "damaged.bw"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"damaged .no index at byte"):
        check_bigwigs([path])


@pytest.mark.parametrize(
    ("at", "why"),
    [
        (48 + 4, "a block of its data is of a chromosome that it does not list"),
        (48 + 2, "its index is empty and should have"),
    ],
)
def test_index_that_does_not_fit_the_chromosomes(made, made_genes, tmp_path, at, why):
    """The chromosome of the first block, and the number of blocks, in the leaf that is the whole index."""
    raw = bytearray(made.read_bytes())
    at += struct.unpack("<Q", raw[24:32])[0]
    raw[at : at + 2] = b"\x09\x09" if "chromosome" in why else bytes(2)
    path = tmp_path / "damaged.bw"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=rf"damaged\.bw is damaged .{why}"):
        bin_tracks(made_genes, [path], upstream=10, downstream=10, bin_size=20)


def test_damaged_data(made, made_genes, tmp_path):
    raw = bytearray(made.read_bytes())
    data, index = struct.unpack("<QQ", raw[16:32])
    raw[data + 8 : index] = bytes(index - data - 8)
    path = tmp_path / "damaged.bw"
    path.write_bytes(raw)
    with pytest.raises(InputError, match=r"damaged\.bw is damaged .the block at byte \d+: "):
        bin_tracks(made_genes, [path], upstream=10, downstream=10, bin_size=20)


def test_paths_that_do_not_do(made, tmp_path):
    with pytest.raises(InputError, match=r"bigWig not found: .*nowhere\.bw"):
        check_bigwigs([tmp_path / "nowhere.bw"])
    with pytest.raises(InputError, match="is a folder"):
        check_bigwigs([tmp_path])
    with pytest.raises(InputError, match="local files"):
        check_bigwigs(["https://example.org/a.bw"])
    with pytest.raises(InputError, match="tracks 1 and 2 are one file"):
        check_bigwigs([made, tmp_path / "." / "made.bigWig"])
    with pytest.raises(InputError, match="no bigWig was given"):
        check_bigwigs([])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"bin_size": 30}, "bins of 30 bases do not fill"),
        ({"summary": "median"}, "allowed are mean, max, sum"),
        ({"uncovered": 1.0}, "uncovered is 1.0"),
        ({"dtype": "int8"}, "dtype is int8"),
        ({"n_jobs": 0}, "n_jobs=0 is not possible"),
    ],
)
def test_options_that_do_not_do(made, made_genes, options, text):
    with pytest.raises(InputError, match=text):
        bin_tracks(made_genes, [made], **{"upstream": 100, "downstream": 100, "bin_size": 10} | options)
