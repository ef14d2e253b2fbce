# ruff: noqa: E501 (lines of annotation are as long as they are)
from __future__ import annotations

import gzip
import logging

import numpy as np
import pandas as pd
import pytest

from genexp_scverse import InputError
from genexp_scverse.io import read_genes

GENE = "protein_coding"


def gtf(*rows):
    """Lines of a GTF from (chrom, feature, start, end, strand, attributes)."""
    return "".join(f"{c}\tX\t{f}\t{s}\t{e}\t.\t{strand}\t.\t{a}\n" for c, f, s, e, strand, a in rows)


@pytest.fixture
def write(tmp_path):
    def write(text, name="genes.gtf"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def fails(write):
    """Read a text and give the message of the error, with the path as PATH."""

    def fails(text, name="genes.gtf", **kwargs):
        path = write(text, name)
        with pytest.raises(InputError) as error:
            read_genes(path, **kwargs)
        return str(error.value).replace(str(path), "PATH")

    return fails


GENCODE = gtf(
    ("chr1", "gene", 101, 200, "+", f'gene_id "ENSG00000000001.12"; gene_type "{GENE}"; gene_name "A"; level 2;'),
    ("chr1", "transcript", 111, 200, "+", 'gene_id "ENSG00000000001.12"; transcript_id "T1"; tag "basic"; tag "Ensembl_canonical";'),
    ("chr1", "exon", 111, 200, "+", 'gene_id "ENSG00000000001.12"; transcript_id "T1"; exon_number 1;'),
    ("chr1", "transcript", 101, 200, "+", 'gene_id "ENSG00000000001.12"; transcript_id "T2";'),
    ("chr1", "exon", 101, 110, "+", 'gene_id "ENSG00000000001.12"; transcript_id "T2"; exon_number 1;'),
    ("chr1", "transcript", 131, 200, "+", 'gene_id "ENSG00000000001.12"; transcript_id "T3"; tag "MANE_Select";'),
    ("chr1", "gene", 301, 400, "-", f'gene_id "ENSG00000000002.3"; gene_type "{GENE}"; gene_name "B"; level 1;'),
    ("chr1", "transcript", 301, 390, "-", 'gene_id "ENSG00000000002.3"; transcript_id "T4";'),
    ("chr1", "exon", 301, 390, "-", 'gene_id "ENSG00000000002.3"; transcript_id "T4";'),
    ("chr1", "transcript", 321, 400, "-", 'gene_id "ENSG00000000002.3"; transcript_id "T5";'),
    ("chr1", "exon", 321, 400, "-", 'gene_id "ENSG00000000002.3"; transcript_id "T5";'),
    ("chr2", "gene", 1, 9, "+", 'gene_id "ENSG00000000003.1"; gene_type "lncRNA"; gene_name "C";'),
    ("GL000192.1", "gene", 1, 9, "+", f'gene_id "ENSG00000000004.1"; gene_type "{GENE}"; gene_name "D";'),
    ("chrX", "gene", 1, 9, "+", f'gene_id "ENSG00000000005.5"; gene_type "{GENE}"; gene_name "E";'),
    ("chrY", "gene", 1, 9, "+", f'gene_id "ENSG00000000005.5_PAR_Y"; gene_type "{GENE}"; gene_name "E";'),
    ("chrY", "gene", 1, 9, "+", f'gene_id "ENSGR0000000005.4"; gene_type "{GENE}"; gene_name "E";'),
    ("chrY", "gene", 21, 29, "+", f'gene_id "ENSG00000000006.2_7"; gene_type "{GENE}"; gene_name "F";'),
)  # fmt: skip


def test_gencode_gtf(write, caplog):
    caplog.set_level(logging.INFO)
    genes = read_genes(write(GENCODE))
    assert genes.index.name == "gene_id"
    assert genes.index.tolist() == [f"ENSG0000000000{i}" for i in (1, 2, 5, 6)]
    assert genes["tss"].tolist() == [100, 399, 0, 20]
    assert genes["start"].tolist() == [100, 300, 0, 20]
    assert genes["end"].tolist() == [200, 400, 9, 29]
    assert genes["strand"].tolist() == ["+", "-", "+", "+"]
    assert genes["chrom"].tolist() == ["chr1", "chr1", "chrX", "chrY"]
    assert genes["gene_name"].tolist() == ["A", "B", "E", "F"]
    assert genes["gene_id_version"].tolist()[:2] == ["ENSG00000000001.12", "ENSG00000000002.3"]
    assert genes["gene_id_version"].iloc[3] == "ENSG00000000006.2_7"
    assert set(genes["gene_type"]) == {GENE}
    assert [str(genes[c].dtype) for c in ("tss", "start", "end")] == ["int64"] * 3
    assert (
        "kept 4 of 8 genes; left out: 1 on scaffolds or alternative loci ('GL000192.1'); 2 copies on chrY of "
        "pseudo-autosomal genes ('ENSG00000000005_PAR_Y', 'ENSGR0000000005'); 1 of other biotypes (lncRNA 1)"
    ) in caplog.text
    assert "TSS from the gene record (4 genes)" in caplog.text


@pytest.mark.parametrize("pack", [gzip.compress, lambda b: gzip.compress(b[:500]) + gzip.compress(b[500:]), bytes])
def test_gzip_and_bgzip_are_seen_whatever_the_name(write, pack):
    path = write(pack(GENCODE.encode()), "annotation.txt")
    assert len(read_genes(path)) == 4


def test_canonical_prefers_mane_and_counts_the_rest(write, caplog):
    caplog.set_level(logging.INFO)
    genes = read_genes(write(GENCODE), tss_source="canonical")
    assert genes["tss"].tolist() == [130, 399, 0, 20]
    assert "TSS from the gene record (3 genes), the canonical transcript (1 genes)" in caplog.text


def test_canonical_takes_the_longest_of_equals_and_knows_appris(write):
    rows = [("chr1", "gene", 1, 100, "+", f'gene_id "g"; gene_type "{GENE}";')]
    for name, start, tag in (("a", 11, "appris_principal_1"), ("b", 5, "appris_principal_1"), ("c", 1, "CCDS")):
        rows.append(("chr1", "transcript", start, 100, "+", f'gene_id "g"; transcript_id "{name}"; tag "{tag}";'))
    assert read_genes(write(gtf(*rows)), tss_source="canonical")["tss"].tolist() == [4]
    rows.append(("chr1", "transcript", 51, 60, "+", 'gene_id "g"; transcript_id "d"; tag "Ensembl_canonical";'))
    assert read_genes(write(gtf(*rows)), tss_source="canonical")["tss"].tolist() == [50]


def test_longest_is_by_exons_then_by_span(write):
    # gene 1: T1 has 90 exonic bases, T2 has 10; gene 2: T4 90, T5 80
    genes = read_genes(write(GENCODE), tss_source="longest")
    assert genes["tss"].tolist() == [110, 389, 0, 20]
    no_exons = "".join(line for line in GENCODE.splitlines(keepends=True) if "\texon\t" not in line)
    assert read_genes(write(no_exons), tss_source="longest")["tss"].tolist()[:2] == [100, 389]


def test_canonical_without_tags_is_an_error(fails):
    text = gtf(("chr1", "gene", 1, 9, "+", 'gene_id "g";'), ("chr1", "transcript", 1, 9, "+", 'gene_id "g"; transcript_id "t";'))  # fmt: skip
    assert fails(text, tss_source="canonical") == (
        "no transcript of PATH is tagged MANE_Select, Ensembl_canonical or appris_principal_1: use "
        "tss_source='gene' or tss_source='longest'"
    )


def test_ensembl_gtf(write):
    genes = read_genes(
        write(
            "#!genome-build GRCh38\n"
            + gtf(
                ("1", "gene", 11, 20, "-", f'gene_id "ENSG00000000001"; gene_version "5"; gene_biotype "{GENE}";'),
                ("MT", "gene", 11, 20, "+", f'gene_id "ENSG00000000002"; gene_version "1"; gene_biotype "{GENE}";'),
                ("KI270728.1", "gene", 11, 20, "+", f'gene_id "ENSG00000000003"; gene_biotype "{GENE}";'),
                ("HSCHR6_MHC_COX", "gene", 1, 9, "+", f'gene_id "ENSG00000000004"; gene_biotype "{GENE}";'),
            )
        )
    )
    assert genes["gene_id_version"].to_dict() == {
        "ENSG00000000001": "ENSG00000000001.5",
        "ENSG00000000002": "ENSG00000000002.1",
    }
    assert genes["tss"].tolist() == [19, 10]
    assert genes["gene_name"].tolist() == ["", ""]


def test_refseq_gtf_drops_the_copy_on_y_by_the_number_of_the_gene(write, caplog):
    caplog.set_level(logging.INFO)
    kind = f'gene_biotype "{GENE}"; note "a; b";'
    genes = read_genes(
        write(
            gtf(
                ("NC_000001.11", "gene", 11, 20, "+", f'gene_id "AC012.1"; transcript_id ""; db_xref "GeneID:1"; db_xref "HGNC:5"; gene "AC012.1"; {kind}'),
                ("NC_000001.11", "transcript", 15, 20, "+", 'gene_id "AC012.1"; transcript_id "NM_1"; tag "MANE Select";'),
                ("NC_000023.11", "gene", 11, 20, "+", f'gene_id "CRLF2"; transcript_id ""; db_xref "GeneID:2"; gene "CRLF2"; {kind}'),
                ("NC_000024.10", "gene", 11, 20, "+", f'gene_id "CRLF2_1"; transcript_id ""; db_xref "GeneID:2"; gene "CRLF2"; {kind}'),
                ("NT_187633.1", "gene", 11, 20, "+", f'gene_id "GSTT1"; transcript_id ""; db_xref "GeneID:3"; {kind}'),
            )
        ),
        tss_source="canonical",
    )  # fmt: skip
    assert genes["tss"].to_dict() == {"AC012.1": 14, "CRLF2": 10}
    assert genes["gene_name"].tolist() == ["AC012.1", "CRLF2"]
    assert "entrez" not in genes
    assert "1 copies on chrY of pseudo-autosomal genes ('CRLF2_1')" in caplog.text


def test_the_same_id_on_x_and_y_keeps_x_but_yeast_has_only_an_x(write):
    kind = f'gene_biotype "{GENE}";'
    text = gtf(
        ("Y", "gene", 1, 9, "+", f'gene_id "SHOX"; {kind}'),
        ("X", "gene", 11, 19, "+", f'gene_id "SHOX"; {kind}'),
        ("Y", "gene", 21, 29, "+", f'gene_id "SRY"; {kind}'),
    )
    assert read_genes(write(text))["tss"].to_dict() == {"SHOX": 10, "SRY": 20}


GFF3_ENSEMBL = """\
##gff-version 3
1	Ensembl	chromosome	1	1000	.	.	.	ID=chromosome:1
###
1	havana	gene	101	200	.	-	.	ID=gene:ENSG00000000001;Name=A%3BB;biotype=protein_coding;gene_id=ENSG00000000001;version=7
1	havana	mRNA	101	180	.	-	.	ID=transcript:ENST1;Parent=gene:ENSG00000000001;tag=basic,Ensembl_canonical
1	havana	exon	101	180	.	-	.	Parent=transcript:ENST1;Name=E1
1	havana	mRNA	191	200	.	-	.	ID=transcript:ENST2;Parent=gene:ENSG00000000001;tag=basic
1	havana	exon	191	200	.	-	.	Parent=transcript:ENST2;Name=E2
1	havana	ncRNA_gene	301	310	.	+	.	ID=gene:ENSG00000000002;biotype=lncRNA;gene_id=ENSG00000000002;version=1
"""
GFF3_REFSEQ = """\
##gff-version 3
##species https://www.ncbi.nlm.nih.gov
NC_000023.11	RefSeq	region	1	156040895	.	+	.	ID=NC_000023.11:1..156040895;Dbxref=taxon:9606;Name=X
NC_000023.11	BestRefSeq	gene	11	20	.	+	.	ID=gene-CRLF2;Dbxref=GeneID:64109,HGNC:14281;Name=CRLF2;gene=CRLF2;gene_biotype=protein_coding
NC_000023.11	BestRefSeq	mRNA	13	20	.	+	.	ID=rna-NM_1;Parent=gene-CRLF2;tag=MANE Select
NC_000023.11	BestRefSeq	exon	13	20	.	+	.	ID=exon-NM_1-1;Parent=rna-NM_1
NC_000023.11	BestRefSeq	CDS	13	20	.	+	0	ID=cds-NP_1;Parent=rna-NM_1
NC_000024.10	BestRefSeq	gene	11	20	.	+	.	ID=gene-CRLF2-2;Dbxref=GeneID:64109,HGNC:14281;Name=CRLF2;gene=CRLF2;gene_biotype=protein_coding
NC_000001.11	BestRefSeq	pseudogene	31	40	.	-	.	ID=gene-P1;Dbxref=GeneID:9;Name=P1;gene=P1;gene_biotype=transcribed_pseudogene
"""
GFF3_GENCODE = """\
##gff-version 3
chrX	HAVANA	gene	11	20	.	+	.	ID=ENSG00000182378.15;gene_id=ENSG00000182378.15;gene_type=protein_coding;gene_name=PLCXD1
chrX	HAVANA	transcript	12	20	.	+	.	ID=ENST1.1;Parent=ENSG00000182378.15;tag=basic,MANE_Select
chrY	HAVANA	gene	11	20	.	+	.	ID=ENSG00000182378.15_PAR_Y;gene_id=ENSG00000182378.15;gene_type=protein_coding;gene_name=PLCXD1
"""
GFF3_SGD = """\
##gff-version 3
chrI	SGD	gene	335	649	.	+	.	ID=YAL069W;Name=YAL069W;orf_classification=Dubious
chrI	SGD	mRNA	335	649	.	+	.	ID=YAL069W_mRNA;Parent=YAL069W
chrmt	SGD	gene	11	20	.	+	.	ID=Q0045;Name=Q0045;gene=COX1
##FASTA
>chrI
ACGT
"""


@pytest.mark.parametrize(
    ("text", "source", "expected"),
    [
        (GFF3_ENSEMBL, "gene", {"ENSG00000000001": 199}),
        (GFF3_ENSEMBL, "canonical", {"ENSG00000000001": 179}),
        (GFF3_ENSEMBL, "longest", {"ENSG00000000001": 179}),
        (GFF3_REFSEQ, "gene", {"CRLF2": 10}),
        (GFF3_REFSEQ, "canonical", {"CRLF2": 12}),
        (GFF3_GENCODE, "gene", {"ENSG00000182378": 10}),
        (GFF3_GENCODE, "canonical", {"ENSG00000182378": 11}),
        (GFF3_SGD, "gene", {"YAL069W": 334, "Q0045": 10}),
    ],
)
def test_gff3(write, text, source, expected):
    assert read_genes(write(text, "genes.gff3"), tss_source=source)["tss"].to_dict() == expected


def test_gff3_names_and_versions(write):
    gene = read_genes(write(GFF3_ENSEMBL, "genes.gff3")).iloc[0]
    assert gene["gene_id_version"] == "ENSG00000000001.7"
    assert gene["gene_name"] == "A;B"


def test_genes_are_made_from_transcripts_or_exons(write, caplog):
    caplog.set_level(logging.INFO)
    transcripts = gtf(
        ("chr1", "transcript", 21, 80, "-", 'gene_id "A"; transcript_id "a1"; gene_name "Alpha";'),
        ("chr1", "exon", 21, 30, "-", 'gene_id "A"; transcript_id "a1";'),
        ("chr1", "transcript", 11, 70, "-", 'gene_id "A"; transcript_id "a2"; gene_name "Alpha";'),
        ("chr1", "exon", 11, 70, "-", 'gene_id "A"; transcript_id "a2";'),
    )
    genes = read_genes(write(transcripts))
    assert genes.loc["A", ["start", "end", "tss", "gene_name"]].tolist() == [10, 80, 79, "Alpha"]
    assert "TSS from the extent of the transcripts (1 genes)" in caplog.text
    assert "knows no biotypes: genes of all kinds are kept" in caplog.text
    assert read_genes(write(transcripts), tss_source="longest")["tss"].tolist() == [69]
    exons = "".join(line for line in transcripts.splitlines(keepends=True) if "\texon\t" in line)
    assert read_genes(write(exons)).loc["A", ["start", "end", "tss"]].tolist() == [10, 70, 69]


def test_biotypes(write, fails):
    assert len(read_genes(write(GENCODE), biotypes=None)) == 5
    assert read_genes(write(GENCODE), biotypes=["lncRNA"]).index.tolist() == ["ENSG00000000003"]
    assert read_genes(write(GENCODE), biotypes="lncRNA").index.tolist() == ["ENSG00000000003"]
    assert fails(GENCODE, biotypes=["coding"]) == (
        "no gene of PATH has the biotype 'coding': it has protein_coding 4, lncRNA 1; choose with biotypes="
    )


def test_keep_scaffolds(write):
    assert "ENSG00000000004" in read_genes(write(GENCODE), keep_scaffolds=True).index


def test_only_scaffolds_is_an_error(fails):
    text = gtf(("GL000192.1", "gene", 1, 9, "+", 'gene_id "g";'))
    assert fails(text) == (
        "no gene of PATH is left of 1: 1 on scaffolds or alternative loci ('GL000192.1'); see keep_scaffolds=True"
    )


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("chr1", "gene", 1, 9, "+", 'gene_id "g";'), ("chr2", "gene", 1, 9, "+", 'gene_id "g";')],
            "no gene of PATH is left of 2: 2 on several chromosomes ('g')",
        ),
        (
            [("chr1", "gene", 1, 9, ".", 'gene_id "g";')],
            "1 genes of PATH have no strand ('g'; found '.'): give + or -, or remove them",
        ),
        (
            [("chr1", "gene", 10, 8, "+", 'gene_id "g";')],
            "1 genes of PATH have a start that is not before their end ('g'; the first has [9, 8), 0-based "
            "half-open): mend or remove them",
        ),
        (
            [("chr1", "gene", 0, 8, "+", 'gene_id "g";')],
            "1 genes of PATH start before the chromosome does ('g'; the first has [-1, 8), 0-based half-open): "
            "mend or remove them",
        ),
        (
            [("chr1", "gene", 1, 8, "+", 'gene_id "g";'), ("chr1", "gene", "x", 8, "+", 'gene_id "h";')],
            "line 2 of PATH has start 'x' and end '8': they must be whole numbers",
        ),
        (
            [("chr1", "gene", 1, 8, "+", 'gene_name "g";')],
            "line 1 of PATH has no gene_id among its attributes, and no other line names a gene: give the annotation "
            "of the genes",
        ),
        (
            [("chr1", "five_prime_utr", 1, 8, "+", 'gene_id "g";')],
            "PATH has no gene, transcript or exon records: give the annotation of the genes, not of other features",
        ),
    ],
)
def test_gtf_errors(fails, rows, message):
    assert fails(gtf(*rows)) == message


def test_a_broken_line_is_named(fails):
    text = gtf(("chr1", "gene", 1, 9, "+", 'gene_id "g";')) + "chr1\tX\tgene\t5\n"
    assert fails(text) == (
        r"line 2 of PATH has 4 tab-separated columns instead of 9 ('chr1\tX\tgene\t5'): mend the line or get the "
        "file again"
    )


def test_bed(write, caplog):
    caplog.set_level(logging.INFO)
    text = (
        "track name=genes\n# a comment\nchr1\t10\t20\tENSG00000000001.2\t0\t+\r\nchr2\t10\t20\tYDL247W-A\t0\t-\textra\n"
    )
    genes = read_genes(write(text, "genes.bed"))
    assert genes["tss"].to_dict() == {"ENSG00000000001": 10, "YDL247W-A": 19}
    assert "TSS from start and end by strand (2 genes)" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "chr1\t10\t20\tg\n",
            r"line 1 of PATH has 4 tab-separated columns ('chr1\t10\t20\tg'): BED of genes needs 6 (chrom, start, "
            "end, gene id, score, strand)",
        ),
        (
            "chr1\t10\t20\tg\t0\t+\nchr1\t10\t2e3\th\t0\t+\n",
            "line 2 of PATH has start '10' and end '2e3': they must be whole numbers",
        ),
        (
            "chr1\t10\t20\tg\t0\t+\nchr1\t30\t40\tg\t0\t+\n",
            "1 gene ids of PATH occur more than once ('g'): keep one of each",
        ),
        ("chr1\t10\t20\tg\t0\t.\n", "1 genes of PATH have no strand ('g'; found '.'): give + or -, or remove them"),
        ("chr1\t10\t20\t\t0\t+\n", "1 genes of PATH have no id: give them one"),
        (
            "chr1\t-5\t10\tg\t0\t+\n",
            "1 genes of PATH start before the chromosome does ('g'; the first has [-5, 10), 0-based half-open): mend "
            "or remove them",
        ),
        (
            "chr1\t10\t10\tg\t0\t+\n",
            "1 genes of PATH have a start that is not before their end ('g'; the first has [10, 10), 0-based "
            "half-open): mend or remove them",
        ),
    ],
)
def test_bed_errors(fails, text, message):
    assert fails(text, "genes.bed") == message


TABLE = """\
gene_id	chrom	start	end	strand	biotype	symbol	cage	other	fold	note
ENSG00000000001.2	chr1	100	200	+	protein_coding	A	90		1	x
ENSG00000000002.1	chr1	100	200	-	protein_coding	NA		205.0	2	NA
ENSG00000000003.1	chr1	100	200	-1	protein_coding	C	NA		3	y
ENSG00000000004.1	chr1	100	200	+	lncRNA	D			4	z
"""


def test_table(write, caplog):
    caplog.set_level(logging.INFO)
    genes = read_genes(write(TABLE, "genes.tsv"), tss_column=["cage", "other"])
    assert genes["tss"].tolist() == [90, 205, 199]
    assert genes["strand"].tolist() == ["+", "-", "-"]
    assert genes["gene_name"].tolist() == ["A", "NA", "C"]
    assert genes["fold"].tolist() == [1, 2, 3]
    assert genes["cage"].tolist()[0] == 90 and np.isnan(genes["cage"].tolist()[1])
    assert genes.columns.tolist() == [
        "chrom", "tss", "strand", "start", "end", "gene_name", "gene_type", "gene_id_version", "cage", "other",
        "fold", "note",
    ]  # fmt: skip
    assert "columns read as gene_name (symbol), gene_type (biotype)" in caplog.text
    assert "TSS from column cage (1 genes), column other (1 genes), start and end by strand (1 genes)" in caplog.text
    assert read_genes(write(TABLE, "genes.tsv"))["tss"].tolist() == [100, 199, 199]
    assert read_genes(write(TABLE, "genes.tsv"), tss_column="other")["tss"].tolist() == [100, 205, 199]


def test_table_with_commas_a_commented_header_and_a_mark_of_excel(write):
    assert read_genes(write(b"\xef\xbb\xbfgene_id,chrom,tss,strand\r\n007,1,5,+\r\n"))["tss"].to_dict() == {"007": 5}
    text = "#chr\tstart\tend\tname\tscore\tstrand\tcds_start\nchr1\t10\t20\tg\t0\t-\t12\n"
    genes = read_genes(write(text, "genes.bed"))
    assert genes.loc["g", ["tss", "cds_start"]].tolist() == [19, 12]


def test_table_with_tss_only_and_with_ids_of_versions_only(write):
    genes = read_genes(write("gene_id\tchrom\ttss\tstrand\nA.1\tchr1\t5\t+\nB\tchr1\t0\t-\n"))
    assert genes.columns.tolist() == ["chrom", "tss", "strand", "gene_id_version"]
    assert genes["tss"].to_dict() == {"A.1": 5, "B": 0}


@pytest.mark.parametrize(
    ("text", "kwargs", "message"),
    [
        (
            "gene_id\tchrom\nA\tchr1\n",
            {},
            "PATH lacks the columns strand, tss (or start and end): it has 'gene_id', 'chrom'; rename or add them",
        ),
        (
            TABLE,
            {"tss_column": ["cage", "tss_park"]},
            "PATH has no column 'tss_park' for tss_column: it has 'gene_id', 'chrom', 'start', 'end', 'strand', "
            "'biotype', 'symbol', 'cage', 'other', 'fold', 'note'",
        ),
        (
            TABLE,
            {"tss_column": "note"},
            "3 values of column 'note' of PATH are no whole numbers ('x' of gene 'ENSG00000000001.2'): give "
            "positions in bases, 0-based, or leave the field empty",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\nA\tchr1\t5.5\t+\n",
            {},
            "1 values of column 'tss' of PATH are no whole numbers ('5.5' of gene 'A'): give positions in bases, "
            "0-based, or leave the field empty",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\nA\tchr1\t\t+\n",
            {},
            "1 genes of PATH have no TSS ('A'): give tss, or start and end",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\nA\tchr1\t-5\t+\n",
            {},
            "1 genes of PATH have a negative TSS ('A'): positions start at 0",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\nA\tchr1\t5\t\n",
            {},
            "1 genes of PATH have no strand ('A'; found ''): give + or -, or remove them",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\nA\t\t5\t+\n",
            {},
            "1 genes of PATH have no chromosome ('A'): give it, or remove them",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\nA\tchr1\t5\t+\nA\tchr1\t7\t+\nB\tchr1\t7\t+\n",
            {},
            "1 gene ids of PATH occur more than once ('A'): keep one of each",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\nA\t6\t5\t+\nA\tHSCHR6_MHC_COX\t7\t+\n",
            {"keep_scaffolds": True},
            "1 gene ids of PATH occur more than once ('A'): keep one of each, or leave out keep_scaffolds=True",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\ttss_from\nA\tchr1\t5\t+\tx\n",
            {},
            "PATH has a column 'tss_from', a name that is used for the result: rename it",
        ),
        (
            "gene_id\tchrom\ttss\tstrand\tchrom\nA\tchr1\t5\t+\tx\n",
            {},
            "PATH has more than one column named 'chrom': rename them",
        ),
        ("gene_id\tchrom\ttss\tstrand\n", {}, "PATH has a header and no rows: give a table of genes"),
        (
            TABLE,
            {"tss_source": "canonical"},
            "tss_source='canonical' needs transcripts, but PATH is a table: give a GTF or GFF3",
        ),
        (TABLE, {"tss_source": "mane"}, "tss_source='mane' is not known: choose one of gene, canonical, longest"),
        (GENCODE, {"tss_column": "cage"}, "tss_column='cage' is for tables, but PATH is a GTF: use tss_source="),
    ],
)
def test_table_errors(fails, text, kwargs, message):
    assert fails(text, "genes.tsv", **kwargs) == message


def test_irregular_table(fails):
    message = fails('gene_id\tchrom\ttss\tstrand\nA\tchr1\t5\t+\nB\t"chr1\t5\t+\n')
    assert message.startswith("PATH is no regular table (") and message.endswith(
        "): give every row the fields of the header"
    )


WHAT = "a GTF, GFF3, BED6 or a table of genes with a header"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"PATH is empty: give {WHAT}"),
        (b"  \n\n", f"PATH is empty: give {WHAT}"),
        (b"\x26\xfc\x8f\x88\x04\x00\x0a\x00", f"PATH is a binary file: give {WHAT}"),
        (gzip.compress(b"BAM\x01\x00\x00", mtime=0), f"PATH is a binary file: give {WHAT}"),
        (b"BZh91AY", f"PATH is not {WHAT} but compressed with bzip2: unpack it or compress it with gzip"),
        (b"PK\x03\x04abc", f"PATH is not {WHAT} but a zip archive (an Excel workbook is one): unpack it or save it as tab-separated text"),
        ("gene_id".encode("utf-16"), f"PATH is not {WHAT} but UTF-16 text: save it as UTF-8"),
        (b">chr1\nACGT\n", f"PATH is not {WHAT} (gene_id, chrom, tss, strand): its first line is '>chr1'"),
        (b"a\xe9b\tc\n", "PATH holds bytes that are not UTF-8 text (b'\\xe9'): save it as UTF-8"),
    ],
)  # fmt: skip
def test_files_of_another_kind(fails, content, message):
    assert fails(content) == message


def test_truncated_and_damaged_gzip(fails):
    rng = np.random.default_rng(0)
    text = "".join(f'chr1\tX\tgene\t{i}\t{i + 5}\t.\t+\t.\tgene_id "{i}";\n' for i in rng.integers(1, 10**9, 20_000))
    whole = gzip.compress(text.encode())
    assert len(whole) > 100_000
    message = fails(whole[: len(whole) // 2], "genes.gtf.gz")
    assert message.startswith("PATH is a truncated or damaged gzip file (")
    assert message.endswith("): copy or download it again")
    wrong_sum = whole[:-8] + bytes(4) + whole[-4:]
    assert fails(wrong_sum, "genes.gtf.gz").startswith("PATH is a truncated or damaged gzip file (CRC check failed")
    table = "gene_id\tchrom\ttss\tstrand\n" + "".join(f"g{i}\tchr1\t{i}\t+\n" for i in rng.integers(1, 10**9, 20_000))
    whole = gzip.compress(table.encode())
    assert fails(whole[: len(whole) // 2]).startswith("PATH is a truncated or damaged gzip file (")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError) as error:
        read_genes(tmp_path / "none.gtf")
    assert str(error.value) == f"{tmp_path / 'none.gtf'} does not exist: give the path of {WHAT}"
    with pytest.raises(InputError) as error:
        read_genes(tmp_path)
    assert str(error.value) == f"{tmp_path} is a folder: give the path of {WHAT}"


def test_yeast_gtf_agrees_with_its_table(shared_data):
    genes = read_genes(shared_data / "yeast" / "genes.gtf.gz")
    assert len(genes) == 6600
    assert (genes["chrom"] != "Mito").sum() == 6572
    assert "YDL247W-A" in genes.index
    table = pd.read_csv(shared_data / "yeast" / "genes.tsv", sep="\t").set_index("gene_id").loc[genes.index]
    expected = np.where(table["strand"] == "+", table["start"], table["end"] - 1)
    np.testing.assert_array_equal(genes["tss"], expected)
    np.testing.assert_array_equal(genes["start"], table["start"])
    np.testing.assert_array_equal(genes["end"], table["end"])
    assert (genes["gene_type"] == table["biotype"]).all()


def test_yeast_table_with_measured_starts(shared_data, caplog):
    caplog.set_level(logging.INFO)
    path = shared_data / "yeast" / "genes.tsv"
    genes = read_genes(path, tss_column=["tss_park2014", "tss_winston"])
    table = pd.read_csv(path, sep="\t").set_index("gene_id").loc[genes.index]
    by_strand = pd.Series(np.where(table["strand"] == "+", table["start"], table["end"] - 1), table.index)
    expected = table["tss_park2014"].fillna(table["tss_winston"]).fillna(by_strand)
    np.testing.assert_array_equal(genes["tss"], expected)
    n = int(table["tss_park2014"].notna().sum())
    assert f"TSS from column tss_park2014 ({n} genes)" in caplog.text


def test_hg19_gencode(shared_data):
    genes = read_genes(shared_data / "small_bigwigs" / "hg19.gencode.gtf.gz")
    assert len(genes) == 6
    gene = genes.loc["ENSG00000152518"]
    assert gene[["chrom", "tss", "strand", "gene_name", "gene_id_version"]].tolist() == [
        "chr2", 43453747, "-", "ZFP36L2", "ENSG00000152518.5",
    ]  # fmt: skip
    assert len(read_genes(shared_data / "small_bigwigs" / "hg19.gencode.gtf.gz", biotypes=None)) == 8


@pytest.mark.parametrize(("folder", "n"), [("roadmap_peaks_hg19", 14158), ("k562_elements_hg38", 18377)])
def test_tables_of_genes(shared_data, folder, n):
    genes = read_genes(shared_data / folder / "genes.tsv")
    table = pd.read_csv(shared_data / folder / "genes.tsv", sep="\t")
    assert len(genes) == n
    assert genes.index.tolist() == table["gene_id"].tolist()
    np.testing.assert_array_equal(genes["tss"], table["tss"])
    if "fold" in table:
        np.testing.assert_array_equal(genes["fold"], table["fold"])


def test_abc_gene_list(shared_data):
    genes = read_genes(shared_data / "k562_chr22_abc_hg38" / "GeneList.txt.gz")
    assert len(genes) == 418
    assert genes.loc["ENSG00000130538", ["chrom", "tss", "gene_name"]].tolist() == ["chr22", 15528158, "OR11H1"]


def test_a_slash_in_a_column_is_renamed(tmp_path, caplog):
    path = tmp_path / "genes.tsv"
    path.write_text("gene_id\tchrom\ttss\tstrand\tGC/AT\ng1\tchr1\t5\t+\t0.5\ng2\tchr1\t9\t-\t0.25\n")
    assert read_genes(path)["GC_AT"].tolist() == [0.5, 0.25]
    assert "columns renamed: GC/AT to GC_AT" in caplog.text
    path.write_text("gene_id\tchrom\ttss\tstrand\tGC/AT\tGC_AT\ng1\tchr1\t5\t+\t0.5\t1\n")
    with pytest.raises(InputError, match=r"column 'GC/AT' of .*genes\.tsv holds a slash.*rename it"):
        read_genes(path)


@pytest.mark.parametrize(
    "text",
    [
        ",gene_id,chrom,tss,strand\n0,g1,chr1,5,+\n1,g2,chr1,9,-\n",
        "Unnamed: 0\tgene_id\tchrom\ttss\tstrand\n0\tg1\tchr1\t5\t+\n1\tg2\tchr1\t9\t-\n",
        '"gene_id" "chrom" "tss" "strand"\n"1" "g1" "chr1" 5 "+"\n"2" "g2" "chr1" 9 "-"\n',
        "gene_id;chrom;tss;strand;\ng1;chr1;5;+;\ng2;chr1;9;-;\n",
        "sep=;\r\ngene_id;chrom;tss;strand\r\ng1;chr1;5;+\r\ng2;chr1;9;-\r\n",
        "gene_id,chrom,tss,strand\r\ng1,chr1,5,+\r\n,,,\r\ng2,chr1,9,-\r\n,,,\r\n",
    ],
)
def test_numbers_of_rows_are_no_column_of_genes(tmp_path, text):
    path = tmp_path / "genes.txt"
    path.write_text(text)
    genes = read_genes(path)
    assert genes["tss"].to_dict() == {"g1": 5, "g2": 9}
    assert genes.columns.tolist() == ["chrom", "tss", "strand", "gene_id_version"]


def test_a_column_of_genes_without_a_name(tmp_path):
    path = tmp_path / "genes.csv"
    path.write_text("gene_id,,chrom,tss,strand\ng1,7,chr1,5,+\ng2,9,chr1,9,-\n")
    with pytest.raises(InputError, match=r"column 2 of .*genes\.csv has no name: give it one, or remove it"):
        read_genes(path)
