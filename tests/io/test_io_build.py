from __future__ import annotations

import gzip
import logging

import numpy as np
import pandas as pd
import pyBigWig
import pytest

import genexp_scverse as gx
from genexp_scverse import InputError

COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


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


def test_values_are_those_of_a_loop_over_bases(files, small_genome):
    mdata = small_genome.build(files)
    dna = dict(block.split("\n")[:2] for block in (files / "genome.fa").read_text().split(">")[1:])
    assert mdata.obs_names.tolist() == ["g1", "g2", "g3", "g4"]
    assert mdata["chromatin"].var_names.tolist() == ["A.H3K4me3", "A.H3K27me3", "B.H3K4me3", "B.H3K27me3"]
    for i, (_, chrom, start, end, strand) in enumerate(small_genome.genes):
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


def test_provenance(files, small_genome):
    uns = small_genome.build(files).uns
    assert uns["schema_version"] == gx.schema.SCHEMA_VERSION
    assert uns["assembly"] == "unknown"
    assert small_genome.build(files, assembly="toy1").uns["assembly"] == "toy1"
    assert dict(zip(uns["chrom_sizes"]["chrom"], uns["chrom_sizes"]["size"], strict=True)) == small_genome.sizes
    names = ["sheet.tsv", "A.H3K4me3.bw", "A.H3K27me3.bw", "B.H3K4me3.bw", "B.H3K27me3.bw"]
    names += ["genes.gtf", "expression.tsv", "genome.fa"]
    assert uns["files"]["path"].tolist() == [str((files / n).resolve()) for n in names]
    assert uns["files"]["role"].tolist() == ["sheet", *["track"] * 4, "genes", "expression", "fasta"]
    assert uns["files"]["size"].tolist() == [(files / n).stat().st_size for n in names]
    stamp = pd.to_datetime(uns["files"]["modified"], utc=True)
    np.testing.assert_allclose([t.timestamp() for t in stamp], [(files / n).stat().st_mtime for n in names], atol=1)


def test_windows_and_binning_are_recorded(files, small_genome):
    mdata = small_genome.build(files, stranded=False, summary="max", uncovered=np.nan, dtype="float16")
    assert mdata["chromatin"].uns["window"] == {**small_genome.window, "stranded": False}
    assert mdata["dna"].uns["window"] == {"upstream": 40, "downstream": 20, "stranded": False}
    assert mdata["chromatin"].uns["binning"] == {"summary": "max", "uncovered": "nan"}
    assert mdata["chromatin"].obsm["bins"].dtype == np.float16
    assert np.isnan(mdata["chromatin"].obsm["bins"]).any()


def test_genes_as_a_frame_keep_their_columns(files, small_genome):
    genes = gx.io.read_genes(files / "genes.gtf").assign(fold=[1, 2, 1, 2], note=["a", None, "b", None])
    genes.attrs["path"] = str(files / "genes.gtf")
    mdata = small_genome.build(files, genes=genes)
    assert mdata.obs["fold"].tolist() == [1, 2, 1, 2]
    assert mdata.obs["note"].astype(object).where(mdata.obs["note"].notna(), "-").tolist() == ["a", "-", "b", "-"]
    assert (mdata.uns["files"]["role"] == "genes").sum() == 1
    np.testing.assert_array_equal(mdata["chromatin"].obsm["bins"], small_genome.build(files)["chromatin"].obsm["bins"])


def test_parts_may_be_left_out(files, small_genome):
    assert sorted(small_genome.build(files, fasta=None, expression=None, unit=None).mod) == ["chromatin"]
    assert sorted(small_genome.build(files, sheet=None).mod) == ["dna", "rna"]


def test_names_of_chromosomes_are_matched_across_files(files, small_genome):
    plain = small_genome.build(files)
    for name in ("genes.gtf", "genome.fa"):
        text = (files / name).read_text()
        (files / name).write_text(text.replace("chr", "" if name == "genes.gtf" else "CHR"))
    other = small_genome.build(files)
    np.testing.assert_array_equal(plain["chromatin"].obsm["bins"], other["chromatin"].obsm["bins"])
    np.testing.assert_array_equal(plain["dna"].obsm["codes"], other["dna"].obsm["codes"])
    assert set(other.obs["chrom"]) == {"1", "2"}


def test_joins_are_counted(files, caplog, small_genome):
    caplog.set_level(logging.INFO)
    small_genome.build(files)
    assert "3 of 4 genes have expression; without: 'g3'; 1 rows of the table are of other genes: 'other'" in caplog.text
    (files / "expression.tsv").write_text("gene_id\tA\tC\ng1\t3\t1\n")
    small_genome.build(files)
    assert "1 of 4 genes have expression" in caplog.text
    assert "are the ids of the same kind and release?" in caplog.text
    assert "Samples with tracks but no expression: 'B'" in caplog.text
    assert "Samples with expression but no tracks: 'C'" in caplog.text


def test_mixed_signal_scales_are_said(files, caplog, small_genome):
    small_genome.rewrite(files / "A.H3K4me3.bw", small_genome.sizes, 4.0)
    small_genome.rewrite(files / "B.H3K4me3.bw", small_genome.sizes, 400.0)
    small_genome.build(files)
    assert (
        "Mixed signal scales: the mean signal of H3K4me3 is 1.2 in A and 120 in B, both given as counts" in caplog.text
    )
    caplog.clear()
    sheet = (files / "sheet.tsv").read_text()
    (files / "sheet.tsv").write_text(sheet.replace("B.H3K4me3.bw\tcounts", "B.H3K4me3.bw\tlog"))
    small_genome.build(files)
    assert "Mixed signal scales" in caplog.text
    assert "B.H3K4me3.bw has values up to 400, which do not look like the scale log" in caplog.text


def test_windows_beyond_chromosome_ends_and_tsss_in_gaps_are_said(files, caplog, small_genome):
    small_genome.build(files, upstream=5, downstream=5, bin_size=5)
    assert "reach beyond" not in caplog.text
    assert "nothing but N" not in caplog.text
    (files / "genome.fa").write_text(">1\n" + "N" * 600 + "\n>2\n" + "C" * 400 + "\n")
    mdata = small_genome.build(files, upstream=300, downstream=100)
    size = mdata.obs["chrom"].astype(str).map({"chr1": 600, "chr2": 400})
    plus = (mdata.obs["strand"] == "+").to_numpy()
    start = mdata.obs["tss"] - np.where(plus, 300, 99)
    beyond = ((start < 0) | (start + 400 > size)).sum()
    assert beyond > 0
    assert f"{beyond} of {mdata.n_obs} windows reach beyond the end of their chromosome" in caplog.text
    in_gap = (mdata.obs["chrom"].astype(str) == "chr1").sum()
    assert f"{in_gap} of {mdata.n_obs} genes have nothing but N around the TSS in" in caplog.text


def test_another_mitochondrion_is_a_warning(files, caplog, small_genome):
    sizes = {**small_genome.sizes, "chrM": 100}
    for path in files.glob("*.bw"):
        small_genome.rewrite(path, sizes)
    with (files / "genome.fa").open("a") as fasta:
        fasta.write(">MT\n" + "A" * 102 + "\n")
    small_genome.build(files)
    assert "The mitochondrion of the tracks is of another version" in caplog.text


def no_file(files, small_genome):
    (files / "A.H3K4me3.bw").unlink()


def cut(files, small_genome):
    path = files / "A.H3K4me3.bw"
    path.write_bytes(path.read_bytes()[:-200])


def other_kind(files, small_genome):
    (files / "A.H3K4me3.bw").write_text("chr1\t0\t10\t1.5\n")


def other_assembly(files, small_genome):
    small_genome.rewrite(files / "A.H3K4me3.bw", {"chr1": 500, "chr2": 400})


def fasta_of_other_assembly(files, small_genome):
    (files / "genome.fa").write_text(">1\n" + "A" * 601 + "\n>2\n" + "C" * 400 + "\n")


def other_names(files, small_genome):
    (files / "genome.fa").write_text(">scaffold_7\n" + "A" * 601 + "\n")


def negative(files, small_genome):
    small_genome.rewrite(files / "A.H3K4me3.bw", small_genome.sizes, -1.0)


def not_a_number(files, small_genome):
    small_genome.rewrite(files / "A.H3K4me3.bw", small_genome.sizes, float("inf"))


def tss_beyond(files, small_genome):
    text = (files / "genes.gtf").read_text().replace("\t251\t500\t", "\t251\t700\t")
    (files / "genes.gtf").write_text(text)


def gene_twice(files, small_genome):
    (files / "genes.gtf").write_text("gene_id\tchrom\ttss\tstrand\ng1\tchr1\t5\t+\ng1\tchr1\t9\t+\n")


def gene_symbols(files, small_genome):
    (files / "expression.tsv").write_text("gene\tA\tB\nTP53\t3\t0\n")


def other_samples(files, small_genome):
    (files / "expression.tsv").write_text("gene_id\tX\tY\ng1\t3\t0\n")


def samples_as_paths(files, small_genome):
    (files / "expression.tsv").write_text("gene_id\t/d/A.bam\ng1\t3\ng2\t30\n")


def one_file_twice(files, small_genome):
    text = (files / "sheet.tsv").read_text().replace("B.H3K4me3.bw", "A.H3K4me3.bw")
    (files / "sheet.tsv").write_text(text)


def truncated_expression(files, small_genome):
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
        (not_a_number, "holds inf at chr1:100-400"),
        (tss_beyond, r"the TSS of 1 of 4 genes lies beyond the end of its chromosome"),
        (gene_twice, r"1 gene ids of .*genes\.gtf occur more than once \('g1'\)"),
        (gene_symbols, r"no gene id of the annotation \('g1', .* is in the expression table \(.*: 'TP53'\): give both"),
        (other_samples, r"no sample of the sheet \('A', 'B'\) is a column .* \('X', 'Y'\): give them the same"),
        (samples_as_paths, r"\('/d/A\.bam'\): give them the same names, as by columns=\{'A': '/d/A\.bam'\}$"),
        (one_file_twice, r"are one file, .*A\.H3K4me3\.bw: give each file once"),
        (truncated_expression, r"expression\.tsv is a truncated or damaged gzip file"),
    ],
)  # fmt: skip
def test_what_does_not_fit(files, damage, said, small_genome):
    damage(files, small_genome)
    with pytest.raises(InputError, match=said) as caught:
        small_genome.build(files)
    assert "\n" not in str(caught.value)


PLACE = pd.DataFrame({"chrom": ["chr1"], "tss": [100], "strand": ["+"]}, index=pd.Index(["g1"], name="gene_id"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bin_size": 7}, r"bins of 7 bases do not fill the window of 40 \+ 20 = 60 bases: take bin_size 6 or 10"),
        ({"upstream": 0, "downstream": 0}, "upstream and downstream are both 0"),
        (
            {"upstream": 500, "downstream": 200},
            r"window of 700 bases is longer than every chromosome with genes \(the longest in .*genome\.fa has 600\)",
        ),
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
        ({"n_jobs": 0}, "n_jobs=0 is not possible"),
    ],
)  # fmt: skip
def test_arguments_that_do_not_fit(files, changes, said, small_genome):
    with pytest.raises(InputError, match=said):
        small_genome.build(files, **changes)


def test_all_is_checked_before_the_long_reading(files, monkeypatch, small_genome):
    def read(*_args, **_kwargs):
        raise AssertionError

    monkeypatch.setattr("genexp_scverse.io.build.bin_tracks", read)
    monkeypatch.setattr("genexp_scverse.io.build.read_codes", read)
    for damage in (tss_beyond, gene_symbols):
        damage(files, small_genome)
        with pytest.raises(InputError):
            small_genome.build(files)


def test_a_file_that_vanishes_is_named(files, monkeypatch, small_genome):
    monkeypatch.setattr("genexp_scverse.io.build.check_windows", lambda *_, **__: (files / "genes.gtf").unlink())
    with pytest.raises(InputError, match=r"genes\.gtf was there a moment ago and is gone: bring it back"):
        small_genome.build(files)


def test_a_track_that_vanishes_is_named(files, monkeypatch, small_genome):
    monkeypatch.setattr("genexp_scverse.io.build.check_windows", lambda *_, **__: (files / "B.H3K4me3.bw").unlink())
    with pytest.raises(InputError, match=r"B\.H3K4me3\.bw was there a moment ago and is gone"):
        small_genome.build(files)


def test_a_slash_in_a_column_of_the_genes(files, small_genome, tmp_path):
    table = gx.io.read_genes(files / "genes.gtf").assign(**{"GC/AT": 0.5})
    with pytest.raises(gx.InputError, match="has the column 'GC/AT', whose slash no file can keep: rename it"):
        small_genome.build(files, genes=table)
    table.reset_index().to_csv(tmp_path / "genes.tsv", sep="\t", index=False)
    mdata = small_genome.build(files, genes=tmp_path / "genes.tsv")
    gx.io.write_mudata(mdata, tmp_path / "m.h5mu")
    assert gx.io.read_mudata(tmp_path / "m.h5mu").obs["GC_AT"].tolist() == [0.5] * 4


@pytest.mark.parametrize("stranded", [True, False])
def test_start_codons_tell_the_assembly(tmp_path, stranded):
    rng = np.random.default_rng(0)
    genome = np.array(list("ACGT"))[rng.integers(0, 4, 6000)]
    lines = []
    for i in range(25):
        strand, tss = "+-"[i % 2], 200 + 220 * i
        first, codon = (tss + 7, "ATG") if strand == "+" else (tss - 9, "CAT")
        genome[first : first + 3] = list(codon)
        start, end = (tss + 1, tss + 100) if strand == "+" else (tss - 98, tss + 1)
        text = f'{strand}\t.\tgene_id "g{i}.3"; gene_type "protein_coding";\n'
        lines += [f"chr1\tX\tgene\t{start}\t{end}\t.\t{text}"]
        lines += [f"chr1\tX\tstart_codon\t{first + 1}\t{first + 3}\t.\t{text}"]
    gtf, fasta = tmp_path / "genes.gtf", tmp_path / "genome.fa"
    gtf.write_text("".join(lines))
    fasta.write_text(">chr1\n" + "".join(genome) + "\n")
    of = {"genes": gtf, "upstream": 50, "downstream": 50, "stranded": stranded}
    mdata = gx.io.build_mudata(fasta=fasta, **of)
    assert mdata.n_obs == 25
    # the same length, but one base off
    fasta.write_text(">chr1\n" + "".join(np.roll(genome, 1)) + "\n")
    with pytest.raises(
        InputError, match=r"of 25 start codons of .*genes\.gtf in the windows, \d are ATG in .*genome.fa"
    ):
        gx.io.build_mudata(fasta=fasta, **of)
    # nothing is known where no start codon lies in a window
    gx.io.build_mudata(fasta=fasta, **of | {"downstream": 5, "upstream": 5})
