"""DeepChrome (Singh et al. 2016, Bioinformatics 32:i639)."""

from genexp_scverse.model.deepchrome._model import DeepChrome

__all__ = ["DeepChrome"]
