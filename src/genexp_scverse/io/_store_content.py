"""What of a MuData can be written, and in which form."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
from mudata import MuData

from genexp_scverse._errors import InputError
from genexp_scverse.io.assemble import _storable

_SLOTS = ("obs", "var", "layers", "obsm", "varm", "obsp", "varp", "uns")
_ZARR = (".zgroup", ".zarray", ".zattrs", ".zmetadata", "zarr.json")
_LONGEST = 255
_NESTED = ("list", "tuple", "set", "dict", "ndarray")


def check_content(mdata: MuData) -> None:
    """Raise where a name is one that no file keeps, or a column holds lists, which would come back as their text."""
    for name in mdata.mod:
        if why := unstorable(name):
            msg = f"the name of the modality {name!r} {why}, which no file can keep: rename it"
            raise InputError(msg)
    for place, name in _index_names(mdata):
        if why := unstorable(name):
            msg = f"the name {name!r} of the index of {place} {why}, which no file can keep: rename it"
            raise InputError(msg)
    for place, key, value in _elements(mdata):
        if why := unstorable(key):
            msg = f"the key {key!r} of {place} {why}, which no file can keep: rename it"
            raise InputError(msg)
        found = _foreign(value) if isinstance(value, pd.Series) and value.dtype == object else ""
        if found in _NESTED:
            msg = f"{place}[{key!r}] holds the type {found}, which no file can keep: turn it into text or take it out"
            raise InputError(msg)


def unstorable(name: Any) -> str:
    """Say why a name of a key or column cannot be one in an HDF5 file and in a zarr store; empty where it can.

    HDF5 takes a slash for a group in a group, and drops empty parts and single points; zarr makes folders of names,
    takes a backslash for a slash, and has names of its own.

    Examples
    --------
    >>> [unstorable(name) for name in ("GC %", "GC/AT", "", "..")]
    ['', 'holds a slash', 'is empty', 'stands for a folder']
    """
    if not isinstance(name, str):
        return f"is of the type {type(name).__name__} and no text"
    rules = (
        (not name, "is empty"),
        (name in (".", ".."), "stands for a folder"),
        ("/" in name, "holds a slash"),
        ("\\" in name, "holds a backslash"),
        (any(ord(c) < 32 or ord(c) == 127 for c in name), "holds a control character"),
        (any(0xD800 <= ord(c) < 0xE000 for c in name), "holds half a character"),
        (name in _ZARR, "is a name that zarr uses itself"),
        (len(name.encode("utf-8", "replace")) > _LONGEST, f"is longer than {_LONGEST} bytes"),
    )
    return next((why for wrong, why in rules if wrong), "")


def not_writable(mdata: MuData) -> str:
    """Name what no file can keep, with its key and type; empty where nothing of it is known."""
    for place, key, value in _elements(mdata):
        if not isinstance(key, str):
            return f"the key {key!r} of {place} is of the type {type(key).__name__}, not text"
        found = _foreign(value)
        if found:
            return f"{place}[{key!r}] holds the type {found}, which no file can keep"
    return ""


@contextmanager
def as_written(mdata: MuData) -> Iterator[None]:
    """Take out, while it is written, what holds in memory alone; make text what every version can write."""
    # scvi-tools' registration refers to the object in memory
    registration = {k: mdata.uns.pop(k) for k in list(mdata.uns) if str(k).startswith("_scvi")}
    frames: list[tuple[Any, str, pd.DataFrame]] = []
    items: list[tuple[Any, Any, Any]] = []
    try:
        for holder in (mdata, *mdata.mod.values()):
            for slot in ("obs", "var"):
                before = getattr(holder, slot)
                after = _frame_as_written(before)
                if after is not before:
                    frames.append((holder, slot, before))
                    setattr(holder, slot, after)
            for slot in ("obsm", "varm", "uns"):
                mapping = getattr(holder, slot)
                for key in list(mapping):
                    old = mapping[key]
                    new = _value_as_written(old)
                    if new is not old:
                        items.append((mapping, key, old))
                        mapping[key] = new
        yield
    finally:
        for holder, slot, frame in frames:
            setattr(holder, slot, frame)
        for mapping, key, value in items:
            mapping[key] = value
        mdata.uns.update(registration)


def _elements(mdata: MuData) -> Iterator[tuple[str, Any, Any]]:
    for name, holder in (("", mdata), *mdata.mod.items()):
        where = f"modality {name!r}: " if name else ""
        for slot in _SLOTS:
            mapping = getattr(holder, slot, None)
            for found in () if mapping is None else _within(f"{where}{slot}", mapping):
                # the registration of scvi-tools is not written
                if not (slot == "uns" and not name and str(found[1]).startswith("_scvi")):
                    yield found


def _index_names(mdata: MuData) -> Iterator[tuple[str, Any]]:
    for name, holder in (("", mdata), *mdata.mod.items()):
        for slot in ("obs", "var"):
            index = getattr(holder, slot).index
            if index.name is not None:
                yield f"{f'modality {name!r}: ' if name else ''}{slot}", index.name
    for place, key, value in _elements(mdata):
        if isinstance(value, pd.DataFrame) and value.index.name is not None:
            yield f"{place}[{key!r}]", value.index.name


def _within(place: str, mapping: Any) -> Iterator[tuple[str, Any, Any]]:
    for key, value in mapping.items():
        # the name None stands for X among the layers of some versions
        if key is None:
            continue
        yield place, key, value
        if isinstance(value, (Mapping, pd.DataFrame)) and not str(key).startswith("_scvi"):
            yield from _within(f"{place}[{key!r}]", value)


def _foreign(value: Any) -> str:
    """Type of what is neither number, text, array nor table, or of such a thing in a column of objects."""
    if value is None or isinstance(value, (Mapping, pd.DataFrame, str, bytes, bool, int, float, complex, np.generic)):
        return ""
    if isinstance(value, (list, pd.Series, np.ndarray)):
        if not isinstance(value, list) and not pd.api.types.is_object_dtype(value.dtype):
            return "" if _plain_dtype(value.dtype) else str(value.dtype)
        wrong = (type(v).__name__ for v in np.ravel(np.asarray(value, object)) if not isinstance(v, str))
        return next((name for name in wrong if name not in ("float", "NoneType")), "") if len(value) else ""
    return "" if hasattr(value, "shape") else type(value).__name__


def _plain_dtype(dtype: Any) -> bool:
    return isinstance(dtype, (pd.CategoricalDtype, pd.StringDtype)) or getattr(dtype, "kind", "O") in "biufcOSUT"


def _value_as_written(value: Any) -> Any:
    """Return `value` itself where it can be written."""
    if isinstance(value, pd.DataFrame):
        return _frame_as_written(value)
    if isinstance(value, np.memmap):
        # the writers know plain arrays alone; a view copies nothing
        return value.view(np.ndarray)
    if isinstance(value, np.ndarray) and value.dtype.kind == "T":
        return value.astype(object)
    if isinstance(value, dict):
        inner = {k: _value_as_written(v) for k, v in value.items()}
        return inner if any(inner[k] is not v for k, v in value.items()) else value
    return value


def _frame_as_written(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` itself where every column can be written."""
    if not frame.columns.is_unique:
        twice = frame.columns[frame.columns.duplicated()][0]
        msg = f"the column {twice!r} is there twice: rename or drop one"
        raise InputError(msg)
    changed = {}
    for name, column in frame.items():
        dtype = column.dtype
        if isinstance(dtype, pd.StringDtype) or (pd.api.types.is_object_dtype(dtype) and column.isna().any()):
            changed[name] = _storable(column)
        elif isinstance(dtype, pd.CategoricalDtype) and isinstance(dtype.categories.dtype, pd.StringDtype):
            changed[name] = column.cat.rename_categories(dtype.categories.astype(object))
    index = frame.index
    index_is_text = index.dtype == object and index.inferred_type in ("string", "empty")
    if not changed and index_is_text:
        return frame
    # a column at a time: assign() takes names of text alone
    frame = frame.copy(deep=False)
    for name, column in changed.items():
        frame[name] = pd.Series(column.array, index=index, dtype=column.dtype)
    if index_is_text:
        return frame
    return frame.set_axis(pd.Index([str(i) for i in index], dtype=object, name=index.name), axis=0)
