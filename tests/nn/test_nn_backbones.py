"""The interface of the backbones, and what every one of them promises."""

from __future__ import annotations

import pytest
import torch

from genexp_scverse import InputError
from genexp_scverse.nn.backbones import BACKBONES, check_settings, make_backbone
from genexp_scverse.nn.dilated import DilatedLayer

SETTINGS = {"ssd": {"head_size": 8, "d_state": 4, "chunk": 16}, "mamba": {"d_state": 4}, "conv": {"n_dilations": 3}}


def made(name, width=8, n_layers=3, **more):
    torch.manual_seed(0)
    return make_backbone(name, width, n_layers, **SETTINGS[name], **more)


@pytest.fixture(params=list(BACKBONES))
def name(request):
    return request.param


@pytest.mark.parametrize("length", [1, 5, 100])
def test_shape_is_kept_and_all_parameters_learn(name, length):
    backbone = made(name)
    x = torch.randn(2, length, 8, requires_grad=True)
    y = backbone(x)
    assert y.shape == x.shape
    (y * torch.randn_like(y)).sum().backward()
    assert torch.isfinite(x.grad).all()
    if length == 100:
        for parameter_name, parameter in backbone.named_parameters():
            assert parameter.grad.abs().sum() > 0, parameter_name


def test_checkpoint_gives_the_same_numbers_and_keeps_less(name):
    x = torch.randn(2, 200, 8)
    plain, lean = made(name), made(name, checkpoint=True)
    lean.load_state_dict(plain.state_dict())
    slope = torch.randn(2, 200, 8)
    kept = []
    for backbone in (plain, lean):
        count = 0

        def pack(tensor):
            nonlocal count
            count += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            y = backbone(x)
        (y * slope).sum().backward()
        kept.append(count)
    torch.testing.assert_close(plain(x), lean(x))
    for one, other in zip(plain.parameters(), lean.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    assert kept[1] < kept[0] / 3


def test_rows_of_a_batch_do_not_see_each_other(name):
    backbone = made(name).double()
    x = torch.randn(3, 50, 8, dtype=torch.float64)
    torch.testing.assert_close(backbone(x)[1:2], backbone(x[1:2]))


def test_every_position_is_seen_from_both_sides(name):
    backbone = made(name).double()
    x = torch.randn(1, 41, 8, dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(backbone(x)[0, 20].square().sum(), x)[0].abs().sum(2)[0]
    # the light one sees 1 + 2 + 4 positions on either side, the others all
    reach = 7 if name == "conv" else 20
    assert torch.equal(gradient > 0, (torch.arange(41) - 20).abs() <= reach)


def test_bf16_is_near_float32(name):
    backbone = made(name, width=16)
    x = torch.randn(2, 300, 16, requires_grad=True)
    y = backbone(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        low = backbone(x)
    assert torch.isfinite(low).all()
    assert (low.float() - y).abs().mean() < 0.02
    torch.manual_seed(1)
    slope = torch.randn_like(y)
    gradients = [torch.autograd.grad((each * slope).sum(), x)[0] for each in (y, low.float())]
    assert torch.cosine_similarity(*(g.flatten() for g in gradients), dim=0) > 0.99


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_gives_the_numbers_of_the_cpu(name, monkeypatch):
    # convolutions are rounded to 10 bits of the mantissa otherwise
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    backbone = made(name)
    x = torch.randn(2, 300, 8)
    slope = torch.randn_like(x)
    results = []
    for device in ("cpu", "cuda"):
        moved = backbone.to(device)
        moved.zero_grad()
        y = moved(x.to(device))
        (y * slope.to(device)).sum().backward()
        results.append([y.detach().cpu(), *(p.grad.cpu().clone() for p in moved.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
    with torch.autocast("cuda", dtype=torch.bfloat16):
        low = backbone(x.cuda())
    assert (low.float().cpu() - results[0][0]).abs().mean() < 0.02


def test_dilated_layer_is_a_sum_over_positions():
    torch.manual_seed(0)
    layer = DilatedLayer(3, dilation=2).double()
    x = torch.randn(1, 9, 3, dtype=torch.float64)
    normed = x[0] / (x[0].pow(2).mean(-1, keepdim=True) + 1e-5).sqrt()
    hidden = layer.conv.bias + sum(normed[t] @ layer.conv.weight[:, :, k].T for k, t in enumerate((2, 4, 6)))
    expected = x[0, 4] + layer.out(torch.nn.functional.gelu(hidden))
    torch.testing.assert_close(layer(x)[0, 4], expected)


def test_what_does_not_fit_is_said():
    with pytest.raises(InputError, match="there is no backbone 'lstm': it has 'ssd', 'mamba', 'conv'"):
        make_backbone("lstm", 8, 1)
    with pytest.raises(InputError, match="backbone 'mamba' has no setting 'chunk': it has 'd_state', 'conv', 'expand'"):
        make_backbone("mamba", 8, 1, chunk=4)
    with pytest.raises(InputError, match="kernel is 4: it has to be odd"):
        make_backbone("conv", 8, 1, kernel=4)


@pytest.mark.parametrize("settings", [3, 0, "deep", ["d_state", 4], True])
def test_settings_that_are_no_dictionary_are_said(settings):
    said = (
        f"backbone_settings={settings!r} is no dictionary: give settings of the backbone 'ssd' by their names, such as"
    )
    with pytest.raises(InputError) as caught:
        check_settings("ssd", settings)
    assert str(caught.value) == f'{said} {{"d_state": 32}}'


def test_names_of_other_arguments_are_no_settings(name):
    for settings in ({"width": 3}, {"name": "conv"}, {"n_layers": 2}):
        with pytest.raises(InputError, match=f"backbone {name!r} has no setting '{next(iter(settings))}': it has '"):
            make_backbone(name, 8, 1, **settings)
    # these two never come as arguments
    for settings in ({"checkpoint": True}, {3: 4}):
        with pytest.raises(InputError, match=f"backbone {name!r} has no setting '{next(iter(settings))}': it has '"):
            check_settings(name, settings)
    check_settings(name, None)
    check_settings(name, {})


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ssd", {"chunk": 0}),
        ("ssd", {"d_state": 2.5}),
        ("ssd", {"conv": None}),
        ("mamba", {"expand": "2"}),
        ("mamba", {"d_state": True}),
        ("conv", {"kernel": -1}),
        ("conv", {"n_dilations": 0}),
    ],
)
def test_settings_count_something(name, settings):
    ((key, value),) = settings.items()
    with pytest.raises(InputError) as caught:
        make_backbone(name, 8, 1, **settings)
    said = f"setting {key}={value!r} of backbone {name!r} is not possible: give a whole number, 1 or more"
    assert str(caught.value) == said


def test_dropout_is_a_share_and_a_size_of_heads_may_be_left_open():
    for value in (1, 1.5, -0.1, "0.1", None):
        with pytest.raises(InputError, match=r"setting dropout=.* is not possible: give a number from 0 to below 1$"):
            make_backbone("conv", 8, 1, dropout=value)
    assert make_backbone("conv", 8, 1, dropout=0).layers[0].conv.kernel_size == (3,)
    # 16 inner channels are one head
    open_size, one_head = make_backbone("ssd", 8, 1, head_size=None), make_backbone("ssd", 8, 1, head_size=16)
    assert [p.shape for p in open_size.parameters()] == [p.shape for p in one_head.parameters()]
