"""What the first bytes of a bigWig say: whether it is one, whether it is whole, and how dense it is.

libBigWig (under pyBigWig) trusts the file: what is no bigWig, or is cut short, can end the process. So the
offsets are followed here first. Format: Kent et al. 2010, doi:10.1093/bioinformatics/btq351, supplement.
"""

from __future__ import annotations

import math
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from genexp_scverse._errors import InputError
from genexp_scverse.io.plain_text import existing_file

_BIGWIG, _RTREE, _CHROM_TREE = 0x888FFC26, 0x2468ACE0, 0x78CA8C91
_HEADER, _ZOOM, _RTREE_HEADER = "<IHHQQQHHQQIQ", "<IIQQ", "<IIQIIIIQII"
# Most deflated sections of real files hold 12-byte items at 2 to 6 bytes each.
_BYTES_PER_INTERVAL = 3


class Header(NamedTuple):
    """What a bigWig says of itself."""

    covered: int
    """Bases with a value (0 when the file has no summary)."""
    minimum: float | None
    """Smallest value (None when the file has no summary)."""
    finite: bool
    """Whether the summary vouches that no value is NaN or infinite."""
    intervals: int
    """Rough number of intervals, from the size of the data."""


def read_header(path: Path) -> Header:
    """Read the header of a bigWig and follow its offsets.

    Raises
    ------
    InputError
        When the file is missing, is something else or is cut short.
    """
    text = str(path)
    if "://" in text or text.startswith(("http:/", "https:/", "ftp:/")):
        msg = f"{text} is an address: bigWigs are read from local files, download it first"
        raise InputError(msg)
    if path.is_dir():
        msg = f"{path} is a folder: give the bigWig files in it"
        raise InputError(msg)
    if not path.exists():
        msg = f"bigWig not found: {path}: mend the path (a relative path starts at {Path.cwd()})"
        raise InputError(msg)
    existing_file(path, what="the bigWig")
    try:
        with path.open("rb") as stream:
            return _read(stream, path, path.stat().st_size)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror}: check that you may read it"
        raise InputError(msg) from error


def _read(stream: BinaryIO, path: Path, size: int) -> Header:
    start = stream.read(512)
    if len(start) < 4 or struct.unpack("<I", start[:4])[0] != _BIGWIG:
        msg = f"{path} {_what_is(start)}"
        raise InputError(msg)
    if len(start) < 64:
        raise _cut_short(path, size, 64)
    _, _, n_zooms, chrom_tree, data, index, _, _, _, summary, _, _ = struct.unpack(_HEADER, start[:64])
    zooms = [struct.unpack(_ZOOM, _at(stream, 64 + 24 * i, 24, path, size)) for i in range(n_zooms)]
    if struct.unpack("<I", _at(stream, chrom_tree, 4, path, size))[0] != _CHROM_TREE:
        raise _damaged(path, f"no list of chromosomes at byte {chrom_tree:,}")
    _at(stream, data, 8, path, size)
    for offset in [index, *(z[3] for z in zooms)]:
        _follow_index(stream, offset, path, size)
    covered, minimum, finite = 0, None, False
    if summary:
        covered, minimum, *rest = struct.unpack("<Qdddd", _at(stream, summary, 40, path, size))
        finite = all(map(math.isfinite, [minimum, *rest]))
    return Header(covered, minimum, finite, max(1, (index - data) // _BYTES_PER_INTERVAL))


def _follow_index(stream: BinaryIO, offset: int, path: Path, size: int) -> None:
    """Walk down the last branch of an R-tree, whose last leaf names the last block of data."""
    magic, *_ = struct.unpack(_RTREE_HEADER, _at(stream, offset, 48, path, size))
    if magic != _RTREE:
        raise _damaged(path, f"no index at byte {offset:,}")
    node = offset + 48
    for _ in range(64):
        is_leaf, _, count = struct.unpack("<BBH", _at(stream, node, 4, path, size))
        if count == 0:
            return
        width = 32 if is_leaf else 24
        items = _at(stream, node + 4, count * width, path, size)
        last = struct.unpack("<Q", items[(count - 1) * width + 16 : (count - 1) * width + 24])[0]
        if is_leaf:
            length = struct.unpack("<Q", items[-8:])[0]
            if last + length > size:
                raise _cut_short(path, size, last + length)
            return
        node = last
    raise _damaged(path, f"the index at byte {offset:,} has no end")


def _at(stream: BinaryIO, offset: int, length: int, path: Path, size: int) -> bytes:
    if offset + length > size:
        raise _cut_short(path, size, offset + length)
    stream.seek(offset)
    return stream.read(length)


def _cut_short(path: Path, size: int, needed: int) -> InputError:
    msg = (
        f"{path} is cut short: it has {size:,} bytes and its index points to byte {needed:,}: copy or download it again"
    )
    return InputError(msg)


def _damaged(path: Path, why: str) -> InputError:
    return InputError(f"{path} is damaged ({why}): copy or download it again")


def _what_is(start: bytes) -> str:
    to_bigwig = "bedGraphToBigWig (UCSC) makes a bigWig from a sorted bedGraph"
    text = start.lstrip().lower()
    if not start:
        return "is empty: copy or download it again"
    if start[:4] in (b"\xeb\xf2\x89\x87", b"\x87\x89\xf2\xeb"):
        return "is a bigBed file (intervals without a signal): give the bigWig of the same experiment"
    if start[:4] == b"\x88\x8f\xfc\x26":
        return "is a bigWig in big-endian byte order, which is not read: write it again in little-endian"
    if start[:2] == b"\x1f\x8b":
        if start[12:14] == b"BC":
            return "is a BAM file or bgzipped: bamCoverage (deepTools) makes a bigWig from a BAM"
        return f"is gzipped: gunzip it if a bigWig is inside; {to_bigwig}"
    if start[:4] in (b"BAM\1", b"CRAM"):
        return "is a file of alignments: bamCoverage (deepTools) makes a bigWig from it"
    if start[:4] == b"\x89HDF":
        return "is an HDF5 file and not a bigWig: give the bigWig it was made from"
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page and not a bigWig: the download failed, take the direct address of the file"
    if text.startswith((b"fixedstep", b"variablestep")):
        return "is a text wig file: wigToBigWig (UCSC) makes a bigWig from it"
    if b"\0" not in start:
        if text.startswith(b"track") or _is_bed(start):
            return f"is a text file (wig, bedGraph or BED) and not a bigWig: {to_bigwig}"
        return f"is a text file and not a bigWig: {to_bigwig}"
    return f"is not a bigWig (it begins with {start[:4]!r}): give a bigWig file"


def _is_bed(start: bytes) -> bool:
    fields = start.split(b"\n")[0].split()
    return len(fields) >= 3 and fields[1].isdigit() and fields[2].isdigit()
