"""A trained model and a MuData to results in the MuData."""

from genexp_scverse._lazy import attach

__getattr__, __dir__, __all__ = attach(
    __name__,
    {
        "ablate_marks": "ablation",
        "call_elements": "elements",
        "class_patterns": "patterns",
        "compare": "comparison",
        "fixed_mask": "fixed_masks",
        "interval_coverage": "intervals",
        "learning_curve": "curves",
        "leave_one_sample_out": "sample_holdout",
        "score_pairs": "pair_scores",
        "union_elements": "elements",
    },
)
