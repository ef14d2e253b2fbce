"""Where a model with attention looks: bins of each mark and marks, for one gene or as a mean over classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pl import _stored, _style
from genexp_scverse.schema import CHROMATIN, LABEL

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from mudata import MuData

_BARS = 0.3
"""Width of the bars of marks, in windows."""
_CLASSES = (("low", 0), ("high", 1))


def attention(
    mdata: MuData,
    model: str = "attentivechrome",
    *,
    gene: str | None = None,
    sample: str | None = None,
    split: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw the attention over bins as a map, marks x bins, and beside it the attention over marks as bars.

    Reads ``obsm["<model>_bin_attention"]`` and ``obsm["<model>_mark_attention"]`` of the modality chromatin (with
    ``_<sample>`` at the end where there are several samples) and ``uns["<model>_attention"]``. Colours are
    attention x number of bins: 1 is what every bin would have if all were looked at alike. Bars are shares of the
    marks in per cent.

    Parameters
    ----------
    mdata
        Gene-centric MuData with stored attention (``model.get_attention()``).
    model
        Name under which it is stored.
    gene
        Gene id, or a gene name that only one gene has: this gene, with its signal as a line over the map. Without
        it the means over low and over high genes (``mdata["rna"].layers["label"]``), side by side.
    sample
        Sample to draw where there are several.
    split
        Genes to average: ``train``, ``valid``, ``test``, or None for all.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes; its image holds marks x (windows and room for the bars).

    Raises
    ------
    InputError
        When the attention, the sample, the gene or a class is not there.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> bins = np.array([[[4.0, 2.0]], [[1.0, 1.0]]])
    >>> mdata = gx.io.from_bins(bins, genes=["a", "b"], marks=["H3K4me3"], labels=[1, 0])
    >>> mdata["chromatin"].obsm["attentivechrome_bin_attention"] = np.array([[[0.75, 0.25]], [[0.5, 0.5]]])
    >>> mdata["chromatin"].obsm["attentivechrome_mark_attention"] = np.ones((2, 1))
    >>> mdata["chromatin"].uns["attentivechrome_attention"] = {"marks": ["H3K4me3"], "samples": ["sample"]}
    >>> gx.schema.name_axes(mdata)
    >>> ax = gx.pl.attention(mdata, gene="a")
    >>> ax.get_images()[0].get_array()[0, :2].tolist()
    [1.5, 0.5]
    """
    marks, bins, shares, sample = _entry(mdata, model, sample)
    if gene is not None:
        row, name = _gene(mdata, gene)
        blocks = [("", bins[row], shares[row])]
        title = f"{name}, {sample}"
    else:
        blocks, title = _means(mdata, bins, shares, sample, split)
    n_marks, n_bins = bins.shape[1:]
    step = n_bins + round((_BARS + 0.22) * n_bins) + 1
    wide = np.full((n_marks, len(blocks) * step), np.nan)
    for b, (_, values, _) in enumerate(blocks):
        wide[:, b * step : b * step + n_bins] = values * n_bins

    ax = _style.axes(ax, (4.4 + 3.0 * (len(blocks) - 1), 1.9 + 0.32 * n_marks))
    ax.spines[["left", "bottom"]].set_visible(False)
    top = float(np.nanquantile(wide, 0.995)) or 1.0
    image = ax.imshow(wide, aspect="auto", cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
    # behind the last bars there is room for their numbers alone
    ax.set_xlim(-0.5, (len(blocks) - 1) * step + (1.04 + _BARS + 0.1) * n_bins)
    longest = max(float(np.nanmax(share)) for _, _, share in blocks) or 1.0
    for b, (name, _, share) in enumerate(blocks):
        left = b * step - 0.5
        frame: dict[str, Any] = {"fill": False, "edgecolor": _style.GREY, "linewidth": 0.8, "clip_on": False}
        ax.add_patch(Rectangle((left, -0.5), n_bins, n_marks, **frame))
        ax.text(left + n_bins / 2, -0.62, name, ha="center", va="bottom", fontsize=_style.SMALL)
        _bars(ax, left + 1.04 * n_bins, share, _BARS * n_bins / longest)
    if gene is not None:
        _signal(ax, mdata, row, sample, marks, n_bins)
    ax.set_yticks(range(n_marks), marks)
    ax.tick_params(axis="y", length=0)
    note = "bars: attention over marks (%)"
    note = f"line: signal / its maximum; {note}" if gene is not None else note
    label = _style.label_blocks(ax, mdata[CHROMATIN].uns, len(blocks), n_bins, step)
    ax.set_xlabel(f"{label}\n{note}", fontsize=_style.SMALL)
    ax.set_title(title, fontsize="medium", pad=16 if blocks[0][0] else None)
    _style.colorbar(ax, image, "Attention (1: all bins alike)", extend="max" if np.nanmax(wide) > top else "neither")
    return ax


def _entry(mdata: MuData, model: str, sample: str | None) -> tuple[list[str], np.ndarray, np.ndarray, str]:
    """Find the marks, the attention over bins (genes x marks x bins) and over marks, and the sample."""
    chromatin = _stored.modality(mdata, CHROMATIN)
    about = chromatin.uns.get(f"{model}_attention")
    if about is None or not {"marks", "samples"} <= set(about):
        there = [str(k).removesuffix("_attention") for k in chromatin.uns if str(k).endswith("_attention")]
        found = f"there is that of {some(there, 6)}" if there else "there is none"
        msg = f'mdata["chromatin"] holds no attention of {model!r}: {found}; store it with model.get_attention()'
        raise InputError(msg)
    marks, samples = ([str(v) for v in np.asarray(about[k]).tolist()] for k in ("marks", "samples"))
    if sample is None and len(samples) == 1:
        sample = samples[0]
    if sample not in samples:
        said = f"{len(samples)} samples" if sample is None else f"no sample {sample!r}"
        msg = f"the stored attention of {model!r} has {said}: choose sample= from {some(samples, 6)}"
        raise InputError(msg)
    arrays = []
    for part, n_dims in (("bin", 3), ("mark", 2)):
        names = (f"{model}_{part}_attention_{sample}", f"{model}_{part}_attention")
        key = next((k for k in names if k in chromatin.obsm), None)
        array = None if key is None else np.asarray(_stored.by_mark(chromatin, key, sample, marks))
        if array is None or array.ndim != n_dims or array.shape[1] != len(marks):
            msg = f'mdata["chromatin"].obsm["{names[1]}"] is not there or not of {len(marks)} marks: store it anew'
            raise InputError(f"{msg} with model.get_attention()")
        arrays.append(array)
    return marks, arrays[0], arrays[1], sample


def _means(
    mdata: MuData, bins: np.ndarray, shares: np.ndarray, sample: str, split: str | None
) -> tuple[list[tuple[str, np.ndarray, np.ndarray]], str]:
    """Name, attention over bins and over marks of low and of high genes, and the title."""
    rows = _stored.genes_of(mdata, split)
    label = _stored.column(mdata, LABEL, sample)[rows]
    _stored.need_both_classes(label, sample, split)
    if unknown := int(np.isnan(label).sum()):
        logger.info("%d of %d genes have no label in sample %r and are left out", unknown, len(rows), sample)
    blocks = []
    for name, value in _CLASSES:
        of = rows[label == value]
        blocks.append((f"{name} genes, n = {len(of):,}", bins[of].mean(0), shares[of].mean(0)))
    return blocks, _style.where(sample, split)


def _gene(mdata: MuData, gene: str) -> tuple[int, str]:
    """Row and name of a gene given by id or by name."""
    named = mdata.obs.get("gene_name")
    if gene in mdata.obs_names:
        row = int(mdata.obs_names.get_loc(gene))
    else:
        rows = np.array([], int) if named is None else np.flatnonzero((named.astype(str) == gene).to_numpy())
        if len(rows) != 1:
            ids = f": choose one by its id, {some(mdata.obs_names[rows], 6)}" if len(rows) else ""
            msg = f"{len(rows) or 'no'} genes have the id or name {gene!r}{ids}"
            raise InputError(msg)
        row = int(rows[0])
    name = "" if named is None else named.astype(object).iloc[row]
    return row, name if isinstance(name, str) and name else str(mdata.obs_names[row])


def _bars(ax: Axes, left: float, share: np.ndarray, scale: float) -> None:
    """Draw a bar per mark to the right of its row, with the share in per cent."""
    ax.barh(range(len(share)), share * scale, left=left, height=0.5, color=_style.PALETTE[1], linewidth=0)
    for m, value in enumerate(share):
        ax.annotate(
            f"{100 * value:.0f}",
            (left + value * scale, m),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize="x-small",
        )


def _signal(ax: Axes, mdata: MuData, row: int, sample: str, marks: list[str], n_bins: int) -> None:
    """Draw the signal of the gene over every row of the map, from 0 at the bottom to its maximum."""
    var = mdata[CHROMATIN].var
    track = {str(m): i for i, (s, m) in enumerate(zip(var["sample"], var["mark"], strict=True)) if str(s) == sample}
    edges = np.arange(n_bins + 1) - 0.5
    for m, mark in enumerate(marks):
        if mark not in track:
            continue
        values = np.nan_to_num(_stored.track_values(mdata, track[mark], np.array([row]))[0])
        high = np.abs(values).max() or 1.0
        line = ax.stairs(m + 0.42 - 0.84 * values / high, edges, baseline=None, color="0.1", linewidth=0.8)
        line.set_path_effects([withStroke(linewidth=2.4, foreground="white", alpha=0.8)])
