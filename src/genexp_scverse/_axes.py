"""What the further axes of an array of genes are: which track stands where, and in which window the bins lie.

anndata keeps ``var``, X and layers in step and does not know that axis 1 of an array in ``obsm`` goes with them. So the
modality has ``layers["track"]``, a number for every gene and track that goes wherever X goes, and beside an array in
``obsm`` stands ``obsm["<key>_axes"]`` with one row per gene: the window, a check of the content, and the number of the
track at every place of axis 1. Whoever reads the array compares the two, gene by gene.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._rows import BLOCK_BYTES, Aligned, blocks_of, on_disk

if TYPE_CHECKING:
    from anndata import AnnData

TRACK = "track"
"""Layer with the number of every track."""
AXES = "_axes"
"""End of the name of the array that says what the axes of another are."""
ANY_SAMPLE = "\0"
"""Values of whatever sample."""
WINDOW = ("upstream", "downstream", "bin_size", "stranded")
_OF, _CONTENT, _FIRST = len(WINDOW), len(WINDOW) + 1, len(WINDOW) + 2
_PROBED, _READ, _LOST = 256, 16, -2


def put(
    adata: AnnData,
    key: str,
    values: Any,
    *,
    tracks: Sequence[int] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
    window: Mapping[str, Any] | None = None,
    of: str | None = None,
) -> None:
    """Write ``obsm[key]`` with what its axes are; every array with more axes than genes and numbers goes through here.

    Parameters
    ----------
    adata
        Modality.
    key
        Name of the array.
    values
        Genes x tracks x ..., or genes x positions.
    tracks
        Place in ``var`` of every track of axis 1, -1 for one that is not there; None where axis 1 is no tracks.
    names
        Names of the entries of axis 1, needed where one is no track of ``var``.
    window
        Where the last axis lies (:data:`WINDOW`); None where it is no stretch of bases.
    of
        Sample that the values are of, where it is one.
    """
    n = len(adata)
    about = np.zeros((n, _FIRST), np.uint32)
    about[:, : len(WINDOW)] = _numbers(window)
    about[:, _OF] = _text_number(of)
    adata.obsm[key] = values
    if tracks is not None:
        tracks = np.asarray(tracks)
        there = _named(_layer(adata), tracks)
        if names is not None and (tracks < 0).any():
            there[:, tracks < 0] = [_text_number(n) for n, at in zip(names, tracks, strict=True) if at < 0]
        about = np.hstack([about, there])
        about[:, _CONTENT] = _content(values, about[:, _FIRST:] > 0, _probed(values))
    adata.obsm[key + AXES] = about


def get(
    adata: AnnData,
    key: str,
    *,
    tracks: Sequence[int] | np.ndarray | None = None,
    of: str | None = ANY_SAMPLE,
    quiet: bool = False,
) -> Any:
    """Read ``obsm[key]``, its axis 1 in the order of `tracks`.

    Parameters
    ----------
    adata
        Modality.
    key
        Name of an array of genes x tracks x ...
    tracks
        Places in ``var``, -1 for what is NaN then; by default all of ``var``.
    of
        Sample that the values have to be of.
    quiet
        Do not warn where the order is another.

    Returns
    -------
    The array itself where it is in this order, else one that is read like it (:class:`genexp_scverse._rows.Aligned`).

    Raises
    ------
    InputError
        When it is not known which track stands where.
    """
    there = numbers_of(adata, key, of=of)
    array, wanted = adata.obsm[key], np.arange(adata.n_vars) if tracks is None else np.asarray(tracks, dtype=int)
    index, group = _places(key, _named(_layer(adata), wanted), there)
    if lost := sorted(set(np.flatnonzero((index == _LOST).any(axis=0)))):
        msg = (
            f'obsm["{key}"] does not hold the track {some([adata.var_names[wanted[j]] for j in lost])} of var: add '
            f"samples with gx.io.add_samples and choose tracks with gx.pp.select, or {_advice(key)}"
        )
        raise InputError(msg)
    if group is None and np.array_equal(index[0], np.arange(array.shape[1])):
        return array
    _need_content(key, array, adata.obsm[key + AXES], there)
    if not quiet and (group is not None or (np.diff(index[0]) < 0).any()):
        logger.warning(
            'obsm["%s"] holds its tracks in another order than var: read in the order of var, as its record proves '
            "(gx.pp.select(mdata) writes it in this order)",
            key,
        )
    return Aligned(array, index, group)


def get_named(adata: AnnData, key: str, tracks: Sequence[int] | np.ndarray, *, of: str | None) -> Any:
    """Read ``obsm[key]`` of which ``uns`` names the entries of axis 1, in the order of these names.

    Parameters
    ----------
    adata, key, of
        As for :func:`get`.
    tracks
        Places in ``var`` of the tracks that have these names now, -1 where none has.

    Returns
    -------
    As for :func:`get`. Entries whose name no track has (a mark that the sample lacks, or whose track was renamed or
    left out since) are where they were.

    Raises
    ------
    InputError
        When genes have them in different orders that names do not tell.
    """
    there, tracks = numbers_of(adata, key, of=of), np.asarray(tracks, dtype=int)
    if there.shape[1] != len(tracks):
        msg = f'obsm["{key}"] holds {there.shape[1]} tracks and uns names {len(tracks)}: make it again'
        raise InputError(msg)
    now, group = _places(key, there, _layer(adata))
    if group is None:
        # entries that are no tracks of var have to be the same in all genes
        known = (there == there[:1]).all(axis=0) | (now[0] >= 0)
        if known.all() and ((now[0] == tracks) | (tracks < 0)).all():
            return adata.obsm[key]
    if (tracks >= 0).all():
        return get(adata, key, tracks=tracks, of=of)
    msg = f'obsm["{key}"] holds its tracks in another order than uns names them, and not all are in var: make it again'
    raise InputError(msg)


def settle(adata: AnnData, key: str) -> None:
    """Write ``obsm[key]`` in the order of var, unless it lacks tracks of var; what lies on disk stays there by dask."""
    index, _ = _places(key, _layer(adata), numbers_of(adata, key))
    if (index == _LOST).any():
        return
    found = get(adata, key, quiet=True)
    if isinstance(found, Aligned):
        if on_disk(found):
            try:
                import dask.array as da
            except ImportError:
                # it is put in order whenever it is read
                return
            step = max(1, BLOCK_BYTES // max(1, 4 * int(np.prod(found.shape[1:]))))
            found = da.from_array(found, chunks=(step, *found.shape[1:]), name=False, lock=True)
        else:
            found = np.asarray(found)
    about = np.hstack([np.asarray(adata.obsm[key + AXES])[:, :_FIRST], _layer(adata)]).astype(np.uint32)
    about[:, _CONTENT] = _content(found, about[:, _FIRST:] > 0, _probed(found))
    adata.obsm[key], adata.obsm[key + AXES] = found, about


def check_window(
    adata: AnnData, key: str, window: Mapping[str, Any] | None = None, *, of: str | None = ANY_SAMPLE
) -> None:
    """Raise unless all genes have their values in one window, `window` or that in ``uns``, and of the sample `of`."""
    about = _about(adata, key)
    said = adata.uns.get("window") if window is None else window
    numbers = about[:, : len(WINDOW)]
    first = _words(numbers[0]) if len(numbers) else ""
    if other := int((numbers != numbers[:1]).any(axis=1).sum()):
        second = _words(numbers[(numbers != numbers[:1]).any(axis=1)][0])
        msg = (
            f'obsm["{key}"] is of the window {first} in {len(about) - other} genes and of {second} in {other}: put '
            "genes of one window together"
        )
        raise InputError(msg)
    if said is not None and len(about) and numbers[0].any():
        wrong = [k for k, v in zip(WINDOW, numbers[0], strict=True) if k in said and int(said[k]) != int(v)]
        if wrong:
            msg = (
                f'obsm["{key}"] was made of the window {first} and its description in uns says '
                f"{', '.join(f'{k} {said[k]}' for k in wrong)}: restore that, or {_advice(key)}"
            )
            raise InputError(msg)
    if of is not ANY_SAMPLE and len(about) and (about[:, _OF] != _text_number(of)).any():
        than = "samples that uns does not name" if of is None else f"another sample than {of!r}"
        msg = f'obsm["{key}"] holds values of {than} in some genes: make it again'
        raise InputError(msg)


def window_of(adata: AnnData, key: str) -> dict[str, Any] | None:
    """Give the window of ``obsm[key]``: that of ``uns``, or where a concatenation left that out, that of its genes."""
    said = adata.uns.get("window")
    # a concatenation keeps the keys on which both agree
    if (said is not None and {"upstream", "downstream", "stranded"} <= set(said)) or not len(adata):
        return said
    row = _about(adata, key)[0, : len(WINDOW)]
    if not row.any():
        return None
    window = {k: int(v) for k, v in zip(WINDOW, row, strict=True)}
    return window | {"stranded": bool(window["stranded"])}


def number_tracks(adata: AnnData) -> None:
    """Give every track a number, in ``layers["track"]``; numbers are those of its content and name."""
    digest = hashlib.blake2b(digest_size=16)
    for names in (adata.obs_names, adata.var_names):
        digest.update("\n".join(map(str, names)).encode("utf-8", "surrogatepass"))
    if isinstance(adata.X, np.ndarray):
        digest.update(np.ascontiguousarray(adata.X).tobytes())
    numbers: list[int] = []
    while len(numbers) < adata.n_vars:
        digest.update(b"+")
        number = int.from_bytes(digest.digest()[:4], "little")
        if number and number not in numbers:
            numbers.append(number)
    adata.layers[TRACK] = np.tile(np.array(numbers, np.uint32), (adata.n_obs, 1))


def numbers_tracks(adata: AnnData) -> bool:
    """Tell whether every track of every gene has a number of its own in ``layers["track"]``."""
    if TRACK not in adata.layers:
        return False
    numbers = np.sort(np.unique(_layer(adata), axis=0), axis=1)
    return bool(numbers.all()) and not (numbers[:, 1:] == numbers[:, :-1]).any()


def is_named(adata: AnnData, key: str) -> bool:
    """Tell whether it is known what the axes of ``obsm[key]`` are."""
    return key + AXES in adata.obsm


def has_tracks(adata: AnnData, key: str) -> bool:
    """Tell whether axis 1 of ``obsm[key]`` is known to be tracks."""
    return is_named(adata, key) and adata.obsm[key + AXES].shape[1] > _FIRST


def keys_of(adata: AnnData) -> list[str]:
    """Name the arrays in ``obsm`` whose axes are known."""
    return [k for k in adata.obsm if is_named(adata, k)]


def _advice(key: str) -> str:
    return f'if it goes with var and uns as these are now, say so by gx.schema.name_axes(mdata, "{key}")'


def _about(adata: AnnData, key: str) -> np.ndarray:
    if key not in adata.obsm:
        msg = (
            f"obsm has no {key!r}: it has {some([k for k in adata.obsm if not str(k).endswith(AXES)], 6) or 'nothing'}"
        )
        raise InputError(msg)
    if not is_named(adata, key):
        msg = f'it is not known what the axes of obsm["{key}"] are: {_advice(key)}'
        raise InputError(msg)
    about = np.asarray(adata.obsm[key + AXES])
    if (
        about.ndim != 2
        or about.dtype.kind not in "uif"
        or about.shape[1] < _FIRST
        or (about.dtype.kind == "f" and np.isnan(about[:, :_FIRST]).any())
    ):
        msg = f'it is not known of all genes what the axes of obsm["{key}"] are: {_advice(key)}'
        raise InputError(msg)
    return about


def _layer(adata: AnnData) -> np.ndarray:
    if TRACK not in adata.layers:
        msg = (
            f'layers has no "{TRACK}", which says where every track stands in the arrays of obsm: if these go with var '
            "as it is now, say so by gx.schema.name_axes(mdata)"
        )
        raise InputError(msg)
    layer = adata.layers[TRACK]
    if not isinstance(layer, np.ndarray) or layer.dtype.kind not in "uif":
        msg = f'layers["{TRACK}"] holds {type(layer).__name__}, not the numbers of tracks: restore it, or take it out'
        raise InputError(msg)
    return _whole(layer)


def _whole(numbers: np.ndarray) -> np.ndarray:
    """Give numbers of tracks as integers, 0 where a concatenation filled in NaN for a track that these genes lack."""
    return np.nan_to_num(numbers).astype(np.uint32) if numbers.dtype.kind == "f" else numbers


def _named(layer: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """Return the numbers of the tracks at some places of var, gene by gene; 0 where there is none."""
    if np.array_equal(tracks, np.arange(layer.shape[1])):
        return layer
    out = layer[:, tracks]
    out[:, tracks < 0] = 0
    return out


def numbers_of(adata: AnnData, key: str, *, of: str | None = ANY_SAMPLE) -> np.ndarray:
    """Return the numbers of the tracks on axis 1 of ``obsm[key]``, gene by gene."""
    about = _about(adata, key)
    check_window(adata, key, of=of)
    array = adata.obsm[key]
    n = about.shape[1] - _FIRST
    if array.ndim < 2 or array.shape[1] != n:
        msg = f'obsm["{key}"] has shape {tuple(array.shape)} and had {n} tracks when it was named: {_advice(key)}'
        raise InputError(msg)
    return _whole(about[:, _FIRST:])


def _places(key: str, wanted: np.ndarray, there: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Find where in `there` the numbers `wanted` are: one row for all genes, or one for every group and the groups.

    -1 stands for no track, :data:`_LOST` for one that is not among them.
    """
    group = None
    if len(wanted) and not ((wanted == wanted[:1]).all() and (there == there[:1]).all()):
        both, group = np.unique(np.hstack([wanted, there]), axis=0, return_inverse=True)
        group = group.ravel()
        wanted, there = both[:, : wanted.shape[1]], both[:, wanted.shape[1] :]
    elif len(wanted):
        wanted, there = wanted[:1], there[:1]
    else:
        # no gene: any order is right
        wanted = there = np.arange(1, 1 + wanted.shape[1])[None]
    index = np.empty(wanted.shape, int)
    for i, (ask, have) in enumerate(zip(wanted, there, strict=True)):
        at = {int(number): j for j, number in enumerate(have) if number}
        if len(at) != np.count_nonzero(have) or len(np.unique(ask[ask > 0])) != np.count_nonzero(ask):
            msg = f'obsm["{key}"] or var holds a track twice, so that tracks cannot be told apart: {_advice(key)}'
            raise InputError(msg)
        index[i] = [at.get(int(number), _LOST) if number else -1 for number in ask]
    if group is not None and (index == index[:1]).all():
        return index[:1], None
    return index, group


def _need_content(key: str, array: Any, about: np.ndarray, there: np.ndarray) -> None:
    """Raise where the array is another than the one whose axes were named: its order is then not known."""
    rows = np.flatnonzero(about[:, _CONTENT])
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), _READ)).astype(int))] if len(rows) else rows
    if (_content(array, there > 0, rows)[rows] != about[rows, _CONTENT]).any():
        msg = (
            f'obsm["{key}"] was changed after its axes were named, and var has its tracks in another order, so it is '
            f"not known which track is which: {_advice(key)}"
        )
        raise InputError(msg)


def _probed(array: Any) -> np.ndarray:
    """Choose the genes whose content is noted: all of an array in memory, some of one in a file."""
    n = array.shape[0]
    return np.unique(np.linspace(0, n - 1, min(n, _PROBED)).astype(int)) if on_disk(array) else np.arange(n)


def _content(array: Any, tracks: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Give a number to what some genes hold, in the order in which they hold it; 0 for the others."""
    out = np.zeros(array.shape[0], np.uint32)
    # eight bins around the TSS, where most signal is
    part = (slice(None), slice(None), *(slice(max(0, n // 2 - 4), n // 2 + 4) for n in array.shape[2:3]))
    if array.ndim < 3 or not on_disk(array):
        blocks: Any = [(rows, np.asarray(array)[part][rows])]
    else:
        blocks = ((at, block[part]) for at, block in blocks_of(array, rows))
    for at, block in blocks:
        plain, whole = np.ascontiguousarray(block, np.float32), tracks[at].all()
        out[at] = [zlib.crc32(row if whole else row[tracks[i]]) or 1 for i, row in zip(at, plain, strict=True)]
    return out


def _numbers(window: Mapping[str, Any] | None) -> list[int]:
    return [0] * len(WINDOW) if window is None else [int(window.get(k, 0)) for k in WINDOW]


def _text_number(text: str | None) -> int:
    return 0 if text is None else zlib.crc32(text.encode("utf-8", "surrogatepass"))


def _words(numbers: np.ndarray) -> str:
    up, down, size, stranded = (int(v) for v in numbers)
    if not (up or down):
        return "none"
    bins = f" in bins of {size}" if size else ""
    return f"{up} + {down} bases{bins}{'' if stranded else ', not stranded'}"
