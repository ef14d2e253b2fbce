# ruff: noqa: E501 (lines of files are as long as they are)
from __future__ import annotations

import gzip
import logging
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError
from genexp_scverse.io import read_contacts
from genexp_scverse.io._hic_index import check_hic
from genexp_scverse.io.loops import LOOP_FORMATS

hictkpy = pytest.importorskip("hictkpy")

SIZES = {"chr1": 10_500, "chr2": 6_000, "chrM": 900}
# bins of 1 kb, counted over the genome: chr1 has 11, chr2 6
PIXELS = [(0, 0, 50), (0, 1, 9), (0, 7, 2), (1, 4, 3), (3, 10, 5), (10, 10, 8), (2, 12, 99), (11, 12, 6), (13, 16, 4)]
INSIDE = [
    ("chr1", 0, 1000, 0, 1000, 50),
    ("chr1", 0, 1000, 1000, 2000, 9),
    ("chr1", 0, 1000, 7000, 8000, 2),
    ("chr1", 1000, 2000, 4000, 5000, 3),
    ("chr1", 3000, 4000, 10_000, 10_500, 5),
    ("chr1", 10_000, 10_500, 10_000, 10_500, 8),
    ("chr2", 0, 1000, 1000, 2000, 6),
    ("chr2", 2000, 3000, 5000, 6000, 4),
]
WEIGHT = np.array([2, 0.5, 1, np.nan, 4, 1, 1, 3, 1, 1, 1, 10, 0.1, 1, 1, 1, 1, 1])


def columns(pixels, *, factor=1):
    first, second, count = (list(c) for c in zip(*pixels, strict=True))
    return {"bin1_id": first, "bin2_id": second, "count": [c * factor for c in count]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The same counts as .cool, balanced .cool, .mcool (1 kb and twice the counts at 2 kb) and .hic."""
    folder = tmp_path_factory.mktemp("contacts")

    def cool(name, resolution, pixels, factor=1):
        writer = hictkpy.cooler.FileWriter(folder / name, SIZES, resolution)
        writer.add_pixels_from_dict(columns(pixels, factor=factor))
        writer.finalize()

    cool("raw.cool", 1000, PIXELS)
    cool("balanced.cool", 1000, PIXELS)
    with h5py.File(folder / "balanced.cool", "r+") as file:
        file["bins/weight"] = WEIGHT
        file["bins/VC"] = WEIGHT
    cool("coarse.cool", 2000, [(0, 0, 1), (0, 2, 7)], factor=2)
    with h5py.File(folder / "a.mcool", "w") as out:
        out.attrs.update({"format": "HDF5::MCOOL", "format-version": 3, "bin-type": "fixed"})
        for name, resolution in (("balanced", 1000), ("coarse", 2000)):
            group = out.create_group(f"resolutions/{resolution}")
            with h5py.File(folder / f"{name}.cool") as file:
                for key in file:
                    file.copy(key, group)
                group.attrs.update(file.attrs)
    writer = hictkpy.hic.FileWriter(folder / "a.hic", SIZES, [1000, 2000])
    writer.add_pixels_from_dict(columns(PIXELS, factor=1.0))
    writer.finalize()
    writer = hictkpy.hic.FileWriter(folder / "one.hic", SIZES, 1000)
    writer.add_pixels_from_dict(columns(PIXELS, factor=1.0))
    writer.finalize()
    return folder


def rows(table):
    return [tuple(row) for row in table.itertuples(index=False)]


@pytest.mark.parametrize(
    ("name", "resolution"),
    [("raw.cool", None), ("raw.cool", 1000), ("a.mcool", 1000), ("a.hic", 1000), ("one.hic", None)],
)
def test_counts_of_every_kind_of_matrix(made, name, resolution):
    table = read_contacts(made / name, resolution=resolution, normalization="none")
    assert rows(table) == INSIDE
    assert table.columns.tolist() == ["chrom", "start1", "end1", "start2", "end2", "count"]
    assert table["chrom"].dtype == "category"
    assert table["count"].dtype == np.float32
    assert table["start1"].dtype == np.int32
    assert table.attrs == {"resolution": 1000, "normalization": "none", "file": name}


def test_kind_is_seen_from_the_content(made, tmp_path):
    for name in ("raw.cool", "one.hic"):
        (tmp_path / "matrix").write_bytes((made / name).read_bytes())
        assert rows(read_contacts(tmp_path / "matrix")) == INSIDE


def test_the_other_resolution(made):
    # 2-kb bins of the .hic: (0,0)+(0,1) and so on, summed by hand
    table = read_contacts(made / "a.hic", resolution=2000, chroms="chr1")
    assert rows(table)[:2] == [("chr1", 0, 2000, 0, 2000, 59), ("chr1", 0, 2000, 4000, 6000, 3)]
    assert table["count"].sum() == 77
    table = read_contacts(made / "a.mcool", resolution=2000)
    assert rows(table) == [("chr1", 0, 2000, 0, 2000, 2), ("chr1", 0, 2000, 4000, 6000, 14)]
    assert rows(read_contacts(f"{made / 'a.mcool'}::/resolutions/2000")) == rows(table)


def balanced(name):
    found = []
    for first, second, count in PIXELS:
        value = count * WEIGHT[first] * WEIGHT[second] if name == "weight" else count / WEIGHT[first] / WEIGHT[second]
        found.append((first, second, value))
    return {(a, b): v for a, b, v in found if np.isfinite(v) and (b < 11 or a >= 11)}


@pytest.mark.parametrize(("asked", "name"), [("auto", "weight"), ("weight", "weight"), ("VC", "VC")])
@pytest.mark.parametrize("file", ["balanced.cool", "a.mcool"])
def test_balanced_counts(made, caplog, asked, name, file):
    """Cooler's weights multiply, those of juicer divide; what they mask is left out."""
    caplog.set_level(logging.INFO)
    table = read_contacts(made / file, resolution=1000, normalization=asked)
    offset = table["chrom"].map({"chr1": 0, "chr2": 11}).astype(int)
    found = {
        (a, b): c
        for a, b, c in zip(
            offset + table["start1"] // 1000, offset + table["start2"] // 1000, table["count"], strict=True
        )
    }
    wanted = balanced(name)
    assert set(found) == set(wanted)
    for pair, value in wanted.items():
        assert found[pair] == pytest.approx(value, rel=1e-6)
    assert (3, 10) not in found
    assert f"1 contacts of {made / file} have no finite count ({name})" in caplog.text
    assert table.attrs["normalization"] == name


@pytest.mark.parametrize("given", [None, "none", "NONE"])
def test_counts_as_they_are_of_a_balanced_file(made, given):
    assert rows(read_contacts(made / "balanced.cool", normalization=given)) == INSIDE


@pytest.mark.parametrize("name", ["raw.cool", "one.hic"])
@pytest.mark.parametrize(("limit", "n"), [(None, 8), (7000, 8), (6999, 6), (3000, 6), (1000, 4), (0, 2)])
def test_distance_of_the_starts_is_bounded(made, name, limit, n):
    table = read_contacts(made / name, max_distance=limit)
    assert rows(table) == [r for r in INSIDE if limit is None or r[3] - r[1] <= limit]
    assert len(table) == n


def test_chromosomes_are_chosen_and_matched(made, caplog):
    caplog.set_level(logging.INFO)
    assert rows(read_contacts(made / "raw.cool", chroms="2")) == INSIDE[6:]
    assert "'2 = chr2'" in caplog.text
    table = read_contacts(made / "raw.cool", chroms=["chr2", "chr1", "chr9"])
    assert rows(table) == [*INSIDE[6:], *INSIDE[:6]]
    assert "raw.cool has no contacts on 'chr9'" in caplog.text


def test_only_bins_that_hold_genes_are_kept(made):
    genes = pd.DataFrame({"chrom": ["1", "1", "1", "2", None], "tss": [999, 1000, 7999, 5, 3]}, index=list("abcde"))
    table = read_contacts(made / "raw.cool", genes=genes)
    assert rows(table) == [INSIDE[0], INSIDE[1], INSIDE[2]]
    with pytest.raises(InputError, match=r"no contact within 2000000 bases between bins that hold genes on 'chr2'"):
        read_contacts(made / "raw.cool", genes=genes, chroms="chr2")


def test_the_same_neighbours_with_and_without_genes(made):
    genes = pd.DataFrame({"chrom": ["1", "1", "1", "2"], "tss": [999, 1000, 7999, 5]}, index=list("abcd"))
    mdata = gx.io.from_bins(np.ones((4, 1, 1)), genes=genes.index, marks=["H3K4me3"], obs=genes)
    gx.pp.contact_neighbors(mdata, read_contacts(made / "raw.cool"), key_added="all")
    gx.pp.contact_neighbors(mdata, read_contacts(made / "raw.cool", genes=mdata.obs), key_added="some")
    assert mdata.obsp["all"].toarray().tolist() == [[0, 9, 2, 0], [9, 0, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0]]
    assert (mdata.obsp["all"] != mdata.obsp["some"]).nnz == 0
    entry = mdata.uns["graphs"]["some"]
    assert (entry["file"], entry["resolution"], entry["normalization"]) == ("raw.cool", 1000, "none")


def test_a_large_matrix_is_read_as_it_was_made(tmp_path):
    rng = np.random.default_rng(0)
    dense = np.triu(rng.poisson(0.3, (300, 300)))
    first, second = np.nonzero(dense)
    writer = hictkpy.cooler.FileWriter(tmp_path / "a.cool", {"1": 300 * 500}, 500)
    counts = dense[first, second].tolist()
    writer.add_pixels_from_dict({"bin1_id": first.tolist(), "bin2_id": second.tolist(), "count": counts})
    writer.finalize()
    table = read_contacts(tmp_path / "a.cool", max_distance=40_000)
    back = np.zeros_like(dense)
    back[table["start1"] // 500, table["start2"] // 500] = table["count"]
    at = np.arange(300)
    assert (back == np.where(at[None, :] - at[:, None] <= 80, dense, 0)).all()


def test_hictkpy_writes_no_log_below_the_level_asked_for(made, caplog):
    with caplog.at_level(logging.INFO):
        read_contacts(made / "raw.cool")
        read_contacts(made / "one.hic")
    assert not [r for r in caplog.records if r.name == "hictkpy" and r.levelno < logging.INFO]


# Loops

BARE = "chr1\t100\t200\tchr1\t900\t1000\nchr1\t5000\t6000\tchr1\t50\t60\n"
SCORED = "chr1\t100\t200\tchr1\t900\t1000\tloop1\t7.5\t+\t-\nchr1\t5000\t6000\tchr1\t50\t60\tloop2\t3\t.\t.\n"
OLD = "chr1\tx1\tx2\tchr2\ty1\ty2\tcolor\to\te_bl\n1\t100\t200\t1\t900\t1000\t0,0,0\t12\t3\n"
NEW = (
    "#chr1\tx1\tx2\tchr2\ty1\ty2\tname\tscore\tstrand1\tstrand2\tcolor\tobserved\n# juicer_tools version 1.22.01\n"
    "chr1\t100\t200\tchr1\t900\t1000\t.\t.\t.\t.\t0,0,0\t12\n"
)


@pytest.fixture
def write(tmp_path):
    def write(text, name="loops.bedpe"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


FIRST, SECOND = ("chr1", 100, 200, 900, 1000), ("chr1", 50, 60, 5000, 6000)
COUNTED = "c1\ts1\te1\tc2\ts2\te2\tscore\tcount\nchr1\t100\t200\tchr1\t900\t1000\t5\t8\n"


@pytest.mark.parametrize("name", ["loops.bedpe", "loops.bedpe.gz", "loops.txt"])
@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (BARE, [(*FIRST, 1), (*SECOND, 1)]),
        (SCORED, [(*FIRST, 7.5), (*SECOND, 3)]),
        (OLD, [("1", *FIRST[1:], 12)]),
        (NEW, [(*FIRST, 12)]),
        ("track name=loops\n#comment\n\n" + SCORED, [(*FIRST, 7.5), (*SECOND, 3)]),
        (BARE.replace("1000\n", "1000\tname\t0\n"), [(*FIRST, 1), (*SECOND, 1)]),
        (COUNTED, [(*FIRST, 8)]),
        (BARE.replace("\n", "\r\n"), [(*FIRST, 1), (*SECOND, 1)]),
    ],
    ids=["bare", "scored", "hiccups", "juicer", "comments", "no-score", "count", "windows"],
)
def test_loops(write, name, text, wanted):
    table = read_contacts(write(text, name))
    assert rows(table) == wanted
    assert table.attrs == {"resolution": None, "normalization": "none", "file": name}


def test_loops_that_are_left_out_are_counted(write, caplog):
    caplog.set_level(logging.INFO)
    text = (
        SCORED + "chr1\t1\t2\tchr2\t1\t2\tx\t9\n.\t-1\t-1\tchr1\t1\t2\tx\t9\nchr1\t1\t2\tchr1\t9000000\t9000001\tx\t1\n"
    )
    text += "chr1\t1\t2\tchr1\t3\t4\tx\tNA\n"
    path = write(text)
    assert len(read_contacts(path)) == 2
    assert "1 of 6 loops of" in caplog.text
    assert "join two chromosomes and are left out" in caplog.text
    assert "lack an anchor and are left out" in caplog.text
    assert "1 loops have no number as their count" in caplog.text
    assert "1 loops span more than 2000000 bases" in caplog.text
    assert len(read_contacts(path, max_distance=None)) == 3
    assert len(read_contacts(path, max_distance=800)) == 1


def test_loops_of_chosen_chromosomes(write):
    path = write(SCORED + SCORED.replace("chr1", "chr2"))
    assert read_contacts(path, chroms="2")["chrom"].tolist() == ["chr2"] * 2
    genes = pd.DataFrame({"chrom": ["chr2"], "tss": [5]})
    assert read_contacts(path, genes=genes)["chrom"].tolist() == ["chr2"] * 2


def test_real_loops_of_hiccups(shared_data):
    path = shared_data / "small_bigwigs" / "GM12878_HiCCUPS.chr22_1-30000000.loop.txt"
    table = read_contacts(path)
    raw = pd.read_csv(path, sep="\t")
    assert len(table) == len(raw) == 59
    assert (table["count"] == raw["o"]).all()
    assert (table["start1"] == raw["x1"]).all()
    assert (table["end2"] == raw["y2"]).all()
    genes = pd.read_csv(shared_data / "roadmap_peaks_hg19" / "genes.tsv", sep="\t").set_index("gene_id")
    genes = genes[~genes.index.duplicated() & (genes["chrom"] == "chr22")]
    mdata = gx.io.from_bins(np.ones((len(genes), 1, 1)), genes=genes.index, marks=["H3K4me3"], obs=genes)
    gx.pp.contact_neighbors(mdata, table, slop=10_000)
    graph = mdata.obsp["contacts"]
    assert (graph != graph.T).nnz == 0
    assert graph.nnz > 10
    wanted = set()
    for row in raw.itertuples():
        one, two = (
            genes.index[(genes["tss"] >= a - 10_000) & (genes["tss"] < b + 10_000)]
            for a, b in ((row.x1, row.x2), (row.y1, row.y2))
        )
        wanted |= {(i, j) for i in one for j in two if i != j} | {(j, i) for i in one for j in two if i != j}
    coo = graph.tocoo()
    assert {(genes.index[i], genes.index[j]) for i, j in zip(coo.row, coo.col, strict=True)} == wanted


LINE = "chr1\t100\t200\tchr1\t500\t600\t"
HEAD = "chr1\ts1\te1\tchr2\ts2\te2\t"


@pytest.mark.parametrize("form", LOOP_FORMATS, ids=lambda form: form.name)
def test_every_format_of_loops_knows_its_example(form, write):
    anchors = (100, 101, 500, 501) if form.middles else (100, 200, 500, 600)
    assert rows(read_contacts(write(form.example))) == [("chr1", *anchors, 4 if form.strength else 1)]


@pytest.mark.parametrize(
    ("text", "change", "count"),
    [
        # never a p- or q-value, and no column that nobody knows
        (HEAD + "p-value\tfdr\n" + LINE + "1e-9\t0.1\n", {}, 1),
        (HEAD + "name\tscore\tpval\n" + LINE + "a\t4\t0.1\n", {}, 4),
        (HEAD + "signal\n" + LINE + "4\n", {}, 1),
        (HEAD + "signal\n" + LINE + "4\n", {"strength": "Signal"}, 4),
        (HEAD + "cc\tFDR\tExpCC\n" + LINE + "4\t0.1\t2\n", {"strength": "ExpCC"}, 2),
        # hichipper: a point for the name and the count; mango: count and q-value
        (LINE + ".\t4\n", {}, 4),
        (LINE + "4\t0.002\n", {"strength": 7}, 4),
        (LINE + "4\t0.002\n", {"strength": "8"}, 0.002),
        (LINE.replace("\t", " ") + "a 4\n", {}, 4),
        (LINE + "a\n", {}, 1),
        # the index of pandas stands before the anchors
        ("\tchrom1\tstart1\tend1\tchrom2\tstart2\tend2\tcount\n0\t" + LINE + "4\n", {}, 4),
    ],
)
def test_the_strength_of_loops(text, change, count, write):
    assert rows(read_contacts(write(text), **change)) == [("chr1", 100, 200, 500, 600, pytest.approx(count))]


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        ("chr1\t100\t200\tchr1:500-600,4\t1\t.\n", {}, "line 1 of PATH has the positions '1', '.': they must be whole numbers"),
        ("chr1\tx\t200\tchr1\t500\t600\n", {}, "line 1 of PATH has the positions 'x', '200': they must be whole numbers"),
        (LINE + "4\t0.002\n", {}, "has no header, and its columns from 7 on ('4\\t0.002') may be counts, scores or p-values: say which of them is the strength of a loop, as by strength=7"),
        (LINE + "70\n", {}, "as by strength=7"),
        (LINE + "a\t0.002\n", {}, "as by strength=7"),
        (LINE + "a\t4\n", {"strength": 9}, "there is no column '9': it has '1', '2'"),
        (LINE + "a\t4\n", {"strength": 7}, "strength=7: this column of PATH holds no numbers ('a')"),
        (HEAD + "cc\n" + LINE + "4\n", {"strength": "c"}, "there is no column 'c': it has 'chr1'"),
    ],
)  # fmt: skip
def test_a_strength_that_is_not_plain_is_asked_for(text, change, said, write):
    path = write(text)
    with pytest.raises(InputError) as error:
        read_contacts(path, **change)
    assert said in str(error.value).replace(str(path), "PATH")


# What does not fit


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("a.mcool", {}, r"a.mcool has several resolutions: choose resolution= from 1000, 2000"),
        ("a.mcool", {"resolution": 5000}, "has no resolution 5000: choose resolution= from 1000, 2000"),
        ("a.hic", {}, "a.hic has several resolutions: choose resolution= from 1000, 2000"),
        ("a.hic", {"resolution": 10}, "has no resolution 10: choose resolution= from 1000, 2000"),
        ("raw.cool", {"resolution": 10}, "raw.cool has no resolution 10: it has 1000"),
        ("raw.cool", {"normalization": "KR"}, "has no normalization 'KR': it has none"),
        ("one.hic", {"normalization": "KR"}, "has no normalization 'KR': it has none"),
        ("balanced.cool", {"normalization": "KR"}, "has no normalization 'KR': it has VC, weight, or none"),
        ("raw.cool", {"chroms": "chrZ"}, "none of the 1 chromosomes of what is asked for"),
        ("raw.cool", {"chroms": "chrM"}, "has no contact within 2000000 bases on 'chrM'"),
        ("raw.cool", {"chroms": []}, "chroms names no chromosome"),
        ("raw.cool", {"max_distance": -5}, "max_distance=-5"),
        ("raw.cool", {"strength": "cc"}, "raw.cool is a matrix, and strength='cc' is for loops"),
        ("raw.cool", {"genes": pd.DataFrame({"chrom": ["1"]})}, "genes has no column 'tss'"),
        ("gone.cool", {}, "gone.cool does not exist: give the path of a .cool, .mcool or .hic"),
        ("", {}, "is a folder"),
    ],
)
def test_matrices_that_do_not_fit(made, name, change, said):
    with pytest.raises(InputError) as error:
        read_contacts(made / name, **change)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("text", "change", "said"),
    [
        ("chr1\t1\t2\n", {}, "line 1 of PATH has 3 tab-separated columns ('chr1\\t1\\t2')"),
        (BARE + "chr1\t1\n", {}, "line 3 of PATH has 2 tab-separated columns"),
        (BARE + "chr1\t1\tx\tchr1\t1\t2\n", {}, "line 3 of PATH has the positions '1', 'x'"),
        (BARE + "chr1\t7\t7\tchr1\t1\t2\n", {}, "line 3 of PATH has an anchor from 7 to 7"),
        ("chr1\t1\t2\tchr2\t1\t2\n", {}, "PATH has no loop within a chromosome"),
        (BARE, {"max_distance": 5}, "PATH has no loop within 5 bases on 'chr1'"),
        (BARE, {"resolution": 1000}, "so it holds loops, which have no resolution"),
        (BARE, {"normalization": "KR"}, "so it holds loops"),
        ("", {}, "PATH is empty"),
        ("a\x00b", {}, "PATH is a binary file"),
    ],
)
def test_loops_that_do_not_fit(write, text, change, said):
    path = write(text)
    with pytest.raises(InputError) as error:
        read_contacts(path, **change)
    assert said in str(error.value).replace(str(path), "PATH")


def test_damaged_files_and_files_of_another_kind(made, tmp_path):
    for name, share in (("one.hic", 0.5), ("one.hic", 0.05), ("raw.cool", 0.5)):
        content = (made / name).read_bytes()
        path = tmp_path / f"cut_{name}"
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(InputError, match=str(path)):
            read_contacts(path)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["a"] = [1, 2]
    with pytest.raises(InputError, match=r"is HDF5 but no \.cool or \.mcool|cannot be read as a contact matrix"):
        read_contacts(tmp_path / "other.h5")


def test_bins_of_different_sizes(tmp_path):
    bins = {"chrom": ["1"] * 3, "start": [0, 100, 900], "end": [100, 900, 1000]}
    writer = hictkpy.cooler.FileWriter(tmp_path / "a.cool", {"1": 1000}, 100)
    writer.add_pixels_from_dict({"bin1_id": [0], "bin2_id": [1], "count": [3]})
    writer.finalize()
    with h5py.File(tmp_path / "a.cool", "r+") as file:
        file.attrs["bin-type"] = "variable"
        file.attrs["bin-size"] = "null"
        for key in ("start", "end"):
            del file[f"bins/{key}"]
            file[f"bins/{key}"] = np.array(bins[key], np.int32)
    with pytest.raises(InputError, match=r"a\.cool (has bins of different sizes|cannot be read)"):
        read_contacts(tmp_path / "a.cool")


def test_hictkpy_missing_is_one_sentence(made, monkeypatch, write):
    monkeypatch.setitem(sys.modules, "hictkpy", None)
    with pytest.raises(InputError, match=r"needs hictkpy: install it by pip install 'genexp-scverse\[contacts\]'"):
        read_contacts(made / "raw.cool")
    assert len(read_contacts(write(BARE))) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="others have no signal of a parent's death")
def test_the_process_that_reads_does_not_outlive_the_one_that_asks(made):
    code = (
        "import sys, time\nfrom genexp_scverse.io._hictk_process import open_matrix\n"
        "with open_matrix(sys.argv[1], 1000) as file:\n"
        "    print(file._process.pid, flush=True)\n    time.sleep(60)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(gx.__file__).parents[1])}
    command = [sys.executable, "-c", code, str(made / "a.hic")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as asking:
        about = Path("/proc") / asking.stdout.readline().strip() / "cmdline"
        assert b"_hictk_process" in about.read_bytes()
        asking.kill()
    for _ in range(100):
        if not about.exists() or not about.read_bytes():
            break
        time.sleep(0.05)
    else:
        pytest.fail("it still runs")


def hic_of_version_8(counts: dict[tuple[int, int], int], dense: bool) -> bytes:
    """Write counts of bins of 1 kb of one chromosome as https://github.com/aidenlab/hic-format/blob/master/HiCFormatV8.md."""
    width, columns = 4, 8
    grid: dict[int, list[tuple[int, int, int]]] = {}
    for (x, y), count in counts.items():
        grid.setdefault(y // width * columns + x // width, []).append((y, x, count))
    head = b"HIC\0" + struct.pack("<iq", 8, 0) + b"hg19\0" + struct.pack("<i", 0)
    head += struct.pack("<i", 2) + b"All\0" + struct.pack("<i", 30) + b"chr1\0" + struct.pack("<i", 30_000)
    data, index = head + struct.pack("<iii", 1, 1000, 0), b""
    for number, cells in sorted(grid.items()):
        top, left = min(y for y, _, _ in cells), min(x for _, x, _ in cells)
        block = struct.pack("<iiib", len(cells), left, top, 0)
        if dense:
            n_rows = max(y for y, _, _ in cells) - top + 1
            values = np.full((n_rows, width), -32768, "<i2")
            for y, x, count in cells:
                values[y - top, x - left] = count
            block += struct.pack("<bih", 2, values.size, width) + values.tobytes()
        else:
            rows = {y: [(x, c) for other, x, c in sorted(cells) if other == y] for y, _, _ in sorted(cells)}
            block += struct.pack("<bh", 1, len(rows))
            for y, row in rows.items():
                block += struct.pack("<hh", y - top, len(row))
                block += b"".join(struct.pack("<hh", x - left, count) for x, count in row)
        packed = zlib.compress(block)
        index += struct.pack("<iqi", number, len(data), len(packed))
        data += packed
    start = len(data)
    data += struct.pack("<iii", 1, 1, 1) + b"BP\0" + struct.pack("<iffff", 0, 1, 1, 0, 0)
    data += struct.pack("<iiii", 1000, width, columns, len(grid)) + index
    footer, size = len(data), len(data) - start
    data += struct.pack("<ii", 0, 1) + b"1_1\0" + struct.pack("<qi", start, size) + struct.pack("<iii", 0, 0, 0)
    return data[:8] + struct.pack("<q", footer) + data[16:]


@pytest.mark.parametrize("dense", [False, True])
def test_hic_of_version_8(tmp_path, dense):
    counts = {(0, 0): 5, (1, 6): 7, (3, 7): 2, (9, 21): 4, (10, 21): 6, (12, 12): 3, (28, 29): 1}
    path = tmp_path / "a.hic"
    path.write_bytes(hic_of_version_8(counts, dense))
    table = read_contacts(path)
    assert [(r[1] // 1000, r[3] // 1000, r[5]) for r in rows(table)] == [(*k, v) for k, v in sorted(counts.items())]


def test_no_damage_of_the_index_of_a_hic_loses_contacts(tmp_path):
    """hictkpy leaves out, without a word, a block whose number is not that of its place."""
    path = tmp_path / "a.hic"
    rng = np.random.default_rng(0)
    one = rng.integers(0, 9_000, 5_000)
    pixels = np.unique(np.column_stack([one, np.minimum(one + rng.geometric(0.002, 5_000), 9_999)]), axis=0)
    writer = hictkpy.hic.FileWriter(path, {"chr1": 10_000_000}, 1000)
    writer.add_pixels_from_dict(columns([(*p, 3.0) for p in pixels.tolist()]))
    writer.finalize()
    assert len(read_contacts(path, max_distance=None)) == len(pixels)
    data = path.read_bytes()
    start = data.index(struct.pack("<iii", 1, 1, 1) + b"BP\0")
    at = start + 15 + struct.calcsize("<iffffiii")
    (n_blocks,) = struct.unpack_from("<i", data, at)
    assert n_blocks > 9

    def damaged(place: int) -> None:
        path.write_bytes(data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])

    # the number of blocks, and of each its number and its place
    for place in [at, *(at + 4 + 16 * block + i for block in range(n_blocks) for i in range(12))]:
        damaged(place)
        with pytest.raises(ValueError, match="its index does not fit its contents"):
            check_hic(path, 1000)
    damaged(at + 4)
    with pytest.raises(InputError, match=r"a\.hic cannot be read as a contact matrix \(its index does not fit"):
        read_contacts(path)
    # a length that is wrong is noticed by the checksum
    damaged(at + 4 + 12)
    with pytest.raises(InputError, match=r"a\.hic cannot be read as a contact matrix"):
        read_contacts(path)
