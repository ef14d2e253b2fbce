"""Activity of the promoter from the signal of marks around the TSS."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import blocks_of
from genexp_scverse._tracks import Tracks, tracks_of
from genexp_scverse.pp._dna_features import replace_features

if TYPE_CHECKING:
    from mudata import MuData


def promoter_activity(
    mdata: MuData,
    marks: Sequence[str] = ("H3K27ac", "DNase"),
    *,
    half_width: int = 500,
    windows: Any = None,
    key_added: str = "promoter_activity",
) -> None:
    """Take the geometric mean of the signals of some marks around the TSS as a feature of the gene.

    With two marks it is the square root of their product, as in the activity-by-contact model (Fulco et al. 2019,
    doi:10.1038/s41588-019-0538-0). The signal of a mark is its mean over the `half_width` bases before the TSS and as
    many from the TSS base on; bins that lie in this stretch in part count in part, and what is not covered counts as 0.

    Parameters
    ----------
    mdata
        With the tracks in ``mdata["chromatin"].obsm["bins"]``, unless `windows` is given.
    marks
        Marks, at least one; their signal is taken as it is and is not negative.
    half_width
        Bases on either side of the TSS.
    windows
        What :func:`genexp_scverse.io.genome_windows` gives, to read the signal of a genome store instead; a window of
        ``upstream=half_width, downstream=half_width`` is enough.
    key_added
        Name of the feature.

    Returns
    -------
    None. Writes

    ``mdata["dna"].X`` : ndarray (genes x features, float32), and ``.var_names``
        `key_added`, or ``<key_added>.<sample>`` for every sample that has all `marks` where there are several, behind
        the features that are there (see :func:`add_gene_features`). Models read the one of the sample they predict.
    ``mdata["dna"].var["sample"]`` : Series (str)
        Where there are several samples, the sample of these.

    Raises
    ------
    InputError
        When no sample has all marks, the stretch is no part of the window, or a signal is negative.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> window = {"upstream": 20, "downstream": 20, "bin_size": 10, "stranded": True}
    >>> bins = np.array([[[0, 8, 8, 0], [0, 1, 3, 0]]])
    >>> mdata = gx.io.from_bins(bins, genes=["a"], marks=["H3K27ac", "DNase"], window=window)
    >>> gx.pp.promoter_activity(mdata, half_width=10)
    >>> mdata["dna"].var_names.tolist(), mdata["dna"].X.tolist()
    (['promoter_activity'], [[4.0]])
    """
    marks = [marks] if isinstance(marks, str) else list(marks)
    if not marks or len(set(marks)) < len(marks):
        msg = f"marks={marks!r}: name at least one mark, and each once"
        raise InputError(msg)
    if isinstance(half_width, bool) or not isinstance(half_width, int | np.integer) or half_width < 1:
        msg = f"half_width={half_width!r}: give a whole number of bases, 1 or more"
        raise InputError(msg)
    if not isinstance(key_added, str) or not key_added or "/" in key_added:
        msg = f"key_added={key_added!r} is no name for a feature: give text without a slash"
        raise InputError(msg)
    tracks, window = _tracks(mdata, windows)
    positions = _positions(tracks.var, marks)
    weight = _weights(window["upstream"], window["bin_size"], int(tracks.bins.shape[2]), int(half_width))
    used = np.array(sorted({i for of in positions.values() for i in of}))
    mean = np.empty((mdata.n_obs, len(used)))
    for rows, block in blocks_of(tracks.bins, np.arange(mdata.n_obs), used):
        values = np.nan_to_num(block.astype(np.float64))
        if (values < 0).any():
            name = tracks.var.index[used[int((values < 0).any(axis=(0, 2)).argmax())]]
            msg = f"{name} has negative signal, which is no activity: choose marks whose scale is not log_ratio"
            raise InputError(msg)
        mean[rows] = values @ weight
    column = {int(track): i for i, track in enumerate(used)}
    activity = np.column_stack(
        [np.prod(mean[:, [column[i] for i in of]], axis=1) ** (1 / len(marks)) for of in positions.values()]
    )
    names = [key_added] if len(positions) == 1 else [f"{key_added}.{sample}" for sample in positions]
    samples = None if len(positions) == 1 else list(positions)
    replace_features(mdata, names, activity.astype(np.float32), group=key_added, samples=samples)


def _tracks(mdata: MuData, windows: Any) -> tuple[Tracks, dict[str, Any]]:
    """Tracks and their window."""
    tracks = tracks_of(mdata, windows)
    if tracks is None or tracks.window is None:
        msg = (
            'the MuData has no tracks with a window (mdata["chromatin"].uns["window"]): build it with a sheet, or give '
            "windows=gx.io.genome_windows(mdata)"
        )
        raise InputError(msg)
    return tracks, tracks.window


def _positions(tracks: pd.DataFrame, marks: list[str]) -> dict[str, list[int]]:
    pairs = zip(tracks["sample"].astype(str), tracks["mark"].astype(str), strict=True)
    at = {pair: i for i, pair in enumerate(pairs)}
    samples = list(dict.fromkeys(sample for sample, _ in at))
    having = {s: [at[s, m] for m in marks] for s in samples if all((s, m) in at for m in marks)}
    if not having:
        there = list(dict.fromkeys(mark for _, mark in at))
        msg = f"no sample has tracks of all of {some(marks)}: there are {some(there, 8)}; choose marks= from these"
        raise InputError(msg)
    lacking = [s for s in samples if s not in having]
    if lacking:
        logger.info("%s: without promoter activity, since tracks of %s are missing", some(lacking), some(marks))
    return having


def _weights(upstream: int, bin_size: int, n_bins: int, half_width: int) -> np.ndarray:
    """Share of every bin in the mean over the stretch around the TSS."""
    first, last = upstream - half_width, upstream + half_width
    if first < 0 or last > n_bins * bin_size:
        msg = (
            f"half_width={half_width} reaches beyond the window of {upstream} bases before the TSS and "
            f"{n_bins * bin_size - upstream} from it on: choose a smaller one"
        )
        raise InputError(msg)
    edges = np.clip(np.arange(n_bins + 1) * bin_size, first, last)
    return np.diff(edges) / (last - first)
