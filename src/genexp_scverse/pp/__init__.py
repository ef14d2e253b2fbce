"""MuData to MuData: splits, labels, transforms, scaling, features of the sequence."""

from genexp_scverse._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "SignalScaler": "scale",
        "arcsinh": "transform",
        "label": "label",
        "log1p": "transform",
        "scale": "scale",
        "sequence_features": "sequence",
        "split_at_random": "split",
        "split_by_chromosome": "split",
        "split_by_fold": "split",
    },
)
