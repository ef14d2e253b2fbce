"""What each mark is worth: a model trained without it, and with nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.model.base._selection import chosen_rows
from genexp_scverse.tl import _trials

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.model.base import GeneModel


def ablate_marks(
    model: str | Mapping[str, Any] | GeneModel,
    mdata: MuData,
    *,
    seeds: Sequence[int] = (0,),
    split: str = "test",
    samples: Sequence[str] | str | None = None,
    setup: Mapping[str, Any] | None = None,
    train: Mapping[str, Any] | None = None,
    n_bootstrap: int = 1000,
    key_added: str = "ablation",
) -> pd.DataFrame:
    """Train a model anew with all marks, with each mark left out, and with each alone.

    A mark that is left out without loss is not needed beside the others, which may tell the same; a mark that does
    well alone is informative, which others may be too. Together they say what a mark tells and what only it tells.
    Differences to all marks are paired: the same genes, the same resamples, the same seed.

    Parameters
    ----------
    model
        Name of a model, ``{"model": name, "setting": ..., hyperparameters, "train": {...}}``, or a model, of which
        hyperparameters, samples, marks, DNA, target and split are taken.
    mdata
        Gene-centric MuData; it is not changed but for the result. No array of signal is copied.
    seeds
        A training for each.
    split
        Genes to evaluate on.
    samples
        Samples to learn and to evaluate; by default as ``setup_mudata`` has it.
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
    A row per kind (``all``, ``without``, ``alone``), mark (empty for all), seed and sample: n, auroc, auprc, pearson
    and spearman with ``_low`` and ``_high``, and ``_diff``, ``_diff_low`` and ``_diff_high`` to all marks. Also
    written to ``mdata.uns[key_added]``, drawn by :func:`genexp_scverse.pl.ablation`. After Ctrl-C it holds the
    trainings that were complete; when one fails, these are in ``uns`` all the same.

    Raises
    ------
    InputError
        When there are fewer than two marks, and what training raises.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((150, 3, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(150)], marks=["H3K4me3", "H3K27me3", "H3K9me3"],
    ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata)
    >>> table = gx.tl.ablate_marks("Linear", mdata, n_bootstrap=50)
    >>> table.loc[table["pearson_diff"].idxmin(), ["kind", "mark"]].tolist()[0] in ("without", "alone")
    True
    """
    recipe, training, arguments, rna, split_key, light, resolved = _trials.prepare(model, mdata, samples, setup)
    marks, names = resolved["marks"] or [], resolved["samples"]
    if len(marks) < 2:
        msg = f"the model reads {', '.join(marks) or 'no mark'}: two marks at least are needed to leave one out"
        raise InputError(msg)
    level, label = _trials.truth(
        mdata,
        names,
        rna=rna,
        thresholds=_trials.training_medians(mdata, names, rna=rna, split_key=split_key),
    )
    rows = chosen_rows(mdata, {"split_key": split_key}, split, None)
    level, label = level[rows], label[rows]
    choices = [("all", "", marks)]
    choices += [("without", m, [other for other in marks if other != m]) for m in marks]
    choices += [("alone", m, [m]) for m in marks]
    table: list[dict[str, Any]] = []
    total, done = len(choices) * len(seeds), 0
    try:
        for seed in seeds:
            frames: dict[tuple[str, ...], pd.DataFrame] = {}
            for kind, mark, chosen in choices:
                if tuple(chosen) not in frames:
                    one = _trials.trained(
                        recipe,
                        light,
                        # masked marks stay so
                        {**arguments, **({"marks": chosen} if kind != "all" else {})},
                        seed=seed,
                        training={**(train or {}), **training},
                    )
                    frames[tuple(chosen)] = one.predict(light, indices=rows.tolist(), samples=names)
                new = [
                    {
                        **{"kind": kind, "mark": mark, "seed": int(seed), "sample": sample},
                        **_row(
                            level[:, j], label[:, j], frames[tuple(chosen)], frames[tuple(marks)], sample, n_bootstrap
                        ),
                    }
                    for j, sample in enumerate(names)
                ]
                table += new
                done += 1
                logger.info(
                    "%d of %d: %s, seed %d: %s", done, total, f"{kind} {mark}".strip(), seed, _trials.in_words(new)
                )
    except KeyboardInterrupt:
        if not table:
            raise
        logger.warning("Interrupted: the table holds the %d of %d trainings that were complete", done, total)
    finally:
        if table:
            mdata.uns[key_added] = pd.DataFrame(table)
    return mdata.uns[key_added].copy()


def _row(
    level: np.ndarray, label: np.ndarray, frame: pd.DataFrame, whole: pd.DataFrame, sample: str, n_bootstrap: int
) -> dict[str, float]:
    said, reference = _trials.predicted(frame, sample), _trials.predicted(whole, sample)
    row = _trials.shown(_trials.scores(level, label, said, n_bootstrap=n_bootstrap))
    return row | _trials.differences(level, label, said, reference, n_bootstrap=n_bootstrap, seed=0)
