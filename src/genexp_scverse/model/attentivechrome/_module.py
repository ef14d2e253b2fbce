"""The network of AttentiveChrome."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from genexp_scverse.model.base import GeneModule
from genexp_scverse.nn.grouped_lstm import GroupedLSTM
from genexp_scverse.nn.heads import ExpressionHead


class AttentiveChromeModule(GeneModule):
    """A bidirectional LSTM with attention over the bins of each mark, and one over the marks.

    Singh et al. 2017, sections 3.1 to 3.3: every mark has an LSTM and a query of its own; their summaries are read
    in the order of the marks. A missing mark is read as zeros and gets no attention.
    """

    def __init__(
        self,
        n_marks: int,
        n_bins: int,
        *,
        target: str,
        n_hidden: int = 32,
        n_mark_hidden: int = 16,
        bins_per_step: int = 1,
        dropout: float = 0.0,
        label_units: int = 2,
        init_range: float = 0.0,
        label_weight: float = 1.0,
    ):
        super().__init__(label_weight)
        self.n_bins, self.bins_per_step = n_bins, min(bins_per_step, n_bins)
        self.bin_lstm = GroupedLSTM(n_marks, self.bins_per_step, n_hidden)
        self.bin_query = nn.Parameter(torch.empty(n_marks, 2 * n_hidden))
        self.mark_dropout = nn.Dropout(dropout)
        self.mark_lstm = GroupedLSTM(1, 2 * n_hidden, n_mark_hidden)
        self.mark_query = nn.Parameter(torch.empty(1, 2 * n_mark_hidden))
        self.dropout = nn.Dropout(dropout)
        self.head = ExpressionHead(2 * n_mark_hidden, target, label_units=label_units)
        for query in (self.bin_query, self.mark_query):
            nn.init.uniform_(query, -0.1, 0.1)
        if init_range:
            for parameter in self.parameters():
                nn.init.uniform_(parameter, -init_range, init_range)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Predict from ``batch["bins"]`` (B, marks, bins), and ``batch["present"]`` (B, marks) where marks are masked.

        Besides level, logit and latent there are ``bin_attention`` (B, marks, bins) and ``mark_attention`` (B, marks).
        """
        bins, present = batch["bins"], batch.get("present")
        if short := -self.n_bins % self.bins_per_step:
            bins = F.pad(bins, (0, short))
        steps = bins.unflatten(2, (-1, self.bins_per_step))
        if present is not None:
            steps = steps * present[:, :, None, None]
        summaries, bin_attention = self.bin_lstm.attend(steps, self.bin_query)
        if self.bins_per_step > 1:
            bin_attention = bin_attention.repeat_interleave(self.bins_per_step, dim=2)[:, :, : self.n_bins]
            bin_attention = bin_attention / bin_attention.sum(2, keepdim=True)
        seen = None
        if present is not None:
            summaries = summaries * present[:, :, None]
            bin_attention = bin_attention * present[:, :, None]
            seen = present[:, None]
        marks = self.mark_dropout(summaries)[:, None]
        latent, mark_attention = self.mark_lstm.attend(marks, self.mark_query, seen)
        latent = latent[:, 0]
        return {
            **self.head(self.dropout(latent)),
            "latent": latent,
            "bin_attention": bin_attention,
            "mark_attention": mark_attention[:, 0],
        }
