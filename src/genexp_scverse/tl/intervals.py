"""Whether intervals hold what they state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from genexp_scverse import schema
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.model.base._tables import targets

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.model.base import GeneModel


def interval_coverage(
    model: GeneModel,
    mdata: MuData,
    *,
    split: str | None = "test",
    samples: Sequence[str] | str | None = None,
    coverages: Sequence[float] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
    key_added: str = "interval_coverage",
) -> pd.DataFrame:
    """Count how many measured levels lie in their intervals, at several stated coverages.

    The stated coverage is that of an average over draws of validation genes: with one draw of n the share itself
    varies, by about the square root of c (1 - c) / n, on top of what the genes that are counted vary.

    Parameters
    ----------
    model
        A trained model that gives intervals, such as :class:`genexp_scverse.model.Ensemble`.
    mdata
        Where the genes are, with expression.
    split
        Genes to count; None for all.
    samples
        As for ``predict``.
    coverages
        Stated coverages.
    key_added
        Name of the result.

    Returns
    -------
    A row per sample and coverage: sample, coverage (stated), n (measured genes), observed (share in the interval)
    with its 95 % Wilson interval observed_low and observed_high, and width (mean, on the log scale). Also written to
    ``mdata.uns[key_added]``, drawn by :func:`genexp_scverse.pl.interval_coverage`.

    Raises
    ------
    InputError
        When the model gives no intervals, or not of this coverage, or nothing was measured.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> rng = np.random.default_rng(0)
    >>> x = rng.random((300, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(300)], marks=["H3K4me3", "H3K27me3"],
    ...                         expression=x[:, 0].mean(1) + rng.normal(0, 0.1, 300), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata, fractions=(0.4, 0.2, 0.4))
    >>> model = gx.model.Ensemble(mdata, model="Linear", n_members=1)
    >>> model.train()
    >>> table = gx.tl.interval_coverage(model, mdata, coverages=[0.5, 0.9])
    >>> table[["sample", "coverage", "n"]].to_numpy().tolist()
    [['K562', 0.5, 120], ['K562', 0.9, 120]]
    """
    if not hasattr(model, "predict_interval"):
        msg = f"{type(model).__name__} gives no intervals: make it the one member of gx.model.Ensemble"
        raise InputError(msg)
    if split == "valid":
        logger.warning("Intervals are made of the errors of the validation genes: what these cover says nothing")
    rows: list[dict[str, Any]] = []
    for coverage in coverages:
        frame = model.predict_interval(mdata, coverage=coverage, split=split, samples=samples)
        at = mdata.obs_names.get_indexer(frame.index)
        if not rows:
            model._warn_of_training_genes(mdata, at, split)
        for sample in [c.removesuffix(":low") for c in frame if c.endswith(":low")]:
            level = targets(mdata, model.setup_["modalities"][schema.RNA], [sample], {})[0][at, 0]
            known = ~np.isnan(level)
            if not known.any():
                where = "the whole set" if split is None else f"split {split!r}"
                msg = f"sample {sample!r} has no measured level in {where}: there is nothing to count"
                raise InputError(msg)
            low, high = (frame[f"{sample}:{end}"].to_numpy()[known] for end in ("low", "high"))
            inside = (level[known] >= low) & (level[known] <= high)
            share = binomtest(int(inside.sum()), len(inside)).proportion_ci(method="wilson")
            rows.append(
                {
                    "sample": sample,
                    "coverage": float(coverage),
                    "n": len(inside),
                    "observed": float(inside.mean()),
                    "observed_low": float(share.low),
                    "observed_high": float(share.high),
                    "width": float((high - low).mean(dtype=np.float64)),
                }
            )
    table = pd.DataFrame(rows).sort_values(["sample", "coverage"], kind="stable", ignore_index=True)
    mdata.uns[key_added] = table.copy()
    return table
