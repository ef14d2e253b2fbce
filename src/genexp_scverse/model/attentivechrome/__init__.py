"""AttentiveChrome (Singh et al. 2017, NeurIPS)."""

from genexp_scverse.model.attentivechrome._model import Attention, AttentiveChrome

__all__ = ["Attention", "AttentiveChrome"]
