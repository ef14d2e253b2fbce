"""Scaled signal by gene and sample, the largest thing that a batch gathers from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tqdm.auto import tqdm

from genexp_scverse._logging import logger
from genexp_scverse._rows import blocks_of, on_disk, rows_of
from genexp_scverse.model.base._spool import Spool

if TYPE_CHECKING:
    from genexp_scverse.pp.scaler import SignalScaler

RESIDENT_BYTES = 4 * 2**30
"""Signal up to this size is scaled once and kept in memory, or on the GPU."""

STREAMED_BYTES = 256 * 2**20
"""Signal that lies on disk is kept in memory only up to this size."""


class SignalTable:
    """Scaled signal by gene and sample: from memory when it fits, else streamed from disk.

    What does not fit is scaled once, block by block, into a temporary file with a record for every (sample, gene),
    so that a batch is a few short reads. Where a few genes are wanted (`resident_bytes` is 0), their rows are read
    and scaled when they are asked for.

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
    names
        Of the samples, where the scaler has a map for each.
    resident_bytes
        Largest size to keep in memory; 0 to read and scale by rows.
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
        names: list[str] | None = None,
        resident_bytes: int = RESIDENT_BYTES,
    ):
        self.bins, self.tracks, self.marks, self.scales, self.scaler = bins, tracks, marks, scales, scaler
        self.flip, self.names, self.resident_bytes = flip, names, resident_bytes
        self.shape = (bins.shape[0], len(tracks), len(marks), bins.shape[2])
        self._table: torch.Tensor | None = None
        self._spool: Spool | None = None

    @property
    def resident(self) -> bool:
        """Whether the signal lies in memory or on the GPU."""
        return self._table is not None

    def to(self, device: torch.device | str) -> None:
        """Put the signal on `device` when it fits there, else into a temporary file."""
        device = torch.device(device)
        if self._table is not None:
            self._table = self._table.to(device)
        elif self._spool is None and self.resident_bytes:
            self._fill(device)

    def gather(self, genes: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        """Bins of the pairs, (B, marks, bins) float32 on the device of `genes`."""
        if self._table is not None:
            if self._table.shape[0] == 1:
                return self._table[0][genes]
            return self._table[samples, genes]
        rows, of = genes.cpu().numpy(), samples.cpu().numpy()
        if self._spool is not None:
            return torch.from_numpy(self._spool.read(of * self.shape[0] + rows)).to(genes.device)
        out = np.empty((len(of), *self.shape[2:]), np.float32)
        for s in np.unique(of):
            at = np.flatnonzero(of == s)
            out[at] = self._scaled(rows[at], np.array([s]))[:, 0]
        return torch.from_numpy(out).to(genes.device)

    def _fill(self, device: torch.device) -> None:
        n_genes, n_samples, *record = self.shape
        size = int(np.prod(self.shape)) * 4
        # a GPU has memory of its own
        spared = self.resident_bytes if device.type == "cuda" or not on_disk(self.bins) else STREAMED_BYTES
        if size <= min(self.resident_bytes, spared):
            self._table = torch.empty((n_samples, n_genes, *record), device=device)
        else:
            self._spool = Spool(n_samples * n_genes, (self.shape[2], self.shape[3]))
            logger.info("The signal (%.1f GB) is streamed from a temporary file in %s", size / 1e9, self._spool.folder)
        everyone = np.arange(n_samples)
        used = np.unique(self.tracks[self.tracks >= 0])
        bar = tqdm(total=n_genes, desc="scaling signal", unit="gene", disable=None if self._spool else True)
        with bar:
            for rows, raw in blocks_of(self.bins, np.arange(n_genes), used):
                scaled = self._placed(raw, used, rows, everyone)
                for s in everyone:
                    if self._table is not None:
                        self._table[s, rows[0] : rows[-1] + 1] = torch.from_numpy(scaled[:, s]).to(device)
                    elif self._spool is not None:
                        self._spool.write(int(s * n_genes + rows[0]), scaled[:, s])
                bar.update(len(rows))

    def _scaled(self, rows: np.ndarray, samples: np.ndarray) -> np.ndarray:
        of = self.tracks[samples]
        used = np.unique(of[of >= 0])
        return self._placed(rows_of(self.bins, rows, used), used, rows, samples)

    def _placed(self, raw: np.ndarray, used: np.ndarray, rows: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Scale the tracks `used` and lay them out as genes x samples x marks x bins."""
        of = self.tracks[samples]
        mark_of, sample_of = np.zeros(self.bins.shape[1], int), np.zeros(self.bins.shape[1], int)
        for i, s in enumerate(samples):
            there = of[i] >= 0
            mark_of[of[i][there]], sample_of[of[i][there]] = np.flatnonzero(there), s
        x = self.scaler.transform(
            raw,
            [self.scales[t] for t in used],
            [self.marks[mark_of[t]] for t in used],
            samples=None if self.names is None else [self.names[sample_of[t]] for t in used],
        )
        if self.flip is not None:
            reverse = self.flip[rows]
            x[reverse] = x[reverse, :, ::-1]
        out = np.zeros((len(rows), *of.shape, self.shape[3]), np.float32)
        out[:, of >= 0] = x[:, np.searchsorted(used, of[of >= 0])]
        return out
