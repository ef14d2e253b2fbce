"""The formats of expression that are known by name: a row for each."""

from __future__ import annotations

from genexp_scverse.io.expression.formats import ANY, Example, Format
from genexp_scverse.io.expression.layouts import (
    check_cufflinks,
    check_gct,
    differential_about,
    gct_about,
    gct_layout,
    headless_layout,
    is_differential,
    is_gct,
    is_headless,
    is_headless_counts,
    is_roadmap,
    is_star,
    is_tximport,
    per_gene,
    star_layout,
)

_G1, _G2 = "ENSG00000000003", "ENSG00000000005"


def _gct(name: str, unit: str, example: Example, *, file: str = "", note: str = "") -> Format:
    return Format(
        name,
        {unit: ANY},
        example,
        file=file,
        tells=is_gct,
        ids="Name",
        layout=gct_layout,
        about=gct_about,
        check=check_gct,
        note=note,
    )


_HTSEQ = (
    r"[._-]?(htseq|counts?|fpkm(-uq)?|htseq[._-]counts?|gene_counts?)(\.(tsv|txt|csv|tab|out))?|\.(tsv|txt|csv|tab|out)"
)
_MERGED = r"(salmon|kallisto|rsem|bambu)\.merged\."
FORMATS: tuple[Format, ...] = (
    _gct(
        "GCT of GTEx, TPM",
        "tpm",
        Example(
            "gene_tpm_lung.gct",
            "#1.2\n2\t2\nid\tName\tDescription\tGTEX-1\tGTEX-2\n0\tENSG00000000003.14\tTSPAN6\t27.5\t3\n"
            "1\tENSG00000000005.5\tTNMD\t0.5\t40\n",
            [_G1, _G2],
            {"tpm": {"GTEX-1": [27.5, 0.5], "GTEX-2": [3, 40]}},
        ),
        file=r"gene_(median_)?tpm",
        note="of all tissues or of one; `Description` is the name",
    ),
    _gct(
        "GCT of GTEx, counts",
        "counts",
        Example(
            "GTEx_v8_gene_reads.gct",
            f"#1.2\n2\t1\nName\tDescription\tGTEX-1\n{_G1}.14\tTSPAN6\t27\n{_G2}.5\tTNMD\t0\n",
            [_G1, _G2],
            {"counts": {"GTEX-1": [27, 0]}},
        ),
        file="gene_reads",
        note="by the file's name, `gene_reads`",
    ),
    _gct(
        "GCT 1.2 and 1.3",
        "",
        Example(
            "muscle.gct",
            "#1.3\n2\t2\t2\t1\nid\tsymbol\tprobes\tS1\tS2\ntissue\tna\tna\tmuscle\tliver\n"
            f"{_G1}\tTSPAN6\t11\t27.5\t3\n{_G2}\tTNMD\t12\t0.5\t40\n",
            [_G1, _G2],
            {"tpm": {"S1": [27.5, 0.5], "S2": [3, 40]}},
        ),
        note="descriptions of rows and columns are left out",
    ),
    Format(
        "RSEM, isoforms",
        {},
        Example(
            "a.isoforms.results",
            "transcript_id\tgene_id\tlength\teffective_length\texpected_count\tTPM\tFPKM\tIsoPct\n"
            f"ENST1\t{_G1}\t9\t8\t7\t6\t5\t100\n",
            [],
            {},
        ),
        header=("transcript_id", "gene_id", "expected_count", "IsoPct"),
        refused="is RSEM's table per transcript: give that per gene, .genes.results",
    ),
    Format(
        "RSEM",
        {"tpm": "TPM", "fpkm": "FPKM", "counts": "expected_count"},
        Example(
            "K562.genes.results",
            "gene_id\ttranscript_id(s)\tlength\teffective_length\texpected_count\tTPM\tFPKM\n"
            f"{_G1}.14\tENST1,ENST2\t2000.50\t1900.10\t120.75\t10.50\t30.25\n"
            f"{_G2}.5\tENST3\t900.00\t800.00\t40.00\t0.00\t45.75\n",
            [_G1, _G2],
            {"tpm": {"K562": [10.5, 0]}, "fpkm": {"K562": [30.25, 45.75]}, "counts": {"K562": [120.75, 40]}},
        ),
        header=("gene_id", "expected_count", "TPM", "FPKM"),
        ids="gene_id",
        suffix=r"\.genes\.results|\.(tsv|txt|csv|tab)",
        fractions=True,
        note="`.genes.results`",
    ),
    Format(
        "Salmon",
        {"tpm": "TPM", "counts": "NumReads"},
        Example(
            "K562/quant.genes.sf",
            f"Name\tLength\tEffectiveLength\tTPM\tNumReads\n{_G1}.14\t1000\t800.5\t5.5\t200.4\n{_G2}.5\t900\t700\t0\t0\n",
            [_G1, _G2],
            {"tpm": {"K562": [5.5, 0]}, "counts": {"K562": [200.4, 0]}},
        ),
        header=("Name", "Length", "EffectiveLength", "TPM", "NumReads"),
        suffix=r"(^|[._-])quant(\.genes)?\.sf|\.(sf|tsv|txt|csv|tab)",
        fractions=True,
        check=per_gene,
        note="`quant.genes.sf`; `quant.sf` where a gene is a transcript, as in yeast",
    ),
    Format(
        "kallisto",
        {"tpm": "tpm", "counts": "est_counts"},
        Example(
            "K562/abundance.tsv",
            "target_id\tlength\teff_length\test_counts\ttpm\nYAL001C\t1000\t800.5\t20.5\t5.5\nYAL002W\t900\t700\t0\t0\n",
            ["YAL001C", "YAL002W"],
            {"tpm": {"K562": [5.5, 0]}, "counts": {"K562": [20.5, 0]}},
        ),
        header=("length", "eff_length", "est_counts", "tpm"),
        suffix=r"(^|[._-])abundance(\.gene)?\.tsv|\.(tsv|txt|csv|tab)",
        fractions=True,
        check=per_gene,
        note="`abundance.tsv` where a target is a gene",
    ),
    Format(
        "StringTie",
        {"tpm": "TPM", "fpkm": "FPKM"},
        Example(
            "K562.gene_abund.tab",
            "Gene ID\tGene Name\tReference\tStrand\tStart\tEnd\tCoverage\tFPKM\tTPM\n"
            f"{_G1}.14\tTSPAN6\tX\t-\t100\t900\t9.5\t2.5\t5.5\n{_G1}.14\tTSPAN6\tX\t-\t2000\t2900\t1\t0.5\t1\n"
            f"{_G2}.5\tTNMD\tX\t+\t5000\t5900\t0\t0\t0\n",
            [_G1, _G2],
            {"tpm": {"K562": [6.5, 0]}, "fpkm": {"K562": [3, 0]}},
        ),
        header=("Gene ID", "Gene Name", "Reference", "Strand", "Start", "End", "Coverage", "FPKM", "TPM"),
        suffix=r"(^|[._-])gene_?abund(ances?)?\.(tab|tsv|txt)|\.(tsv|txt|csv|tab)",
        sums=True,
        note="`gene_abund.tab`; the loci of a gene are summed",
    ),
    Format(
        "StringTie and Ballgown, transcripts",
        {},
        Example(
            "t_data.ctab",
            "t_id\tchr\tstrand\tstart\tend\tt_name\tnum_exons\tlength\tgene_id\tgene_name\tcov\tFPKM\n"
            f"1\tX\t-\t1\t9\tENST1\t1\t9\t{_G1}\tTSPAN6\t1\t2\n",
            [],
            {},
        ),
        header=("t_id", "t_name", "gene_id", "cov", "FPKM"),
        refused="has a row per transcript: give gene_abund.tab (stringtie -A)",
    ),
    Format(
        "Cufflinks",
        {"fpkm": "FPKM"},
        Example(
            "K562/genes.fpkm_tracking",
            "tracking_id\tclass_code\tnearest_ref_id\tgene_id\tgene_short_name\ttss_id\tlocus\tlength\tcoverage\tFPKM\t"
            f"FPKM_conf_lo\tFPKM_conf_hi\tFPKM_status\n{_G1}\t-\t-\t{_G1}\tTSPAN6\tTSS1\tX:100-900\t-\t-\t5.5\t4.1\t6.9\tOK\n"
            f"{_G2}\t-\t-\t{_G2}\tTNMD\t-\tX:1000-1900\t-\t-\t0\t0\t0\tHIDATA\n",
            [_G1, _G2],
            {"fpkm": {"K562": [5.5, float("nan")]}},
        ),
        header=("tracking_id", "gene_id", "locus", "FPKM", "FPKM_conf_lo", "FPKM_conf_hi"),
        suffix=r"(^|[._-])genes\.fpkm_tracking",
        check=check_cufflinks,
        note="`genes.fpkm_tracking`; values that failed are missing",
    ),
    Format(
        "Cuffdiff",
        {"fpkm": "(.+)_FPKM", "counts": "(.+)_count"},
        Example(
            "genes.fpkm_tracking",
            "tracking_id\tclass_code\tnearest_ref_id\tgene_id\tgene_short_name\ttss_id\tlocus\tlength\tcoverage\tq1_FPKM\t"
            "q1_conf_lo\tq1_conf_hi\tq1_status\tq2_FPKM\tq2_conf_lo\tq2_conf_hi\tq2_status\n"
            "XLOC_1\t-\t-\tXLOC_1\tTSPAN6\tTSS1\tX:1-9\t-\t-\t5.5\t4\t7\tOK\t0\t0\t0\tFAIL\n"
            "XLOC_2\t-\t-\tXLOC_2\tTNMD\t-\tX:10-19\t-\t-\t0\t0\t0\tLOWDATA\t2\t1\t3\tOK\n",
            ["XLOC_1", "XLOC_2"],
            {"fpkm": {"q1": [5.5, 0], "q2": [float("nan"), 2]}},
        ),
        header=("tracking_id", "gene_id", "locus"),
        tells=lambda head: any(name.endswith(("_FPKM", "_count")) for name in head.names),
        fractions=True,
        check=check_cufflinks,
        note="`genes.fpkm_tracking` and `genes.count_tracking`",
    ),
    Format(
        "Cuffnorm",
        {"fpkm": ANY},
        Example(
            "genes.fpkm_table",
            "tracking_id\tq1_0\tq1_1\nX1\t5.5\t4\nX2\t0\t1\n",
            ["X1", "X2"],
            {"fpkm": {"q1_0": [5.5, 0], "q1_1": [4, 1]}},
        ),
        header=("tracking_id",),
        file=r"fpkm_table",
        note="`genes.fpkm_table`",
    ),
    Format(
        "Cuffnorm, counts",
        {"counts": ANY},
        Example(
            "genes.count_table",
            "tracking_id\tq1_0\tq1_1\nX1\t5.5\t4\nX2\t0\t1\n",
            ["X1", "X2"],
            {"counts": {"q1_0": [5.5, 0], "q1_1": [4, 1]}},
        ),
        header=("tracking_id",),
        file=r"count_table",
        fractions=True,
        note="`genes.count_table`",
    ),
    Format(
        "Cuffdiff, comparisons",
        {},
        Example(
            "gene_exp.diff",
            "test_id\tgene_id\tgene\tlocus\tsample_1\tsample_2\tstatus\tvalue_1\tvalue_2\tp_value\n"
            "X1\tX1\tTSPAN6\tX:1-9\tq1\tq2\tOK\t5.5\t0\t0.01\n",
            [],
            {},
        ),
        header=("test_id", "sample_1", "sample_2", "value_1", "value_2"),
        refused="compares samples by twos: give genes.fpkm_tracking",
    ),
    Format(
        "Cuffdiff, replicates",
        {},
        Example(
            "genes.read_group_tracking",
            "tracking_id\tcondition\treplicate\traw_frags\tFPKM\tstatus\nX1\tq1\t0\t10\t5\tOK\nX1\tq1\t1\t12\t6\tOK\n",
            [],
            {},
        ),
        header=("tracking_id", "condition", "replicate", "FPKM"),
        refused="has a row per gene and replicate: give genes.fpkm_tracking, or genes.fpkm_table of Cuffnorm",
    ),
    Format(
        "STAR counts of the GDC",
        {"tpm": "tpm_unstranded", "fpkm": "fpkm_unstranded", "counts": "unstranded"},
        Example(
            "K562.rna_seq.augmented_star_gene_counts.tsv",
            "# gene-model: GENCODE v36\ngene_id\tgene_name\tgene_type\tunstranded\tstranded_first\tstranded_second\t"
            "tpm_unstranded\tfpkm_unstranded\tfpkm_uq_unstranded\nN_unmapped\t\t\t100\t100\t100\t\t\t\n"
            f"{_G1}.15\tTSPAN6\tprotein_coding\t4007\t2000\t2007\t60.1\t20.2\t22.1\n"
            f"{_G2}.6\tTNMD\tprotein_coding\t3\t1\t2\t0.1\t0.05\t0.06\n",
            [_G1, _G2],
            {"tpm": {"K562": [60.1, 0.1]}, "fpkm": {"K562": [20.2, 0.05]}, "counts": {"K562": [4007, 3]}},
        ),
        header=("gene_id", "unstranded", "stranded_first", "stranded_second", "tpm_unstranded", "fpkm_unstranded"),
        ids="gene_id",
        suffix=r"(\.rna_seq)?\.augmented_star_gene_counts\.tsv|\.(tsv|txt|csv|tab)",
        note="unstranded",
    ),
    Format(
        "featureCounts",
        {"counts": ANY},
        Example(
            "counts.txt",
            "# Program:featureCounts v2.0.1\nGeneid\tChr\tStart\tEnd\tStrand\tLength\tgene_name\ta.bam\tb.bam\n"
            "g1\tchr1;chr1\t1;9\t5;12\t+;+\t9\tTSPAN6\t30\t0\ng2\tchr1\t1\t5\t+\t5\tTNMD\t7\t26\n",
            ["g1", "g2"],
            {"counts": {"a.bam": [30, 7], "b.bam": [0, 26]}},
        ),
        header=("Geneid", "Chr", "Start", "End", "Strand", "Length"),
        fractions=True,
        note="fractions with `--fraction`",
    ),
    Format(
        "featureCounts, summary",
        {},
        Example("counts.txt.summary", "Status\ta.bam\tb.bam\nAssigned\t9\t8\nUnassigned_Unmapped\t1\t0\n", [], {}),
        header=("Status",),
        tells=lambda head: any(line.startswith("Assigned\t") for line in head.lines),
        refused="is the summary of featureCounts, which has no genes: give the table beside it, without .summary",
    ),
    Format(
        "QoRTs",
        {"counts": "COUNT"},
        Example(
            "K562/QC.geneCounts.txt",
            f"GENEID\tCOUNT\tCOUNT_CDS\tCOUNT_UTR\tCOUNT_AMBIG_GENE\n{_G1}\t30\t20\t10\t0\n{_G2}\t0\t0\t0\t1\n"
            "_total_no_feature\t7\t0\t0\t0\n",
            [_G1, _G2],
            {"counts": {"K562": [30, 0]}},
        ),
        header=("GENEID", "COUNT", "COUNT_CDS", "COUNT_UTR"),
        suffix=r"(^|[._-])QC\.geneCounts\.txt|\.(tsv|txt|csv|tab)",
        note="`QC.geneCounts.txt`",
    ),
    Format(
        "STAR",
        {"counts": "unstranded"},
        Example(
            "K562_ReadsPerGene.out.tab",
            "N_unmapped\t9\t9\t9\nN_multimapping\t8\t8\t8\nN_noFeature\t7\t70\t71\nN_ambiguous\t6\t3\t3\n"
            f"{_G1}\t30\t1\t29\n{_G2}\t0\t0\t0\n",
            [_G1, _G2],
            {"counts": {"K562": [30, 0]}},
        ),
        tells=is_star,
        layout=star_layout,
        suffix=r"(^|[._-])?ReadsPerGene\.out\.tab|\.(tsv|txt|csv|tab)",
        note="`ReadsPerGene.out.tab`, unstranded; columns `forward` and `reverse` can be chosen",
    ),
    Format(
        "FPKM without header (GDC)",
        {"fpkm": "value"},
        Example("K562.FPKM.txt", f"{_G1}.13\t2.5\n{_G2}.5\t0.0\n", [_G1, _G2], {"fpkm": {"K562": [2.5, 0]}}),
        file=r"fpkm(?![-_.]?uq)",
        tells=is_headless,
        layout=headless_layout,
        suffix=_HTSEQ,
        note="by the file's name",
    ),
    Format(
        "HTSeq",
        {"counts": "value"},
        Example(
            "K562.htseq.counts",
            f"{_G1}.13\t25\n{_G2}.5\t0\n__no_feature\t99\n",
            [_G1, _G2],
            {"counts": {"K562": [25, 0]}},
        ),
        tells=is_headless_counts,
        layout=headless_layout,
        suffix=_HTSEQ,
        note="and any table of ids and whole numbers without a header",
    ),
    Format(
        "nf-core/rnaseq, TPM",
        {"tpm": ANY},
        Example(
            "salmon.merged.gene_tpm.tsv",
            f"gene_id\tgene_name\tS1\tS2\n{_G1}\tTSPAN6\t5.5\t1\n{_G2}\tTNMD\t0\t2\n",
            [_G1, _G2],
            {"tpm": {"S1": [5.5, 0], "S2": [1, 2]}},
        ),
        header=("gene_id",),
        file=_MERGED + "gene_tpm",
        note="`salmon.merged.gene_tpm.tsv`",
    ),
    Format(
        "nf-core/rnaseq, counts",
        {"counts": ANY},
        Example(
            "salmon.merged.gene_counts_length_scaled.tsv",
            f"gene_id\tgene_name\tS1\n{_G1}\tTSPAN6\t5.5\n{_G2}\tTNMD\t0\n",
            [_G1, _G2],
            {"counts": {"S1": [5.5, 0]}},
        ),
        header=("gene_id",),
        file=_MERGED + "gene_counts",
        fractions=True,
        note="also scaled ones",
    ),
    Format(
        "nf-core/rnaseq, lengths and transcripts",
        {},
        Example("salmon.merged.gene_lengths.tsv", f"gene_id\tgene_name\tS1\n{_G1}\tTSPAN6\t1200.5\n", [], {}),
        file=_MERGED + "(gene_lengths|transcript)",
        refused="holds lengths, or a row per transcript: give salmon.merged.gene_tpm.tsv or gene_counts.tsv",
    ),
    Format(
        "prepDE of StringTie",
        {"counts": ANY},
        Example(
            "gene_count_matrix.csv",
            f"gene_id,K562,H1\n{_G1}|TSPAN6,25,1\n{_G2},0,2\n",
            [_G1, _G2],
            {"counts": {"K562": [25, 0], "H1": [1, 2]}},
        ),
        header=("gene_id",),
        file="gene_count_matrix",
        id_end=r"\|.*$",
        note="`gene_count_matrix.csv`; the id of an id with a name behind it",
    ),
    Format(
        "prepDE of StringTie, transcripts",
        {},
        Example("transcript_count_matrix.csv", "transcript_id,K562\nENST00000000003,25\n", [], {}),
        file="transcript_count_matrix",
        refused="has a row per transcript: give gene_count_matrix.csv",
    ),
    Format(
        "tximport",
        {"tpm": r"abundance\.(.+)", "counts": r"counts\.(.+)"},
        Example(
            "txi.csv",
            '"","abundance.S1","abundance.S2","counts.S1","counts.S2","length.S1","length.S2","countsFromAbundance"\n'
            f'"{_G1}",5.5,1,20.5,4,900,901,"no"\n"{_G2}",0,2,0,8,800,801,"no"\n',
            [_G1, _G2],
            {"tpm": {"S1": [5.5, 0], "S2": [1, 2]}, "counts": {"S1": [20.5, 0], "S2": [4, 8]}},
        ),
        tells=is_tximport,
        fractions=True,
        check=per_gene,
        note="`as.data.frame(txi)`",
    ),
    Format(
        "DESeq2, edgeR and limma, with samples",
        {"": ANY},
        Example(
            "results.csv",
            f'"","baseMean","log2FoldChange","lfcSE","stat","pvalue","padj","S1","S2"\n"{_G1}",9.5,1,0.2,5,0.01,0.02,9.25,9.75\n'
            f'"{_G2}",1,-1,0.2,-5,0.01,0.02,0,2\n',
            [_G1, _G2],
            {"counts": {"S1": [9.25, 0], "S2": [9.75, 2]}},
        ),
        tells=is_differential,
        about=differential_about,
        fractions=True,
        note="means, changes and p-values are left out; normalised counts are counts",
    ),
    Format(
        "Roadmap, RPKM",
        {"rpkm": ANY},
        Example(
            "57epigenomes.RPKM.pc",
            f"gene_id\tE003\tE004\n{_G1}\t43.985\t39.4\t\n{_G2}\t1.642\t0\t\n",
            [_G1, _G2],
            {"rpkm": {"E003": [43.985, 1.642], "E004": [39.4, 0]}},
        ),
        tells=is_roadmap(".RPKM."),
        note="`57epigenomes.RPKM.pc`",
    ),
    Format(
        "Roadmap, counts",
        {"counts": ANY},
        Example(
            "57epigenomes.N.pc", f"gene_id\tE003\n{_G1}\t43\t\n{_G2}\t1\t\n", [_G1, _G2], {"counts": {"E003": [43, 1]}}
        ),
        tells=is_roadmap(".N."),
        note="`57epigenomes.N.pc`",
    ),
)
"""Told in this order."""
