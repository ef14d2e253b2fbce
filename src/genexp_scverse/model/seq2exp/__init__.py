"""Seq2Exp (Su, Yu, Zhi & Ji, ICLR 2025): which positions around a gene matter, and its expression from those alone."""

from genexp_scverse.model.seq2exp._model import Seq2ExpModel

__all__ = ["Seq2ExpModel"]
