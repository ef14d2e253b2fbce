"""Windows around the TSS of genes, for what reads files; :mod:`genexp_scverse.pp` needs them too."""

from __future__ import annotations

from genexp_scverse._windows import Windows, check_tss, count_bins, tss_windows

__all__ = ["Windows", "check_tss", "count_bins", "tss_windows"]
