"""A gene and its neighbours along the chromosome."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.collections import LineCollection
from matplotlib.transforms import blended_transform_factory
from scipy.sparse import csr_matrix

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._scores import gene_names
from genexp_scverse.pl import _stored, _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_LETTER, _LINE = 0.068, 0.155
"""Width of a small letter and height of a line in inches."""
_LINEAR = 1000
"""A logarithmic axis is linear up to this distance, in bases."""
_ARC = 60


def neighbors(
    mdata: MuData,
    gene: str,
    *,
    key: str = "simplechrome_attention",
    n_neighbors: int = 20,
    scale: Literal["auto", "linear", "log"] = "auto",
    ax: Axes | None = None,
) -> Axes:
    """Draw a gene and its neighbours in a graph along the chromosome.

    Names stand above the TSSs, with a triangle that points in the direction of transcription; an arc leads from
    the gene to each neighbour, wider and darker the larger its weight in row `gene` of ``mdata.obsp[key]``.
    Neighbours on other chromosomes are not drawn, and counted in the title.

    Parameters
    ----------
    mdata
        With ``obs["chrom"]`` and ``obs["tss"]``, and ``strand`` and ``gene_name`` if known.
    gene
        Gene id, or a gene name that only one gene has.
    key
        Key of the graph: weights that a model gave back, or a graph of ``gx.pp.gene_neighbors`` and the like.
    n_neighbors
        Largest number of neighbours to draw: those of the largest weight.
    scale
        Axis of distances: ``linear``, ``log`` (to either side, linear within 1 kb), or ``auto``: log where the
        distances span a factor of more than 100.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes: x is the distance to the TSS of the gene in bases, along the + strand.

    Raises
    ------
    InputError
        When the gene, the graph or the coordinates are not there, or no neighbour lies on the gene's chromosome.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": "chr1", "tss": [100, 900, 400], "strand": ["+", "-", "+"]}, index=list("abc"))
    >>> mdata = gx.io.from_bins(np.ones((3, 1, 1)), genes=list("abc"), marks=["H3K4me3"], obs=obs)
    >>> gx.pp.gene_neighbors(mdata)
    >>> ax = gx.pl.neighbors(mdata, "a", key="neighbors")
    >>> sorted(text.get_text() for text in ax.texts)
    ['a', 'b', 'c']
    """
    if scale not in ("auto", "linear", "log"):
        msg = f'scale is {scale!r}: give "auto", "linear" or "log"'
        raise InputError(msg)
    row = _stored.row_of(mdata, gene)
    others, weight, elsewhere = _neighbors_of(mdata, row, key, n_neighbors)
    tss = mdata.obs["tss"].to_numpy(np.float64)
    rows = np.concatenate([[row], others])
    place = tss[rows] - tss[row]

    ax = _style.axes(ax, (7.2, 3.6))
    ax.spines["left"].set_visible(False)
    ax.set_yticks([])
    _set_axis(ax, place, scale)
    names = gene_names(mdata)[rows]
    strand = mdata.obs["strand"].astype(str).to_numpy()[rows] if "strand" in mdata.obs else np.full(len(rows), "")
    top = _name_genes(ax, place, names, strand)
    _draw_arcs(ax, place[1:], weight, "Attention" if "attention" in key else "Weight")
    ax.set_ylim(-1.06, top)
    sign = {"+": " (+)", "-": " (−)"}.get(strand[0], "")
    chrom = str(mdata.obs["chrom"].iloc[row])
    beside = f" – {elsewhere} more on other chromosomes" if elsewhere else ""
    ax.set_title(f"{names[0]}, {chrom}:{int(tss[row]) + 1:,}{sign}{beside}", fontsize="medium")
    return ax


def _neighbors_of(mdata: MuData, row: int, key: str, n_neighbors: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Neighbours on the same chromosome, their weights, and how many lie elsewhere."""
    if n_neighbors < 1:
        msg = f"n_neighbors is {n_neighbors}: give 1 or more"
        raise InputError(msg)
    if key not in mdata.obsp:
        there = [k for k in mdata.obsp if "distances" not in str(k)]
        msg = (
            f"mdata.obsp has no graph {key!r} (it has {some(there, 8) or 'none'}): choose another key=, or make one "
            "with gx.pp.gene_neighbors, or by a model that reads neighbours"
        )
        raise InputError(msg)
    found = csr_matrix(mdata.obsp[key][[row]])
    others, weight = found.indices.astype(np.int64), found.data.astype(np.float64)
    kept = (others != row) & (weight > 0)
    others, weight = others[kept], weight[kept]
    chrom = mdata.obs["chrom"].astype(object).to_numpy()
    same = np.array([chrom[j] == chrom[row] and pd.notna(mdata.obs["tss"].iloc[j]) for j in others], dtype=bool)
    if not same.any():
        msg = (
            f"gene {mdata.obs_names[row]!r} has {len(others)} neighbours in obsp[{key!r}], none of them on its own "
            "chromosome: there is nothing to draw along it"
        )
        raise InputError(msg)
    elsewhere = int((~same).sum())
    others, weight = others[same], weight[same]
    order = np.argsort(-weight, kind="stable")
    if len(order) > n_neighbors:
        logger.info("%d of %d neighbours are drawn, those of the largest weight", n_neighbors, len(order))
        order = order[:n_neighbors]
    return others[order], weight[order], elsewhere


def _set_axis(ax: Axes, place: np.ndarray, scale: str) -> None:
    far = np.abs(place[place != 0])
    reach = far.max() if len(far) else 1.0
    if scale == "log" or (scale == "auto" and len(far) > 1 and reach > 100 * max(far.min(), _LINEAR / 10)):
        ax.set_xscale("symlog", linthresh=_LINEAR, linscale=0.5)
        ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
        low, high = (_LINEAR * (10 if len(far) else 1) if v == 0 else v for v in (abs(place.min()), place.max()))
        low, high = (max(2.0 * v, 2 * _LINEAR) for v in (low, high))
        ax.set_xlim(-low, high)
        tens = [10.0**e for e in range(3, 10)]
        ticks = [-t for t in reversed(tens) if t <= low] + [0.0] + [t for t in tens if t <= high]
        ax.set_xticks(ticks)
    else:
        low, high = min(place.min(), 0.0), max(place.max(), 0.0)
        margin = 0.06 * ((high - low) or 2.0)
        ax.set_xlim(low - margin, high + margin)
    ax.xaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda x, _: _bases(x)))
    beyond = f" (log beyond {_bases(_LINEAR)})" if ax.get_xscale() == "symlog" else ""
    ax.set_xlabel(f"Distance to the TSS, along the + strand{beyond}")


def _bases(x: float) -> str:
    size = abs(x)
    unit, by = ("Mb", 1e6) if size >= 1e6 else ("kb", 1e3) if size >= 1e3 else ("bp", 1)
    return "TSS" if size < 1e-6 else f"{x / by:g} {unit}".replace("-", "−")


def _name_genes(ax: Axes, place: np.ndarray, names: np.ndarray, strand: np.ndarray) -> float:
    """Write the names above the axis of genes, apart from each other; returns the upper end of the y axis."""
    width, height = _style._inches(ax)
    longest = max(len(str(n)) for n in names) * _LETTER
    gap = longest + 0.1 if len(names) * (longest + 0.1) < width else _LINE
    flat = gap > _LINE
    room = (_LINE if flat else longest) + 0.42
    # the arcs have the height of 1; a figure too low for the names keeps a third for them
    inch = 1.06 / max(height - room, height / 3)
    at = _fraction(ax, place)
    order = np.argsort(at, kind="stable")
    slots = np.empty(len(at))
    slots[order] = _spread(at[order], gap / width, edge=gap / width / 2 if flat else 0.01)
    mixed = blended_transform_factory(ax.transAxes, ax.transData)
    ax.axhline(0, color="0.35", linewidth=1.2, zorder=2)
    for i, name in enumerate(names):
        color = _style.PALETTE[1] if i == 0 else "0.15"
        steps = ([at[i], at[i], slots[i]], [0, 0.05 * inch, 0.2 * inch])
        ax.plot(*steps, color=color, linewidth=0.8, transform=mixed, zorder=3, solid_capstyle="round")
        marker = {"+": ">", "-": "<"}.get(str(strand[i]), "o")
        ax.plot([slots[i]], [0.27 * inch], marker, color=color, markersize=5, transform=mixed, clip_on=False)
        ax.text(
            *(slots[i], 0.36 * inch, str(name)),
            transform=mixed,
            rotation=0 if flat else 90,
            ha="center",
            va="bottom",
            fontsize=_style.SMALL,
            color=color,
            fontweight="bold" if i == 0 else "normal",
        )
    return room * inch


def _spread(at: np.ndarray, gap: float, *, edge: float) -> np.ndarray:
    """Move sorted places apart by `gap`, or what there is room for, within [edge, 1 - edge]: by least squares."""
    from sklearn.isotonic import isotonic_regression

    room = 1 - 2 * edge
    steps = np.arange(len(at)) * min(gap, room / max(len(at) - 1, 1))
    return isotonic_regression(at - steps, y_min=edge, y_max=1 - edge - steps[-1]) + steps


def _fraction(ax: Axes, place: np.ndarray) -> np.ndarray:
    """Places on the x axis as shares of its length."""
    to = ax.xaxis.get_transform().transform
    low, high = to(np.array(ax.get_xlim()))
    return (to(np.asarray(place, dtype=float)) - low) / (high - low)


def _draw_arcs(ax: Axes, place: np.ndarray, weight: np.ndarray, label: str) -> None:
    scale = ax.xaxis.get_transform()
    origin, ends = scale.transform(np.zeros(1))[0], scale.transform(place)
    angle = np.linspace(0, np.pi, _ARC)
    reach = np.abs(ends - origin).max() or 1.0
    # the square root keeps the arcs of near genes visible
    depth = np.maximum(np.sqrt(np.abs(ends - origin) / reach), 0.06)
    middle, half = (ends + origin) / 2, (ends - origin) / 2
    x = scale.inverted().transform((middle[:, None] - half[:, None] * np.cos(angle)).ravel()).reshape(-1, _ARC)
    segments = np.stack([x, -depth[:, None] * np.sin(angle)], axis=2)
    order = np.argsort(weight, kind="stable")
    share = weight / weight.max()
    blues = mpl.colors.ListedColormap(mpl.colormaps["Blues"](np.linspace(0.28, 1, 256)))
    alike = np.ptp(weight) <= 1e-6 * weight.max()
    arcs = LineCollection(list(segments[order]), linewidths=0.8 + 3.2 * share[order], capstyle="round", zorder=1)
    if alike:
        arcs.set(color=_style.PALETTE[0], linewidth=1.4)
    else:
        arcs.set(array=weight[order], cmap=blues, norm=mpl.colors.Normalize(0, weight.max()))
        _style.colorbar(ax, arcs, label)
    ax.add_collection(arcs, autolim=False)
