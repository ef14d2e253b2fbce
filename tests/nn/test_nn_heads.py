from __future__ import annotations

import pytest
import torch

from genexp_scverse.nn.heads import ExpressionHead


@pytest.mark.parametrize(
    ("target", "keys"), [("label", {"logit"}), ("expression", {"level"}), ("both", {"logit", "level"})]
)
def test_head_gives_what_the_target_asks_for(target, keys):
    head = ExpressionHead(4, target)
    hidden = torch.rand(5, 4)
    out = head(hidden)
    assert set(out) == keys
    if "logit" in out:
        p = torch.softmax(head.label(hidden), dim=1)
        torch.testing.assert_close(torch.sigmoid(out["logit"]), p[:, 1])


@pytest.mark.parametrize("label_units", [1, 2])
def test_readout_of_a_sample(label_units):
    head = ExpressionHead(4, "both", label_units=label_units, n_samples=3)
    hidden, sample = torch.rand(5, 4), torch.tensor([2, 0, -1, 1, 2])
    out = head(hidden, sample)
    level = hidden @ head.level.weight.T + head.level.bias
    expected = [level[0, 2], level[1, 0], level[2].mean(), level[3, 1], level[4, 2]]
    torch.testing.assert_close(out["level"], torch.stack(expected))
    torch.testing.assert_close(head(hidden)["level"], level.mean(1))
    units = (hidden @ head.label.weight.T + head.label.bias).reshape(5, 3, label_units)
    logits = units[:, :, 1] - units[:, :, 0] if label_units == 2 else units[:, :, 0]
    expected = [logits[0, 2], logits[1, 0], logits[2].mean(), logits[3, 1], logits[4, 2]]
    torch.testing.assert_close(out["logit"], torch.stack(expected))
