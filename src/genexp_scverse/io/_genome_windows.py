"""Windows of the genes of a MuData in a genome store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from genexp_scverse import schema
from genexp_scverse.io.chroms import match_chroms
from genexp_scverse.io.genome_store import GenomeStore
from genexp_scverse.io.window import check_tss, count_bins, tss_windows

_UNKNOWN = schema.BASES.index("N")


class GenomeWindows:
    """Windows around the TSS of genes, read from a genome store gene by gene as asked.

    A window is `upstream` bases before the TSS and `downstream` bases from the TSS base on, in the direction of
    transcription, see :func:`~genexp_scverse.io.window.tss_windows`. Genes on chromosomes that the store lacks are N
    and 0. It can be pickled, and used by several processes and threads at once.

    Parameters
    ----------
    genes
        One row per gene with chrom, tss (0-based) and, when `stranded`, strand.
    store
        The genome.
    upstream, downstream
        Window in bases.
    stranded
        Read windows of genes on the minus strand backwards.

    Raises
    ------
    InputError
        When coordinates are missing or beyond the end of a chromosome, no chromosome matches, or the bins of the
        store do not fill the window.

    Examples
    --------
    See :func:`attach_genome`.
    """

    def __init__(
        self, genes: pd.DataFrame, store: GenomeStore, *, upstream: int, downstream: int, stranded: bool = True
    ):
        self.store = store
        """The genome."""
        self.upstream, self.downstream, self.stranded = int(upstream), int(downstream), bool(stranded)
        self.n_bins = count_bins(upstream=upstream, downstream=downstream, bin_size=store.bin_size)
        """Bins of a window."""
        windows = tss_windows(genes, upstream=upstream, downstream=downstream, stranded=stranded)
        match = match_chroms(
            pd.unique(windows.chrom), store.chrom_sizes, wanted_in="the genes", available_in=str(store.path)
        )
        self.present = check_tss(genes, store.chrom_sizes, names=match, source=str(store.path))
        """Whether the chromosome of each gene is in the store (bool)."""
        self.genes = np.asarray(genes.index, dtype=object)
        """Ids of the genes."""
        self._chrom = np.array([match.get(c, "") for c in windows.chrom], dtype=object)
        self._start, self._reverse = windows.start, windows.reverse

    @property
    def length(self) -> int:
        """Bases of a window."""
        return self.upstream + self.downstream

    @property
    def bin_size(self) -> int:
        """Bases in a bin of the signal."""
        return self.store.bin_size

    @property
    def tracks(self) -> pd.DataFrame:
        """A row per track: sample, mark, scale, source."""
        return self.store.tracks

    def __len__(self) -> int:
        return len(self._start)

    def codes(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        """Read the DNA of some genes.

        Parameters
        ----------
        rows
            Positions of genes, in any order, also repeated.

        Returns
        -------
        Array of genes x bases, uint8, A C G T N = 0 1 2 3 4, reverse-complemented on the minus strand.

        Examples
        --------
        See :func:`attach_genome`.
        """
        rows = np.asarray(rows, dtype=np.int64)
        there = self.present[rows]
        if there.all() and len(rows):
            return self.store.codes(*self._places(rows))
        out = np.full((len(rows), self.length), _UNKNOWN, np.uint8)
        if there.any():
            out[there] = self.store.codes(*self._places(rows[there]))
        return out

    def signal(self, rows: Sequence[int] | np.ndarray, tracks: Sequence[int] | np.ndarray | None = None) -> np.ndarray:
        """Read the signal of some genes.

        Parameters
        ----------
        rows
            Positions of genes, in any order, also repeated.
        tracks
            Positions of tracks in :attr:`tracks`; by default all.

        Returns
        -------
        Array of genes x tracks x bins, float32; bins of more than one base are those of the store, whose edges lie at
        most half a bin off the window's, see :meth:`GenomeStore.signal`.

        Examples
        --------
        See :func:`attach_genome`.
        """
        rows = np.asarray(rows, dtype=np.int64)
        there = self.present[rows]
        if there.all() and len(rows):
            return self.store.signal(*self._places(rows), tracks=tracks)
        n_tracks = len(self.tracks) if tracks is None else len(np.atleast_1d(tracks))
        out = np.zeros((len(rows), n_tracks, self.n_bins), np.float32)
        if there.any():
            out[there] = self.store.signal(*self._places(rows[there]), tracks=tracks)
        return out

    def _places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        start = self._start[rows]
        return self._chrom[rows], start, start + self.length, self._reverse[rows]
