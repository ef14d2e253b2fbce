from __future__ import annotations

import numpy as np
import pytest
import torch
from small_models import make_mdata, make_model, without

import genexp_scverse as gx
from genexp_scverse import InputError


def test_patterns_show_what_raises_and_lowers_the_class():
    """The first mark rises and the second falls with expression around the TSS."""
    mdata = make_mdata(n_genes=600)
    model = make_model("DeepChrome", mdata)
    patterns = gx.tl.class_patterns(model, n_steps=300)
    low, high = patterns
    assert patterns.shape == (2, 3, 40)
    assert patterns.min() >= 0
    assert patterns.max() == 1
    near = slice(14, 26)
    assert high[0, near].mean() > 2 * high[1, near].mean()
    assert low[1, near].mean() > 2 * low[0, near].mean()
    stored = mdata.uns["deepchrome_patterns"]
    np.testing.assert_array_equal(stored["values"], patterns)
    assert list(stored["classes"]) == ["low", "high"]
    assert list(stored["marks"]) == model.setup_["marks"]
    count = (patterns > 0.25).sum(axis=2)
    np.testing.assert_array_equal(stored["strong"], count > count.mean(axis=1, keepdims=True))


def test_patterns_are_those_of_the_written_out_optimisation():
    mdata = make_mdata()
    model = make_model("DeepChrome", mdata)
    ours = gx.tl.class_patterns(model, n_steps=20, seed=3)[1]
    x = torch.tensor(np.random.default_rng(3).random((1, 3, 40), dtype=np.float32), requires_grad=True)
    optimizer = torch.optim.RMSprop([x], lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        loss = -torch.log(torch.sigmoid(model.module({"bins": x})["logit"]))[0] + 0.009 * (x**2).sum()
        loss.backward()
        optimizer.step()
    expected = x.detach().clamp(0, 1)[0].numpy()
    np.testing.assert_allclose(ours, expected / expected.max(), atol=1e-3)


def test_the_network_comes_back_as_it_was(tmp_path):
    mdata = make_mdata()
    model = make_model("DeepChrome", mdata)
    before = model.predict()
    model.module.train()
    gx.tl.class_patterns(model, n_steps=3)
    assert model.module.training
    assert all(p.requires_grad for p in model.module.parameters())
    np.testing.assert_array_equal(model.predict(), before)
    gx.io.write_mudata(mdata, tmp_path / "x.h5mu")
    stored = gx.io.read_mudata(tmp_path / "x.h5mu").uns["deepchrome_patterns"]
    np.testing.assert_array_equal(stored["values"], mdata.uns["deepchrome_patterns"]["values"])


def test_models_without_a_pattern_are_said():
    mdata = make_mdata(n_genes=80)
    with pytest.raises(InputError, match="Linear is no network"):
        gx.tl.class_patterns(make_model("Linear", mdata))
    with pytest.raises(InputError, match="not trained"):
        gx.tl.class_patterns(make_model("DeepChrome", mdata, train=False))
    with pytest.raises(InputError, match="no label"):
        gx.tl.class_patterns(make_model("DeepChrome", mdata, setup={"target": "expression"}))


@pytest.mark.parametrize("name", ["DeepChrome", "AttentiveChrome", "SimpleChromeVAE", "Seq2ExpModel"])
def test_patterns_of_masked_marks_are_those_of_a_sample_that_has_all(name):
    mdata = without(make_mdata(n_genes=80), "B.H3K36me3")
    model = make_model(name, mdata, setup={"marks": "all"}, train=False)
    model.is_trained_ = True
    assert model.setup_["masked"]
    ours = gx.tl.class_patterns(model, n_steps=3, seed=3)[1]
    x = torch.tensor(np.random.default_rng(3).random((1, 3, 40), dtype=np.float32), requires_grad=True)
    optimizer = torch.optim.RMSprop([x], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        out = model.module({"bins": x, "present": torch.ones(1, 3)})
        (-torch.log(torch.sigmoid(out["logit"]))[0] + 0.009 * (x**2).sum()).backward()
        optimizer.step()
    expected = x.detach().clamp(0, 1)[0].numpy()
    np.testing.assert_allclose(ours, expected / expected.max(), atol=1e-3)


def test_a_pattern_of_more_than_marks_is_refused():
    mdata = make_mdata(n_genes=80)
    gx.pp.gene_neighbors(mdata, n_neighbors=2)
    model = make_model("SimpleChromeVAE", mdata, train=False, neighbors="neighbors")
    model.is_trained_ = True
    with pytest.raises(InputError, match="the model also reads neighbours, and a class pattern is one of marks"):
        gx.tl.class_patterns(model)
