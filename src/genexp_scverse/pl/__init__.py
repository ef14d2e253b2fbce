"""Results in the MuData to matplotlib figures; every function takes `ax` and returns it."""

from genexp_scverse._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "calibration": "predictions",
        "comparison": "comparison",
        "heatmap": "signal",
        "history": "history",
        "observed_predicted": "predictions",
        "patterns": "patterns",
        "precision_recall": "predictions",
        "profile": "signal",
        "roc": "predictions",
    },
)
