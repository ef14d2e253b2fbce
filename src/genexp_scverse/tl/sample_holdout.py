"""How well a model of some samples predicts another that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.model.base._registration import ALL_MARKS
from genexp_scverse.model.base._selection import chosen_rows
from genexp_scverse.model.base._sources import tracks_of
from genexp_scverse.tl import _trials

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.model.base import GeneModel


def leave_one_sample_out(
    model: str | Mapping[str, Any] | GeneModel,
    mdata: MuData,
    *,
    seeds: Sequence[int] = (0,),
    split: str = "test",
    samples: Sequence[str] | str | None = None,
    setup: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    n_bootstrap: int = 1000,
    key_added: str = "leave_one_sample_out",
) -> pd.DataFrame:
    """Train a model anew without each sample, and predict the genes of a split in the sample left out.

    Both are new then, the sample and the genes. Beside it stands what a model of all samples says of the same genes,
    for which only the genes are new: the difference is what it costs not to have the sample's own expression. Of the
    sample left out nothing is read but its signal; its label is level > the median of its training genes. Levels are
    compared by correlations, which do not depend on units.

    Where marks are masked (``setup={"marks": "all"}``) and the other samples have all the same marks, no model can
    learn what a missing mark means: those that the sample left out lacks are then left out of that training.

    Parameters
    ----------
    model
        Name of a model, ``{"model": name, "setting": ..., hyperparameters, "train": {...}}``, or a model, of which
        hyperparameters, samples, marks, DNA, target and split are taken.
    mdata
        Gene-centric MuData; it is not changed but for the result. No array of signal is copied.
    seeds
        A training of each for each.
    split
        Genes to evaluate on.
    samples
        Samples to learn from and to leave out in turn, two at least; by default as ``setup_mudata`` has it.
    setup
        Further arguments of ``setup_mudata``: marks, target, split_key, modalities.
    train
        Arguments of ``train``, such as ``max_epochs``, if the model takes them.
    n_bootstrap
        Number of bootstrap resamples of genes for 95 % intervals, 0 for none.
    key_added
        Name of the result.

    Returns
    -------
    A row per sample, kind (``unseen``: trained without the sample, ``seen``: trained on all) and seed: n_samples (that
    it was trained on), n_marks, n (genes), auroc, auprc, pearson and spearman with ``_low`` and ``_high``, and
    ``_diff``, ``_diff_low`` and ``_diff_high`` to ``seen``. Also written to ``mdata.uns[key_added]``. After Ctrl-C it
    holds the samples that were complete; when a training fails, these are in ``uns`` all the same.

    Raises
    ------
    InputError
        When there are fewer than two samples, one shares no mark with the others, and what training raises.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((150, 2, 20))
    >>> level = {"K562": x[:, 0].mean(1), "H1": x[:, 0].mean(1)}
    >>> mdata = gx.io.from_bins({"K562": x, "H1": x}, genes=[f"g{i}" for i in range(150)],
    ...                         marks=["H3K4me3", "H3K27me3"], expression=level, unit="log")
    >>> gx.pp.split_at_random(mdata)
    >>> table = gx.tl.leave_one_sample_out("Linear", mdata, n_bootstrap=0)
    >>> table[["sample", "kind", "n_samples"]].values.tolist()
    [['K562', 'seen', 2], ['K562', 'unseen', 1], ['H1', 'seen', 2], ['H1', 'unseen', 1]]
    """
    recipe, training, arguments, rna, split_key, light, resolved = _trials.prepare(model, mdata, samples, setup)
    names = resolved["samples"]
    if len(names) < 2:
        msg = f"there is one sample, {names[0]!r}: to leave one out takes two at least"
        raise InputError(msg)
    chosen = {name: _marks(light, resolved, name) for name in names}
    medians = _trials.training_medians(mdata, names, rna=rna, split_key=split_key)
    level, label = _trials.truth(mdata, names, rna=rna, thresholds=medians)
    rows = chosen_rows(mdata, {"split_key": split_key}, split, None)
    level, label = level[rows], label[rows]
    table: list[dict[str, Any]] = []
    total, done = len(seeds) * (len(names) + 1), 0

    def predicted(seed: int, **changed: Any) -> tuple[GeneModel, pd.DataFrame]:
        arguments_now = {**arguments, **changed}
        one = _trials.trained(recipe, light, arguments_now, seed=seed, training={**(train or {}), **training})
        wanted = [n for n in names if n not in one.setup_["samples"]] or names
        return one, one.predict(light, indices=rows.tolist(), samples=wanted)

    try:
        for seed in seeds:
            whole, seen = predicted(seed)
            done += 1
            for j, name in enumerate(names):
                others = [n for n in names if n != name]
                one, unseen = predicted(seed, samples=others, **chosen[name])
                done += 1
                pair = []
                for kind, by, frame in (("seen", whole, seen), ("unseen", one, unseen)):
                    said = _trials.predicted(frame, name)
                    row = _trials.scores(level[:, j], label[:, j], said, n_bootstrap=n_bootstrap, seed=seed)
                    row = {k: v for k, v in row.items() if k == "n" or k.split("_")[0] in _trials.SHOWN}
                    row |= _trials.differences(
                        level[:, j],
                        label[:, j],
                        said,
                        _trials.predicted(seen, name),
                        n_bootstrap=n_bootstrap,
                        seed=seed,
                    )
                    size = {"n_samples": len(by.setup_["samples"]), "n_marks": len(by.setup_["marks"])}
                    pair.append({"sample": name, "kind": kind, "seed": int(seed), **size, **row})
                table += pair
                logger.info("%d of %d: without %s, seed %d: %s", done, total, name, seed, _trials.in_words(pair[1:]))
    except KeyboardInterrupt:
        if not table:
            raise
        logger.warning("Interrupted: the table holds the %d samples that were complete", len(table) // 2)
    finally:
        if table:
            mdata.uns[key_added] = pd.DataFrame(table)
    return mdata.uns[key_added].copy()


def _marks(mdata: MuData, setup: dict, left_out: str) -> dict[str, Any]:
    """Choose marks to train with where `left_out` is to be predicted; raises before anything is trained."""
    if not setup["marks"]:
        return {}
    if not setup["masked"]:
        return {"marks": setup["marks"]}
    var = tracks_of(mdata, setup).var.astype(str)
    of = {s: set(var["mark"][var["sample"] == s]) for s in setup["samples"]}
    others = [of[s] for s in setup["samples"] if s != left_out]
    every = [m for m in setup["marks"] if any(m in o for o in others)]
    there = [m for m in every if m in of[left_out]]
    if not there:
        msg = (
            f"sample {left_out!r} has none of the marks of the others ({some(every, 6)}), so nothing can be learned "
            "for it: choose samples="
        )
        raise InputError(msg)
    alike = all(m in o for o in others for m in every)
    if alike and len(there) < len(every):
        logger.info("Without %s the model reads the marks that it has (%s)", left_out, ", ".join(there))
    return {"marks": there if alike else ALL_MARKS}
