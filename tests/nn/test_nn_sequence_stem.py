"""The stem against convolutions written as sums over bases."""

from __future__ import annotations

import pytest
import torch

from genexp_scverse import InputError
from genexp_scverse.nn.sequence_stem import SequenceStem, filter_step


def codes_of(n, length, top=5):
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, top, (n, length), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("stride", "kernel"), [(1, 1), (1, 3), (4, 4), (4, 7), (5, 16), (8, 7), (12, 16)])
def test_a_token_is_the_mean_over_filters_of_the_exponential_of_their_fit(stride, kernel):
    torch.manual_seed(0)
    stem = SequenceStem(6, stride, kernel).eval()
    with torch.no_grad():
        stem.norm.running_mean.uniform_(-1, 1)
        stem.norm.running_var.uniform_(0.5, 2)
    codes = codes_of(2, 20 * stride)
    found = stem(codes)
    assert found.shape == (2, 20, 6)
    step = {1: 1, 4: 4, 5: 5, 8: 4, 12: 4}[stride]
    before = (kernel - step) // 2
    for token in (0, 7, 19):
        total = torch.zeros(6)
        for start in range(token * stride, (token + 1) * stride, step):
            fit = torch.zeros(6)
            for i in range(kernel):
                at = start - before + i
                if 0 <= at < codes.shape[1] and codes[1, at] < 4:
                    fit = fit + stem.filters.weight[:, int(codes[1, at]), i]
            total += torch.exp((fit - stem.norm.running_mean) / torch.sqrt(stem.norm.running_var + 1e-5))
        expected = stem.mix.weight @ (total / (stride // step)) + stem.mix.bias
        torch.testing.assert_close(found[1, token], expected)


def test_a_filter_that_fits_too_well_stays_a_number():
    stem = SequenceStem(2, 4).eval()
    with torch.no_grad():
        stem.filters.weight.fill_(100.0)
    assert stem(codes_of(1, 40, top=4)).isfinite().all()


@pytest.mark.parametrize("stride", [2, 6, 16, 32, 100, 128])
def test_one_token_for_every_stride_near_its_bases(stride):
    torch.manual_seed(0)
    stem = SequenceStem(16, stride).double().eval()
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
    stem = SequenceStem(8, 4).eval()
    n = torch.full((1, 40), 4, dtype=torch.uint8)
    assert torch.equal(stem(n), stem(torch.full((1, 40), 255, dtype=torch.uint8)))
    assert not torch.equal(stem(n), stem(torch.zeros(1, 40, dtype=torch.uint8)))


def test_other_integer_types_are_read_alike():
    stem, codes = SequenceStem(8, 4).eval(), codes_of(2, 40)
    torch.testing.assert_close(stem(codes), stem(codes.long()))


def test_bf16_is_near_float32_and_weights_learn():
    torch.manual_seed(0)
    stem, codes = SequenceStem(32, 32).eval(), codes_of(2, 320)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = stem(codes)
    assert low.dtype == torch.bfloat16
    torch.testing.assert_close(low.float(), stem(codes), atol=0.02, rtol=0.05)
    low.float().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in stem.parameters())


@pytest.mark.parametrize(
    ("stride", "step"), [(1, 1), (2, 2), (3, 3), (7, 1), (9, 3), (22, 2), (32, 4), (100, 5), (128, 4)]
)
def test_filters_move_by_the_largest_divisor_up_to_five(stride, step):
    assert filter_step(stride) == step
    assert SequenceStem(4, stride)(codes_of(1, 2 * stride)).shape == (1, 2, 4)


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="window of 100 bases is no multiple of the stride 32: take 96 bases"):
        SequenceStem(8, 32)(codes_of(1, 100))
    with pytest.raises(InputError, match="kernel is 3 and would leave out bases: take 4"):
        SequenceStem(8, 4, kernel=3)
    with pytest.raises(InputError, match="stride is 0: it has to be 1 or more"):
        SequenceStem(8, 0)
