"""The index of a .hic file, checked: hictkpy skips without a word what a damaged number in it leads away from.

The layout is that of Durand and others (https://github.com/aidenlab/hic-format), versions 6 to 9. What a block holds
carries the checksum of zlib; the numbers of the index carry none, and are compared with what the blocks hold.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

_DAMAGED = "its index does not fit its contents"
_HEAD_OF_BLOCK = 2**16
"""Bytes of a block, unpacked, that are looked at: its first count lies in them."""


def check_hic(path: str | Path, resolution: int | None) -> None:
    """Raise ValueError where an index within a chromosome does not say what the blocks of a resolution hold.

    Without a resolution it is the only one, or none where there are several.
    """
    with Path(path).open("rb") as file:
        try:
            _Index(file, Path(path).stat().st_size, resolution).check()
        except (struct.error, zlib.error, IndexError) as error:
            raise ValueError(_DAMAGED) from error


class _Index:
    def __init__(self, file: BinaryIO, size: int, resolution: int | None):
        self._file, self._size, self._resolution = file, size, resolution

    def check(self) -> None:
        _, self._version, footer = self._numbers("<4siq")
        self._text()
        if self._version > 8:
            self._numbers("<qq")
        for _ in range(2 * self._count()):
            self._text()
        n_chroms = self._count()
        names, lengths = [], []
        for _ in range(n_chroms):
            names.append(self._text())
            (length,) = self._numbers("<q" if self._version > 8 else "<i")
            # hictkpy counts in 32 bits, and for hours through what is longer
            self._expect(0 <= length < 2**32)
            lengths.append(length)
        self._resolutions = {self._numbers("<i")[0] for _ in range(self._count())}
        if self._resolution is None and len(self._resolutions) == 1:
            (self._resolution,) = self._resolutions
        self._goto(footer)
        self._numbers("<q" if self._version > 8 else "<i")
        places = {}
        for _ in range(self._count()):
            key = self._text().partition(b"_")
            one, two = (int(part) if part.isdigit() else n_chroms for part in (key[0], key[2]))
            position, length = self._numbers("<qi")
            self._expect(one <= two < n_chroms and (one, two) not in places)
            places[one, two] = position, length
        for (one, two), (position, length) in places.items():
            if one == two and names[one].lower() != b"all":
                self._check_matrix(one, lengths[one], position, position + length)

    def _check_matrix(self, chrom: int, chrom_length: int, position: int, end: int) -> None:
        self._goto(position)
        one, two, n_resolutions = self._numbers("<iii")
        self._expect(one == two == chrom)
        for _ in range(n_resolutions):
            unit = self._text()
            _, _, _, _, _, bin_size, width, columns, n_blocks = self._numbers("<iffffiiii")
            self._expect(unit != b"BP" or bin_size in self._resolutions)
            self._expect(min(width, columns) > 0 and 0 <= n_blocks <= self._size // 16)
            # the blocks are laid out over the chromosome
            self._expect(unit != b"BP" or width * columns >= chrom_length // bin_size)
            blocks = [self._numbers("<iqi") for _ in range(n_blocks)]
            here = self._file.tell()
            self._expect(len({number for number, _, _ in blocks}) == n_blocks)
            for number, at, length in blocks if unit == b"BP" and bin_size == self._resolution else []:
                self._goto(at)
                self._expect(0 < length <= self._size)
                row, column = self._first_count(self._file.read(min(length, _HEAD_OF_BLOCK)))
                self._expect(number in self._numbers_of(row, column, width, columns))
            self._file.seek(here)
        self._expect(self._file.tell() == end)

    def _numbers_of(self, row: int, column: int, width: int, columns: int) -> set[int]:
        """Numbers that the block of a count may have: two where rounding decides."""
        if self._version <= 8:
            row, column = row // width, column // width
            return {row * columns + column, column * columns + row}
        depth = math.log2(1 + abs(row - column) / math.sqrt(2) / width)
        place = (row + column) // 2 // width
        return {int(depth + nudge) * columns + place for nudge in (-1e-6, 0, 1e-6)}

    def _first_count(self, packed: bytes) -> tuple[int, int]:
        """Row and column of the first count of a block."""
        block = zlib.decompressobj().decompress(packed, _HEAD_OF_BLOCK)
        n_counts, left, top = struct.unpack_from("<iii", block)
        self._expect(n_counts > 0)
        if self._version < 7:
            return top, left
        short_counts, at = not block[12], 13
        short_x = short_y = True
        if self._version > 8:
            short_x, short_y, at = not block[13], not block[14], 15
        kind, at = block[at], at + 1
        if kind == 1:
            y, x = "h" if short_y else "i", "h" if short_x else "i"
            _, row, _, column = struct.unpack_from(f"<{y}{y}{x}{x}", block, at)
            return top + row, left + column
        self._expect(kind == 2)
        n_cells, row_length = struct.unpack_from("<ih", block, at)
        form, absent = ("<i2", -32768) if short_counts else ("<f4", np.nan)
        cells = min(n_cells, (len(block) - at - 6) // int(form[2]))
        values = np.frombuffer(block, form, max(cells, 0), at + 6)
        filled = np.flatnonzero((values != absent) & ~np.isnan(values))
        self._expect(len(filled) > 0 and row_length > 0)
        return top + int(filled[0]) // row_length, left + int(filled[0]) % row_length

    def _numbers(self, form: str) -> tuple:
        return struct.unpack(form, self._file.read(struct.calcsize(form)))

    def _count(self) -> int:
        (count,) = self._numbers("<i")
        self._expect(0 <= count <= self._size)
        return count

    def _text(self) -> bytes:
        start, text = self._file.tell(), b""
        while b"\0" not in text:
            part = self._file.read(256)
            self._expect(bool(part) and len(text) < 2**20)
            text += part
        text = text[: text.index(b"\0")]
        self._file.seek(start + len(text) + 1)
        return text

    def _goto(self, position: int) -> None:
        self._expect(0 <= position < self._size)
        self._file.seek(position)

    @staticmethod
    def _expect(holds: bool) -> None:
        if not holds:
            raise ValueError(_DAMAGED)
