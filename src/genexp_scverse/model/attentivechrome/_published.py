"""The weights that the authors of AttentiveChrome released, under our names."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch

from genexp_scverse._errors import InputError, some

MARKS = ("H3K27me3", "H3K36me3", "H3K4me1", "H3K4me3", "H3K9me3")
"""Marks of the released models, in the order in which they are read."""
N_BINS = 100
N_TRAIN = 6601
"""Training genes of every cell type in the published folders."""
_DIRECTIONS = ("", "_reverse")


def read_state(weights: str | Path | Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Read a state_dict; from a file tensors alone, so that nothing in it is executed."""
    if isinstance(weights, Mapping):
        return dict(weights)
    try:
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        msg = f"{weights} is not there: download the released file first, or pass its state_dict"
        raise InputError(msg) from None
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        said = str(error).split("\n")[0]
        msg = (
            f"{weights} does not hold a plain state_dict, and nothing else is read from a file ({said}): "
            "save model.state_dict() of it where you trust it"
        )
        raise InputError(msg) from None
    if not isinstance(state, Mapping):
        msg = f"{weights} holds a {type(state).__name__}, not a state_dict: save model.state_dict() of it"
        raise InputError(msg)
    return dict(state)


def sizes(state: Mapping[str, torch.Tensor]) -> tuple[int, int, int]:
    """Return the number of marks and the lengths of the hidden states over bins and over marks."""
    n_marks = len({key.split(".")[1] for key in state if key.startswith("rnn_hms.")})
    found = []
    for key in ("rnn_hms.0.rnn.weight_hh_l0", "hm_level_rnn_1.rnn.weight_hh_l0"):
        if key not in state or getattr(state[key], "ndim", 0) != 2:
            msg = f"the weights have no matrix {key!r}, so they are none of AttentiveChrome: they have {some(state, 5)}"
            raise InputError(msg)
        found.append(int(state[key].shape[1]))
    return n_marks, found[0], found[1]


def published_names(n_marks: int) -> dict[str, list[str]]:
    """Released names of the parts of each of our parameters, in their order."""
    names: dict[str, list[str]] = {}
    lstms = {"bin_lstm": [f"rnn_hms.{m}" for m in range(n_marks)], "mark_lstm": ["hm_level_rnn_1"]}
    for ours, theirs in lstms.items():
        for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            names[f"{ours}.{part}"] = [f"{one}.rnn.{part}_l0{d}" for d in _DIRECTIONS for one in theirs]
        names[f"{ours.removesuffix('_lstm')}_query"] = [f"{one}.bin_attention.bin_context_vector" for one in theirs]
    names["head.label.weight"], names["head.label.bias"] = ["fdiff1_1.weight"], ["fdiff1_1.bias"]
    return names


def from_published(
    state: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], n_marks: int
) -> dict[str, torch.Tensor]:
    """Return the state_dict of our network, whose shapes `expected` shows, from a released one."""
    names = published_names(n_marks)
    known = {name for parts in names.values() for name in parts}
    missing, unknown = sorted(known - set(state)), sorted(set(state) - known)
    if missing or unknown:
        said = [f"lack {some(missing)}"] if missing else []
        said += [f"have the unknown {some(unknown)}"] if unknown else []
        msg = f"the weights are not those of a released AttentiveChrome of {n_marks} marks: they {' and '.join(said)}"
        raise InputError(msg)
    mapped = {}
    for ours, parts in names.items():
        shape = expected[ours].shape
        # our parameters have the lanes of an LSTM, and the groups of a query, in front
        lanes = shape[: expected[ours].ndim - (1 if "bias" in ours or "query" in ours else 2)]
        one = shape[len(lanes) :]
        theirs = (*one, 1) if "query" in ours else tuple(one)
        wrong = [f"{p} {tuple(state[p].shape)}" for p in parts if tuple(state[p].shape) != theirs]
        if wrong:
            msg = f"weights of another shape than {theirs}, which the other weights call for: {some(wrong)}"
            raise InputError(msg)
        mapped[ours] = torch.stack([state[p].detach().float().reshape(one) for p in parts]).reshape(shape)
    return mapped
