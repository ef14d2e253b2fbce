"""The bytes of a bigWig file, written with numpy.

libBigWig, which pyBigWig is made of, ends the process when the disk is full; here that is an OSError like any other.
Format: Kent et al. 2010, Bioinformatics 26:2204, supplementary tables 5 to 19.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np

_MAGIC, _TREE, _INDEX = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
_LEVELS, _FACTOR = 10, 4
_ITEMS, _CHILDREN = 1024, 256
_HEAD = struct.Struct("<IHHQQQHHQQIQ")
_ZOOM = struct.Struct("<IIQQ")
_SUMMARY = struct.Struct("<Qdddd")
_SECTION = struct.Struct("<IIIIIBBH")
_RECORD = np.dtype(
    [("chrom", "<u4"), ("start", "<u4"), ("end", "<u4"), ("valid", "<u4"),
     ("low", "<f4"), ("high", "<f4"), ("sum", "<f4"), ("squares", "<f4")]
)  # fmt: skip
_ITEM = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
_LEAF = np.dtype([("chrom", "<u4"), ("start", "<u4"), ("last", "<u4"), ("end", "<u4"), ("at", "<u8"), ("size", "<u8")])
_NODE = np.dtype(_LEAF.descr[:5])


@contextmanager
def new_bigwig(path: Path, sizes: Mapping[str, int]) -> Iterator[BigWigWriter]:
    """Open a bigWig file to be filled; its indices and zoom levels are written at the end.

    Parameters
    ----------
    path
        File to make.
    sizes
        Chromosome -> length in bases.

    Examples
    --------
    >>> import tempfile, pyBigWig
    >>> path = Path(tempfile.mkdtemp()) / "a.bigWig"
    >>> with new_bigwig(path, {"chr1": 1000}) as out:
    ...     out.add("chr1", np.array([10, 40]), np.array([20, 50]), np.array([1.5, 2.0]))
    >>> pyBigWig.open(str(path)).intervals("chr1")
    ((10, 20, 1.5), (40, 50, 2.0))
    """
    with path.open("wb") as file:
        writer = BigWigWriter(file, sizes)
        yield writer
        writer.finish()


class BigWigWriter:
    """See :func:`new_bigwig`."""

    def __init__(self, file: BinaryIO, sizes: Mapping[str, int]):
        self.file, self.sizes = file, dict(sizes)
        self.ids = {chrom: i for i, chrom in enumerate(self.sizes)}
        self.blocks: list[tuple[int, int, int, int, int, int]] = []
        self.records: list[np.ndarray] = []
        self.reduction = 0
        self.summary = np.array([0, np.inf, -np.inf, 0, 0], np.float64)
        file.write(bytes(_HEAD.size + _LEVELS * _ZOOM.size + _SUMMARY.size))
        self.tree_at = file.tell()
        self._write_chroms()
        self.data_at = file.tell()
        file.write(bytes(8))

    def add(self, chrom: str, start: np.ndarray, end: np.ndarray, value: np.ndarray) -> None:
        """Add intervals (0-based half-open), sorted, after all that were added before."""
        if not len(start):
            return
        items = np.empty(len(start), _ITEM)
        items["start"], items["end"], items["value"] = start, end, value
        for first in range(0, len(items), _ITEMS):
            part = items[first : first + _ITEMS]
            place = (self.ids[chrom], int(part["start"][0]), int(part["end"][-1]))
            packed = zlib.compress(_SECTION.pack(*place, 0, 0, 1, 0, len(part)) + part.tobytes())
            self.blocks.append((place[0], place[1], place[0], place[2], self.file.tell(), len(packed)))
            self.file.write(packed)
        width, value = (items["end"] - items["start"]).astype(np.float64), items["value"].astype(np.float64)
        self.summary[[0, 3, 4]] += width.sum(), (width * value).sum(), (width * value**2).sum()
        self.summary[1:3] = min(self.summary[1], value.min()), max(self.summary[2], value.max())
        if not self.reduction:
            self.reduction = max(10, int(10 * width.mean()))
        self.records.append(_zoomed(self.ids[chrom], items, self.reduction))

    def finish(self) -> None:
        """Write what is known only at the end."""
        index_at = self.file.tell()
        self._write_index(self.blocks)
        levels: list[tuple[int, int, int, int]] = []
        records, reduction = np.concatenate(self.records) if self.records else np.empty(0, _RECORD), self.reduction
        while len(records) and len(levels) < _LEVELS:
            records = _merged(records, reduction)
            levels.append((reduction, 0, *self._write_zoom(records)))
            if len(records) <= len(np.unique(records["chrom"])):
                break
            reduction *= _FACTOR
        self.file.write(struct.pack("<I", _MAGIC))
        covered, low, high, total, squares = self.summary
        self.file.seek(0)
        summary_at = _HEAD.size + _LEVELS * _ZOOM.size
        at = (self.tree_at, self.data_at, index_at, 0, 0, 0, summary_at)
        self.file.write(_HEAD.pack(_MAGIC, 4, len(levels), *at, _ITEMS * _RECORD.itemsize, 0))
        for level in levels:
            self.file.write(_ZOOM.pack(*level))
        self.file.seek(summary_at)
        extremes = (low, high) if self.blocks else (0.0, 0.0)
        self.file.write(_SUMMARY.pack(int(covered), *extremes, total, squares))
        self.file.seek(self.data_at)
        self.file.write(struct.pack("<Q", len(self.blocks)))

    def _write_chroms(self) -> None:
        """Write the tree from which readers learn number and length of a chromosome; sorted by the bytes of names."""
        names = sorted((chrom.encode(), chrom) for chrom in self.sizes)
        key = max(len(name) for name, _ in names)
        leaf = [name.ljust(key, b"\0") + struct.pack("<II", self.ids[c], self.sizes[c]) for name, c in names]
        self.file.write(struct.pack("<IIIIQQ", _TREE, _CHILDREN, key, 8, len(names), 0))
        levels, width = [[leaf[i : i + _CHILDREN] for i in range(0, len(leaf), _CHILDREN)]], key + 8
        while len(levels[0]) > 1:
            # the key of a node is that of its first item; where it lies is filled in below
            firsts = [node[0][:key] for node in levels[0]]
            levels.insert(0, [firsts[i : i + _CHILDREN] for i in range(0, len(firsts), _CHILDREN)])
        at = self.file.tell()
        for depth, level in enumerate(levels):
            at += sum(4 + width * len(node) for node in level)
            child, below = at, iter(levels[depth + 1] if depth + 1 < len(levels) else [])
            for node in level:
                self.file.write(struct.pack("<BBH", depth + 1 == len(levels), 0, len(node)))
                for item in node:
                    if depth + 1 < len(levels):
                        item += struct.pack("<Q", child)
                        child += 4 + width * len(next(below))
                    self.file.write(item)

    def _write_zoom(self, records: np.ndarray) -> tuple[int, int]:
        data_at, blocks = self.file.tell(), []
        self.file.write(struct.pack("<I", len(records)))
        # a block is of one chromosome
        edges = np.flatnonzero(np.diff(records["chrom"].astype(np.int64), prepend=-1, append=-1))
        for begin, stop in pairwise(edges):
            for first in range(begin, stop, _ITEMS):
                part = records[first : min(first + _ITEMS, stop)]
                packed = zlib.compress(part.tobytes())
                chrom = int(part["chrom"][0])
                place = (chrom, int(part["start"][0]), chrom, int(part["end"][-1]))
                blocks.append((*place, self.file.tell(), len(packed)))
                self.file.write(packed)
        index_at = self.file.tell()
        self._write_index(blocks)
        return data_at, index_at

    def _write_index(self, blocks: list[tuple[int, int, int, int, int, int]]) -> None:
        """Write an R tree over blocks, the root first."""
        levels = [np.array(blocks, _LEAF)]
        while len(levels[0]) > _CHILDREN:
            below = levels[0]
            first = np.arange(0, len(below), _CHILDREN)
            last = np.append(first[1:], len(below)) - 1
            level = np.zeros(len(first), _NODE)
            for name in ("chrom", "start"):
                level[name] = below[name][first]
            level["last"] = below["last"][last]
            # of the last chromosome alone
            same = np.where(below["last"] == np.repeat(level["last"], last - first + 1), below["end"], 0)
            level["end"] = np.maximum.reduceat(same, first)
            levels.insert(0, level)
        whole, end_at = levels[0], self.file.tell()
        place = (0, 0, 0, 0)
        if len(whole):
            end = whole["end"][whole["last"] == whole["last"][-1]].max()
            place = (int(whole["chrom"][0]), int(whole["start"][0]), int(whole["last"][-1]), int(end))
        self.file.write(struct.pack("<IIQIIIIQII", _INDEX, _CHILDREN, len(blocks), *place, end_at, 1, 0))
        at = self.file.tell()
        for depth, level in enumerate(levels):
            nodes = [level[i : i + _CHILDREN] for i in range(0, max(1, len(level)), _CHILDREN)]
            at += sum(4 + level.itemsize * len(node) for node in nodes)
            if depth + 1 < len(levels):
                below = levels[depth + 1]
                sizes = [min(_CHILDREN, len(below) - i) for i in range(0, len(below), _CHILDREN)]
                level["at"] = at + np.cumsum([0, *(4 + below.itemsize * n for n in sizes[:-1])])
            for node in nodes:
                self.file.write(struct.pack("<BBH", depth + 1 == len(levels), 0, len(node)) + node.tobytes())


def _zoomed(chrom: int, items: np.ndarray, reduction: int) -> np.ndarray:
    """Cut intervals at the multiples of `reduction`: a record for each piece."""
    start, end = items["start"].astype(np.int64), items["end"].astype(np.int64)
    first, last = start // reduction, (end - 1) // reduction
    of = np.repeat(np.arange(len(items)), last - first + 1)
    before = np.cumsum(last - first + 1) - (last - first + 1)
    cell = first[of] + np.arange(len(of)) - before[of]
    out = np.zeros(len(of), _RECORD)
    out["chrom"] = chrom
    out["start"], out["end"] = np.maximum(start[of], cell * reduction), np.minimum(end[of], (cell + 1) * reduction)
    out["valid"] = out["end"] - out["start"]
    value = items["value"][of].astype(np.float64)
    out["low"] = out["high"] = value
    out["sum"], out["squares"] = out["valid"] * value, out["valid"] * value**2
    return _merged(out, reduction)


def _merged(records: np.ndarray, reduction: int) -> np.ndarray:
    """Join neighbouring records that lie between the same two multiples of `reduction`."""
    cell = records["start"] // reduction
    new = np.append(True, (cell[1:] != cell[:-1]) | (records["chrom"][1:] != records["chrom"][:-1]))
    first = np.flatnonzero(new)
    out = records[first]
    out["end"] = records["end"][np.append(first[1:], len(records)) - 1]
    for name, join in (("low", np.minimum), ("high", np.maximum)):
        out[name] = join.reduceat(records[name], first)
    for name in ("valid", "sum", "squares"):
        out[name] = np.add.reduceat(records[name].astype(np.float64), first)
    return out
