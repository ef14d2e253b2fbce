from __future__ import annotations

import gzip
import logging

import numpy as np
import pandas as pd
import pyBigWig
import pytest
from scipy.sparse import csr_matrix

import genexp_scverse as gx
from genexp_scverse import InputError

SIZES = {"chr1": 600, "chr2": 400}
GENES = [
    ("g1", "chr1", 100, 300, "+"),
    ("g2", "chr1", 250, 500, "-"),
    ("g3", "chr2", 5, 90, "+"),
    ("g4", "chr2", 200, 395, "-"),
]
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


@pytest.fixture
def files(tmp_path):
    """Tracks of two samples and two marks, a genome, an annotation and expression of two chromosomes."""
    rng = np.random.default_rng(3)
    rows = []
    for sample in ("A", "B"):
        for mark in ("H3K4me3", "H3K27me3"):
            with pyBigWig.open(str(tmp_path / f"{sample}.{mark}.bw"), "w") as out:
                out.addHeader(list(SIZES.items()))
                for chrom, size in SIZES.items():
                    edges = np.sort(rng.choice(np.arange(1, size), 40, replace=False)).tolist()
                    out.addEntries(
                        [chrom] * 20, edges[::2], ends=edges[1::2], values=rng.integers(1, 9, 20).astype(float).tolist()
                    )
            rows.append((sample, mark, f"{sample}.{mark}.bw", "counts"))
    pd.DataFrame(rows, columns=["sample", "mark", "path", "scale"]).to_csv(
        tmp_path / "sheet.tsv", sep="\t", index=False
    )
    share = [0.25, 0.25, 0.25, 0.2, 0.05]
    dna = {chrom: "".join(rng.choice(list("ACGTN"), size, p=share)) for chrom, size in SIZES.items()}
    (tmp_path / "genome.fa").write_text("".join(f">{chrom}\n{dna[chrom]}\n" for chrom in SIZES))
    gtf = [
        f'{chrom}\ttest\tgene\t{start + 1}\t{end}\t.\t{strand}\t.\tgene_id "{gene}"; gene_type "protein_coding";\n'
        for gene, chrom, start, end, strand in GENES
    ]
    (tmp_path / "genes.gtf").write_text("".join(gtf))
    (tmp_path / "expression.tsv").write_text("gene_id\tA\tB\ng1\t3\t0\ng2\t0\t7.5\ng4\t1\t2\nother\t5\t5\n")
    return tmp_path


WINDOW = {"upstream": 40, "downstream": 20, "bin_size": 10}


def build(files, **changes):
    arguments = {
        "sheet": files / "sheet.tsv",
        "genes": files / "genes.gtf",
        "expression": files / "expression.tsv",
        "unit": "tpm",
        "fasta": files / "genome.fa",
        **WINDOW,
        **changes,
    }
    return gx.io.build_mudata(arguments.pop("sheet"), **arguments)


def loop_bins(path, chrom, tss, strand, *, up, down, size):
    """Mean of every bin, base by base."""
    bases = []
    with pyBigWig.open(str(path)) as track:
        length = track.chroms(chrom)
        for i in range(-up, down):
            at = tss + i if strand == "+" else tss - i
            value = track.values(chrom, at, at + 1)[0] if 0 <= at < length else np.nan
            bases.append(0.0 if np.isnan(value) else value)
    return [sum(bases[i : i + size]) / size for i in range(0, up + down, size)]


def loop_dna(sequence, tss, strand, *, up, down):
    out = ""
    for i in range(-up, down):
        at = tss + i if strand == "+" else tss - i
        base = sequence[at] if 0 <= at < len(sequence) else "N"
        out += base if strand == "+" else COMPLEMENT[base]
    return out


def test_values_are_those_of_a_loop_over_bases(files):
    mdata = build(files)
    dna = dict(block.split("\n")[:2] for block in (files / "genome.fa").read_text().split(">")[1:])
    assert mdata.obs_names.tolist() == ["g1", "g2", "g3", "g4"]
    assert mdata["chromatin"].var_names.tolist() == ["A.H3K4me3", "A.H3K27me3", "B.H3K4me3", "B.H3K27me3"]
    for i, (_, chrom, start, end, strand) in enumerate(GENES):
        tss = start if strand == "+" else end - 1
        assert mdata.obs["tss"].iloc[i] == tss
        for j, track in enumerate(mdata["chromatin"].var_names):
            expected = loop_bins(files / f"{track}.bw", chrom, tss, strand, up=40, down=20, size=10)
            np.testing.assert_allclose(mdata["chromatin"].obsm["bins"][i, j], expected, atol=1e-5)
            assert mdata["chromatin"].X[i, j] == pytest.approx(np.mean(expected), abs=1e-5)
        letters = "".join("ACGTN"[c] for c in mdata["dna"].obsm["codes"][i])
        assert letters == loop_dna(dna[chrom], tss, strand, up=40, down=20)
    np.testing.assert_array_equal(mdata["rna"].X, [[3, 0], [0, 7.5], [np.nan, np.nan], [1, 2]])
    np.testing.assert_allclose(mdata["rna"].layers["log"], np.log1p(mdata["rna"].X), rtol=1e-6)


def test_provenance(files):
    uns = build(files).uns
    assert uns["schema_version"] == gx.schema.SCHEMA_VERSION
    assert uns["assembly"] == "unknown"
    assert build(files, assembly="toy1").uns["assembly"] == "toy1"
    assert dict(zip(uns["chrom_sizes"]["chrom"], uns["chrom_sizes"]["size"], strict=True)) == SIZES
    names = ["sheet.tsv", "A.H3K4me3.bw", "A.H3K27me3.bw", "B.H3K4me3.bw", "B.H3K27me3.bw"]
    names += ["genes.gtf", "expression.tsv", "genome.fa"]
    assert uns["files"]["path"].tolist() == [str((files / n).resolve()) for n in names]
    assert uns["files"]["role"].tolist() == ["sheet", *["track"] * 4, "genes", "expression", "fasta"]
    assert uns["files"]["size"].tolist() == [(files / n).stat().st_size for n in names]
    stamp = pd.to_datetime(uns["files"]["modified"], utc=True)
    np.testing.assert_allclose([t.timestamp() for t in stamp], [(files / n).stat().st_mtime for n in names], atol=1)


def test_windows_and_binning_are_recorded(files):
    mdata = build(files, stranded=False, summary="max", uncovered=np.nan, dtype="float16")
    assert mdata["chromatin"].uns["window"] == {**WINDOW, "stranded": False}
    assert mdata["dna"].uns["window"] == {"upstream": 40, "downstream": 20, "stranded": False}
    assert mdata["chromatin"].uns["binning"] == {"summary": "max", "uncovered": "nan"}
    assert mdata["chromatin"].obsm["bins"].dtype == np.float16
    assert np.isnan(mdata["chromatin"].obsm["bins"]).any()


def test_genes_as_a_frame_keep_their_columns(files):
    genes = gx.io.read_genes(files / "genes.gtf").assign(fold=[1, 2, 1, 2], note=["a", None, "b", None])
    genes.attrs["path"] = str(files / "genes.gtf")
    mdata = build(files, genes=genes)
    assert mdata.obs["fold"].tolist() == [1, 2, 1, 2]
    assert mdata.obs["note"].astype(object).where(mdata.obs["note"].notna(), "-").tolist() == ["a", "-", "b", "-"]
    assert (mdata.uns["files"]["role"] == "genes").sum() == 1
    np.testing.assert_array_equal(mdata["chromatin"].obsm["bins"], build(files)["chromatin"].obsm["bins"])


def test_parts_may_be_left_out(files):
    assert sorted(build(files, fasta=None, expression=None, unit=None).mod) == ["chromatin"]
    assert sorted(build(files, sheet=None).mod) == ["dna", "rna"]


def test_names_of_chromosomes_are_matched_across_files(files):
    plain = build(files)
    for name in ("genes.gtf", "genome.fa"):
        text = (files / name).read_text()
        (files / name).write_text(text.replace("chr", "" if name == "genes.gtf" else "CHR"))
    other = build(files)
    np.testing.assert_array_equal(plain["chromatin"].obsm["bins"], other["chromatin"].obsm["bins"])
    np.testing.assert_array_equal(plain["dna"].obsm["codes"], other["dna"].obsm["codes"])
    assert set(other.obs["chrom"]) == {"1", "2"}


def test_joins_are_counted(files, caplog):
    caplog.set_level(logging.INFO)
    build(files)
    assert "3 of 4 genes have expression; without: 'g3'; 1 rows of the table are of other genes: 'other'" in caplog.text
    (files / "expression.tsv").write_text("gene_id\tA\tC\ng1\t3\t1\n")
    build(files)
    assert "1 of 4 genes have expression" in caplog.text
    assert "are the ids of the same kind and release?" in caplog.text
    assert "Samples with tracks but no expression: 'B'" in caplog.text
    assert "Samples with expression but no tracks: 'C'" in caplog.text


def rewrite(path, sizes, value=2.0):
    with pyBigWig.open(str(path), "w") as out:
        out.addHeader(list(sizes.items()))
        out.addEntries(["chr1", "chr1"], [50, 100], ends=[51, 400], values=[value / 2, value])


def test_mixed_signal_scales_are_said(files, caplog):
    rewrite(files / "A.H3K4me3.bw", SIZES, 4.0)
    rewrite(files / "B.H3K4me3.bw", SIZES, 400.0)
    build(files)
    assert (
        "Mixed signal scales: the mean signal of H3K4me3 is 1.2 in A and 120 in B, both given as counts" in caplog.text
    )
    caplog.clear()
    sheet = (files / "sheet.tsv").read_text()
    (files / "sheet.tsv").write_text(sheet.replace("B.H3K4me3.bw\tcounts", "B.H3K4me3.bw\tlog"))
    build(files)
    assert "Mixed signal scales" in caplog.text
    assert "B.H3K4me3.bw has values up to 400, which do not look like the scale log" in caplog.text


def test_another_mitochondrion_is_a_warning(files, caplog):
    sizes = {**SIZES, "chrM": 100}
    for path in files.glob("*.bw"):
        rewrite(path, sizes)
    with (files / "genome.fa").open("a") as fasta:
        fasta.write(">MT\n" + "A" * 102 + "\n")
    build(files)
    assert "The mitochondrion of the tracks is of another version" in caplog.text


def no_file(files):
    (files / "A.H3K4me3.bw").unlink()


def cut(files):
    path = files / "A.H3K4me3.bw"
    path.write_bytes(path.read_bytes()[:-200])


def other_kind(files):
    (files / "A.H3K4me3.bw").write_text("chr1\t0\t10\t1.5\n")


def other_assembly(files):
    rewrite(files / "A.H3K4me3.bw", {"chr1": 500, "chr2": 400})


def fasta_of_other_assembly(files):
    (files / "genome.fa").write_text(">1\n" + "A" * 601 + "\n>2\n" + "C" * 400 + "\n")


def other_names(files):
    (files / "genome.fa").write_text(">scaffold_7\n" + "A" * 601 + "\n")


def negative(files):
    rewrite(files / "A.H3K4me3.bw", SIZES, -1.0)


def not_a_number(files):
    rewrite(files / "A.H3K4me3.bw", SIZES, float("nan"))


def tss_beyond(files):
    text = (files / "genes.gtf").read_text().replace("\t251\t500\t", "\t251\t700\t")
    (files / "genes.gtf").write_text(text)


def gene_twice(files):
    text = (files / "genes.gtf").read_text()
    (files / "genes.gtf").write_text(text + text.split("\n")[0] + "\n")


def gene_symbols(files):
    (files / "expression.tsv").write_text("gene\tA\tB\nTP53\t3\t0\n")


def other_samples(files):
    (files / "expression.tsv").write_text("gene_id\tX\tY\ng1\t3\t0\n")


def one_file_twice(files):
    text = (files / "sheet.tsv").read_text().replace("B.H3K4me3.bw", "A.H3K4me3.bw")
    (files / "sheet.tsv").write_text(text)


def truncated_expression(files):
    packed = gzip.compress((files / "expression.tsv").read_bytes() * 50)
    (files / "expression.tsv").write_bytes(packed[:-12])


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (no_file, r"1 of 4 files of .*sheet\.tsv do not exist"),
        (cut, r"A\.H3K4me3\.bw is (cut short|damaged).*copy or download it again"),
        (other_kind, r"A\.H3K4me3\.bw is a text file .* and not a bigWig"),
        (other_assembly, "chr1 has 500 bases in .* and 600 in .*: they are of different assemblies"),
        (fasta_of_other_assembly, r"genome\.fa are of different assemblies .*'chr1: 600 against 601'\): give both"),
        (other_names, r"none of the 2 chromosomes of the genes \('chr1', 'chr2'\) is among"),
        (negative, "values down to -1, which the scale counts does not allow: declare its scale as log_ratio"),
        (not_a_number, "holds nan at chr1:100-400"),
        (tss_beyond, r"the TSS of 1 of 4 genes lies beyond the end of its chromosome"),
        (gene_twice, r"1 gene ids of .*genes\.gtf occur more than once \('g1'\)"),
        (gene_symbols, r"no gene id of the annotation \('g1', .* is in the expression table \('TP53'\): give both"),
        (other_samples, r"no sample of the sheet \('A', 'B'\) is a column .* \('X', 'Y'\): give them the same"),
        (one_file_twice, r"are one file, .*A\.H3K4me3\.bw: give each file once"),
        (truncated_expression, r"expression\.tsv is a truncated or damaged gzip file"),
    ],
)  # fmt: skip
def test_what_does_not_fit(files, damage, said):
    damage(files)
    with pytest.raises(InputError, match=said) as caught:
        build(files)
    assert "\n" not in str(caught.value)


PLACE = pd.DataFrame({"chrom": ["chr1"], "tss": [100], "strand": ["+"]}, index=pd.Index(["g1"], name="gene_id"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bin_size": 7}, r"bins of 7 bases do not fill the window of 40 \+ 20 = 60 bases: take bin_size 6 or 10"),
        ({"upstream": 0, "downstream": 0}, "upstream and downstream are both 0"),
        ({"summary": "median"}, "summary is 'median': allowed are mean, max, sum"),
        ({"uncovered": 1.0}, "uncovered is 1.0: give 0"),
        ({"dtype": "int8"}, "dtype is 'int8': allowed are float32, float16"),
        ({"unit": None}, "the unit of 2 of 2 samples .* is missing"),
        ({"unit": "gallons"}, "unit 'gallons' is not known"),
        ({"sheet": None, "fasta": None}, "neither a sample sheet nor a FASTA file is given.*give one of them"),
        ({"genes": PLACE.drop(columns=["tss", "strand"])}, "the table of genes lacks the column 'tss', 'strand': it"),
        ({"genes": pd.concat([PLACE, PLACE])}, r"1 gene ids occur more than once \('g1'\): keep one row of each"),
        ({"genes": PLACE[:0]}, "the table of genes has no row"),
        ({"genes": PLACE.assign(strand=".")}, "strand of 1 of 1 genes is neither"),
        ({"n_jobs": 0}, "n_jobs is 0"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(files, changes, said):
    with pytest.raises(InputError, match=said):
        build(files, **changes)


def test_all_is_checked_before_the_long_reading(files, monkeypatch):
    def read(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr("genexp_scverse.io.build.bin_tracks", read)
    monkeypatch.setattr("genexp_scverse.io.build.read_codes", read)
    for damage in (tss_beyond, gene_symbols):
        damage(files)
        with pytest.raises(InputError):
            build(files)


def test_a_file_that_vanishes_is_named(files, monkeypatch):
    monkeypatch.setattr("genexp_scverse.io.build.report_join", lambda *_: (files / "genes.gtf").unlink())
    with pytest.raises(InputError, match=r"genes\.gtf was there a moment ago and is gone: bring it back"):
        build(files)


def test_a_track_that_vanishes_is_named(files, monkeypatch):
    monkeypatch.setattr("genexp_scverse.io.build.report_join", lambda *_: (files / "B.H3K4me3.bw").unlink())
    with pytest.raises(InputError, match=r"B\.H3K4me3\.bw was there a moment ago and is gone"):
        build(files)


@pytest.fixture
def halves(files):
    """A MuData of sample A with what users put into it, the sheet of B, and expression of B alone."""
    sheet = gx.io.read_sheet(files / "sheet.tsv")
    table = pd.read_csv(files / "expression.tsv", sep="\t")
    table[["gene_id", "A"]].to_csv(files / "a.tsv", sep="\t", index=False)
    table[["gene_id", "B"]].to_csv(files / "b.tsv", sep="\t", index=False)
    first = build(files, sheet=sheet[sheet["sample"] == "A"], expression=files / "a.tsv")
    first.obs["split"] = ["train", "train", "valid", "test"]
    first["rna"].layers["label"] = np.array([[1], [0], [np.nan], [0]], np.float32)
    first["rna"].layers["deepchrome"] = np.arange(4, dtype=np.float32)[:, None]
    first["rna"].var["tissue"] = ["blood"]
    first["chromatin"].obsm["X_model"] = np.ones((4, 2), np.float32)
    first["chromatin"].varm["profile"] = np.ones((2, 6), np.float32)
    first.obsp["neighbors"] = csr_matrix(np.eye(4))
    first.uns["intervals"] = {"peaks": pd.DataFrame({"chrom": ["chr1"], "start": [1], "end": [5]})}
    return first, sheet[sheet["sample"] == "B"], files


def test_adding_a_sample_equals_building_at_once(halves, caplog):
    caplog.set_level(logging.INFO)
    first, second, files = halves
    before = first["chromatin"].shape, first["rna"].shape, list(first.uns["files"]["path"])
    both = gx.io.add_samples(first, second, expression=files / "b.tsv", unit="tpm")
    at_once = build(files)
    np.testing.assert_array_equal(both["chromatin"].obsm["bins"], at_once["chromatin"].obsm["bins"])
    np.testing.assert_array_equal(both["chromatin"].X, at_once["chromatin"].X)
    np.testing.assert_array_equal(both["rna"].X, at_once["rna"].X)
    np.testing.assert_array_equal(both["rna"].layers["log"], at_once["rna"].layers["log"])
    np.testing.assert_array_equal(both["dna"].obsm["codes"], at_once["dna"].obsm["codes"])
    for mod in ("chromatin", "rna"):
        columns = list(at_once[mod].var)
        assert both[mod].var[columns].astype(str).equals(at_once[mod].var.astype(str))
        assert both[mod].var_names.tolist() == at_once[mod].var_names.tolist()
    assert both.uns["chrom_sizes"].equals(at_once.uns["chrom_sizes"])
    assert both["chromatin"].uns["window"] == at_once["chromatin"].uns["window"]
    assert both.obs["split"].tolist() == ["train", "train", "valid", "test"]
    np.testing.assert_array_equal(
        both["rna"].layers["deepchrome"], [[0, np.nan], [1, np.nan], [2, np.nan], [3, np.nan]]
    )
    np.testing.assert_array_equal(both["rna"].layers["label"][:, 0], [1, 0, np.nan, 0])
    assert both["rna"].var["tissue"].astype(object).fillna("-").tolist() == ["blood", "-"]
    assert both["chromatin"].obsm["X_model"].shape == (4, 2)
    assert (both.obsp["neighbors"].toarray() == np.eye(4)).all()
    assert both.uns["intervals"]["peaks"]["end"].tolist() == [5]
    assert {str(files / "b.tsv"), str(files / "B.H3K4me3.bw"), str(files / "a.tsv")} <= set(both.uns["files"]["path"])
    assert "'profile' left out" in caplog.text
    assert "labels of 'B' are not known yet" in caplog.text
    assert before == (first["chromatin"].shape, first["rna"].shape, list(first.uns["files"]["path"]))


@pytest.mark.parametrize("ending", [".h5mu", ".zarr"])
def test_samples_are_added_to_a_mudata_from_disk(halves, ending):
    first, second, files = halves
    gx.io.write_mudata(first, files / f"first{ending}")
    both = gx.io.add_samples(
        gx.io.read_mudata(files / f"first{ending}"), second, expression=files / "b.tsv", unit="tpm"
    )
    gx.io.write_mudata(both, files / f"both{ending}")
    back = gx.io.read_mudata(files / f"both{ending}")
    np.testing.assert_array_equal(back["chromatin"].obsm["bins"], build(files)["chromatin"].obsm["bins"])


def test_a_sample_without_expression_or_with_fewer_marks_can_be_added(halves, caplog):
    first, second, _ = halves
    both = gx.io.add_samples(first, second[second["mark"] == "H3K4me3"])
    assert both["chromatin"].var_names.tolist() == ["A.H3K4me3", "A.H3K27me3", "B.H3K4me3"]
    assert both["rna"].var_names.tolist() == ["A"]
    assert "Sample B lacks the marks 'H3K27me3'" in caplog.text


def test_what_cannot_be_added(halves):
    first, second, files = halves
    sheet = gx.io.read_sheet(files / "sheet.tsv")
    with pytest.raises(InputError, match=r"the MuData has the track 'A\.H3K4me3', 'A\.H3K27me3' already: drop it"):
        gx.io.add_samples(first, sheet)
    other = second.assign(mark=["h3k4me3", "H3K9ac"])
    with pytest.raises(InputError, match=r"the MuData has no mark 'h3k4me3', 'H3K9ac', it has 'H3K4me3', 'H3K27me3': "):
        gx.io.add_samples(first, other)
    with pytest.raises(InputError, match="the MuData has expression of the sample 'A' already: drop it from the table"):
        gx.io.add_samples(first, second, expression=files / "expression.tsv", unit="tpm")
    rewrite(files / "B.H3K4me3.bw", {"chr1": 500, "chr2": 400})
    rewrite(files / "B.H3K27me3.bw", {"chr1": 500, "chr2": 400})
    with pytest.raises(
        InputError, match=r"the tracks and the MuData are of different assemblies .*'chr1: 500 against 600'"
    ):
        gx.io.add_samples(first, second)
    bare = gx.io.from_bins(np.ones((3, 1, 4)), genes=["a", "b", "c"], marks=["H3K4me3"])
    with pytest.raises(InputError, match="samples can be added where genes have chrom, tss and strand"):
        gx.io.add_samples(bare, second)


def test_roadmap(shared_data):
    folder = shared_data / "roadmap_peaks_hg19"
    mdata = gx.io.build_mudata(
        folder / "sheet.tsv",
        genes=folder / "genes.tsv",
        expression=folder / "expression.tsv",
        unit={"K562": "log", "H1": "counts"},
        n_jobs=1,
    )
    assert mdata.shape[0] == 14_158
    assert mdata["chromatin"].obsm["bins"].shape == (14_158, 9, 100)
    assert mdata.uns["assembly"] == "hg19"
    assert mdata["rna"].var["unit"].tolist() == ["log", "counts"]
    table = pd.read_csv(folder / "genes.tsv", sep="\t").set_index("gene_id")
    sheet = pd.read_csv(folder / "sheet.tsv", sep="\t")
    chosen = np.random.default_rng(0).choice(14_158, 200, replace=False)
    for j, path in enumerate(sheet["path"]):
        with pyBigWig.open(str(folder / path)) as track:
            for i in chosen:
                gene = table.loc[mdata.obs_names[i]]
                plus = gene["strand"] == "+"
                start = gene["tss"] - 5000 if plus else gene["tss"] - 4999
                values = track.values(gene["chrom"], int(start), int(start + 10_000))
                bases = [0.0 if v != v else v for v in (values if plus else values[::-1])]
                expected = [sum(bases[b : b + 100]) / 100 for b in range(0, 10_000, 100)]
                np.testing.assert_allclose(mdata["chromatin"].obsm["bins"][i, j], expected, atol=1e-5)


@pytest.fixture(scope="module")
def yeast(shared_data):
    return shared_data / "yeast"


def test_yeast_start_codons_of_the_gtf(yeast, caplog):
    caplog.set_level(logging.INFO)
    mdata = gx.io.build_mudata(
        genes=yeast / "genes.gtf.gz",
        fasta=yeast / "genome.fa.gz",
        expression=yeast / "rna_16_times_fpkm.tsv.gz",
        unit="fpkm",
        upstream=1000,
        downstream=500,
    )
    assert mdata.n_obs == 6600
    assert mdata.uns["assembly"] == "sacCer3"
    assert mdata["rna"].n_vars == 16
    assert "of 6600 genes have expression" in caplog.text
    assert "of other biotypes" in caplog.text
    nuclear = (mdata.obs["chrom"] != "Mito").to_numpy()
    assert nuclear.sum() == 6572
    starts = (mdata["dna"].obsm["codes"][:, 1000:1003] == [0, 3, 2]).all(axis=1)
    assert starts[nuclear].sum() >= 6568
    for strand in "+-":
        of = nuclear & (mdata.obs["strand"] == strand).to_numpy()
        assert of.sum() > 3000
        assert starts[of].mean() > 0.999


def test_yeast_start_codons_at_their_offset_from_measured_tss(yeast):
    mdata = gx.io.build_mudata(
        genes=yeast / "genes.tsv",
        fasta=yeast / "genome.fa.gz",
        tss_column=["tss_park2014", "tss_winston"],
        upstream=1000,
        downstream=500,
    )
    obs = mdata.obs
    assert mdata.n_obs == 6600
    measured = obs["tss_park2014"].fillna(obs["tss_winston"])
    assert (obs["tss"] == measured)[measured.notna()].all()
    assert measured.notna().sum() > 5000
    plus = (obs["strand"] == "+").to_numpy()
    offset = np.where(plus, obs["cds_start"] - obs["tss"], obs["tss"] - (obs["cds_end"] - 1))
    inside = (offset >= -1000) & (offset <= 497) & (obs["chrom"] != "Mito").to_numpy()
    at = 1000 + offset[inside].astype(int)
    codes = mdata["dna"].obsm["codes"][inside]
    starts = (codes[np.arange(len(at))[:, None], at[:, None] + np.arange(3)] == [0, 3, 2]).all(axis=1)
    assert inside.sum() > 6400
    assert (offset[inside & measured.notna().to_numpy()] > 0).mean() > 0.8
    assert (~starts).sum() <= 4
    assert starts[plus[inside]].sum() > 3000
    assert starts[~plus[inside]].sum() > 3000
