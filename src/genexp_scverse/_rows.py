"""Rows of an array, wherever it lies, without keeping in memory what was read."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from tokenize import TokenError
from typing import IO, Any

import numpy as np

BLOCK_BYTES = 16 * 2**20
"""About as much is read at once, counted in float32."""


def on_disk(array: Any) -> bool:
    """Tell whether `array` is read from a file: a memmap or a view of one, an h5py dataset, a dask array.

    Parameters
    ----------
    array
        What an entry of ``obsm`` may be.

    Examples
    --------
    >>> on_disk(np.zeros((2, 3)))
    False
    """
    array = getattr(array, "stored", array)
    return not isinstance(array, np.ndarray) or mapped(array) is not None


class Aligned:
    """An array of genes x tracks x ... with its tracks put in order, or gathered, as it is read; nothing is copied.

    Parameters
    ----------
    stored
        The array as it lies in memory or in a file.
    index
        Place in `stored` of every track, one row for all genes or one for each group of them; -1 is read as NaN.
    group
        Row of `index` for every gene, None where there is one for all.

    Examples
    --------
    >>> array = Aligned(np.arange(6.0).reshape(2, 3, 1), np.array([[2, 0]]))
    >>> array.shape, rows_of(array, np.array([1, 0])).tolist()
    ((2, 2, 1), [[[5.0], [3.0]], [[2.0], [0.0]]])
    """

    def __init__(self, stored: Any, index: np.ndarray, group: np.ndarray | None = None):
        self.stored, self.index, self.group = stored, index, group
        self.shape = (stored.shape[0], index.shape[1], *stored.shape[2:])
        self.dtype, self.ndim, self.chunks = stored.dtype, stored.ndim, getattr(stored, "chunks", None)

    def __getitem__(self, key: Any) -> np.ndarray:
        genes, tracks, *rest = (*key, slice(None))[: max(2, len(key))] if isinstance(key, tuple) else (key, slice(None))
        rows, of = np.arange(self.shape[0])[genes], np.arange(self.shape[1])[tracks]
        whole = self._read(np.atleast_1d(rows), np.atleast_1d(of))
        whole = whole[(0 if rows.ndim == 0 else slice(None), 0 if of.ndim == 0 else slice(None))]
        return whole[(*(slice(None),) * (rows.ndim + of.ndim), *rest)] if rest else whole

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def _read(self, rows: np.ndarray, tracks: np.ndarray) -> np.ndarray:
        group = np.zeros(len(rows), int) if self.group is None else self.group[rows]
        index = self.index[:, tracks]
        used = np.unique(index[np.unique(group)])
        used = used[used >= 0]
        if not len(used):
            return np.full((len(rows), len(tracks), *self.shape[2:]), np.nan, self.dtype)
        x = rows_of(self.stored, rows, used)
        at = np.searchsorted(used, index)
        at[index < 0] = 0
        x = x[:, at[0]] if len(at) == 1 else x[np.arange(len(rows))[:, None], at[group]]
        if (index < 0).any():
            x[(index < 0)[group]] = np.nan
        return x


def rows_of(array: Any, rows: np.ndarray, tracks: np.ndarray | None = None) -> np.ndarray:
    """Read some tracks of some genes in the order asked for, whatever order the array wants to be asked in.

    Parameters
    ----------
    array
        Genes x tracks x bins: numpy array, memmap, h5py dataset or dask array.
    rows
        Positions of genes, in any order, also repeated.
    tracks
        Positions of tracks; all when None.

    Returns
    -------
    New array in memory, of the type of `array`. Pages of a memmap that were touched are given back.

    Examples
    --------
    >>> rows_of(np.arange(6).reshape(3, 2, 1), np.array([2, 0]), np.array([1])).ravel().tolist()
    [5, 1]
    """
    if isinstance(array, np.ndarray):
        return _from_array(array, rows, tracks)
    unique, back = np.unique(rows, return_inverse=True)
    if not len(unique):
        return np.empty((0, array.shape[1] if tracks is None else len(tracks), *array.shape[2:]), array.dtype)
    columns = slice(None) if tracks is None else slice(int(tracks.min()), int(tracks.max()) + 1)
    first, last = int(unique[0]), int(unique[-1]) + 1
    if last - first <= 2 * len(unique):
        # one stretch is read many times faster than a list of positions
        x = np.asarray(array[first:last, columns])[unique - first]
    else:
        x = np.asarray(array[unique, columns])
    x = x[back] if len(rows) != len(unique) or np.any(np.diff(back) < 0) else x
    return x if tracks is None else x[:, tracks - columns.start]


def blocks_of(
    array: Any, rows: np.ndarray, tracks: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Read rows in blocks of about 16 MiB, or of a chunk of the file where that is more.

    Parameters
    ----------
    array
        As for :func:`rows_of`.
    rows
        Positions of genes, rising.
    tracks
        Positions of tracks; all when None.

    Yields
    ------
    Positions of the genes of the block, and the block as :func:`rows_of` gives it.

    Examples
    --------
    >>> [(at.tolist(), x.tolist()) for at, x in blocks_of(np.ones((3, 1, 1)), np.array([0, 2]))]
    [([0, 2], [[[1.0]], [[1.0]]])]
    """
    width = int(np.prod(array.shape[1:])) if tracks is None else len(tracks) * array.shape[2]
    step = max(1, BLOCK_BYTES // max(1, 4 * width))
    chunk = _chunk_rows(array)
    # no chunk is read for two blocks, unless it is huge
    step = max(1, round(step / chunk)) * chunk if chunk <= 8 * step else step
    ends = np.arange(step, array.shape[0] + step, step)
    for part in np.split(rows, np.searchsorted(rows, ends)):
        if len(part):
            yield part, rows_of(array, part, tracks)


def mapped(array: np.ndarray) -> Any:
    """Find the memmap that `array` is or looks into.

    Parameters
    ----------
    array
        Any array; a copy of a memmap is of its type too, and lies in memory.

    Returns
    -------
    The memmap, or None.

    Examples
    --------
    >>> mapped(np.zeros(3)) is None
    True
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        if isinstance(base, np.memmap) and getattr(base, "_mmap", None) is not None:
            return base
        base = base.base
    return None


def give_back(array: np.ndarray) -> None:
    """Let go of the pages of a mapped file: they would count as memory of the process until it ends.

    Changes to a memmap opened with ``c`` live in its pages alone, so these stay.

    Parameters
    ----------
    array
        Any array; nothing is done for one in memory.

    Examples
    --------
    >>> give_back(np.zeros(3))
    """
    root = mapped(array)
    if root is not None and root.mode in ("r", "r+", "w+") and hasattr(mmap, "MADV_DONTNEED"):
        root._mmap.madvise(mmap.MADV_DONTNEED)


def _from_array(array: np.ndarray, rows: np.ndarray, tracks: np.ndarray | None) -> np.ndarray:
    plain = np.asarray(array)
    step = len(rows)
    if mapped(array) is not None:
        # the system maps what lies around a page too, so that all of a row counts
        step = max(1, BLOCK_BYTES // max(1, abs(array.strides[0]), array.itemsize * int(np.prod(array.shape[1:]))))
    parts = []
    for start in range(0, max(1, len(rows)), max(1, step)):
        part = rows[start : start + max(1, step)]
        parts.append(plain[part] if tracks is None else plain[part[:, None], tracks])
        give_back(array)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _chunk_rows(array: Any) -> int:
    chunks = getattr(array, "chunks", None)
    if not chunks:
        return 1
    # dask lists the length of every chunk, h5py gives one length
    return int(np.ravel(chunks[0])[0])


def npy_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Read the header of an array in numpy's format: shape, whether it is in Fortran's order, and type.

    Raises
    ------
    ValueError
        When it is damaged, of another version, or of an array of objects, whatever numpy itself raises then.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> np.save(file, np.zeros((2, 3), np.float32)), file.seek(0)
    (None, 0)
    >>> npy_header(file)
    ((2, 3), False, dtype('float32'))
    """
    versions = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(stream)
    if version not in versions:
        msg = f"an array of the version {version} of the format"
        raise ValueError(msg)
    try:
        shape, fortran, dtype = versions[version](stream)
    # from its parser of Python literals
    except (EOFError, MemoryError, RecursionError, SyntaxError, TypeError, TokenError) as error:
        msg = f"a header that is none: {error}"
        raise ValueError(msg) from error
    if dtype.hasobject:
        msg = "an array of objects"
        raise ValueError(msg)
    return shape, fortran, dtype
