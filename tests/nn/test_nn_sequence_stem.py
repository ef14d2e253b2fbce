"""The stem against convolutions written as sums over bases."""

from __future__ import annotations

import math

import pytest
import torch

from genexp_scverse import InputError
from genexp_scverse.nn.sequence_stem import SequenceStem, stride_factors


def codes_of(n, length, top=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, top, (n, length), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 1), (1, 3), (4, 4), (4, 7), (5, 16)])
def test_one_convolution_is_a_sum_over_bases(stride, kernel):
    torch.manual_seed(0)
    stem = SequenceStem(6, stride, kernel)
    (conv,) = (layer for layer in stem.layers if isinstance(layer, torch.nn.Conv1d))
    codes = codes_of(2, 20 * stride)
    found = stem(codes)
    assert found.shape == (2, 20, 6)
    before = (kernel - stride) // 2
    for token in (0, 7, 19):
        expected = conv.bias.clone()
        for i in range(kernel):
            at = token * stride - before + i
            if 0 <= at < codes.shape[1] and codes[1, at] < 4:
                expected = expected + conv.weight[:, int(codes[1, at]), i]
        torch.testing.assert_close(found[1, token], expected)


@pytest.mark.parametrize("stride", [2, 6, 16, 32, 100, 128])
def test_one_token_for_every_stride_near_its_bases(stride):
    torch.manual_seed(0)
    stem = SequenceStem(16, stride).double()
    codes = codes_of(1, 24 * stride)
    tokens = stem(codes)
    assert tokens.shape == (1, 24, 16)
    changed = codes.clone()
    changed[0, 12 * stride : 13 * stride] = (changed[0, 12 * stride : 13 * stride] + 1) % 4
    moved = (stem(changed) - tokens).abs().sum(2)[0] > 0
    assert moved[12]
    reach = -(-16 // stride) + 1
    assert not moved[: 12 - reach].any()
    assert not moved[13 + reach :].any()


def test_anything_but_a_base_is_zeros():
    stem = SequenceStem(8, 4)
    n = torch.full((1, 40), 4, dtype=torch.uint8)
    assert torch.equal(stem(n), stem(torch.full((1, 40), 255, dtype=torch.uint8)))
    assert not torch.equal(stem(n), stem(torch.zeros(1, 40, dtype=torch.uint8)))


def test_other_integer_types_are_read_alike():
    stem, codes = SequenceStem(8, 4), codes_of(2, 40)
    torch.testing.assert_close(stem(codes), stem(codes.long()))


def test_bf16_is_near_float32_and_weights_learn():
    torch.manual_seed(0)
    stem, codes = SequenceStem(32, 32), codes_of(2, 320)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = stem(codes)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), stem(codes), atol=0.02, rtol=0.05)
    low.float().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in stem.parameters())


@pytest.mark.parametrize("stride", [1, 2, 3, 8, 12, 32, 49, 100, 128, 1000, 1024])
def test_factors_are_small_and_give_the_stride(stride):
    factors = stride_factors(stride)
    assert math.prod(factors) == stride
    assert max(factors) <= 7
    assert factors == sorted(factors, reverse=True)


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="window of 100 bases is no multiple of the stride 32: take 96 bases"):
        SequenceStem(8, 32)(codes_of(1, 100))
    with pytest.raises(InputError, match="stride 22 is no product of numbers up to 7: take one such as"):
        SequenceStem(8, 22)
    with pytest.raises(InputError, match="kernel is 3 and would leave out bases: take 4"):
        SequenceStem(8, 4, kernel=3)
    with pytest.raises(InputError, match="stride 0 is no product"):
        SequenceStem(8, 0)
