"""Files to tables and MuData, and back."""

from genexp_scverse._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "add_samples": "build",
        "bin_tracks": "bigwig",
        "build_mudata": "build",
        "check_bigwigs": "bigwig",
        "fasta_sizes": "fasta",
        "from_bins": "arrays",
        "match_chroms": "chroms",
        "read_codes": "fasta",
        "read_contacts": "contacts",
        "read_deepchrome": "deepchrome_csv",
        "read_expression": "expression",
        "read_genes": "genes",
        "read_mudata": "store",
        "read_sheet": "sheet",
        "write_bed": "interval_files",
        "write_bedpe": "interval_files",
        "write_bigwig": "score_bigwig",
        "write_mudata": "store",
    },
)
