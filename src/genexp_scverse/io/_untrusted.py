"""HDF5 files and zarr stores of strangers: looked through before a library follows what they say.

Both formats can name code to run (codecs of zarr, filters of HDF5), files beside the one that is opened (links,
external storage, virtual datasets) and sizes that no memory holds. None of these is needed to keep a MuData or a
contact matrix, so what is known to be plain is let through and all else refused.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import stat
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5r, h5t, h5z

from genexp_scverse._errors import InputError

UNREADABLE = (
    OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError, EOFError, MemoryError,
    OverflowError, zlib.error,
)  # fmt: skip
"""What h5py, zarr, anndata and mudata raise on a file that is none of theirs."""
PLAIN_CODECS = frozenset(
    [
        *("blosc", "bz2", "bytes", "crc32", "crc32c", "delta", "gzip", "lz4", "lzma", "sharding_indexed", "shuffle"),
        *("transpose", "vlen-bytes", "vlen-utf8", "zlib", "zstd"),
    ]
)
"""Codecs of zarr that turn bytes into numbers or text and do nothing else."""
PLAIN_FILTERS = {h5z.FILTER_DEFLATE: True, h5z.FILTER_SHUFFLE: False, h5z.FILTER_FLETCHER32: False, 32000: True}
"""Filters of HDF5 that are part of h5py (gzip, shuffle, checksum, lzf), and whether they compress."""
PLAIN_TYPES = (h5t.INTEGER, h5t.FLOAT, h5t.STRING, h5t.ENUM, h5t.BITFIELD)
LARGEST_RATIO = 1100
"""Bytes that a stored byte may stand for: gzip reaches 1,032."""
SMALL_BYTES = 2**28
"""Declared sizes up to this are believed whatever is stored."""
_DEEPEST = 64
_LARGEST_METADATA = 2**28
_METADATA = (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json")
_CODECS = ("compressor", "filters", "codecs", "index_codecs", "object_codec", "storage_transformers")
_registry_lock = threading.RLock()


def check_hdf5(path: str | Path, *, in_memory: Callable[[str], bool] = lambda name: True) -> None:
    """Refuse an HDF5 file that leads out of itself, asks for a plugin, or declares what it cannot hold.

    Parameters
    ----------
    path
        The file.
    in_memory
        Tells of the name of a dataset whether it will be read as a whole; these have to fit into memory.

    Raises
    ------
    InputError
        When the file holds external or virtual data, a link to elsewhere, a reference, a filter that h5py does not
        have, a cycle, or datasets far larger than the file.
    """
    path = Path(path)
    size = path.stat().st_size
    declared = needed = stored = 0
    with h5py.File(path, "r") as file:
        for name, dataset in _datasets(path, file.id, size):
            nbytes, held = _check_dataset(path, name, dataset, size)
            declared, stored = declared + nbytes, stored + held
            needed += nbytes if in_memory(name) else 0
    if stored > size:
        raise _damaged(path, f"its datasets take {stored:,} bytes and the file has {size:,}")
    _check_sizes(path, declared, needed, size)


def check_zarr(path: str | Path, *, in_memory: Callable[[str], bool] = lambda name: True) -> None:
    """Refuse a zarr store that leads out of itself, asks for a codec that is not plain, or declares what it lacks.

    Parameters
    ----------
    path
        The folder.
    in_memory
        As for :func:`check_hdf5`.

    Raises
    ------
    InputError
        When something in the store is neither file nor folder, metadata is no JSON or names a codec that is not one of
        :data:`PLAIN_CODECS`, or arrays are far larger than the store.
    """
    path = Path(path)
    stored, found = 0, []
    for file, entry in _files(path):
        if not stat.S_ISREG(entry.st_mode):
            msg = (
                f"{file} is a link or a device: a zarr store holds files and folders alone, copy it with what its "
                "links lead to (cp -rL)"
            )
            raise InputError(msg)
        stored += entry.st_size
        # some file systems do not tell cases apart
        if file.name.lower() in _METADATA:
            found.append((file, entry.st_size))
    own = [0, 0]
    for file, size in found:
        copied = [0, 0]
        for name, meta, consolidated in _array_metadata(_json(file, size), str(file.parent.relative_to(path))):
            _check_codecs(file, meta)
            nbytes = _array_bytes(meta, file)
            of = copied if consolidated else own
            of[0] += nbytes
            of[1] += nbytes if in_memory(name) else 0
        _check_sizes(path, copied[0], copied[1], stored)
    _check_sizes(path, own[0], own[1], stored)


@contextlib.contextmanager
def plain_codecs_only() -> Iterator[None]:
    """While zarr reads, let numcodecs find plain codecs alone, whatever the metadata says that reach it."""
    import numcodecs.registry as registry

    known: list[dict[str, Any]] = [registry.codec_registry, registry.entries]
    with _registry_lock:
        before = [dict(each) for each in known]
        try:
            for each in known:
                for name in [n for n in each if n not in PLAIN_CODECS]:
                    del each[name]
            yield
        finally:
            for each, was in zip(known, before, strict=True):
                each.update({k: v for k, v in was.items() if k not in each})


def _check_sizes(path: Path, declared: int, needed: int, stored: int) -> None:
    if declared > max(SMALL_BYTES, LARGEST_RATIO * stored):
        msg = (
            f"{path} declares {declared:,} bytes of arrays and has {stored:,}, less than any compression leaves: it is "
            "damaged or made to fill the memory, and is not read"
        )
        raise InputError(msg)
    if needed > memory_bytes():
        msg = (
            f"{path} holds {needed:,} bytes of arrays, and this machine has {memory_bytes():,} of memory: in Python "
            "leave bins and codes on disk (on_disk=True), or take a machine with more"
        )
        raise InputError(msg)


def memory_bytes() -> int:
    """Return the memory of the machine, or what the process may take of it where that is less, in bytes."""
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return there if limit == resource.RLIM_INFINITY else min(there, limit)
    except (ImportError, ValueError, OSError, AttributeError):
        return 2**63


# HDF5


def _datasets(path: Path, root: Any, size: int) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Go through all objects without following a link that is not a plain one; checks attributes on the way."""
    waiting: list[tuple[str, Any]] = [("", root)]
    groups = {h5o.get_info(root).addr}
    while waiting:
        place, group = waiting.pop()
        yield from _referenced(path, place or "/", group, size)
        for link in list(group):
            name = f"{place}/{link.decode('utf-8', 'replace')}"
            kind = group.links.get_info(link).type
            if kind != h5l.TYPE_HARD:
                to = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "a link to another file"}
                msg = (
                    f"{path} has {to.get(kind, 'a link of its own kind')} at {name}, which is not followed: write the "
                    "file again with the data in its place"
                )
                raise InputError(msg)
            item = h5o.open(group, link)
            if isinstance(item, h5g.GroupID):
                # reading a group in every place where it is held may have no end
                if (where := h5o.get_info(item).addr) in groups or name.count("/") > _DEEPEST:
                    raise _damaged(path, f"the group {name[:60]} is in two places, or too deep")
                groups.add(where)
                waiting.append((name, item))
            elif isinstance(item, h5d.DatasetID):
                yield from _referenced(path, name, item, size)
                yield name, item


def _referenced(path: Path, name: str, item: Any, size: int) -> Iterator[tuple[str, h5d.DatasetID]]:
    """Check attributes; anndata before 0.7 kept categories as a reference, which may lead to what no group holds."""
    for i in range(h5a.get_num_attrs(item)):
        attribute = h5a.open(item, index=i)
        kind = attribute.get_type()
        title = attribute.name.decode("utf-8", "replace")
        where = f"the attribute {title!r} of {name}"
        if _count(attribute.get_space()) * kind.get_size() > size:
            raise _damaged(path, f"{where} is larger than the file")
        if kind.get_class() == h5t.REFERENCE and title == "categories" and kind.equal(h5t.STD_REF_OBJ):
            value = np.empty((), h5py.ref_dtype)
            attribute.read(value)
            target = h5r.dereference(value.item(), item)
            if isinstance(target, h5d.DatasetID):
                yield f"{name}/categories", target
            continue
        _check_type(path, where, kind)


def _check_dataset(path: Path, name: str, dataset: h5d.DatasetID, size: int) -> tuple[int, int]:
    """Return the bytes that a dataset declares and that it takes."""
    made = dataset.get_create_plist()
    layout = made.get_layout()
    if layout == h5d.VIRTUAL or made.get_external_count():
        kind = "virtual, put together from other files" if layout == h5d.VIRTUAL else "kept in another file"
        msg = f"{path} has a dataset that is {kind}, at {name}, which is not read: write its values into the file"
        raise InputError(msg)
    kind = dataset.get_type()
    _check_type(path, name, kind)
    compressing = 0
    for i in range(made.get_nfilters()):
        code, _, _, title = made.get_filter(i)
        if code not in PLAIN_FILTERS:
            msg = (
                f"{path} has a dataset packed by the filter {code} ({title.decode('utf-8', 'replace')[:40]}), at "
                f"{name}, which needs a plugin and is not read: write it again with compression='gzip' or without"
            )
            raise InputError(msg)
        compressing += PLAIN_FILTERS[code]
    if compressing > 1:
        raise _damaged(path, f"{name} is compressed twice")
    nbytes = _count(dataset.get_space()) * kind.get_size()
    held = dataset.get_storage_size()
    offset = dataset.get_offset() if layout == h5d.CONTIGUOUS else None
    if offset is not None and offset + held > size:
        raise _damaged(path, f"{name} reaches beyond the end of the file")
    if layout == h5d.CHUNKED:
        nbytes = max(nbytes, math.prod(made.get_chunk()) * kind.get_size())
    return nbytes, held


def _check_type(path: Path, name: str, kind: Any) -> None:
    code = kind.get_class()
    if code == h5t.COMPOUND:
        for i in range(kind.get_nmembers()):
            _check_type(path, name, kind.get_member_type(i))
    elif code == h5t.ARRAY:
        _check_type(path, name, kind.get_super())
    elif code not in PLAIN_TYPES:
        what = {h5t.REFERENCE: "references", h5t.OPAQUE: "opaque bytes", h5t.VLEN: "lists of changing length"}
        msg = (
            f"{path} has {what.get(code, 'values of an unknown type')} at {name}, which are not read: write numbers or "
            "text"
        )
        raise InputError(msg)


def _count(space: Any) -> int:
    return math.prod(space.get_simple_extent_dims()) if space.get_simple_extent_type() == 1 else 1


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged ({why}): copy or make it again")


# zarr


def _files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Everything below a folder that is no folder; links are not followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _files(folder / entry.name)
            else:
                yield folder / entry.name, entry.stat(follow_symlinks=False)


def _json(file: Path, size: int) -> Any:
    try:
        if size > _LARGEST_METADATA:
            msg = f"{size:,} bytes"
            raise ValueError(msg)
        return json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        why = " ".join(str(error).split())[:100]
        msg = f"{file} is no valid JSON ({why}): the store is damaged, copy or make it again"
        raise InputError(msg) from None


def _array_metadata(content: Any, place: str, *, consolidated: bool = False) -> Iterator[tuple[str, dict, bool]]:
    """Name and metadata of every array in a file of metadata, and whether they are a copy of what others say."""
    if not isinstance(content, dict):
        return
    if "shape" in content or any(key in content for key in _CODECS):
        yield f"/{place}", content, consolidated
    copies = content.get("consolidated_metadata", content)
    inner = copies.get("metadata") if isinstance(copies, dict) else None
    for name, meta in inner.items() if isinstance(inner, dict) else ():
        # attributes are data and not looked into
        if not name.lower().endswith(".zattrs"):
            yield from _array_metadata(meta, name.removesuffix("/.zarray"), consolidated=True)


def _check_codecs(file: Path, meta: dict) -> None:
    for codec in _codecs(meta):
        if codec not in PLAIN_CODECS:
            more = " (pickled objects, which could run code)" if "pickle" in codec.lower() else ""
            msg = (
                f"{file} asks for the codec {codec[:40]!r}{more}, which is not read: write the store again with codecs "
                "that zarr takes by itself"
            )
            raise InputError(msg)


def _codecs(meta: Any) -> Iterator[str]:
    """Names of all codecs, those within others too."""
    for key in _CODECS:
        given = meta.get(key)
        for codec in given if isinstance(given, list) else [given]:
            if isinstance(codec, dict):
                yield str(codec.get("id", codec.get("name"))).removeprefix("numcodecs.")
                if isinstance(codec.get("configuration"), dict):
                    yield from _codecs(codec["configuration"])
            elif codec is not None:
                yield str(codec)


def _array_bytes(meta: dict, file: Path) -> int:
    kind = meta.get("dtype", meta.get("data_type"))
    try:
        shape = [int(n) for n in meta.get("shape", ())]
        if any(n < 0 for n in shape):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        msg = f"{file} has an array without a shape: the store is damaged, copy or make it again"
        raise InputError(msg) from None
    return math.prod(shape) * _item_bytes(kind)


def _item_bytes(kind: Any) -> int:
    if isinstance(kind, dict):
        length = (kind.get("configuration") or {}).get("length_bytes", 8)
        return length if isinstance(length, int) else 8
    try:
        return np.dtype(kind).itemsize if isinstance(kind, str) else 8
    except TypeError:
        return 8
