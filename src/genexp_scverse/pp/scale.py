"""Bring the signal of marks to one scale, with statistics of the training genes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genexp_scverse import _axes
from genexp_scverse._errors import InputError
from genexp_scverse._rows import blocks_of
from genexp_scverse.pp.scaler import SignalScaler
from genexp_scverse.pp.split import training_rows
from genexp_scverse.schema import BINS, CHROMATIN

if TYPE_CHECKING:
    from mudata import MuData

__all__ = ["SignalScaler", "scale"]


def scale(mdata: MuData, *, transform: str = "auto", key: str = BINS, key_added: str = "bins_scaled") -> None:
    """Transform the signal and divide every mark by its standard deviation over the training genes.

    A copy for looking at and for use outside of this package: the models of this package scale ``bins`` on
    their own, with the same :class:`SignalScaler`.

    Parameters
    ----------
    mdata
        With ``obs["split"]``.
    transform
        See :class:`SignalScaler`.
    key
        Entry of ``mdata["chromatin"].obsm`` to read, genes x tracks x bins.
    key_added
        Entry to write.

    Returns
    -------
    None. Writes

    ``mdata["chromatin"].obsm[key_added]`` : ndarray (genes x tracks x bins, float32)
        Scaled signal, 0 where not covered. It is in memory even when `key` is not.
    ``mdata["chromatin"].var["scale_divisor"]`` : Series (float64)
        Standard deviation by which the track was divided, the same for all tracks of a mark.
    ``mdata["chromatin"].uns[f"{key_added}_scaler"]`` : dict
        What :meth:`SignalScaler.from_dict` takes.

    Raises
    ------
    InputError
        There is no split, no training gene, no entry `key`, or `key_added` is the entry read.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> bins = np.array([[[0, 2]], [[4, 4]]])
    >>> mdata = gx.io.from_bins(bins, genes=["a", "b"], marks=["H3K4me3"])
    >>> mdata.obs["split"] = ["train", "test"]
    >>> gx.pp.scale(mdata, transform="none")
    >>> mdata["chromatin"].obsm["bins_scaled"].tolist()
    [[[0.0, 2.0]], [[4.0, 4.0]]]
    """
    chromatin = mdata.mod[CHROMATIN]
    if key_added in (key, BINS):
        msg = f"key_added={key_added!r} would write over the signal itself: choose another name"
        raise InputError(msg)
    rows = training_rows(mdata)
    scales, marks = [str(s) for s in chromatin.var["scale"]], [str(m) for m in chromatin.var["mark"]]
    samples = [str(s) for s in chromatin.var["sample"]]
    bins = _axes.get(chromatin, key)
    scaler = SignalScaler(transform).fit(bins, scales, marks, rows, samples=samples)
    scaled = np.empty(bins.shape, np.float32)
    for at, block in blocks_of(bins, np.arange(bins.shape[0])):
        scaled[at] = scaler.transform(block, scales, marks, samples=samples)
    _axes.put(chromatin, key_added, scaled, tracks=np.arange(len(marks)), window=_axes.window_of(chromatin, key))
    chromatin.var["scale_divisor"] = [scaler.divisors[m] for m in marks]
    chromatin.uns[f"{key_added}_scaler"] = scaler.to_dict()
