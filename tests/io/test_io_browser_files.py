from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from scored import made, stored

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.io import score_bigwig

TABLE = pd.DataFrame(
    {
        "chrom": ["chr2", "chr10", "chr2"],
        "start": [500, 7, 20],
        "end": [600, 9, 30],
        "name": ["b_1", "a_1", None],
        "score": [0.12345678, 1.0, np.nan],
        "strand": ".",
        "gene_id": ["b", "a", "b"],
        "distance": [-10, 4, 90],
        "gene_tss": [610, 4, 120],
        "sample": "K562",
    }
)


def read_bed(path):
    return pd.read_csv(path, sep="\t", skiprows=1, header=None)


def test_bed_is_sorted_and_has_both_scores(tmp_path):
    gx.io.write_bed(TABLE, tmp_path / "e.bed", chrom_sizes={"chr2": 600, "chr10": 9})
    bed = read_bed(tmp_path / "e.bed")
    assert bed[[0, 1, 2]].to_numpy().tolist() == [["chr10", 7, 9], ["chr2", 20, 30], ["chr2", 500, 600]]
    assert bed[3].tolist() == ["a_1", "chr2:20-30", "b_1"]
    assert bed[4].tolist() == [1000, 0, 123]
    assert bed[4].dtype == np.int64
    assert (bed[[6, 7]].to_numpy() == bed[[1, 2]].to_numpy()).all()
    assert bed[9].tolist() == ["1", ".", "0.123457"]
    assert bed[10].tolist() == ["a", "b", "b"]
    # IGV takes a twelfth column for blocks, UCSC's bedDetail two more than those of BED
    assert bed.shape[1] == 11
    assert (tmp_path / "e.bed").read_text().startswith('track type=bedDetail name="e" useScore=1\n')
    assert [p.name for p in tmp_path.iterdir()] == ["e.bed"]


def test_bed_is_compressed_by_its_name_and_reproducible(tmp_path):
    gx.io.write_bed(TABLE, tmp_path / "e.bed")
    for folder in ("one", "two"):
        gx.io.write_bed(TABLE, tmp_path / folder / "e.bed.gz")
    assert gzip.decompress((tmp_path / "one" / "e.bed.gz").read_bytes()) == (tmp_path / "e.bed").read_bytes()
    assert (tmp_path / "one" / "e.bed.gz").read_bytes() == (tmp_path / "two" / "e.bed.gz").read_bytes()


def test_scores_above_one_are_brought_to_a_thousand(tmp_path):
    gx.io.write_bed(TABLE.assign(score=[40.0, -3.0, 10.0]), tmp_path / "e.bed")
    assert read_bed(tmp_path / "e.bed")[4].tolist() == [0, 250, 1000]
    gx.io.write_bed(TABLE[["chrom", "start", "end"]], tmp_path / "e.bed")
    bed = read_bed(tmp_path / "e.bed")
    assert bed[4].tolist() == [0, 0, 0]
    assert (bed[[5, 9, 10]] == ".").all(axis=None)


def test_nothing_called_is_an_empty_track(tmp_path):
    gx.io.write_bed(TABLE.iloc[:0], tmp_path / "e.bed")
    assert (tmp_path / "e.bed").read_text().count("\n") == 1


def test_bedpe_leads_to_the_tss(tmp_path):
    gx.io.write_bedpe(TABLE, tmp_path / "e.bedpe")
    pe = pd.read_csv(tmp_path / "e.bedpe", sep="\t")
    assert pe.columns[:3].tolist() == ["#chrom1", "start1", "end1"]
    assert pe[["#chrom1", "start1", "end1", "chrom2", "start2", "end2"]].to_numpy().tolist() == [
        ["chr10", 7, 9, "chr10", 4, 5],
        ["chr2", 20, 30, "chr2", 120, 121],
        ["chr2", 500, 600, "chr2", 610, 611],
    ]
    assert pe["score"].tolist() == ["1", ".", "0.123457"]
    assert pe["distance"].tolist() == [4, 90, -10]
    with pytest.raises(InputError, match=r"lacks the column 'gene_tss', the other end of its arcs"):
        gx.io.write_bedpe(TABLE.drop(columns="gene_tss"), tmp_path / "e.bedpe")


def test_wrong_intervals_are_said_and_the_old_file_stays(tmp_path):
    path = tmp_path / "e.bed"
    path.write_text("old")
    for wrong, said in (
        (TABLE.drop(columns="end"), r"the table of intervals lacks the column 'end'"),
        (TABLE.assign(end=20), r"2 of 3 intervals are empty \(end is not after start\), the first chr2:20-20"),
        (TABLE.assign(start=-5), r"3 of 3 intervals begin before the chromosome, the first chr10:-5-9: cut them at 0"),
    ):
        with pytest.raises(InputError, match=said):
            gx.io.write_bed(wrong, path)
    with pytest.raises(InputError, match=r"1 of 3 intervals end beyond their chromosome, the first chr2:500-600"):
        gx.io.write_bed(TABLE, path, chrom_sizes={"chr2": 599, "chr10": 9})
    with pytest.raises(InputError, match=r"chrom_sizes has no chromosome 'chr10' of the table of intervals"):
        gx.io.write_bed(TABLE, path, chrom_sizes={"chr2": 599})
    assert path.read_text() == "old"
    with pytest.raises(InputError, match=r"is a folder: give the name of a file"):
        gx.io.write_bed(TABLE, tmp_path)
    with pytest.raises(InputError, match=r"could not be written \(.*\): nothing was changed there"):
        gx.io.write_bed(TABLE, path / "inside.bed")
    assert [p.name for p in tmp_path.iterdir()] == ["e.bed"]


def values(path, size=1000):
    with pyBigWig.open(str(path)) as file:
        return file.values("chr1", 0, size, numpy=True)


def test_bigwig_joins_both_strands_and_is_cut_at_the_ends(tmp_path):
    # a: [-70, 130) on +; b: [61, 261) read backwards; c: [900, 1100) on +
    genes = [("a", 30, "+"), ("b", 160, "-"), ("c", 1000 - 1, "+")]
    mdata = made(genes, upstream=100, downstream=100, bin_size=50)
    stored(mdata, [[0.1, 0.2, 0.3, 0.4], [0.5, 0.35, np.nan, 0.25], [0.6, 0.6, 0.6, 0.6]])
    expected = {"max": np.full(1000, np.nan), "mean": np.full(1000, np.nan)}
    for how, function in (("max", np.nanmax), ("mean", np.nanmean)):
        for base in range(1000):
            here = []
            for (_, tss, strand), row in zip(genes, mdata["chromatin"].obsm["mask"], strict=True):
                offset = (tss - base if strand == "-" else base - tss) + 100
                if 0 <= offset < 200:
                    here.append(row[offset // 50])
            if np.isfinite(here).any():
                expected[how][base] = function(here)
        gx.io.write_bigwig(mdata, tmp_path / "m.bigWig", key="mask", how=how)
        np.testing.assert_allclose(values(tmp_path / "m.bigWig"), expected[how], rtol=1e-6)
    with pyBigWig.open(str(tmp_path / "m.bigWig")) as file:
        assert file.chroms() == {"chr1": 1000}
        assert file.intervals("chr1")[-1] == (899, 1000, pytest.approx(0.6))
    assert [p.name for p in tmp_path.iterdir()] == ["m.bigWig"]


def test_bigwig_is_the_same_in_small_tiles(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    genes = [(f"g{i}", int(t), "+-"[i % 2]) for i, t in enumerate(rng.integers(0, 1000, 12))]
    mdata = made(genes, upstream=140, downstream=60, bin_size=20)
    stored(mdata, rng.random((12, 10)))
    gx.io.write_bigwig(mdata, tmp_path / "whole.bigWig", key="mask")
    monkeypatch.setattr(score_bigwig, "_TILE", 64)
    gx.io.write_bigwig(mdata, tmp_path / "tiles.bigWig", key="mask")
    np.testing.assert_array_equal(values(tmp_path / "whole.bigWig"), values(tmp_path / "tiles.bigWig"))


def test_bigwig_of_one_sample_with_other_names_of_chromosomes(tmp_path, caplog):
    mdata = made([("a", 500, "+"), ("b", 500, "+")], upstream=100, downstream=100, bin_size=50)
    mdata.obs["chrom"] = ["1", "7"]
    stored(mdata, {"A": np.full((2, 4), 0.25), "B": np.full((2, 4), 0.75)})
    with pytest.raises(InputError, match=r"the scores 'mask' are of 2 samples \('A', 'B'\): choose one with sample="):
        gx.io.write_bigwig(mdata, tmp_path / "m.bigWig", key="mask")
    gx.io.write_bigwig(mdata, tmp_path / "m.bigWig", key="mask", sample="B")
    assert np.nanmean(values(tmp_path / "m.bigWig")) == 0.75
    assert "genes on '7' are left out" in caplog.text


def test_what_a_bigwig_lacks_is_said(tmp_path):
    mdata = made([("a", 500, "+")], upstream=100, downstream=100, bin_size=50)
    with pytest.raises(InputError, match=r"no scores per position are stored as 'mask' \(there are none\)"):
        gx.io.write_bigwig(mdata, tmp_path / "m.bigWig", key="mask")
    stored(mdata, np.ones((1, 4)))
    with pytest.raises(InputError, match="how='sum' is not known: choose one of max, mean"):
        gx.io.write_bigwig(mdata, tmp_path / "m.bigWig", key="mask", how="sum")
    del mdata.uns["chrom_sizes"]
    with pytest.raises(InputError, match=r'mdata.uns has no "chrom_sizes", which a bigWig needs'):
        gx.io.write_bigwig(mdata, tmp_path / "m.bigWig", key="mask")
    del mdata.obs["tss"]
    with pytest.raises(InputError, match=r"mdata.obs has no column 'tss', so the genes have no place"):
        gx.io.write_bigwig(mdata, tmp_path / "m.bigWig", key="mask")
    assert not list(tmp_path.iterdir())


def test_elements_and_scores_survive_a_file(tmp_path):
    mdata = made([("a", 500, "+"), ("b", 300, "-")], upstream=100, downstream=100, bin_size=50)
    stored(mdata, [[0.9, 0, 0, 0.9], [0, 0.9, 0, 0]])
    table = gx.tl.call_elements(None, mdata, key="mask", exclude_promoter=0)
    for name in ("m.h5mu", "m.zarr"):
        gx.io.write_mudata(mdata, tmp_path / name)
        back = gx.io.read_mudata(tmp_path / name)
        kept = back.uns["intervals"]["elements"]
        assert kept[["chrom", "start", "end", "gene_id"]].to_numpy().tolist() == (
            table[["chrom", "start", "end", "gene_id"]].to_numpy().tolist()
        )
        again = gx.tl.call_elements(None, back, key="mask", exclude_promoter=0)
        pd.testing.assert_frame_equal(again, table, check_dtype=False)
