"""Models under one contract: ``Model(mdata)``, ``train``, ``predict``, ``evaluate``, ``save``, ``load``."""

from genexp_scverse._lazy import attach

MODELS = {
    "AttentiveChrome": "attentivechrome",
    "DeepChrome": "deepchrome",
    "Ensemble": "ensemble",
    "Linear": "baseline",
    "LinearSVM": "baseline",
    "RandomForest": "baseline",
    "Seq2ExpModel": "seq2exp",
    "SimpleChromeVAE": "simplechrome",
}
"""Every registered model: public name -> its folder. The conformance tests run over all of them."""

__getattr__, __dir__, __all__ = attach(__name__, {**MODELS, "GeneModel": "base", "load": "base", "model_class": "base"})
__all__ += ["MODELS"]
