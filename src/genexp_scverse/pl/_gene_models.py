"""Genes along a chromosome: packed into rows, drawn with their strand and name."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse._scores import gene_names
from genexp_scverse.pl import _style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_LETTER = 0.075
"""Width of a letter in inches."""


class GeneModel(NamedTuple):
    """A gene in view."""

    gene: int
    """Row of the gene in the MuData."""
    name: str
    start: int
    end: int
    tss: int
    strand: str
    row: int
    """Row that it is drawn in, 0 at the top."""
    text: float
    """Where its name begins."""


def pack_genes(mdata: MuData, chrom: str, view: tuple[int, int], inches: float) -> list[GeneModel]:
    """Genes in view with a row for each, such that neither bodies nor names of a row overlap."""
    obs, names = mdata.obs, gene_names(mdata)
    tss = pd.to_numeric(obs["tss"], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    start, end = tss.copy(), tss + 1
    if {"start", "end"} <= set(obs.columns):
        known = (obs["start"].notna() & obs["end"].notna()).to_numpy(bool)
        start = np.where(known, pd.to_numeric(obs["start"], errors="coerce").to_numpy(np.float64, na_value=np.nan), tss)
        end = np.where(known, pd.to_numeric(obs["end"], errors="coerce").to_numpy(np.float64, na_value=np.nan), tss + 1)
    strand = obs["strand"].astype(object).to_numpy() if "strand" in obs else np.full(len(obs), "")
    with np.errstate(invalid="ignore"):
        seen = (obs["chrom"].astype(object) == chrom).to_numpy(bool) & (end > view[0]) & (start < view[1])
    per_base = inches / (view[1] - view[0])
    margin = 0.12 / per_base
    free: list[float] = []
    models = []
    for gene in sorted(np.flatnonzero(seen), key=lambda g: (start[g], end[g])):
        a, b = max(start[gene], view[0]), min(end[gene], view[1])
        width = _LETTER * len(str(names[gene])) / per_base
        text = float(np.clip((a + b - width) / 2, view[0], max(view[0], view[1] - width)))
        left, right = min(a, text), max(b, text + width)
        row = next((i for i, taken in enumerate(free) if taken + margin <= left), len(free))
        free[row : row + 1] = [right]
        models.append(
            GeneModel(
                int(gene),
                str(names[gene]),
                int(start[gene]),
                int(end[gene]),
                int(tss[gene]),
                str(strand[gene]),
                row,
                text + width / 2,
            )
        )
    return models


def draw_genes(ax: Axes, models: list[GeneModel], focus: int, n_rows: int, view: tuple[int, int]) -> None:
    """Draw bodies as lines with chevrons along the strand, the TSS as a bent arrow, and the name below."""
    step = (view[1] - view[0]) / 45
    for model in models:
        color = _style.PALETTE[1] if model.gene == focus else "#1B2A49"
        y, sign = model.row, {"+": 1, "-": -1}.get(model.strand, 0)
        if model.end - model.start > 1:
            ax.plot([model.start, model.end], [y, y], color=color, linewidth=4.5, solid_capstyle="butt", zorder=2)
            inside = np.arange(max(model.start, view[0]) + step / 2, min(model.end, view[1]) - step / 4, step)
            if sign and len(inside):
                at = np.full(len(inside), y)
                ax.plot(inside, at, ">" if sign > 0 else "<", markersize=2.6, color="white", zorder=2.5)
        _draw_tss(ax, model.tss, y, sign, color)
        ax.text(
            model.text,
            y + 0.16,
            model.name,
            ha="center",
            va="top",
            fontsize="x-small",
            color=color,
            fontweight="bold" if model.gene == focus else "normal",
            fontstyle="italic",
            clip_on=True,
        )
    ax.set_ylim(n_rows - 0.25, -0.6)
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    name_panel(ax, "genes")


def name_panel(ax: Axes, text: str, *, color: str = "0.15", y: float = 0.5) -> None:
    """Write a name left of a panel, at the same distance whatever its ticks are."""
    ax.annotate(
        text,
        xy=(0, y),
        xycoords="axes fraction",
        xytext=(-36, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=_style.SMALL,
        color=color,
        annotation_clip=False,
    )


def _draw_tss(ax: Axes, tss: int, y: float, sign: int, color: str) -> None:
    """Draw a stem at the TSS and an arrow in the direction of transcription, both of fixed size on paper."""
    ax.plot([tss, tss], [y, y - 0.38], color=color, linewidth=1.0, zorder=3)
    if sign:
        ax.annotate(
            "",
            xy=(tss, y - 0.38),
            xytext=(11 * sign, 0),
            textcoords="offset points",
            arrowprops={
                "arrowstyle": "<|-,head_width=0.16,head_length=0.32",
                "color": color,
                "lw": 1.0,
                "shrinkA": 0,
                "shrinkB": 0,
            },
        )
