"""How models do with few training genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genexp_scverse import schema
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.model.base._making import new_model
from genexp_scverse.model.base._registration import split_values
from genexp_scverse.model.base._selection import chosen_rows
from genexp_scverse.model.base._statistics import ensure_split
from genexp_scverse.tl import _trials

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.model.base import GeneModel

FEWEST_VALID = 20
"""Validation genes that keep their expression at least, so that an epoch can be chosen."""


def learning_curve(
    models: Mapping[str, str | Mapping[str, Any] | GeneModel],
    mdata: MuData,
    *,
    sizes: Sequence[int | None] = (100, 300, 1000, None),
    seeds: Sequence[int] = (0, 1, 2),
    split: str = "test",
    samples: Sequence[str] | str | None = None,
    setup: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    key_added: str = "learning_curve",
) -> pd.DataFrame:
    r"""Train models on the expression of n genes, and evaluate them on others.

    The expression of all training genes but n is hidden. They stay training genes, so that a model that learns from
    signal alone may use theirs. Of the :math:`V` validation genes :math:`\max(20, V n / N)` keep their expression,
    for :math:`N` training genes: to choose an epoch by thousands of genes is to know their expression. Which genes
    these are depends on the seed alone, so that all models see the same ones, and n genes of a seed are among its
    larger ones. The label of the genes evaluated is by the median of all N training genes, at every n.

    Parameters
    ----------
    models
        Label -> name of a model, ``{"model": name, "setting": ..., hyperparameters, "train": {...}}``, or a model,
        of which the hyperparameters are taken.
    mdata
        Gene-centric MuData; it is not changed but for the result. No array of signal is copied.
    sizes
        Numbers of training genes with expression; None for all.
    seeds
        Of the choice of genes, and of the model.
    split
        Genes to evaluate on.
    samples
        Samples to learn and to evaluate; by default as ``setup_mudata`` has it.
    setup
        Further arguments of ``setup_mudata``: marks, target, split_key, modalities.
    train
        Arguments of ``train``, such as ``max_epochs``; each goes to the models that take it.
    key_added
        Name of the result.

    Returns
    -------
    A row per model, n_train, seed and sample: n (genes evaluated), auroc, auprc, pearson, spearman, r2, mse, mae,
    n_valid (validation genes with expression) and train_seconds. Also written to ``mdata.uns[key_added]``, drawn by
    :func:`genexp_scverse.pl.learning_curve`. After Ctrl-C it holds the trainings that were complete; when one fails,
    these are in ``uns`` all the same.

    Raises
    ------
    InputError
        For a size that is larger than the number of training genes, a model that is not known, and what training
        raises.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((200, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(200)], marks=["H3K4me3", "H3K27me3"],
    ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata)
    >>> table = gx.tl.learning_curve({"linear": "Linear"}, mdata, sizes=(30, None), seeds=(0, 1))
    >>> table[["n_train", "seed"]].to_numpy().tolist()
    [[30, 0], [30, 1], [140, 0], [140, 1]]
    """
    trials = {str(label): _trials.read_trial(given) for label, given in models.items()}
    if not trials:
        msg = 'models is empty: name at least one, such as {"linear": "Linear"}'
        raise InputError(msg)
    arguments: dict[str, Any] = {"samples": samples, **(setup or {})}
    split_key = arguments.get("split_key", schema.SPLIT)
    ensure_split(mdata, split_key)
    rna = (arguments.get("modalities") or {}).get(schema.RNA) or schema.RNA
    # models of wrong hyperparameters are refused before anything is trained
    probe = _trials.light_copy(mdata, rna)
    resolved = [new_model(recipe, probe, arguments, seed=0).setup_ for recipe, _ in trials.values()]
    names = list(dict.fromkeys(s for each in resolved for s in each["samples"]))
    split_of = split_values(mdata, split_key)
    level, label = _trials.truth(
        mdata,
        names,
        rna=rna,
        thresholds=_trials.training_medians(mdata, names, rna=rna, split_key=split_key),
    )
    measured = ~(np.isnan(level) & np.isnan(label)).all(axis=1)
    known, valid = (np.flatnonzero(measured & (split_of == s)) for s in ("train", "valid"))
    counts = _checked_sizes(sizes, len(known))
    rows = chosen_rows(mdata, {"split_key": split_key}, split, None)
    table: list[dict[str, Any]] = []
    total, done = len(counts) * len(seeds) * len(trials), 0
    try:
        for n in counts:
            for seed in seeds:
                light, n_valid = _with_few(mdata, rna, known, valid, n, seed)
                for name, (recipe, training) in trials.items():
                    model = _trials.trained(recipe, light, arguments, seed=seed, training={**(train or {}), **training})
                    new = _evaluated(model, light, rows, level, label, names)
                    head = {"model": name, "n_train": n, "seed": int(seed)}
                    cost = {"n_valid": n_valid, "train_seconds": model.fitted_.get("train_seconds", np.nan)}
                    table += [{**head, **row, **cost} for row in new]
                    done += 1
                    logger.info(
                        "%d of %d: %s, %d genes, seed %d: %s", done, total, name, n, seed, _trials.in_words(new)
                    )
    except KeyboardInterrupt:
        if not table:
            raise
        logger.warning("Interrupted: the table holds the %d of %d trainings that were complete", done, total)
    finally:
        if table:
            mdata.uns[key_added] = pd.DataFrame(table)
    return mdata.uns[key_added].copy()


def _checked_sizes(sizes: Sequence[int | None], there: int) -> list[int]:
    if not len(sizes):
        msg = "sizes is empty: give numbers of training genes, such as (100, 1000, None), None for all"
        raise InputError(msg)
    for size in sizes:
        if size is not None and (isinstance(size, bool) or not isinstance(size, Integral) or size < 1):
            msg = f"sizes holds {size!r}: give whole numbers of genes, or None for all"
            raise InputError(msg)
        if size is not None and size > there:
            msg = f"sizes holds {size}, and {there} training genes have expression: leave it out, or give None for all"
            raise InputError(msg)
    return sorted({there if size is None else int(size) for size in sizes})


def _with_few(mdata: MuData, rna: str, known: np.ndarray, valid: np.ndarray, n: int, seed: int) -> tuple[MuData, int]:
    """Hide the expression of all training genes but `n`, and of validation genes in proportion."""
    rng = np.random.default_rng(seed)
    order, order_valid = rng.permutation(known), rng.permutation(valid)
    n_valid = min(len(valid), max(FEWEST_VALID, round(len(valid) * n / len(known))))
    hidden = np.concatenate([order[n:], order_valid[n_valid:]])
    light = _trials.light_copy(mdata, rna)
    expression = light.mod[rna]
    x = np.array(expression.X, np.float32)
    x[hidden] = np.nan
    expression.X = x
    for key in [k for k in (schema.LOG, schema.LABEL) if k in expression.layers]:
        values = np.array(expression.layers[key], np.float32)
        values[hidden] = np.nan
        expression.layers[key] = values
    return light, n_valid


def _evaluated(
    model: GeneModel, mdata: MuData, rows: np.ndarray, level: np.ndarray, label: np.ndarray, names: list[str]
) -> list[dict[str, Any]]:
    own = model.setup_["samples"]
    frame = model.predict(mdata, indices=rows.tolist(), samples=own)
    table = []
    for sample in own:
        j = names.index(sample)
        table.append(
            {"sample": sample, **_trials.scores(level[rows, j], label[rows, j], _trials.predicted(frame, sample))}
        )
    return table
