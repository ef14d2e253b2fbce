"""Outputs for a sequence and for its reverse complement."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn

from genexp_scverse import InputError
from genexp_scverse.nn.backbones import BACKBONES, make_backbone
from genexp_scverse.nn.reverse_complement import ReverseComplementMean, reverse_complement
from genexp_scverse.nn.sequence_stem import SequenceStem

SETTINGS = {"ssd": {"head_size": 8}, "mamba": {}, "conv": {}}


class Network(nn.Module):
    """Stem, signals, backbone; tokens, a weight for every token and a level for every gene."""

    def __init__(self, name):
        super().__init__()
        self.stem = SequenceStem(8, 4, kernel=7)
        self.signal = nn.Linear(2, 8)
        self.backbone = make_backbone(name, 8, 2, **SETTINGS[name])
        self.level = nn.Linear(8 + 3, 1)

    def forward(self, codes, signals=None, mask=None, *, features=None):
        x = self.stem(codes)
        if signals is not None:
            x = x + self.signal(signals.transpose(1, 2))
        if mask is not None:
            x = x * mask[..., None]
        tokens = self.backbone(x)
        features = x.new_zeros(len(x), 3) if features is None else features
        return {"tokens": tokens, "weight": tokens[..., 0], "level": self.level(torch.cat([tokens[:, 3], features], 1))}


@pytest.fixture(params=list(BACKBONES))
def network(request):
    torch.manual_seed(0)
    return Network(request.param).double().eval()


@pytest.fixture
def inputs():
    torch.manual_seed(1)
    codes = torch.randint(0, 6, (3, 200), dtype=torch.uint8)
    return codes, torch.rand(3, 2, 50).double(), torch.rand(3, 50).double(), torch.rand(3, 3).double()


def test_reverse_complement_of_letters():
    letters = "ACGTN"
    codes = torch.tensor([letters.index(c) for c in "GATTACAN"], dtype=torch.uint8)
    found = reverse_complement(codes)
    assert "".join(letters[c] for c in found) == "NTGTAATC"
    assert found.dtype == torch.uint8
    assert torch.equal(reverse_complement(found), codes)


@pytest.mark.parametrize("with_signals", [False, True])
def test_both_strands_give_the_same(network, inputs, with_signals):
    codes, signals, mask, features = inputs
    both = ReverseComplementMean(network, positions={"tokens": 1, "weight": 1})
    tracks = (signals, mask) if with_signals else (None, None)
    turned = tuple(None if each is None else each.flip(-1) for each in tracks)
    features = features if with_signals else None
    given = both(codes, *tracks, features=features)
    other = both(reverse_complement(codes), *turned, features=features)
    assert given.keys() == {"tokens", "weight", "level"}
    torch.testing.assert_close(other["level"], given["level"], rtol=0, atol=1e-10)
    torch.testing.assert_close(other["tokens"], given["tokens"].flip(1), rtol=0, atol=1e-10)
    torch.testing.assert_close(other["weight"], given["weight"].flip(1), rtol=0, atol=1e-10)
    # the network by itself does not know of strands
    alone = network(codes, *tracks, features=features)["level"]
    assert (network(reverse_complement(codes), *turned, features=features)["level"] - alone).abs().min() > 1e-4


def test_it_is_the_mean_of_two_runs(network, inputs):
    codes, signals, mask, _ = inputs
    found = ReverseComplementMean(network, positions={"tokens": 1, "weight": 1})(codes, signals, mask)
    one, other = network(codes, signals, mask), network(reverse_complement(codes), signals.flip(-1), mask.flip(-1))
    torch.testing.assert_close(found["tokens"], (one["tokens"] + other["tokens"].flip(1)) / 2)
    torch.testing.assert_close(found["level"], (one["level"] + other["level"]) / 2)


def test_gradients_reach_the_network(network, inputs):
    both = ReverseComplementMean(network, positions={"tokens": 1, "weight": 1})
    both(*inputs[:2])["level"].sum().backward()
    assert network.stem.filters.weight.grad.abs().sum() > 0


class Pair(NamedTuple):
    track: torch.Tensor
    total: torch.Tensor


class Purines(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def forward(self, codes):
        track = ((codes == 0) | (codes == 2)).double()
        return {"tensor": track, "tuple": (track, track.sum(1)), "named": Pair(track, track.sum(1))}[self.kind]


def test_tensors_and_tuples_come_back_as_they_are():
    codes = torch.tensor([[0, 2, 1, 4]], dtype=torch.uint8)
    positions = {"tensor": {0: 1}, "tuple": {0: -1}, "named": {0: -1}}
    found = {kind: ReverseComplementMean(Purines(kind), positions=positions[kind])(codes) for kind in positions}
    # a base is a purine on one of its strands, N on none
    track, total = [[0.5, 0.5, 0.5, 0.0]], [1.5]
    assert found["tensor"].tolist() == track
    assert [each.tolist() for each in found["tuple"]] == [track, total]
    assert isinstance(found["named"], Pair)
    assert found["named"].total.tolist() == total


def test_an_output_that_is_not_there_is_said():
    both = ReverseComplementMean(Purines("tuple"), positions={"track": 1})
    with pytest.raises(InputError, match="the network gives no output 'track': it gives 0, 1"):
        both(torch.zeros(1, 4, dtype=torch.uint8))
