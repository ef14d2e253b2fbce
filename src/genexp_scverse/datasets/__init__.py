"""Public data by pooch, and a simulator that writes real FASTA, GTF, bigWig and expression files."""

from genexp_scverse._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "deepchrome": "fetch",
        "encode_bigwig": "fetch",
        "fetch": "fetch",
        "roadmap_expression": "fetch",
        "simulate": "simulate",
    },
)
