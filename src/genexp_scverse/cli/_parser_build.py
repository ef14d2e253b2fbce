"""What ``genexp build`` can be told."""

from __future__ import annotations

from genexp_scverse.cli._arguments import SEED, count, kmer, later, positive, seed_number, share


def add_build(commands) -> None:
    """Add the command."""
    p = commands.add_parser(
        "build",
        help="read annotation, tracks, DNA and expression into a MuData",
        description="Read annotation, bigWig tracks, DNA and expression into one MuData of genes, split into "
        "training, validation and test. All files are checked against each other before the long reading starts.",
    )
    p.set_defaults(run=later("_build"))
    p.add_argument(
        "sheet",
        nargs="?",
        metavar="SHEET",
        help="sample sheet: TSV with the columns sample, mark, path (relative to the sheet) and, optionally, scale "
        "(counts, coverage, fold_change, pvalue, log or log_ratio; default coverage); leave it out for DNA alone",
    )
    p.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="name ending in .h5mu or .zarr; an older one is replaced"
    )
    genes = p.add_argument_group("genes")
    genes.add_argument("--genes", required=True, metavar="FILE", help="GTF, GFF3, BED6 or TSV, plain or gzip")
    genes.add_argument(
        "--biotypes",
        default="protein_coding",
        metavar="LIST",
        help="biotypes to keep, separated by commas, or all (default %(default)s)",
    )
    genes.add_argument(
        "--tss-source",
        choices=("gene", "canonical", "longest"),
        default="gene",
        help="in a GTF or GFF3: TSS of the gene record, or of its canonical or longest transcript (default gene)",
    )
    genes.add_argument(
        "--tss-column",
        metavar="LIST",
        help="in a TSV: columns with the 0-based TSS, separated by commas; each gene takes the first that is given, "
        "else tss, else start and end by strand",
    )
    genes.add_argument(
        "--gene-id",
        metavar="NAME",
        help="in a GTF, GFF3 or TSV: attribute or column with the ids of the genes, such as gene_name or locus_tag",
    )
    genes.add_argument("--keep-scaffolds", action="store_true", help="keep genes on scaffolds and alternative loci")
    genes.add_argument("--assembly", metavar="NAME", help="name of the genome; by default told from its length")
    levels = p.add_argument_group("expression")
    levels.add_argument(
        "--expression",
        metavar="FILE",
        help="table of genes x samples, output of a quantifier (RSEM, Salmon, featureCounts, ...), GCT, .h5ad",
    )
    levels.add_argument(
        "--unit",
        action="append",
        default=[],
        metavar="[SAMPLE=]UNIT",
        help="tpm, rpkm, fpkm, counts, cage or log; for all samples, or with SAMPLE= for one (may be given again)",
    )
    levels.add_argument(
        "--columns",
        metavar="LIST",
        help="columns of the table that are samples, separated by commas; SAMPLE=COLUMN names one; by default told "
        "by their names, --unit SAMPLE=UNIT and the sheet",
    )
    levels.add_argument("--layer", metavar="NAME", help="layer of an .h5ad that holds the expression; by default X")
    levels.add_argument(
        "--join-by",
        metavar="NAME",
        help="column of either file that names genes, such as gene_name, where their ids do not join; or how ids are "
        "compared: no_prefix (gene:g1), no_version (g1.v4.1), before_bar or after_bar (g1|NAME), any_case",
    )
    levels.add_argument(
        "--min-joined",
        type=share,
        default=0.5,
        metavar="SHARE",
        help="least share of genes that have a row of expression, or of rows that name a gene (default %(default)s)",
    )
    window = p.add_argument_group("window around the TSS")
    window.add_argument("--upstream", type=count, default=5000, metavar="N", help="bases before it (default 5000)")
    window.add_argument(
        "--downstream", type=count, default=5000, metavar="N", help="bases from it on (default %(default)s)"
    )
    window.add_argument(
        "--bin-size",
        type=positive,
        default=100,
        metavar="N",
        help="bases in a bin of a track; divides the window (default %(default)s)",
    )
    window.add_argument(
        "--unstranded", action="store_true", help="read all windows from left to right, also of minus-strand genes"
    )
    signal = p.add_argument_group("tracks and DNA")
    signal.add_argument(
        "--summary", choices=("mean", "max", "sum"), default="mean", help="what a bin holds of its bases (default mean)"
    )
    signal.add_argument(
        "--uncovered", choices=("0", "nan"), default="0", help="value of bases that a track does not cover (default 0)"
    )
    signal.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="type of the bins (default float32)"
    )
    signal.add_argument(
        "--jobs", type=positive, metavar="N", help="processes that read tracks; by default all cores where it pays"
    )
    signal.add_argument("--fasta", metavar="FILE", help="genome, plain, gzip or bgzip; adds the DNA of the windows")
    signal.add_argument(
        "--kmer",
        type=kmer,
        default=4,
        metavar="K",
        help="length of the k-mers counted in the DNA, 0 to 8, 0 for none (default %(default)s)",
    )
    split = p.add_argument_group(
        "split", "By default whole chromosomes are drawn: about 70 % of the genes train, 10 % valid, 20 % test."
    )
    split.add_argument(
        "--split",
        choices=("chromosome", "random", "none"),
        help="whole chromosomes, single genes at random (for genes on few chromosomes), or none, which leaves out "
        "labels too; by default a column split of the gene table, else chromosome",
    )
    split.add_argument("--test-chroms", metavar="LIST", help="chromosomes of the test genes, separated by commas")
    split.add_argument("--valid-chroms", metavar="LIST", help="chromosomes of the validation genes, likewise")
    split.add_argument("--seed", type=seed_number, default=0, metavar="N", help=SEED % "the draw")
    split.add_argument("--fold", metavar="COLUMN", help="split by this column of the gene table instead")
    split.add_argument("--test-folds", metavar="LIST", help="folds of the test genes, separated by commas")
    split.add_argument(
        "--valid-folds", metavar="LIST", help="folds (or chromosomes) for validation; by default the next fold"
    )
