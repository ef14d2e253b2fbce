"""Weights under the names and in the shapes of the released files of AttentiveChrome."""

from __future__ import annotations

import torch

LSTM = [f"{part}_l0{way}" for way in ("", "_reverse") for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]


def released(n_marks: int = 5, n_hidden: int = 32, seed: int = 0) -> dict[str, torch.Tensor]:
    """Draw the weights of one file (kipoi AttentiveChrome, Zenodo 2616712)."""
    generator = torch.Generator().manual_seed(seed)
    half = n_hidden // 2

    def drawn(*shape):
        return torch.rand(*shape, generator=generator) * 0.4 - 0.2

    state = {}
    for prefix, n_in, n in [*((f"rnn_hms.{m}", 1, n_hidden) for m in range(n_marks)), ("hm_level_rnn_1", 64, half)]:
        n_in = 2 * n_hidden if n == half else n_in
        for name in LSTM:
            shape = {"weight_ih": (4 * n, n_in), "weight_hh": (4 * n, n)}.get(name.split("_l0")[0], (4 * n,))
            state[f"{prefix}.rnn.{name}"] = drawn(*shape)
        state[f"{prefix}.bin_attention.bin_context_vector"] = drawn(2 * n, 1)
    state["fdiff1_1.weight"], state["fdiff1_1.bias"] = drawn(1, n_hidden), drawn(1)
    return state
