"""DNA of genes as codes, from memory or read when asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from genexp_scverse._rows import BLOCK_BYTES, on_disk
from genexp_scverse.io.fasta import reverse_complement
from genexp_scverse.model.base._signal import STREAMED_BYTES


class SequenceTable:
    """Codes by gene: on the device when they fit, else read by rows.

    Parameters
    ----------
    codes
        Genes x bases, A C G T N = 0 1 2 3 4: numpy array, memmap, dask array, or what gives rows when indexed.
    flip
        Genes whose reverse complement is read, or None.
    resident_bytes
        Largest size to keep in memory; 0 to read by rows.
    """

    def __init__(self, codes: Any, flip: np.ndarray | None = None, *, resident_bytes: int):
        self.codes, self.flip, self.resident_bytes = codes, flip, resident_bytes
        self._table: torch.Tensor | None = None

    @property
    def resident(self) -> bool:
        """Whether the codes lie in memory or on the GPU."""
        return self._table is not None

    def to(self, device: torch.device | str) -> None:
        """Put the codes on `device` when they fit there."""
        device = torch.device(device)
        if self._table is not None:
            self._table = self._table.to(device)
            return
        spared = self.resident_bytes if device.type == "cuda" or not on_disk(self.codes) else STREAMED_BYTES
        if int(np.prod(self.codes.shape)) <= min(self.resident_bytes, spared):
            n_genes, length = self.codes.shape
            self._table = torch.empty((n_genes, length), dtype=torch.uint8, device=device)
            step = max(1, BLOCK_BYTES // max(1, length))
            for start in range(0, n_genes, step):
                rows = np.arange(start, min(start + step, n_genes))
                self._table[start : start + step] = torch.from_numpy(self._rows(rows)).to(device)

    def gather(self, genes: torch.Tensor) -> torch.Tensor:
        """Codes of the genes, (B, bases) uint8, on their device."""
        if self._table is not None:
            return self._table[genes]
        return torch.from_numpy(self._rows(genes.cpu().numpy())).to(genes.device)

    def _rows(self, rows: np.ndarray) -> np.ndarray:
        unique, back = np.unique(rows, return_inverse=True)
        codes = np.asarray(self.codes[unique], np.uint8)[back]
        if self.flip is not None:
            turn = self.flip[rows]
            codes[turn] = reverse_complement(codes[turn])
        return codes
