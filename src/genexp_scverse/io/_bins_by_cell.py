"""Bins of many cells, put in cell after cell: in memory, or in a .npy file with a bounded part in memory."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from genexp_scverse._errors import InputError
from genexp_scverse._output import check_place, place, said, workplace

BLOCK_BYTES = 128 * 2**20
"""Cells gather in memory up to this size before they are written, so that genes get long stretches at once."""


class BinsByCell:
    """Genes x tracks x bins float32, made by putting in the tracks of one cell after the other.

    Genes may come up in any cell; what a cell does not have is NaN. The file has genes in rows like the array, so
    that the signal of a gene lies together; it gets its name when it is whole.

    Parameters
    ----------
    n_tracks, n_bins
        Of the whole array.
    path
        The ``.npy`` file; None to stay in memory.
    """

    def __init__(self, n_tracks: int, n_bins: int, path: str | Path | None = None):
        self.n_tracks, self.n_bins, self.n_genes = n_tracks, n_bins, 0
        self.path = None if path is None else Path(os.path.realpath(path))
        self._block = np.empty((0, 0, n_bins), np.float32)
        self._first = 0  # track at which the block begins
        self._filled = 0  # tracks of the block that are there
        self._written: list[tuple[int, int, int]] = []  # first track, tracks, genes in the file
        self._made: Path | None = None
        self._open = ExitStack()

    def __enter__(self) -> BinsByCell:
        if self.path is not None:
            with said(self.path):
                self._made = self._open.enter_context(workplace(self.path)) / self.path.name
                self._made.touch()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.__exit__(*error)  # type: ignore[arg-type]

    def put(self, rows: np.ndarray, bins: np.ndarray) -> None:
        """Add tracks of the genes at `rows`; rows beyond those that are there are new genes."""
        self._grow(max(self.n_genes, int(rows.max(initial=-1)) + 1))
        if self._filled + bins.shape[1] > self._block.shape[1]:
            self._write()
            # the old block goes before the new one comes
            self._block = np.empty((0, 0, self.n_bins), np.float32)
            self._block = self._new_block(bins.shape[1])
        self._block[rows, self._filled : self._filled + bins.shape[1]] = bins
        self._filled += bins.shape[1]

    def finish(self) -> np.ndarray:
        """Give the whole array, or the file as a memory map that cannot be written to."""
        if self._made is None or self.path is None:
            return self._block
        self._write()
        for first, n_tracks, n_genes in self._written:
            late = self.n_genes - n_genes
            self._put_down(np.full((late, n_tracks, self.n_bins), np.nan, np.float32), n_genes, first)
        with said(self.path):
            with self._made.open("r+b") as file:
                file.write(self._header())
            place(self._made, self.path)
        return np.load(self.path, mmap_mode="r")

    def _new_block(self, at_least: int) -> np.ndarray:
        n_tracks = self.n_tracks - self._first
        if self.path is not None:
            fit = BLOCK_BYTES // (4 * self.n_bins * max(1, self.n_genes))
            n_tracks = min(n_tracks, max(at_least, fit // at_least * at_least))
        return np.full((self.n_genes, n_tracks, self.n_bins), np.nan, np.float32)

    def _grow(self, n_genes: int) -> None:
        late = n_genes - self.n_genes
        if late and self._block.size:
            more = np.full((late, *self._block.shape[1:]), np.nan, np.float32)
            self._block = np.concatenate([self._block, more])
        self.n_genes = n_genes

    def _write(self) -> None:
        if self._filled:
            self._put_down(self._block[:, : self._filled], 0, self._first)
            self._written.append((self._first, self._filled, self.n_genes))
            self._first, self._filled = self._first + self._filled, 0

    def _put_down(self, block: np.ndarray, first_gene: int, first_track: int) -> None:
        """Write `block` gene by gene; a memory map would count all pages that it touches as the process's own."""
        if self._made is None or self.path is None:
            return
        start, row = len(self._header()), self.n_tracks * self.n_bins * 4
        with said(self.path), self._made.open("r+b") as file:
            for i, values in enumerate(np.ascontiguousarray(block, "<f4")):
                file.seek(start + (first_gene + i) * row + first_track * self.n_bins * 4)
                file.write(values.data)

    def _header(self) -> bytes:
        """Head of the file; numpy pads it, so that it is as long for any number of genes."""
        out = io.BytesIO()
        shape = (self.n_genes, self.n_tracks, self.n_bins)
        np.lib.format.write_array_header_1_0(out, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return out.getvalue()


def check_bins_path(path: str | Path) -> None:
    """Raise when bins cannot be written to `path`; meant to be asked before long work.

    Parameters
    ----------
    path
        Name of the file; an older one is replaced.

    Raises
    ------
    InputError
        The name does not end in .npy, is that of a folder, or the place cannot be written to.

    Examples
    --------
    >>> check_bins_path("bins.npy")
    """
    path = Path(path)
    if path.suffix != ".npy":
        msg = f"{path} has the ending {path.suffix!r}: the name of the file of bins must end in .npy"
        raise InputError(msg)
    if path.is_dir():
        msg = f"{path} is a folder: name a .npy file for the bins"
        raise InputError(msg)
    check_place(path)
