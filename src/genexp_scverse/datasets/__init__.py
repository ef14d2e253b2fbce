"""Public data by pooch, and a simulator that writes real FASTA, GTF, bigWig and expression files."""

from genexp_scverse._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "deepchrome": "fetching",
        "encode_bigwig": "fetching",
        "fetch": "fetching",
        "published_results": "published",
        "roadmap_expression": "fetching",
        "simulate": "simulator",
        "simulate_elements": "element_simulator",
    },
)
