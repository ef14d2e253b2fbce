"""Results in the MuData to matplotlib figures; every function takes `ax` and returns it."""

from genexp_scverse._lazy import attach

# A submodule never bears the name of a function: once imported it would hide the function.
__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ablation": "ablations",
        "attention": "attention_maps",
        "calibration": "predictions",
        "comparison": "compare",
        "elements": "element_summary",
        "heatmap": "signal",
        "history": "training",
        "interval_coverage": "intervals",
        "learning_curve": "curves",
        "locus": "locus_view",
        "neighbors": "neighborhood",
        "observed_predicted": "level",
        "patterns": "pattern_maps",
        "per_sample": "sample_order",
        "precision_recall": "predictions",
        "profile": "signal",
        "reconstruction": "latent",
        "roc": "predictions",
    },
)
