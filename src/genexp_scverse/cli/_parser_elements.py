"""What ``genexp elements`` can be told."""

from __future__ import annotations

from genexp_scverse._checks import Limit
from genexp_scverse.cli._arguments import MODEL, MUDATA, SAMPLE, count, inner_share, later, number


def add_elements(commands) -> None:
    """Add the command."""
    p = commands.add_parser(
        "elements",
        help="call the elements that a model selects, as files for a genome browser",
        description="Call the elements that a model selects around every gene: stretches of the window whose mask is "
        "high. Writes them as BED, and as asked the mask as bigWig and the links from elements to genes as BEDPE; IGV "
        "and UCSC open these as they are.",
    )
    p.set_defaults(run=later("_elements"))
    p.add_argument("model", metavar="MODEL", help=f"{MODEL}; - takes scores that are stored in MUDATA")
    p.add_argument("mudata", metavar="MUDATA", help=f"{MUDATA}, with the model's marks and window")
    p.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help="elements: as BED where the name ends in .bed or .bed.gz, as a table with distances where it ends in .tsv",
    )
    p.add_argument("--bigwig", metavar="FILE", help="mask of all genes along the genome; by default not written")
    p.add_argument("--bedpe", metavar="FILE", help="element and TSS of its gene; by default not written")
    p.add_argument("--sample", action="append", metavar="NAME", help=SAMPLE)
    p.add_argument(
        "--union", action="store_true", help="join the elements of all genes that overlap; by default one line per gene"
    )
    kept = p.add_mutually_exclusive_group()
    kept.add_argument(
        "--threshold",
        type=number(Limit(whole=False), "number"),
        metavar="X",
        help="keep positions with a mask from X on; by default 0.5",
    )
    kept.add_argument("--top", type=inner_share, metavar="X", help="keep this share of all positions instead, by rank")
    p.add_argument(
        "--merge-gap",
        type=count,
        default=0,
        metavar="N",
        help="join elements at most N bases apart (default %(default)s)",
    )
    p.add_argument(
        "--min-length", type=count, default=0, metavar="N", help="shortest element in bases (default %(default)s)"
    )
    p.add_argument(
        "--exclude-promoter",
        type=count,
        metavar="N",
        help="positions less than N bases from the TSS are no elements (default: those open in every gene, or 1000)",
    )
    p.add_argument(
        "--key",
        default="seq2exp_mask",
        metavar="NAME",
        help="name of the scores in MUDATA that MODEL - takes (default %(default)s)",
    )
