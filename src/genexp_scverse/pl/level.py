"""Predicted against observed expression."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator
from scipy.ndimage import gaussian_filter
from scipy.stats import pearsonr, spearmanr

from genexp_scverse.pl import _stored, _style
from genexp_scverse.schema import LOG, RNA

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData


def observed_predicted(
    mdata: MuData,
    prediction: str,
    *,
    sample: str | None = None,
    split: str | None = "test",
    ax: Axes | None = None,
) -> Axes:
    """Draw predicted against observed expression on the log scale.

    Reads ``mdata["rna"].layers["log"]`` (natural log, x) and ``layers["<prediction>"]`` (y). Points are
    coloured by their local density; both axes have the same limits, and the line is identity. Pearson and
    Spearman correlation and the number of genes stand in the corner.

    Parameters
    ----------
    mdata
        Gene-centric MuData with expression and predictions.
    prediction
        Name of a stored prediction of the level.
    sample
        Sample to draw; None where only one has predictions.
    split
        Genes to draw: ``train``, ``valid``, ``test``, or None for all.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes.

    Raises
    ------
    InputError
        When the prediction, the expression, the sample or the split is not there.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(
    ...     np.ones((3, 1, 2)), genes=["a", "b", "c"], marks=["H3K4me3"], expression=[0, 1, 9], unit="tpm"
    ... )
    >>> mdata["rna"].layers["ridge"] = np.array([[0.1], [0.5], [2.0]])
    >>> ax = gx.pl.observed_predicted(mdata, "ridge", split=None)
    >>> ax.get_ylabel()
    'Predicted by ridge'
    """
    if sample is None and len(there := _stored.predicted_samples(mdata, LOG, prediction, split)) == 1:
        sample = there[0]
    sample = _stored.one_sample(mdata, sample)
    observed, predicted = _stored.pairs(mdata, LOG, prediction, sample, split)
    ax = _style.axes(ax, (4.6, 4.6))
    low, high = min(observed.min(), predicted.min()), max(observed.max(), predicted.max())
    pad = 0.04 * (high - low) or 0.5
    limits = (low - pad, high + pad)
    density = _density(observed, predicted, limits)
    order = np.argsort(density, kind="stable")
    ax.scatter(
        observed[order],
        predicted[order],
        c=np.log(density[order]),
        s=float(np.clip(8000 / len(order), 3, 24)),
        cmap="viridis",
        linewidths=0,
        rasterized=True,
    )
    ax.plot(limits, limits, color=_style.GREY, linestyle=":", linewidth=1, zorder=1)
    ax.set(xlim=limits, ylim=limits, aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    rna = mdata[RNA]
    unit = str(rna.var["unit"].iloc[_stored.samples(mdata).index(sample)])
    ax.set_xlabel(f"Observed {_level_words(unit)}")
    ax.set_ylabel(f"Predicted by {prediction}")
    flat = min(np.ptp(observed), np.ptp(predicted)) == 0
    r, rho = (np.nan, np.nan) if flat else (pearsonr(observed, predicted)[0], spearmanr(observed, predicted)[0])
    note = f"Pearson {r:.3f}\nSpearman {rho:.3f}\nn = {len(observed):,}"
    box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 2}
    ax.text(0.03, 0.97, note, transform=ax.transAxes, va="top", fontsize=_style.SMALL, bbox=box)
    ax.set_title(_style.where(sample, split), fontsize="medium")
    return ax


def _density(x: np.ndarray, y: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Local density of points: a smoothed histogram, since a kernel estimate is quadratic in the genes."""
    counts, edges, _ = np.histogram2d(x, y, bins=120, range=[limits, limits])
    smooth = gaussian_filter(counts, 2)
    i, j = (np.clip(np.searchsorted(edges, v, side="right") - 1, 0, 119) for v in (x, y))
    return smooth[i, j]


def _level_words(unit: str) -> str:
    if unit == "log":
        return "expression (log, as given)"
    return f"expression, ln({unit.upper() if unit not in ('counts', 'cage') else unit} + 1)"
