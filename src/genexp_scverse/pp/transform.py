"""Transforms of the signal that need no statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from genexp_scverse import _axes
from genexp_scverse._errors import InputError, some
from genexp_scverse._rows import blocks_of
from genexp_scverse.pp.scaler import LOGGED
from genexp_scverse.schema import BINS, CHROMATIN

if TYPE_CHECKING:
    from mudata import MuData


def log1p(mdata: MuData, *, key: str = BINS, key_added: str = "bins_log1p") -> None:
    """Take the natural logarithm of 1 + signal.

    Parameters
    ----------
    mdata
        With tracks that are no logarithms yet.
    key
        Entry of ``mdata["chromatin"].obsm`` to read, genes x tracks x bins.
    key_added
        Entry to write.

    Returns
    -------
    None. Writes

    ``mdata["chromatin"].obsm[key_added]`` : ndarray (genes x tracks x bins, float32)
        NaN where not covered.

    Raises
    ------
    InputError
        A track is a logarithm already (scale log or log_ratio), there is no entry `key`, or `key_added` would
        write over the signal.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.array([[[0, np.e - 1]]]), genes=["a"], marks=["H3K4me3"])
    >>> gx.pp.log1p(mdata)
    >>> mdata["chromatin"].obsm["bins_log1p"].tolist()
    [[[0.0, 1.0]]]
    """
    var = mdata.mod[CHROMATIN].var
    logged = var.index[var["scale"].astype(str).isin(LOGGED)]
    if len(logged):
        msg = (
            f"{len(logged)} of {len(var)} tracks ({some(logged)}) are logarithms already (scale log or log_ratio): "
            "use gx.pp.arcsinh, or leave them out"
        )
        raise InputError(msg)
    _write(mdata, np.log1p, key, key_added)


def arcsinh(mdata: MuData, *, cofactor: float = 1.0, key: str = BINS, key_added: str = "bins_arcsinh") -> None:
    """Take the inverse hyperbolic sine of signal / cofactor: linear near 0, a logarithm beyond, for any sign.

    Parameters
    ----------
    mdata
        With tracks of any scale.
    cofactor
        Signal at which the linear part ends.
    key
        Entry of ``mdata["chromatin"].obsm`` to read, genes x tracks x bins.
    key_added
        Entry to write.

    Returns
    -------
    None. Writes

    ``mdata["chromatin"].obsm[key_added]`` : ndarray (genes x tracks x bins, float32)
        NaN where not covered.

    Raises
    ------
    InputError
        `cofactor` is not above 0, there is no entry `key`, or `key_added` would write over the signal.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.array([[[0, 3.0]]]), genes=["a"], marks=["H3K4me3"])
    >>> gx.pp.arcsinh(mdata, cofactor=4)
    >>> mdata["chromatin"].obsm["bins_arcsinh"].round(3).astype(float).round(3).tolist()
    [[[0.0, 0.693]]]
    """
    if not cofactor > 0:
        msg = f"cofactor={cofactor} has to be above 0"
        raise InputError(msg)
    _write(mdata, lambda x: np.arcsinh(x / np.float32(cofactor)), key, key_added)


def _write(mdata: MuData, function: Callable[[np.ndarray], np.ndarray], key: str, key_added: str) -> None:
    chromatin = mdata.mod[CHROMATIN]
    if key_added in (key, BINS):
        msg = f"key_added={key_added!r} would write over the signal itself: choose another name"
        raise InputError(msg)
    bins = _axes.get(chromatin, key)
    result = np.empty(bins.shape, np.float32)
    for rows, block in blocks_of(bins, np.arange(bins.shape[0])):
        result[rows] = function(block.astype(np.float32, copy=False))
    _axes.put(chromatin, key_added, result, tracks=np.arange(bins.shape[1]), window=_axes.window_of(chromatin, key))
