"""Names of chromosomes, for what reads files; :mod:`genexp_scverse.pp` matches them too."""

from __future__ import annotations

from genexp_scverse._chroms import is_scaffold, match_chroms, same_chrom

__all__ = ["is_scaffold", "match_chroms", "same_chrom"]
