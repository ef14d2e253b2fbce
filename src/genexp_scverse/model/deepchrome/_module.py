"""The network of DeepChrome."""

from __future__ import annotations

import torch
from torch import nn

from genexp_scverse._logging import logger
from genexp_scverse.model.base import GeneModule
from genexp_scverse.nn.heads import ExpressionHead
from genexp_scverse.nn.masking import FillMissing


class DeepChromeModule(GeneModule):
    """Convolution over bins, max pooling, two hidden layers.

    Singh et al. 2016, section 2.2: Conv1d(marks to 50, kernel 10), ReLU, MaxPool(5), dropout 0.5, Linear 625,
    ReLU, Linear 125, ReLU, Linear to two classes. Every nonlinearity is a module of its own, used once, as
    attribution methods need.
    """

    def __init__(
        self,
        n_marks: int,
        n_bins: int,
        *,
        target: str,
        n_filters: int = 50,
        kernel_size: int = 10,
        pool_size: int = 5,
        n_hidden: tuple[int, int] | list[int] = (625, 125),
        dropout: float = 0.5,
        label_weight: float = 1.0,
        masked: bool = False,
    ):
        super().__init__(label_weight)
        kernel_size, pool_size = fitted_to_bins(n_bins, kernel_size, pool_size)
        pooled = (n_bins - kernel_size + 1) // pool_size
        self.fill = FillMissing(n_marks) if masked else None
        self.conv = nn.Conv1d(n_marks, n_filters, kernel_size)
        self.conv_act = nn.ReLU()
        self.pool = nn.MaxPool1d(pool_size)
        self.dropout = nn.Dropout(dropout)
        self.hidden1 = nn.Linear(n_filters * pooled, n_hidden[0])
        self.act1 = nn.ReLU()
        self.hidden2 = nn.Linear(n_hidden[0], n_hidden[1])
        self.act2 = nn.ReLU()
        self.head = ExpressionHead(n_hidden[1], target)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Predict from ``batch["bins"]``, (B, marks, bins), and ``batch["present"]`` where marks are masked."""
        bins = batch["bins"] if self.fill is None else self.fill(batch["bins"], batch["present"])
        x = self.pool(self.conv_act(self.conv(bins))).flatten(1)
        x = self.act1(self.hidden1(self.dropout(x)))
        latent = self.act2(self.hidden2(x))
        return {**self.head(latent), "latent": latent}


def fitted_to_bins(n_bins: int, kernel_size: int, pool_size: int) -> tuple[int, int]:
    """Give the sizes of kernel and pooling, smaller where there are too few bins for one pooled position."""
    if (n_bins - kernel_size + 1) // pool_size >= 1:
        return kernel_size, pool_size
    kernel_size = min(kernel_size, max(1, n_bins // 3))
    logger.info("%d bins are few: kernel_size=%d and pool_size=1 are used", n_bins, kernel_size)
    return kernel_size, 1
