"""SimpleChrome (Cheng, Murtaza & Wang 2020, arXiv 2012.08671)."""

from genexp_scverse.model.simplechrome._model import SimpleChromeVAE

__all__ = ["SimpleChromeVAE"]
