"""What a network looks for: the class-optimised pattern map of DeepChrome."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from genexp_scverse._errors import InputError

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.model.base import TorchGeneModel


def class_patterns(
    model: TorchGeneModel,
    mdata: MuData | None = None,
    *,
    n_steps: int = 1000,
    lr: float = 0.1,
    penalty: float = 0.009,
    active: float = 0.25,
    seed: int = 0,
    key_added: str | None = None,
) -> np.ndarray:
    r"""Compute the input that the network most takes for a high, and for a low gene.

    Singh et al. 2016, section 2.4: with the weights fixed and without dropout, from :math:`X \sim U(0, 1)` of
    marks x bins (all of them there, where the model masks marks), minimise
    :math:`-\log P(c | X) + \lambda \lVert X \rVert_2^2` by RMSprop, then clamp to [0, 1] and divide by the maximum.
    X is in the units of the network's input (scaled signal). A bin is active where the pattern exceeds `active`; a
    mark is strong where its number of active bins exceeds the mean over marks.

    Parameters
    ----------
    model
        A trained network with a label (``target`` label or both).
    mdata
        Where to store the result; by default the model's own MuData.
    n_steps, lr, penalty
        Of the optimisation; the paper's values.
    active
        Threshold of an active bin.
    seed
        Of the start.
    key_added
        Name of the result; by default ``<model name>_patterns``.

    Returns
    -------
    Patterns, classes (low, high) x marks x bins, in [0, 1]. Also written to ``mdata.uns[key_added]``:

    ``values``
        the same array
    ``classes``, ``marks``
        names of its first two axes
    ``strong``
        classes x marks, whether the mark is strong

    Raises
    ------
    InputError
        When the model is untrained, has no label, is not a network, or reads more than marks.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((60, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K4me3", "H3K27me3"],
    ...                         expression=x[:, 0].mean(1), unit="log")
    >>> gx.pp.split_at_random(mdata)
    >>> model = gx.model.DeepChrome(mdata)
    >>> model.train(1, enable_progress_bar=False)
    >>> gx.tl.class_patterns(model, n_steps=5).shape
    (2, 2, 20)
    """
    if not model.is_trained_:
        msg = "the model is not trained: call model.train() first"
        raise InputError(msg)
    if not isinstance(getattr(model, "module", None), torch.nn.Module) or not model.setup_["marks"]:
        msg = f"{type(model).__name__} is no network of histone marks: class patterns need one, such as DeepChrome"
        raise InputError(msg)
    beside = {"DNA": model.setup_["codes"] or model.setup_["features"], "neighbours": model._graph is not None}
    if also := [name for name, read in beside.items() if read]:
        msg = (
            f"the model also reads {' and '.join(also)}, and a class pattern is one of marks: train one that reads "
            'only marks (modalities={"dna": None}, neighbors=None)'
        )
        raise InputError(msg)
    if model.setup_["target"] == "expression":
        msg = 'the model has no label to make a pattern for: train it with target="label" or "both"'
        raise InputError(msg)
    shape = (len(model.setup_["marks"]), model.setup_["n_bins"])
    patterns = np.stack(
        [
            _pattern(
                model.module,
                shape,
                high,
                masked=model.setup_["masked"],
                n_steps=n_steps,
                lr=lr,
                penalty=penalty,
                seed=seed,
            )
            for high in (False, True)
        ]
    )
    mdata = model.adata if mdata is None else mdata
    if mdata is not None:
        count = (patterns > active).sum(axis=2)
        mdata.uns[key_added or f"{model.name}_patterns"] = {
            "values": patterns,
            "classes": np.array(["low", "high"]),
            "marks": np.array(model.setup_["marks"]),
            "strong": count > count.mean(axis=1, keepdims=True),
        }
    return patterns


def _pattern(
    module, shape, high: bool, *, masked: bool, n_steps: int, lr: float, penalty: float, seed: int
) -> np.ndarray:
    training = module.training
    module.eval()
    wanted = [p.requires_grad for p in module.parameters()]
    for p in module.parameters():
        p.requires_grad_(False)
    start = np.random.default_rng(seed).random((1, *shape), dtype=np.float32)
    x = torch.tensor(start, device=module.device, requires_grad=True)
    # a network of masked marks also reads which are there: all of them
    beside = {"present": torch.ones((1, shape[0]), device=module.device)} if masked else {}
    optimizer = torch.optim.RMSprop([x], lr=lr)
    sign = -1.0 if high else 1.0
    for _ in range(n_steps):
        optimizer.zero_grad()
        # softplus(-logit) is the negative log probability of the high class
        loss = F.softplus(sign * module({"bins": x, **beside})["logit"]).sum() + penalty * x.square().sum()
        loss.backward()
        optimizer.step()
    for p, flag in zip(module.parameters(), wanted, strict=True):
        p.requires_grad_(flag)
    module.train(training)
    pattern = x.detach().clamp(0, 1)[0].cpu().numpy()
    return pattern / pattern.max() if pattern.max() > 0 else pattern
