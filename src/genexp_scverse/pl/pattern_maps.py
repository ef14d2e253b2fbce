"""What a model takes for a high and for a low gene: class-optimised pattern maps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle

from genexp_scverse._errors import InputError, some
from genexp_scverse.pl import _stored, _style
from genexp_scverse.schema import CHROMATIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from mudata import MuData

_ACTIVE = 0.25
"""A bin of a pattern map is active above this (Singh et al., Bioinformatics 32:i639, 2016)."""


def patterns(mdata: MuData, model: str = "deepchrome", *, sample: str | None = None, ax: Axes | None = None) -> Axes:
    """Draw the class-optimised pattern maps of a model, the classes side by side.

    Reads ``mdata.uns["<model>_patterns"]``: ``classes``, ``marks`` and ``values`` (classes x marks x bins,
    from 0 to 1), or one such entry per sample. A star to the right of a row marks a strong mark of that
    class: one with more active bins than the mean over the marks. Strong marks are taken from
    ``strong`` (classes x marks) of the entry; without it a bin is active above 0.25.

    Parameters
    ----------
    mdata
        Gene-centric MuData with stored patterns (``gx.tl.class_patterns``).
    model
        Name of the model that the patterns are of.
    sample
        Sample to draw where there is an entry for each.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes; its image holds marks x (bins of all classes with a gap between).

    Raises
    ------
    InputError
        When the patterns or the sample are not there, or the entry is not of this form.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((2, 2, 4)), genes=["a", "b"], marks=["H3K4me3", "H3K9me3"])
    >>> values = np.array([[[0, 0, 0, 0], [0, 1, 1, 0]], [[0, 1, 1, 1], [0, 0, 0, 0.5]]])
    >>> mdata.uns["deepchrome_patterns"] = {
    ...     "classes": ["low", "high"], "marks": ["H3K4me3", "H3K9me3"], "values": values
    ... }
    >>> ax = gx.pl.patterns(mdata)
    >>> [label.get_text() for label in ax.get_yticklabels()]
    ['H3K4me3', 'H3K9me3']
    """
    classes, marks, values, strong = _entry(mdata, model, sample)
    n_classes, n_marks, n_bins = values.shape
    gap = max(1, round(0.12 * n_bins))
    step = n_bins + gap
    wide = np.full((n_marks, n_classes * step - gap), np.nan)
    for c in range(n_classes):
        wide[:, c * step : c * step + n_bins] = values[c]

    ax = _style.axes(ax, (7.0, 1.9 + 0.3 * n_marks))
    ax.spines[["left", "bottom"]].set_visible(False)
    image = ax.imshow(wide, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    ax.set_xlim(-0.5, n_classes * step - 0.5)
    for c, name in enumerate(classes):
        left = c * step - 0.5
        frame: dict[str, Any] = {"fill": False, "edgecolor": _style.GREY, "linewidth": 0.8, "clip_on": False}
        ax.add_patch(Rectangle((left, -0.5), n_bins, n_marks, **frame))
        ax.text(left + n_bins / 2, -0.62, f"{name} genes", ha="center", va="bottom")
        at = np.flatnonzero(strong[c])
        ax.scatter(np.full(len(at), left + n_bins + gap / 2), at, marker="*", s=45, color="0.15")
    ax.set_yticks(range(n_marks), marks)
    ax.tick_params(axis="y", length=0)
    uns = mdata[CHROMATIN].uns if CHROMATIN in mdata.mod else {}
    label = _style.label_blocks(ax, uns, n_classes, n_bins, step)
    ax.set_xlabel(f"{label}\n★ more active bins than the mean mark", fontsize=_style.SMALL)
    _style.colorbar(ax, image, "Pattern")
    return ax


def _entry(mdata: MuData, model: str, sample: str | None) -> tuple[list[str], list[str], np.ndarray, np.ndarray]:
    """Classes, marks, values and strong marks (classes x marks) of the stored entry."""
    key = f"{model}_patterns"
    if key not in mdata.uns:
        there = [str(k).removesuffix("_patterns") for k in mdata.uns if str(k).endswith("_patterns")]
        found = f"there are those of {some(there, 6)}" if there else "there are none"
        msg = f'mdata.uns has no "{key}": of patterns {found}; make them with gx.tl.class_patterns'
        raise InputError(msg)
    entry: Mapping[str, Any] = mdata.uns[key]
    where = f'mdata.uns["{key}"]'
    if "values" not in entry:
        there = [str(k) for k in entry]
        if sample is None and len(there) == 1:
            sample = there[0]
        if sample is None or sample not in entry:
            said = "holds an entry per sample" if sample is None else f"has no sample {sample!r}"
            msg = f"{where} {said}: choose sample= from {some(there, 6)}"
            raise InputError(msg)
        entry = entry[sample]
    elif sample is not None:
        _stored.one_sample(mdata, sample, CHROMATIN)
    if missing := [k for k in ("classes", "marks", "values") if k not in entry]:
        msg = f"{where} lacks {some(missing)}: make it again with gx.tl.class_patterns"
        raise InputError(msg)
    classes, marks = ([str(v) for v in np.asarray(entry[k]).tolist()] for k in ("classes", "marks"))
    values = np.asarray(entry["values"], dtype=np.float64)
    if values.ndim != 3 or values.shape[:2] != (len(classes), len(marks)):
        msg = (
            f"{where} has values of shape {values.shape} for {len(classes)} classes and {len(marks)} marks, "
            "expected classes x marks x bins: make it again with gx.tl.class_patterns"
        )
        raise InputError(msg)
    active = (values > _ACTIVE).sum(axis=2)
    strong = np.asarray(entry.get("strong", active > active.mean(axis=1, keepdims=True)), dtype=bool)
    return classes, marks, values, strong
