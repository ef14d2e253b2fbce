"""Scaled signal by gene and sample, the largest thing that a batch gathers from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from genexp_scverse.pp.scaler import SignalScaler

RESIDENT_BYTES = 4 * 2**30
"""Signal up to this size is scaled once and kept in memory (on the device); larger arrays stream."""


class SignalTable:
    """Scaled signal by gene and sample: from memory when it fits, else streamed by rows from the array.

    Parameters
    ----------
    bins
        Genes x tracks x bins: numpy array, memmap, h5py dataset or dask array.
    tracks
        Position of the track of every sample and mark, samples x marks; -1 where a sample lacks the mark, whose
        signal is 0 then.
    marks, scales
        Mark (columns of `tracks`) and scale of every track of `bins`.
    scaler
        Fitted on training genes.
    flip
        Genes whose bins are reversed, or None.
    """

    def __init__(
        self,
        bins: Any,
        *,
        tracks: np.ndarray,
        marks: list[str],
        scales: list[str],
        scaler: SignalScaler,
        flip: np.ndarray | None = None,
        resident_bytes: int = RESIDENT_BYTES,
    ):
        self.bins, self.tracks, self.marks, self.scales, self.scaler = bins, tracks, marks, scales, scaler
        self.flip = flip
        self.shape = (bins.shape[0], len(tracks), len(marks), bins.shape[2])
        self.resident = int(np.prod(self.shape)) * 4 <= resident_bytes
        self._table: torch.Tensor | None = None

    def to(self, device: torch.device | str) -> None:
        """Put the signal on `device` when it is small enough to stay in memory."""
        if self.resident:
            if self._table is None:
                table = np.empty((self.shape[1], self.shape[0], *self.shape[2:]), np.float32)
                for start in range(0, self.shape[0], 4096):
                    rows = np.arange(start, min(start + 4096, self.shape[0]))
                    for s in range(self.shape[1]):
                        table[s, rows] = self._scaled(rows, s)
                self._table = torch.from_numpy(table)
            self._table = self._table.to(device)

    def gather(self, genes: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """Bins of the pairs, (B, marks, bins) float32 on the device of `genes`."""
        if self._table is not None:
            if self._table.shape[0] == 1:
                return self._table[0][genes]
            return self._table[samples, genes]
        rows, of = genes.cpu().numpy(), samples.cpu().numpy()
        out = np.empty((len(of), *self.shape[2:]), np.float32)
        for s in np.unique(of):
            at = np.flatnonzero(of == s)
            out[at] = self._scaled(rows[at], s)
        return torch.from_numpy(out).to(genes.device)

    def _scaled(self, rows: np.ndarray, sample: int) -> np.ndarray:
        there = np.flatnonzero(self.tracks[sample] >= 0)
        tracks, marks = self.tracks[sample][there], [self.marks[m] for m in there]
        x = self.scaler.transform(_rows(self.bins, rows, tracks), [self.scales[t] for t in tracks], marks)
        if len(there) < len(self.marks):
            whole = np.zeros((len(rows), len(self.marks), self.shape[3]), np.float32)
            whole[:, there] = x
            x = whole
        if self.flip is not None:
            reverse = self.flip[rows]
            x[reverse] = x[reverse, :, ::-1]
        return x


def _rows(array: Any, rows: np.ndarray, tracks: np.ndarray) -> np.ndarray:
    """Read some tracks of some genes in the order asked for, whatever order the array wants to be asked in."""
    if isinstance(array, np.ndarray):
        return np.asarray(array[rows[:, None], tracks])
    unique, back = np.unique(rows, return_inverse=True)
    return np.asarray(array[unique])[back][:, tracks]
