"""Several models as one: their mean, their spread, and intervals of stated coverage."""

from genexp_scverse.model.ensemble._model import Ensemble

__all__ = ["Ensemble"]
