"""HDF5 files and zarr stores of strangers: looked through before a library follows what they say.

Both formats can name code to run (codecs of zarr, filters of HDF5), files beside the one that is opened (links,
external storage, virtual datasets) and sizes that no memory holds. None of these is needed to keep a MuData or a
contact matrix, so what is known to be plain is let through and all else refused.
"""

from __future__ import annotations

import contextlib
import json
import math
import mmap
import os
import stat
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5r, h5t, h5z
from scipy.sparse import csgraph, csr_array

from genexp_scverse._errors import InputError

UNREADABLE = (
    OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, IndexError, EOFError, MemoryError,
    ArithmeticError, zlib.error,
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
_LARGE_BYTES = 2**20
"""Values of a dataset that take this many bytes are not looked through for text."""
_HEAP_HEADER = 16
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
    large: list[tuple[int, int]] = []
    with h5py.File(path, "r") as file:
        for name, dataset in _datasets(path, file.id, size):
            nbytes, held = _check_dataset(path, name, dataset, size)
            declared, stored = declared + nbytes, stored + held
            needed += nbytes if in_memory(name) else 0
            places = _places(path, name, dataset)
            large += places if held >= _LARGE_BYTES else []
    if stored > size:
        raise _damaged(path, f"its datasets take {stored:,} bytes and the file has {size:,}")
    _check_sizes(path, declared, needed, size)
    _check_text(path, large)


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
    largest: dict[Path, int] = {}
    limits: dict[Path, int] = {}
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
        else:
            largest[file.parent] = max(entry.st_size, largest.get(file.parent, 0))
    own = [0, 0]
    for file, size in found:
        copied = [0, 0]
        for name, meta, consolidated in _array_metadata(_json(file, size), str(file.parent.relative_to(path))):
            _check_codecs(file, meta)
            nbytes = _array_bytes(meta, file)
            folder = (file.parent if consolidated else path) / name[1:]
            limits[folder] = min(_largest_chunk(meta, file), limits.get(folder, sys.maxsize))
            of = copied if consolidated else own
            of[0] += nbytes
            of[1] += nbytes if in_memory(name) else 0
        _check_sizes(path, copied[0], copied[1], stored)
    _check_sizes(path, own[0], own[1], stored)
    for folder, size in largest.items():
        # the chunks of an array may be in folders of its folder
        array = next((each for each in (folder, *folder.parents) if each in limits), None)
        if array is not None and size > limits[array]:
            raise _damaged(path, f"a chunk of {array.relative_to(path)} is larger than what it unpacks to")


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
        nbytes = _count(attribute.get_space()) * kind.get_size()
        if nbytes <= size and kind.get_class() in PLAIN_TYPES:
            continue
        title = attribute.name.decode("utf-8", "replace")
        where = f"the attribute {title!r} of {name}"
        if nbytes > size:
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


def _places(path: Path, name: str, dataset: h5d.DatasetID) -> list[tuple[int, int]]:
    """Return the start of the values of a dataset in its file and their bytes, a pair for each chunk.

    A packed chunk is unpacked as a whole, however small it is said to be, so it has to be smaller than that.
    """
    if (offset := dataset.get_offset()) is not None:
        return [(offset, dataset.get_storage_size())]
    found: list[tuple[int, int]] = []
    made = dataset.get_create_plist()
    if made.get_layout() == h5d.CHUNKED:
        dataset.chunk_iter(lambda chunk: found.append((chunk.byte_offset, chunk.size)))
        nbytes = math.prod(made.get_chunk()) * dataset.get_type().get_size()
        if (largest := max((size for _, size in found), default=0)) > _packed_bytes(nbytes):
            raise _damaged(path, f"a chunk of {name} takes {largest:,} bytes packed and {nbytes:,} unpacked")
    return found


def _packed_bytes(nbytes: int) -> int:
    """Return the most that compression leaves of so many bytes: what cannot be packed grows a little."""
    return nbytes + nbytes // 64 + 4096


def _check_text(path: Path, large: list[tuple[int, int]]) -> None:
    """Check the lists of texts that HDF5 follows without looking: a length of 0 keeps it in one place for ever.

    Texts stand in global heap collections (HDF5 File Format Specification, III.E), which nothing lists: they are found
    by their signature, in all of the file but the values of large datasets.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        heaps, held = [], 0
        for at, length in _heaps(data, large):
            heaps.append((at, np.frombuffer(data, "<u8", length // 8 - 2, at + _HEAP_HEADER).copy()))
            held += length
            if held > _LARGE_BYTES:
                _check_heaps(path, heaps)
                heaps, held = [], 0
        if heaps:
            _check_heaps(path, heaps)


def _heaps(data: mmap.mmap, large: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Give the place and the bytes of every collection."""
    at, size = 0, len(data)
    for start, held in [*sorted(large), (size, 0)]:
        while (at := data.find(b"GCOL\x01", at, start)) >= 0:
            length = int.from_bytes(data[at + 8 : at + 16], "little")
            # the word in a text, or in numbers, does not have a length after it
            if _HEAP_HEADER < length <= size - at and length % 8 == 0:
                yield at, length
                at += length
            else:
                at += 1
        at = max(at, start + held)


def _check_heaps(path: Path, heaps: list[tuple[int, np.ndarray]]) -> None:
    """Check that the objects of collections fill them; each is its index, its bytes and its content, in words of 8."""
    # all at once, one after the other, each with a word of its own at its end
    words = np.concatenate([np.append(heap, np.uint64(0)) for _, heap in heaps])
    lengths = np.array([len(heap) + 1 for _, heap in heaps])
    ends = np.cumsum(lengths) - 1
    end = np.repeat(ends, lengths)
    at = np.arange(len(words))
    index, nbytes = words & 0xFFFF, np.append(words[1:], np.uint64(0))
    following = at + 2 + np.minimum((nbytes + 7) // 8, len(words)).astype(np.int64)
    # what is free has no index, counts its header and is the last
    free = index == 0
    left = (end - at).astype(np.uint64)
    is_last = free & (nbytes == left * 8)
    broken = ~is_last & (free | (nbytes > 8 * left) | (following > end))
    # no object begins in the last word of a collection
    broken[ends], broken[ends - 1] = False, False
    following = np.where(is_last | broken, end, following)
    following[ends - 1] = ends
    following[ends] = np.append(ends[:-1] + 1, ends[-1])
    # from any place to the one that follows it: those on the way from the first
    links = csr_array((np.ones(len(at), bool), following.astype(np.int32), np.arange(len(at) + 1, dtype=np.int32)))
    reached = csgraph.breadth_first_order(links, 0, return_predecessors=False)
    if (wrong := reached[broken[reached]]).size:
        heap = int(np.searchsorted(ends, wrong.min()))
        raise _damaged(path, f"the texts at byte {heaps[heap][0]:,} do not follow each other")


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
    return math.prod(_lengths(meta.get("shape", ()), file)) * _item_bytes(meta.get("dtype", meta.get("data_type")))


def _largest_chunk(meta: dict, file: Path) -> int:
    """Return the most bytes that a file with a chunk may have; texts have no size that is said."""
    kind = meta.get("dtype", meta.get("data_type"))
    grid = meta.get("chunk_grid")
    grid = grid.get("configuration") if isinstance(grid, dict) else None
    chunks = meta.get("chunks", grid.get("chunk_shape") if isinstance(grid, dict) else None)
    if chunks is None or not _is_of_numbers(kind):
        return sys.maxsize
    nbytes = math.prod(_lengths(chunks, file)) * _item_bytes(kind)
    # a shard lists its chunks, by 16 bytes each
    return _packed_bytes(nbytes * (17 if "sharding_indexed" in _codecs(meta) else 1))


def _is_of_numbers(kind: Any) -> bool:
    try:
        return isinstance(kind, str) and np.dtype(kind).kind in "biufcSUV"
    except TypeError:
        return False


def _lengths(value: Any, file: Path) -> list[int]:
    try:
        lengths = [int(n) for n in value]
        if any(n < 0 for n in lengths):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        msg = f"{file} has an array without a shape: the store is damaged, copy or make it again"
        raise InputError(msg) from None
    return lengths


def _item_bytes(kind: Any) -> int:
    if isinstance(kind, dict):
        length = (kind.get("configuration") or {}).get("length_bytes", 8)
        return length if isinstance(length, int) else 8
    try:
        return np.dtype(kind).itemsize if isinstance(kind, str) else 8
    except TypeError:
        return 8
