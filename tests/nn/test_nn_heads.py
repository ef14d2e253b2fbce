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
