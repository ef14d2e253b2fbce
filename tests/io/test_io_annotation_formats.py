# ruff: noqa: E501 (lines of annotation are as long as they are)
"""Annotations as their sources write them: every TSS worked out by hand, everything left out named in the log."""

from __future__ import annotations

import logging
import re

import pytest

from genexp_scverse import InputError
from genexp_scverse.io import read_genes
from genexp_scverse.io.genes import FORMATS, Head


def lines(text: str) -> str:
    """Columns are divided by more than one blank, for the eye."""
    rows = (line.strip().split("  ") for line in text.strip().splitlines())
    return "".join("\t".join(field.strip() for field in row if field) + "\n" for row in rows)


UCSC = """
chr1  refGene  transcript  1001  1500  .  +  .  gene_id "TWIN"; transcript_id "NM_1";
chr1  refGene  exon  1001  1500  .  +  .  gene_id "TWIN"; transcript_id "NM_1";
chr1  refGene  CDS  1101  1400  .  +  0  gene_id "TWIN"; transcript_id "NM_1";
chr1  refGene  transcript  31001  31500  .  +  .  gene_id "TWIN"; transcript_id "NM_1_dup1";
chr1  refGene  exon  31001  31500  .  +  .  gene_id "TWIN"; transcript_id "NM_1_dup1";
chr1  refGene  transcript  60001  60500  .  -  .  gene_id "FAR"; transcript_id "NM_2";
chr1  refGene  exon  60001  60500  .  -  .  gene_id "FAR"; transcript_id "NM_2";
chr1  refGene  transcript  50001  50500  .  -  .  gene_id "FAR"; transcript_id "NM_3";
chr1  refGene  exon  50001  50500  .  -  .  gene_id "FAR"; transcript_id "NM_3";
chr1  refGene  transcript  9050001  9050500  .  -  .  gene_id "FAR"; transcript_id "NM_4";
chr1  refGene  exon  9050001  9050500  .  -  .  gene_id "FAR"; transcript_id "NM_4";
chr2  refGene  transcript  101  500  .  +  .  gene_id "TWO"; transcript_id "NR_5";
chr3  refGene  transcript  101  500  .  +  .  gene_id "TWO"; transcript_id "NR_6";
chr2  refGene  transcript  901  1500  .  +  .  gene_id "BOTH"; transcript_id "NR_7";
chr2  refGene  transcript  1201  1900  .  -  .  gene_id "BOTH"; transcript_id "NR_8";
chrX  refGene  transcript  11  90  .  -  .  gene_id "PAR"; transcript_id "NM_9";
chrY  refGene  transcript  11  90  .  -  .  gene_id "PAR"; transcript_id "NM_9_dup1";
chr6  refGene  transcript  21  90  .  +  .  gene_id "HLA"; transcript_id "NM_10";
chr6_GL000250v2_alt  refGene  transcript  21  90  .  +  .  gene_id "HLA"; transcript_id "NM_10_dup1";
"""
TAIR = """
##gff-version 3
Chr1  TAIR10  chromosome  1  30427671  .  .  .  ID=Chr1;Name=Chr1
Chr1  TAIR10  gene  3631  5899  .  +  .  ID=AT1G01010;Note=protein_coding_gene;Name=AT1G01010
Chr1  TAIR10  mRNA  3631  5899  .  +  .  ID=AT1G01010.1;Parent=AT1G01010;Name=AT1G01010.1
Chr1  TAIR10  protein  3760  5630  .  +  .  ID=AT1G01010.1-Protein;Name=AT1G01010.1;Derives_from=AT1G01010.1
Chr1  TAIR10  exon  3631  3913  .  +  .  Parent=AT1G01010.1
Chr1  TAIR10  pseudogene  10901  11001  .  -  .  ID=AT1G01046;Name=AT1G01046
Chr1  TAIR10  pseudogenic_transcript  10901  11001  .  -  .  ID=AT1G01046.1;Parent=AT1G01046
Chr1  TAIR10  pseudogenic_exon  10901  11001  .  -  .  Parent=AT1G01046.1
Chr1  TAIR10  transposable_element_gene  55001  56576  .  +  .  ID=AT1G01115;Name=AT1G01115
Chr1  TAIR10  mRNA  55001  56576  .  +  .  ID=AT1G01115.1;Parent=AT1G01115
Chr1  TAIR10  transposable_element  11897  11976  .  +  .  ID=AT1TE52125;Name=AT1TE52125;Alias=ATCOPIA24
Chr1  TAIR10  transposon_fragment  11897  11976  .  +  .  Parent=AT1TE52125;Name=AT1TE52125
"""
FLYBASE_GFF = """
##gff-version 3
X  FlyBase  gene  101  900  .  +  .  ID=FBgn1;Name=a
X  FlyBase  mRNA  101  900  .  +  .  ID=FBtr1;Parent=FBgn1
X  FlyBase  gene  1001  1900  .  -  .  ID=FBgn2;Name=b
X  FlyBase  pseudogene  1001  1900  .  -  .  ID=FBtr2;Parent=FBgn2
X  FlyBase  exon  1001  1900  .  -  .  Parent=FBtr2
3R  FlyBase  gene  2001  2900  .  ?  .  ID=FBgn3;Name=mod(mdg4)
"""
FLYBASE_GTF = """
X  FlyBase  gene  101  5000  .  -  .  gene_id "FBgn1"; gene_symbol "a";
X  FlyBase  ncRNA  101  4000  .  -  .  gene_id "FBgn1"; gene_symbol "a"; transcript_id "FBtr1";
X  FlyBase  exon  101  200  .  -  .  gene_id "FBgn1"; gene_symbol "a"; transcript_id "FBtr1";
X  FlyBase  exon  3801  4000  .  -  .  gene_id "FBgn1"; gene_symbol "a"; transcript_id "FBtr1";
X  FlyBase  pre_miRNA  3001  5000  .  -  .  gene_id "FBgn1"; gene_symbol "a"; transcript_id "FBtr2";
X  FlyBase  exon  4901  5000  .  -  .  gene_id "FBgn1"; gene_symbol "a"; transcript_id "FBtr2";
"""
REFSEQ = """
##gff-version 3
NC_000932.1  RefSeq  gene  69611  69724  .  -  .  ID=gene-rps12;Name=rps12;exception=trans-splicing;gene_biotype=protein_coding;part=1/2
NC_000932.1  RefSeq  gene  139856  140650  .  +  .  ID=gene-rps12;Name=rps12;exception=trans-splicing;gene_biotype=protein_coding;part=2/2
NC_000932.1  RefSeq  gene  383  1444  .  -  .  ID=gene-psbA;Dbxref=GeneID:844802;Name=psbA;gene_biotype=protein_coding;locus_tag=ArthCp002
NC_000932.1  RefSeq  CDS  383  1444  .  -  0  ID=cds-1;Parent=gene-psbA;gbkey=CDS
NC_003070.9  RefSeq  mRNA  2001  2900  .  -  .  ID=rna-NM_7.1;gbkey=mRNA;gene=LONE;gene_biotype=protein_coding
NC_003070.9  RefSeq  exon  2001  2900  .  -  .  ID=exon-1;Parent=rna-NM_7.1
NC_003070.9  RefSeq  enhancer  5001  5100  .  .  .  ID=id-1;gene=psbA;gbkey=regulatory
"""
STRINGTIE = """
# StringTie version 2.2.1
chr1  StringTie  transcript  101  500  1000  .  .  gene_id "S.1"; transcript_id "S.1.1";
chr1  StringTie  transcript  301  900  1000  -  .  gene_id "S.1"; transcript_id "S.1.2"; ref_gene_id "G9";
chr1  StringTie  exon  301  900  1000  -  .  gene_id "S.1"; transcript_id "S.1.2"; ref_gene_id "G9";
chr1  StringTie  transcript  2001  2500  1000  .  .  gene_id "S.2"; transcript_id "S.2.1";
chr1  StringTie  transcript  3001  3500  1000  +  .  gene_id "S.3"; transcript_id "S.3.1";
"""
BRAKER = """
Chr01  gmst  gene  61084  61410  .  -  .  g1
Chr01  gmst  transcript  61084  61410  .  -  .  g1.t1
Chr01  gmst  CDS  61084  61410  .  -  0  transcript_id "g1.t1"; gene_id "g1";
Chr01  GeneMark.hmm3  CDS  70001  70100  .  -  0  gene_id "2_g"; transcript_id "2_t";
Chr01  GeneMark.hmm3  CDS  70301  70600  .  -  0  gene_id "2_g"; transcript_id "2_t";
Chr01  AUGUSTUS  gene  80001  90000  .  +  .  g3
Chr01  AUGUSTUS  transcript  80001  90000  .  +  .  g3.t1
Chr01  AUGUSTUS  transcript  80501  90000  .  +  .  g3.t2
Chr01  AUGUSTUS  exon  80001  80100  .  +  .  transcript_id "g3.t1"; gene_id "g3";
Chr01  AUGUSTUS  exon  80501  90000  .  +  .  transcript_id "g3.t2"; gene_id "g3";
"""
REPORTERS = """
1  ensembl  gene  101  900  .  +  .  gene_id "ENSG00000000001"; gene_biotype "protein_coding";
1  ensembl  exon  101  900  .  +  .  gene_id "ENSG00000000001"; transcript_id "t"; gene_biotype "protein_coding";
eGFP  custom  exon  1  720  .  +  .  gene_id "eGFP"; transcript_id "eGFP"; gene_biotype "protein_coding";
Cre  custom  CDS  11  700  .  -  0  gene_id "Cre"; transcript_id "Cre"; gene_biotype "protein_coding";
LacZ  custom  exon  1  90  .  +  .  gene_id "LacZ"; transcript_id "LacZ";
"""
GFFREAD = """
##gff-version 3
# gffread v0.12.7
chr1  X  mRNA  101  500  .  +  .  ID=T1;geneID=G1;gene_name=AAA
chr1  X  exon  101  500  .  +  .  Parent=T1
chr1  X  transcript  51  400  .  +  .  ID=T2;geneID=G1;gene_name=AAA
chr1  X  exon  51  400  .  +  .  Parent=T2
chr1  X  mRNA  901  1500  .  -  .  ID=T3;Parent=G%2C2
chr1  X  mRNA  1901  2500  .  -  .  ID=T4
chr1  X  exon  1901  2500  .  -  .  Parent=T4
chr2  X  exon  31  40  .  -  .  Parent=T5;gene_id=G5
"""
NO_TRANSCRIPT_LINES = """
##gff-version 3
chr1  X  gene  101  900  .  +  .  ID=G1
chr1  X  exon  101  200  .  +  .  Parent=T1
chr1  X  exon  801  900  .  +  .  Parent=T1
chr1  X  gene  2001  2900  .  -  .  ID=G2
chr1  X  exon  2001  2900  .  -  .  Parent=T2
eGFP  X  exon  1  720  .  +  .  Parent=eGFP
"""
WORM_GTF = """
I  WormBase  gene  4116  10230  .  -  .  gene_id "Gene:WBGene00022277"; gene_biotype "protein_coding";
I  WormBase  mRNA  4116  9000  .  -  .  gene_id "Gene:WBGene00022277"; transcript_id "Transcript:Y74C9A.3";
"""
TWICE = """
1  x  gene  101  900  .  +  .  gene_id "G1"; gene_id "G9"; gene_type "protein_coding"; gene_name "N"; gene_type "protein_coding";
1  x  transcript  201  900  .  +  .  gene_id "G1"; gene_id "G9"; transcript_id "T1"; tag "basic"; tag "MANE_Select";
1  x  transcript  301  900  .  +  .  gene_id "G1"; gene_id "G9"; transcript_id "T2"; tag "basic"; tag "CCDS";
"""
SGD = """
##gff-version 3
chrI  SGD  gene  335  649  .  +  .  ID=YAL069W;Name=YAL069W
chrI  SGD  tRNA_gene  139152  139254  .  +  .  ID=tP(UGG)A;Name=tP(UGG)A
chrI  SGD  transposable_element_gene  160597  164187  .  -  .  ID=YAR009C;Name=YAR009C
chrI  SGD  pseudogene  227742  228953  .  +  .  ID=YAR061W;Name=YAR061W
"""
MOSQUITO = """
##gff-version 3
NT_078265.2  RefSeq  gene  101  200  .  +  .  ID=gene-A;gene_biotype=protein_coding
NT_078268.4  RefSeq  gene  301  400  .  -  .  ID=gene-B;gene_biotype=protein_coding
NW_045.1  RefSeq  gene  301  400  .  -  .  ID=gene-C;gene_biotype=protein_coding
"""
ODD_ORDER = """
1  x  exon  101  300  .  -  .  gene_id "G1"; transcript_id "T1";
1  x  transcript  101  300  .  -  .  gene_id "G1"; transcript_id "T1";
1  x  gene  101  400  .  -  .  gene_id "G1"; gene_name "Late";
1  x  gene  501  900  .  +  .  gene_id G2; gene_name Bare
1  x  exon  501  900  .  +  .  gene_id G2; transcript_id T2
1  x  exon  1501  1900  .  +  .  gene_id G20; transcript_id T20
"""

NAMELESS = """
1  x  gene  101  900  .  +  .  gene_id ""; transcript_id "";
1  x  gene  1101  1900  .  +  .  gene_id "G1"; transcript_id "";
1  x  exon  1101  1900  .  +  .  gene_id ""; transcript_id "unassigned_transcript_1";
"""

SYMBOLS = """
##gff-version 3
chrI  SGD  gene  101  200  .  -  .  ID=YAL001C;Name=YAL001C;gene=TFC3
I  WormBase  gene  101  200  .  -  .  ID=Gene:WBGene1;Name=WBGene1;locus=homt-1;biotype=protein_coding
Chr1  Araport11  gene  101  200  .  -  .  ID=AT1G1;symbol=NAC1;Name=AT1G1;locus_type=protein_coding
2L  VEuPathDB  protein_coding_gene  101  200  .  -  .  ID=AGAP1;Name=AGAP1;ebi_biotype=protein_coding
2L  FlyBase  gene  101  200  .  -  .  ID=FBgn1;Name=w;gene_biotype=protein_coding
"""
PROKKA = """
##gff-version 3
chr  Prodigal:002006  CDS  101  900  .  +  0  ID=A_1;locus_tag=A_1;product=x
chr  Prodigal:002006  CDS  1001  1900  .  -  0  ID=A_2;Name=dnaA;gene=dnaA;locus_tag=A_2
chr  Aragorn:1.2  tRNA  2001  2070  .  -  .  ID=A_3;locus_tag=A_3;product=tRNA-Ala
chr  x  gene  3001  3900  .  +  .  ID=gene4;locus_tag=A_4
chr  x  CDS  3101  3800  .  +  0  ID=cds4;locus_tag=A_4
chr  x  CDS  4101  4800  .  +  0  ID=cds5
"""
GENEMARK = """
scaf1  GeneMark.hmm3  gene  101  900  .  -  .  5_g
scaf1  GeneMark.hmm3  transcript  101  900  .  -  .  5_t
scaf1  GeneMark.hmm3  CDS  101  900  .  -  0  gene_id "5_g"; transcript_id "5_t";
scaf1  AUGUSTUS  transcript  1001  1900  .  +  .  g9.t1
"""

# annotation: text, arguments, gene -> TSS (0-based), and what the log says of the rest
ANNOTATIONS = {
    "UCSC": (UCSC, {}, {"TWIN": 1000, "FAR": 60499, "PAR": 89, "HLA": 20}, [
        "kept 4 of 11 genes", "1 on scaffolds or alternative loci ('chr6_GL000250v2_alt')", "1 copies on chrY of pseudo-autosomal genes ('PAR')",
        "1 with transcripts on both strands ('BOTH')", "2 on several chromosomes ('TWO')",
        "2 further copies of a gene on its chromosome, of which the first is kept ('TWIN', 'FAR')",
    ]),
    "TAIR": (TAIR, {}, {"AT1G01010": 3630}, ["2 of other biotypes (pseudogene 1, transposable_element 1)", "knows no biotypes"]),
    "TAIR, all": (TAIR, {"biotypes": None}, {"AT1G01010": 3630, "AT1G01046": 11000, "AT1G01115": 55000}, ["kept 3 of 3 genes"]),
    "TAIR, pseudogenes": (TAIR, {"biotypes": ["pseudogene"], "tss_source": "longest"}, {"AT1G01010": 3630, "AT1G01046": 11000}, []),
    "SGD": (SGD, {}, {"YAL069W": 334}, ["3 of other biotypes (tRNA 1, transposable_element 1, pseudogene 1)"]),
    "FlyBase GFF3": (FLYBASE_GFF, {}, {"FBgn1": 100, "FBgn2": 1899}, ["1 without a strand ('FBgn3')"]),
    "FlyBase GTF, longest": (FLYBASE_GTF, {"tss_source": "longest"}, {"FBgn1": 3999}, ["TSS from the longest transcript (1 genes)"]),
    "FlyBase GTF": (FLYBASE_GTF, {}, {"FBgn1": 4999}, []),
    "FlyBase GTF, symbols": (FLYBASE_GTF, {"gene_id": "gene_symbol", "tss_source": "longest"}, {"a": 3999}, []),
    "RefSeq": (REFSEQ, {}, {"psbA": 1443, "LONE": 2899}, [
        "2 in several parts (trans-spliced) ('rps12')", "the gene record (1 genes), the extent of the transcripts (1 genes)",
    ]),
    "RefSeq, locus tags": (REFSEQ, {"gene_id": "locus_tag"}, {"ArthCp002": 1443, "LONE": 2899}, ["3 of 4 genes of PATH lack 'locus_tag' and keep their id"]),
    "StringTie": (STRINGTIE, {}, {"S.1": 899, "S.3": 3000}, ["1 without a strand ('S.2')"]),
    "BRAKER": (BRAKER, {}, {"g1": 61409, "2_g": 70599, "g3": 80000}, ["the gene record (2 genes), the extent of the CDS (1 genes)"]),
    "BRAKER, longest": (BRAKER, {"tss_source": "longest"}, {"g1": 61409, "2_g": 70599, "g3": 80500}, []),
    "Prokka": (PROKKA, {}, {"A_1": 100, "A_2": 1899, "A_3": 2069, "gene4": 3000}, ["the extent of the CDS (2 genes)"]),
    "BRAKER with transcripts of GeneMark": (GENEMARK, {}, {"5_g": 899, "g9": 1000}, ["kept 2 of 2 genes"]),
    "BRAKER with transcripts of GeneMark, longest": (GENEMARK, {"tss_source": "longest"}, {"5_g": 899, "g9": 1000}, []),
    "reporters": (REPORTERS, {}, {"ENSG00000000001": 100, "eGFP": 0, "Cre": 699}, ["1 of other biotypes (none given 1: 'LacZ')"]),
    "gffread": (GFFREAD, {}, {"G1": 50, "G,2": 1499, "T4": 2499, "G5": 39}, []),
    "gffread, longest": (GFFREAD, {"tss_source": "longest"}, {"G1": 100, "G,2": 1499, "T4": 2499, "G5": 39}, []),
    "GFF3 without lines of transcripts": (NO_TRANSCRIPT_LINES, {}, {"G1": 100, "G2": 2899, "eGFP": 0}, []),
    "WormBase GTF": (WORM_GTF, {}, {"WBGene00022277": 10229}, []),
    "WormBase GTF, longest": (WORM_GTF, {"tss_source": "longest"}, {"WBGene00022277": 8999}, []),
    "attributes twice": (TWICE, {}, {"G1": 100}, []),
    "attributes twice, canonical": (TWICE, {"tss_source": "canonical"}, {"G1": 200}, []),
    "mosquito": (MOSQUITO, {}, {"A": 100, "B": 399}, ["1 on scaffolds or alternative loci ('NW_045.1')"]),
    "lines without an id": (NAMELESS, {}, {"G1": 1100}, ["1 lines have no gene_id and are left out (the first is line 1)"]),
    "lines in an odd order": (ODD_ORDER, {}, {"G1": 399, "G2": 500, "G20": 1500}, []),
    "lines in an odd order, longest": (ODD_ORDER, {"tss_source": "longest"}, {"G1": 299, "G2": 500, "G20": 1500}, []),
}  # fmt: skip


@pytest.mark.parametrize("name", ANNOTATIONS)
def test_annotations_of_many_sources(name, tmp_path, caplog):
    text, kwargs, expected, said = ANNOTATIONS[name]
    caplog.set_level(logging.INFO)
    path = tmp_path / "genes.txt"
    path.write_text(lines(text))
    assert read_genes(path, **kwargs)["tss"].to_dict() == expected
    log = caplog.text.replace(str(path), "PATH")
    assert [text for text in said if text not in log] == []


def test_the_name_of_a_gene_is_not_its_id_where_another_attribute_has_one(tmp_path):
    path = tmp_path / "genes.gff3"
    path.write_text(lines(SYMBOLS))
    names = read_genes(path, biotypes=None)["gene_name"]
    assert names.to_dict() == {"YAL001C": "TFC3", "WBGene1": "homt-1", "AT1G1": "NAC1", "AGAP1": "AGAP1", "FBgn1": "w"}


@pytest.mark.parametrize(
    ("header", "rows"),
    [
        ("GeneID\tChr\tStart\tEnd\tStrand", "g1\tchr1\t101\t200\t+\ng2\tchr1\t301\t400\t-\n"),
        ("Gene stable ID\tChromosome/scaffold name\tGene start (bp)\tGene end (bp)\tStrand\tGene name", "g1\t1\t101\t200\t1\tA\ng2\t1\t301\t400\t-1\tB\n"),
        ("Gene stable ID,Chromosome/scaffold name,Transcription start site (TSS),Strand", "g1,1,101,1\ng2,1,400,-1\n"),
        ('"","ensembl_gene_id","chromosome_name","start_position","end_position","strand"', '"1","g1","1",101,200,1\n"2","g2","1",301,400,-1\n'),
        ('"","seqnames","start","end","width","strand","gene_id"', '"a","chr1",101,200,100,"+","g1"\n"b","chr1",301,400,100,"-","g2"\n'),
        # a column of one's own is as the documentation says
        ("GeneID\tChr\tStart\tEnd\tStrand\ttss", "g1\tchr1\t101\t200\t+\t100\ng2\tchr1\t301\t400\t-\t399\n"),
        ("gene_id\tchrom\tStart\tEnd\tStrand", "g1\tchr1\t100\t200\t+\ng2\tchr1\t300\t400\t-\n"),
    ],
)  # fmt: skip
def test_positions_of_tables_that_count_from_1_are_converted(header, rows, tmp_path):
    path = tmp_path / "genes.txt"
    path.write_text(f"{header}\n{rows}")
    genes = read_genes(path)
    assert genes["tss"].to_dict() == {"g1": 100, "g2": 399}
    if "start" in genes:
        assert genes[["start", "end"]].values.tolist() == [[100, 200], [300, 400]]
    column = next(
        (name for name in ("tss", "Transcription start site (TSS)") if name in re.split("[\t,]", header)), None
    )
    if column:
        assert read_genes(path, tss_column=column)["tss"].to_dict() == {"g1": 100, "g2": 399}


def test_names_and_places_of_genes_that_are_made(tmp_path):
    path = tmp_path / "genes.gff3"
    path.write_text(lines(GFFREAD))
    genes = read_genes(path)
    assert genes.loc["G1", ["chrom", "start", "end", "strand", "gene_name"]].tolist() == ["chr1", 50, 500, "+", "AAA"]
    assert genes.loc["G,2", ["start", "end", "strand"]].tolist() == [900, 1500, "-"]


@pytest.mark.parametrize(
    ("text", "kwargs", "said"),
    [
        (SGD, {"tss_source": "longest"}, "no gene of PATH has a transcript, so tss_source='longest' cannot be told"),
        (SGD, {"tss_source": "canonical"}, "no transcript of PATH is tagged MANE_Select"),
        ("chr1 100 900 g1 0 +", {}, "PATH is not .*: its first line is 'chr1 100 900 g1 0 [+]', which has no tab: give columns divided by tabs"),
        (REFSEQ, {"gene_id": "locus_tags"}, "there is no attribute 'locus_tags' of genes in PATH: it has .*; did you mean 'locus_tag'"),
        ("chr1  0  9  g  0  +", {"gene_id": "name"}, "gene_id='name' is for attributes and columns, but PATH is a BED"),
        ("gene_id  chrom  tss  strand\na  1  5  +", {"gene_id": "symbl"}, "PATH: there is no column 'symbl': it has 'gene_id'"),
        ("NW_1.1  x  gene  1  9  .  +  .  gene_id \"g\";", {}, "no gene of PATH is left of 1: .*see keep_scaffolds=True"),
        (STRINGTIE.replace("  -  .", "  .  ."), {}, r"2 genes of PATH have no strand \('S.1', 'S.2'; found '.'\)"),
        # beyond the range of the type, or of any chromosome
        ("gene_id  chrom  tss  strand\na  1  1e30  +", {}, r"1 genes of PATH lie where no chromosome reaches \('a'; the first has tss 1"),
        ("gene_id  chrom  tss  strand\na  1  99999999999999999999999  +", {}, "lie where no chromosome reaches|no whole numbers"),
        ("gene_id  chrom  start  end  strand\na  1  5  18446744073709551617  +", {}, "lie where no chromosome reaches|no whole numbers"),
        ("1  0  99999999999999999999999  g  0  +", {}, "lie where no chromosome reaches|whole number"),
        ("1  x  gene  1  99999999999999999999999  .  +  .  gene_id \"g\";", {}, "line 1 of PATH has start '1' and end '9999"),
        ("1  x  gene  1  9  .  +  .  gene_id \"h\";\n1  x  gene  1_0  20  .  +  .  gene_id \"g\";", {}, "line 2 of PATH has start '1_0' and end '20': they must be whole"),
        ("1  x  gene  1  999999999999999999  .  -  .  gene_id \"g\";", {}, "lie where no chromosome reaches"),
        # genePred of UCSC, in its three forms
        ("#bin  name  chrom  strand  txStart  txEnd  cdsStart  cdsEnd  exonCount  exonStarts  exonEnds\n0  N  chr1  +  1  9  1  9  1  1,  9,", {}, "PATH is a genePred table of UCSC, .*genePredToGtf"),
        ("585  NR_046018  chr1  +  11873  14409  14409  14409  3  11873,12612,13220,  12227,12721,14409,  0  DDX11L1", {}, "PATH is a genePred table"),
        ("NR_046018  chr1  +  11873  14409  14409  14409  3  11873,12612,13220,  12227,12721,14409,", {}, "PATH is a genePred table"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_said(text, kwargs, said, tmp_path):
    path = tmp_path / "genes.txt"
    path.write_text(lines(text))
    with pytest.raises(InputError) as error:
        read_genes(path, **kwargs)

    assert re.search(said, str(error.value).replace(str(path), "PATH")), str(error.value)


@pytest.mark.parametrize(
    ("rows", "n_kept", "said"),
    [
        ([("scaffold_1", "+")] * 4 + [("chr1", "+")] * 6, 6, "4 on scaffolds or alternative loci ('scaffold_1'); keep_scaffolds=True keeps them"),
        ([("scaffold_1", "+")] * 3 + [("chr1", "+")] * 7, 7, ""),
        ([("chr1", ".")] * 4 + [("chr1", "+")] * 6, 6, "4 without a strand"),
    ],
)  # fmt: skip
def test_what_is_left_out_is_never_most_in_silence(rows, n_kept, said, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    path = tmp_path / "genes.bed"
    path.write_text("".join(f"{chrom}\t{i}\t{i + 5}\tg{i}\t0\t{strand}\n" for i, (chrom, strand) in enumerate(rows)))
    assert len(read_genes(path)) == n_kept
    assert said in caplog.text
    assert bool(caplog.text) == bool(said)


def test_a_column_of_a_table_is_the_id(tmp_path):
    path = tmp_path / "genes.tsv"
    path.write_text("gene_id\tchrom\ttss\tstrand\tsymbol\nE1\t1\t5\t+\tTP53\nE2\t1\t7\t-\t\n")
    genes = read_genes(path, gene_id="symbol")
    assert genes["tss"].to_dict() == {"TP53": 5, "E2": 7}
    assert read_genes(path)["gene_name"].to_dict() == {"E1": "TP53", "E2": ""}


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
def test_every_format_knows_its_example(form, tmp_path):
    path = tmp_path / "genes.txt"
    path.write_text(form.example)
    *above, record = form.example.splitlines() if form.name != "table" else form.example.splitlines()[:1]
    head = Head(record, above[-1].lstrip("#") if above else "", gff_version_3=form.name == "GFF3")
    assert next(f for f in FORMATS if f.is_like(head)) is form
    if form.read is None:
        with pytest.raises(InputError, match=form.instead[:20]):
            read_genes(path)
    else:
        assert read_genes(path)["tss"].to_dict() == {"A": 100}
