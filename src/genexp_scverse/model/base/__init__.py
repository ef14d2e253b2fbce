"""The contract that all models share."""

from genexp_scverse._checks import Choice, Limit
from genexp_scverse.model.base._model import GeneModel
from genexp_scverse.model.base._module import GeneModule
from genexp_scverse.model.base._registry import load, model_class
from genexp_scverse.model.base._torch_model import TorchGeneModel

__all__ = ["Choice", "GeneModel", "GeneModule", "Limit", "TorchGeneModel", "load", "model_class"]
