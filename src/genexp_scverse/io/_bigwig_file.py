"""Read the signal of a bigWig: its chromosomes, its index and its blocks of data, each checked as it is read.

Every number of a file that says where or how much to read is compared with what is there, so that a damaged file ends
in an error. Format: Kent et al. 2010, doi:10.1093/bioinformatics/btq351, supplement.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from genexp_scverse._errors import InputError
from genexp_scverse.io._interval_bins import Intervals

_HEADER, _TREE, _RTREE = "<IHHQQQHHQQIQ", "<IIIIQQ", "<IIQIIIIQII"
_BLOCK = struct.Struct("<IIIIIBBH")
_LEAF = np.dtype([(n, "<u4") for n in ("chrom", "start", "last", "end")] + [("offset", "<u8"), ("size", "<u8")])
_INNER = np.dtype([(n, "<u4") for n in ("chrom", "start", "last", "end")] + [("offset", "<u8")])
_ITEMS = {
    1: np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")]),
    2: np.dtype([("start", "<u4"), ("value", "<f4")]),
    3: np.dtype([("value", "<f4")]),
}
"""Items of a block by its type: bedGraph, variable step, fixed step."""
_LARGEST_BLOCK = 2**28
_READ_AT_ONCE = 2**24


class BigWig:
    """An open bigWig whose header was read by :func:`~genexp_scverse.io._bigwig_header.read_header`.

    Parameters
    ----------
    path
        The file.
    """

    def __init__(self, path: Path):
        self.path = path
        self._file = path.open("rb")
        try:
            self._size = path.stat().st_size
            header = struct.unpack(_HEADER, self._at(0, 64))
            self._buffer, tree, self._index_at = header[10], header[3], header[5]
            found = self._read_chroms(tree)
            self._ids = {name: number for name, number, _ in found}
            self.chroms: dict[str, int] = {name: size for name, _, size in found}
            """Chromosome -> length in bases, in the order of the file."""
        except BaseException:
            self._file.close()
            raise
        self._index: dict[int, np.ndarray] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def intervals(self, chrom: str, low: int, high: int) -> Intervals:
        """Read the intervals that overlap a stretch of a chromosome (0-based half-open).

        Returns
        -------
        Starts and ends (int64) and values (float64) as they are in the file, sorted; NaN are bases without a value and
        left out.

        Raises
        ------
        InputError
            When the file is damaged there, a value is infinite, or intervals overlap.
        """
        blocks = self._blocks(self._ids[chrom])
        blocks = blocks[(blocks["start"] < high) & (blocks["end"] > low)]
        parts = [self._items(chrom, data) for data in self._packed(blocks)]
        if not parts:
            return Intervals(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
        start, end, value = (np.concatenate(each) for each in zip(*parts, strict=True))
        inside = (start < high) & (end > low) & ~np.isnan(value)
        start, end, value = start[inside], end[inside], value[inside].astype(np.float64)
        self._check_values(chrom, start, end, value)
        return Intervals(start, end, value)

    def values(self, chrom: str, low: int, high: int) -> np.ndarray | None:
        """Read the value of every base of a stretch (float32), NaN where there is none; None where all are NaN."""
        start, end, value = self.intervals(chrom, low, high)
        if not len(start):
            return None
        # gap, interval, gap, interval, ..., gap
        edges = np.empty(2 * len(start) + 2, np.int64)
        edges[0], edges[-1] = low, high
        edges[1:-1:2], edges[2:-1:2] = np.maximum(start, low), np.minimum(end, high)
        steps = np.full(2 * len(start) + 1, np.nan, np.float32)
        steps[1::2] = value
        return np.repeat(steps, np.diff(edges))

    def _check_values(self, chrom: str, start: np.ndarray, end: np.ndarray, value: np.ndarray) -> None:
        if len(wrong := np.flatnonzero(~np.isfinite(value))):
            i = wrong[0]
            msg = (
                f"{self.path} holds {value[i]} at {chrom}:{start[i]:,}-{end[i]:,} (0-based): "
                "write the track without it, a base without a value needs no entry"
            )
            raise InputError(msg)
        if len(wrong := np.flatnonzero(start[1:] < end[:-1])):
            msg = (
                f"{self.path} holds overlapping intervals at {chrom}:{start[wrong[0] + 1]:,} (0-based): make the "
                "bigWig from a sorted bedGraph without overlaps (bedtools merge)"
            )
            raise InputError(msg)

    def _read_chroms(self, offset: int) -> list[tuple[str, int, int]]:
        """Walk through the tree of chromosomes: name, number and length of each, by number."""
        _, _, key, width, count, _ = struct.unpack(_TREE, self._at(offset, 32))
        if width != 8 or count * (key + 8) > self._size:
            raise self._damaged("its list of chromosomes has no length")
        found = []
        for leaf, items in self._nodes(offset + 32, key + 8):
            for item in items:
                if not leaf:
                    continue
                name = item[:key].rstrip(b"\0")
                try:
                    found.append((name.decode("utf-8"), *struct.unpack("<II", item[key:])))
                except UnicodeDecodeError:
                    raise self._damaged(f"a chromosome is called {name[:20]!r}") from None
        found.sort(key=lambda entry: entry[1])
        if len({f[0] for f in found}) < len(found) or len({f[1] for f in found}) < len(found):
            raise self._damaged("a chromosome is there twice")
        return found

    def _nodes(self, root: int, width: int, inner_width: int | None = None):
        """Yield whether a node is a leaf, and its items; the last 8 bytes of an inner item lead to the next node."""
        waiting, seen = [root], {root}
        while waiting:
            leaf, _, count = struct.unpack("<BBH", self._at(node := waiting.pop(), 4))
            size = width if leaf else inner_width or width
            data = self._at(node + 4, count * size)
            items = [data[i : i + size] for i in range(0, len(data), size)]
            if not leaf:
                lower = [struct.unpack("<Q", item[-8:])[0] for item in items]
                if seen & set(lower) or len(set(lower)) < len(lower):
                    raise self._damaged(f"the index at byte {root:,} goes round in a circle")
                seen |= set(lower)
                waiting += reversed(lower)
            yield bool(leaf), items

    def _blocks(self, chrom: int) -> np.ndarray:
        """Give the blocks of a chromosome, from left to right."""
        if self._index is None:
            n_blocks = struct.unpack(_RTREE, self._at(self._index_at, 48))[2]
            leaves = [
                np.frombuffer(b"".join(items), _LEAF)
                for leaf, items in self._nodes(self._index_at + 48, _LEAF.itemsize, _INNER.itemsize)
                if leaf
            ]
            every = np.concatenate(leaves) if leaves else np.empty(0, _LEAF)
            if n_blocks and not len(every):
                raise self._damaged(f"its index is empty and should have {n_blocks:,} blocks")
            if not np.isin(every["chrom"], list(self._ids.values())).all():
                raise self._damaged("a block of its data is of a chromosome that it does not list")
            if (every["chrom"] != every["last"]).any():
                raise self._damaged("a block of its data is of two chromosomes")
            if (every["offset"] > self._size).any() or (every["size"] > self._size - every["offset"]).any():
                raise self._damaged("its index points beyond its end")
            order = np.lexsort((every["start"], every["chrom"]))
            every = every[order]
            numbers, first = np.unique(every["chrom"], return_index=True)
            self._index = dict(zip(numbers.tolist(), np.split(every, first)[1:], strict=True))
        return self._index.get(chrom, np.empty(0, _LEAF))

    def _packed(self, blocks: np.ndarray):
        """Yield the bytes of blocks, unpacked; neighbours in the file are read together."""
        at = 0
        offsets, sizes = blocks["offset"].tolist(), blocks["size"].tolist()
        while at < len(offsets):
            last = at
            while (
                last + 1 < len(offsets)
                and offsets[last + 1] == offsets[last] + sizes[last]
                and offsets[last + 1] + sizes[last + 1] - offsets[at] <= _READ_AT_ONCE
            ):
                last += 1
            data = self._at(offsets[at], offsets[last] + sizes[last] - offsets[at])
            for i in range(at, last + 1):
                begin = offsets[i] - offsets[at]
                yield self._unpacked(data[begin : begin + sizes[i]], offsets[i])
            at = last + 1

    def _unpacked(self, data: bytes, offset: int) -> bytes:
        if not self._buffer:
            return data
        most = min(self._buffer, _LARGEST_BLOCK)
        try:
            unpacker = zlib.decompressobj()
            plain = unpacker.decompress(data, most)
        except zlib.error as error:
            raise self._damaged(f"the block at byte {offset:,}: {error}") from None
        if not unpacker.eof:
            raise self._damaged(f"the block at byte {offset:,} unpacks to more than {most:,} bytes, or is cut short")
        return plain

    def _items(self, chrom: str, data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Read a block: starts, ends and values."""
        if len(data) < _BLOCK.size:
            raise self._damaged(f"a block on {chrom} has {len(data)} bytes")
        number, first, _, step, span, kind, _, count = _BLOCK.unpack_from(data)
        items = _ITEMS.get(kind)
        if items is None or number != self._ids[chrom] or _BLOCK.size + count * items.itemsize > len(data):
            raise self._damaged(f"a block on {chrom} is of another chromosome, type or length than it says")
        table = np.frombuffer(data, items, count, _BLOCK.size)
        start = first + np.arange(count, dtype=np.int64) * step if kind == 3 else table["start"].astype(np.int64)
        end = table["end"].astype(np.int64) if kind == 1 else start + span
        if count and (int(end.max()) > self.chroms[chrom] or (end <= start).any()):
            raise self._damaged(f"a block on {chrom} has intervals that end before they start, or beyond its end")
        return start, end, table["value"]

    def _at(self, offset: int, length: int) -> bytes:
        if offset + length > self._size:
            raise self._damaged(f"byte {offset + length:,} is beyond its end")
        self._file.seek(offset)
        data = self._file.read(length)
        if len(data) < length:
            raise self._damaged("it was cut while it was read")
        return data

    def _damaged(self, why: str) -> InputError:
        return InputError(f"{self.path} is damaged ({why}): copy or download it again")
