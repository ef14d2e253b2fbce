"""Files to tables and MuData, and back."""

from genexp_scverse._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "GenomeStore": "genome_store",
        "GenomeWindows": "_genome_windows",
        "add_samples": "build",
        "attach_genome": "genome_attach",
        "bin_tracks": "bigwig",
        "build_mudata": "build",
        "check_bigwigs": "bigwig",
        "fasta_sizes": "fasta",
        "from_bins": "arrays",
        "genome_windows": "genome_attach",
        "match_chroms": "chroms",
        "read_codes": "fasta",
        "read_contacts": "contacts",
        "read_deepchrome": "deepchrome_csv",
        "read_expression": "expression.levels",
        "read_gene_features": "gene_features",
        "read_genes": "genes",
        "read_genome": "genome_store",
        "read_intervals": "intervals",
        "read_mudata": "store",
        "read_sheet": "sheet",
        "write_bed": "interval_files",
        "write_bedpe": "interval_files",
        "write_bigwig": "score_bigwig",
        "write_genome": "genome_write",
        "write_mudata": "store",
    },
)
