# ruff: noqa: E501 (lines of files are as long as they are)
from __future__ import annotations

import gzip
import math

import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse.io.intervals import INTERVAL_FORMATS


def written(folder, text, name="a.bed"):
    path = folder / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


def test_bed_of_three_columns_with_comments_and_without_tabs(tmp_path):
    text = 'browser position chr1\ntrack name="a b"\n# note\n\nchr1 5 9\r\nchr2 0 3\n'
    table = gx.io.read_intervals(written(tmp_path, text))
    assert table.to_dict("list") == {"chrom": ["chr1", "chr2"], "start": [5, 0], "end": [9, 3]}
    assert table.attrs["file"] == "a.bed"


def test_columns_as_far_as_there_are(tmp_path, caplog):
    caplog.set_level("INFO")
    text = "chrom\tchromStart\tchromEnd\tname\tscore\tstrand\tx\nchr1\t5\t9\tone\t7.5\t+\tq\nchr1\t6\t9\t.\t.\t.\tq\n"
    table = gx.io.read_intervals(written(tmp_path, text, "a.bed.gz"))
    assert table.columns.tolist() == ["chrom", "start", "end", "name", "score", "strand"]
    assert table["name"].tolist() == ["one", ""]
    assert table["strand"].tolist() == ["+", "."]
    assert table["score"][0] == 7.5
    assert math.isnan(table["score"][1])
    assert "up to 1 columns beyond the first 6 are not used" in caplog.text


def test_peaks(tmp_path):
    row = "chr1\t100\t300\tp1\t53\t.\t2.91262\t5.35655\t3.35023"
    narrow = gx.io.read_intervals(written(tmp_path, row + "\t120\n", "a.narrowPeak"))
    assert narrow.iloc[0].tolist() == ["chr1", 100, 300, "p1", 53, ".", 2.91262, 5.35655, 3.35023, 120]
    by_content = gx.io.read_intervals(written(tmp_path, row + "\t120\n", "peaks.bed"))
    assert by_content.values.tolist() == narrow.values.tolist()
    broad = gx.io.read_intervals(written(tmp_path, row + "\n", "a.broadPeak.gz"))
    assert broad.columns.tolist()[-3:] == ["signal_value", "p_value", "q_value"]
    bed9 = gx.io.read_intervals(written(tmp_path, "chr1\t1\t9\tn\t0\t+\t1\t9\t255,0,0\n"))
    assert bed9.columns.tolist()[-1] == "strand"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("chr1\t5", r"line 3 of .*a\.bed has 2 columns \('chr1\\t5'\): BED needs 3"),
        ("chr1\tx\t9", "line 3 of .* has the start 'x': it must be a whole number"),
        ("chr1\t5.0\t9", "has the start '5.0'"),
        ("chr1\t5\t9e3", "has the end '9e3'"),
        ("chr1\t9\t9", "line 3 of .* is an interval from 9 to 9: a start is 0 or more and below its end"),
        ("chr1\t-1\t9", "is an interval from -1 to 9"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, line, said):
    with pytest.raises(gx.InputError, match=said):
        gx.io.read_intervals(written(tmp_path, f"# one\nchr1\t1\t2\n{line}\n"))


def test_more_that_is_wrong(tmp_path):
    row = "chr1\t1\t9\tp\t5\t.\t1\t2\t3\t4\n"
    with pytest.raises(gx.InputError, match=r"line 2 of .* has the score 'high'"):
        gx.io.read_intervals(written(tmp_path, row + row.replace("5", "high"), "a.narrowPeak"))
    with pytest.raises(gx.InputError, match=r"line 1 of .* has the strand 'plus'"):
        gx.io.read_intervals(written(tmp_path, row.replace(".", "plus"), "a.narrowPeak"))
    with pytest.raises(gx.InputError, match=r"line 1 of .* has 6 columns: narrowPeak has 10"):
        gx.io.read_intervals(written(tmp_path, "chr1\t1\t2\ta\t1\t+\n", "a.narrowPeak"))
    with pytest.raises(gx.InputError, match="has no interval"):
        gx.io.read_intervals(written(tmp_path, "# nothing\n"))
    with pytest.raises(gx.InputError, match="does not exist: give the path of a BED"):
        gx.io.read_intervals(tmp_path / "none.bed")
    cut = written(tmp_path, "chr1\t1\t2\n" * 1000, "b.bed.gz")
    cut.write_bytes(cut.read_bytes()[:-12])
    with pytest.raises(gx.InputError, match="truncated or damaged gzip"):
        gx.io.read_intervals(cut)


def test_real_peaks_keep_the_absurd_one(shared_data, caplog):
    folder = shared_data / "k562_chr22_abc_hg38"
    peaks = gx.io.read_intervals(folder / "macs2_peaks.narrowPeak.gz")
    assert len(peaks) == 26_612
    assert peaks.iloc[0][["start", "end", "peak"]].tolist() == [0, 10_709_810, 10_677_503]
    assert "2 of 26612 intervals" in caplog.text
    assert "line 1: chr22:0-10,709,810, 10.7 Mb; line " in caplog.text
    blacklist = gx.io.read_intervals(folder / "GRCh38_unified_blacklist.bed.gz")
    assert blacklist.iloc[0].tolist() == ["chr1", 628_903, 635_104]


def test_features_of_genes(tmp_path, caplog):
    caplog.set_level("INFO")
    text = "name,GC,source\nENSG00000182378.15,0.5,x\nENSG00000182378.15_PAR_Y,0.6,x\nYDL247W-A,,y\n"
    table = gx.io.read_gene_features(written(tmp_path, text, "f.csv"))
    assert table.index.tolist() == ["ENSG00000182378", "YDL247W-A"]
    assert table.columns.tolist() == ["GC"]
    assert table["GC"]["ENSG00000182378"] == 0.5
    assert math.isnan(table["GC"]["YDL247W-A"])
    assert "columns that are no features are left out: 'source'" in caplog.text
    with pytest.raises(gx.InputError, match=r"has 1 genes more than once \('a'\)"):
        gx.io.read_gene_features(written(tmp_path, "gene_id\tx\na\t1\na\t2\n", "f.tsv"))
    with pytest.raises(gx.InputError, match=r"column 'x' of .* has the value 'high' \(gene 'b'\)"):
        gx.io.read_gene_features(written(tmp_path, "gene_id\tx\na\t1\nb\thigh\n", "f.tsv"))
    with pytest.raises(gx.InputError, match=r"no column of .* holds numbers"):
        gx.io.read_gene_features(written(tmp_path, "gene_id\tx\na\tq\n", "f.tsv"))
    for value in ("1e39", "1e2147483648", "inf"):
        with pytest.raises(gx.InputError, match=r"column 'x' of .* has 1 values that are infinite or too large .*'b'"):
            gx.io.read_gene_features(written(tmp_path, f"gene_id\tx\na\t1\nb\t{value}\n", "f.tsv"))


@pytest.mark.parametrize(
    ("text", "columns", "features"),
    [
        (",gene_id,half_life\n0,g1,1.5\n1,g2,7\n", None, {"half_life": [1.5, 7]}),
        ("Unnamed: 0\tgene_id\thalf_life\n1\tg1\t1.5\n2\tg2\t7\n", None, {"half_life": [1.5, 7]}),
        ('"gene_id" "half_life"\n"1" "g1" 1.5\n"2" "g2" 7\n', None, {"half_life": [1.5, 7]}),
        (
            "gene_id\tentrezgene_id\tchromosome_name\tstart_position\tlength\tpercentage_gene_gc_content\n"
            "g1\t7105\tX\t100\t900\t41.5\ng2\t64102\t1\t200\t800\t40\n",
            None,
            {"length": [900, 800], "percentage_gene_gc_content": [41.5, 40]},
        ),
        ("gene_id;half_life\ng1;1,5\ng2;2,25\n", None, {"half_life": [1.5, 2.25]}),
        ("gene_id;half_life\ng1;1,5\n;3,5\ng2;2,25\n", None, {"half_life": [1.5, 2.25]}),
        ("gene_id\tstart\thalf_life\ng1\t100\t1.5\ng2\t200\t7\n", ["start"], {"start": [100, 200]}),
    ],
)
def test_which_columns_are_features(tmp_path, text, columns, features):
    table = gx.io.read_gene_features(written(tmp_path, text, "f.txt"), columns=columns)
    assert table.index.tolist() == ["g1", "g2"]
    assert table.to_dict("list") == features


def test_real_features(shared_data):
    table = gx.io.read_gene_features(shared_data / "k562_elements_hg38" / "mrna_features.tsv.gz")
    assert table.shape[1] == 8
    assert table.columns[0] == "UTR5LEN_log10zscore"
    assert table.loc["ENSG00000000005", ["UTR5GC", "ORFEXONDENSITY"]].tolist() == [0.47, 7.42]


# file -> its text, and the rows that are read: chrom, start and end (0-based half-open), and what else there is
OTHERS = {
    "cCREs of ENCODE": (
        "chr1\t181251\t181601\tEH38D4327497\tEH38E2776516\tpELS\nchr1\t190865\t191071\tEH38D4327503\tEH38E2776520\tdELS,CTCF-bound\n",
        {"start": [181251, 190865], "end": [181601, 191071], "name": ["EH38D4327497", "EH38D4327503"]},
    ),
    "cCREs with nine columns": (
        "chr1\t181251\t181601\tEH38E1310153\t0\t.\t181251\t181601\t225,225,225\tLow-DNase\tAll-data/Full\n",
        {"start": [181251], "end": [181601], "name": ["EH38E1310153"], "score": [0], "strand": ["."]},
    ),
    "SEACR": (
        "chr1\t10\t200\t7.09e+06\t698.594\tchr1:100-120\n",
        {"start": [10], "end": [200], "signal_value": [7.09e6]},
    ),
    "Bioconductor": ("chr1\t10\t20\ta\t0\t*\n", {"start": [10], "end": [20], "name": ["a"], "score": [0], "strand": ["."]}),
    "MACS": (
        "# MACS\n# ARGUMENTS\n\nchr\tstart\tend\tlength\tabs_summit\tpileup\t-log10(pvalue)\tfold_enrichment\t-log10(qvalue)\tname\n"
        "chr1\t11\t20\t10\t15\t9\t5\t2\t3\tp1\n",
        {"start": [10], "end": [20], "name": ["p1"], "signal_value": [2], "p_value": [5], "q_value": [3]},
    ),
    "HOMER": (
        "# HOMER Peaks\n#PeakID\tchr\tstart\tend\tstrand\tNormalized Tag Count\nchr1-1\tchr1\t11\t20\t+\t53.5\n",
        {"start": [10], "end": [20], "name": ["chr1-1"], "strand": ["+"], "signal_value": [53.5]},
    ),
    "MACS 1.4": (
        "# MACS version 1.4.2\n\nchr\tstart\tend\tlength\tsummit\ttags\t-10*log10(pvalue)\tfold_enrichment\tFDR(%)\n"
        "chr1\t11\t20\t10\t5\t53\t55.25\t12.5\t0.1\n",
        {"start": [10], "end": [20], "signal_value": [12.5]},
    ),
    "HOMER, annotated": (
        "PeakID (cmd=annotatePeaks.pl x hg38)\tChr\tStart\tEnd\tStrand\tPeak Score\tAnnotation\np1\tchr1\t11\t20\t+\t53.5\tintron\n",
        {"start": [10], "end": [20], "name": ["p1"], "strand": ["+"], "signal_value": [53.5]},
    ),
    "epic2, whose columns are not those of narrowPeak": (
        "#Chromosome\tStart\tEnd\tPValue\tScore\tStrand\tChIPCount\tInputCount\tFDR\tlog2FoldChange\n"
        "chr1\t10\t20\t1e-5\t900\t.\t5\t2\t1e-4\t3.2\nchr1\t30\t40\t1e-5\t800\t.\t5\t2\t1e-4\t3\n",
        {"start": [10, 30], "end": [20, 40], "score": [900, 800], "strand": [".", "."]},
    ),
    "SAF": (
        "GeneID\tChr\tStart\tEnd\tStrand\np1\tchr1\t11\t20\t.\n",
        {"start": [10], "end": [20], "name": ["p1"], "strand": ["."]},
    ),
    "write.csv of DiffBind": (
        '"","seqnames","start","end","width","strand","Conc","FDR"\n"7","chr1",11,20,10,"*",5.5,0.1\n',
        {"start": [10], "end": [20], "strand": ["."]},
    ),
    "write.table of ranges, without a name of the column of row names": (
        '"seqnames"\t"start"\t"end"\t"width"\t"strand"\n"p1"\t"chr1"\t11\t20\t10\t"-"\n',
        {"start": [10], "end": [20], "strand": ["-"]},
    ),
    "ROSE": (
        "# Differential analysis\nREGION_ID\tCHROM\tSTART\tSTOP\tNUM_LOCI\tisSuper\np1\tchr1\t10\t20\t2\t1\n",
        {"start": [10], "end": [20], "name": ["p1"]},
    ),
    "a comment of words": ("# start and end of chrom\nchr1\t10\t20\tp1\n", {"start": [10], "end": [20], "name": ["p1"]}),
    "bedGraph": ("track type=bedGraph\nchr1\t10\t20\t1.5\n", {"start": [10], "end": [20], "name": ["1.5"]}),
    "browser lines": (
        "browser position chr1:1-9\ntrack name=a\nchr1 10 20 a 5 +\n",
        {"start": [10], "end": [20], "name": ["a"], "score": [5], "strand": ["+"]},
    ),
    "a score that is missing once": (
        "chr1\t10\t20\ta\t5\nchr1\t30\t40\tb\tNA\n",
        {"start": [10, 30], "end": [20, 40], "name": ["a", "b"], "score": [5, math.nan]},
    ),
    "a score that is text once": (
        "chr1\t10\t20\ta\t5\nchr1\t30\t40\tb\thigh\n",
        {"start": [10, 30], "end": [20, 40], "name": ["a", "b"]},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OTHERS)
def test_intervals_of_many_sources(name, tmp_path):
    text, expected = OTHERS[name]
    table = gx.io.read_intervals(written(tmp_path, text, "peaks.txt"))
    pd.testing.assert_frame_equal(
        table, pd.DataFrame({"chrom": "chr1", **expected}), check_dtype=False, check_column_type=False
    )


def test_a_column_that_is_not_used_is_said(tmp_path, caplog):
    caplog.set_level("INFO")
    gx.io.read_intervals(written(tmp_path, OTHERS["cCREs of ENCODE"][0]))
    assert "column 5 is no score ('EH38E2776516'); column 6 is no strand ('pELS')" in caplog.text


@pytest.mark.parametrize("form", INTERVAL_FORMATS, ids=lambda form: form.name)
def test_every_format_of_intervals_knows_its_example(form, tmp_path):
    name = f"a.{form.name}" if form.strict else "a.txt"
    table = gx.io.read_intervals(written(tmp_path, form.example, name))
    assert table[["chrom", "start", "end"]].values.tolist() == [["chr1", 100, 300]]
    assert set(table.columns) >= {"chrom", "start", "end"}
    # what a header need not have is taken where it is there
    assert set(table.columns) - {"chrom", "start", "end"} <= set(form.columns)
    assert "name" not in table or table["name"].tolist() == ["p1" if form.name != "peaks of HOMER" else "chr1-1"]
    if "signal_value" in form.columns and form.name not in ("SEACR", "peaks of HOMER"):
        assert table[["signal_value", "p_value", "q_value"]].values.tolist() == [[2.5, 5.25, 3.5]]
