"""A trained model and a MuData to results in the MuData."""

from genexp_scverse._lazy import attach

__getattr__, __dir__, __all__ = attach(__name__, {"class_patterns": "patterns"})
