"""Arrays of several samples side by side, on disk where they lie on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from genexp_scverse._errors import InputError
from genexp_scverse._rows import BLOCK_BYTES, give_back, mapped, on_disk, rows_of

IN_MEMORY_BYTES = 256 * 2**20
"""Up to this size arrays are joined in memory, wherever they lie."""


def join_tracks_of(arrays: Sequence[Any], keep: np.ndarray) -> Any:
    """Lay arrays of genes x marks x bins side by side, genes x tracks x bins.

    Parameters
    ----------
    arrays
        One or more of the same number of genes and bins; float32 or float16.
    keep
        Which genes to take.

    Returns
    -------
    An array in memory where all are, or where they are small. Otherwise one that reads from the files: a single
    array itself; neighbouring parts of one memmap as one memmap; anything else as a dask array.

    Raises
    ------
    InputError
        When dask is needed and not installed.

    Examples
    --------
    >>> join_tracks_of([np.zeros((2, 1, 1)), np.ones((2, 1, 1))], np.array([True, False])).tolist()
    [[[0.0], [1.0]]]
    """
    if keep.all() and len(arrays) == 1:
        return arrays[0]
    if keep.all() and (whole := _one_memmap(arrays)) is not None:
        return whole
    nbytes = sum(math.prod(a.shape) * np.dtype(a.dtype).itemsize for a in arrays)
    if nbytes <= IN_MEMORY_BYTES or not any(on_disk(a) for a in arrays):
        return np.concatenate([rows_of(a, np.flatnonzero(keep)) for a in arrays], axis=1)
    try:
        import dask.array as da
    except ImportError as error:
        msg = (
            f"{len(arrays)} arrays on disk can only be joined there with dask: install it (pip install dask), or write "
            "one array of genes x tracks x bins and give its parts, bins={sample: array[:, first:last], ...}"
        )
        raise InputError(msg) from error
    step = max(1, BLOCK_BYTES // max(1, sum(4 * math.prod(a.shape[1:]) for a in arrays)))
    # a name of its own keeps dask from reading everything to make one of the content
    lazy = [
        a if hasattr(a, "dask") else da.from_array(_Rows(a), chunks=(step, -1, -1), name=False, lock=not _plain(a))
        for a in arrays
    ]
    joined = da.concatenate([a.rechunk((step, -1, -1)) for a in lazy], axis=1).rechunk((step, -1, -1))
    return joined if keep.all() else joined[np.flatnonzero(keep)]


class _Rows:
    """What dask reads a block from: a copy, so that the pages of a mapped file can be given back."""

    def __init__(self, array: Any):
        self._array, self.shape, self.dtype, self.ndim = array, array.shape, array.dtype, array.ndim

    def __getitem__(self, key: Any) -> np.ndarray:
        block = np.array(self._array[key])
        if _plain(self._array):
            give_back(self._array)
        return block


def _plain(array: Any) -> bool:
    return isinstance(array, np.ndarray)


def _one_memmap(arrays: Sequence[Any]) -> np.ndarray | None:
    """Recover the array that `arrays` are neighbouring slices of, along the tracks."""
    first = arrays[0]
    if not all(_plain(a) and a.dtype == first.dtype and a.strides == first.strides for a in arrays):
        return None
    root = mapped(first)
    place = first.__array_interface__["data"][0]
    for a in arrays:
        if root is None or mapped(a) is None or mapped(a)._mmap is not root._mmap:
            return None
        if a.__array_interface__["data"][0] != place:
            return None
        place += a.shape[1] * a.strides[1]
    shape = (first.shape[0], sum(a.shape[1] for a in arrays), first.shape[2])
    return np.lib.stride_tricks.as_strided(first, shape, first.strides, subok=True)
