"""Batches of (gene, sample) pairs as index tensors, and what lies on disk of them read ahead."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import lightning
import torch

if TYPE_CHECKING:
    from genexp_scverse.model.base._tables import GeneTables

THREADS = 4
"""Batches that are read at once for a GPU, which computes one sooner than a thread reads it."""


class PairBatches:
    """Iterate over pairs of gene and sample indices in batches, shuffled anew in every epoch when asked.

    With `by_gene` the samples of a gene stay together. Under several processes each takes its share of the pairs.
    """

    def __init__(
        self,
        pairs: torch.Tensor,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int | torch.Generator = 0,
        by_gene: bool = False,
    ):
        self.pairs, self.batch_size, self.shuffle = pairs, int(batch_size), shuffle
        self.gene = pairs[:, 0].unique(return_inverse=True)[1] if by_gene else None
        self.generator = torch.Generator().manual_seed(seed) if isinstance(seed, int) else seed

    def _share(self) -> tuple[int, int]:
        # validation is not shared out, so that every process decides on the same score
        if self.shuffle and torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_rank(), torch.distributed.get_world_size()
        return 0, 1

    def _shuffled(self) -> torch.Tensor:
        if self.gene is None:
            return torch.randperm(len(self.pairs), generator=self.generator)
        return torch.randperm(int(self.gene.max()) + 1, generator=self.generator)[self.gene].argsort(stable=True)

    def __len__(self) -> int:
        per_process = len(self.pairs) // self._share()[1] if self._share()[1] > 1 else len(self.pairs)
        return -(-per_process // self.batch_size)

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        order = self._shuffled() if self.shuffle else torch.arange(len(self.pairs))
        rank, world = self._share()
        if world > 1:
            order = order[rank : len(order) // world * world : world]
        genes, samples = self.pairs[order].T.contiguous()
        yield from zip(genes.split(self.batch_size), samples.split(self.batch_size), strict=True)


class ReadAhead:
    """Iterate over `batches` of `tables`: genes, samples, and where any of it lies on disk what `gather` wants of it.

    A GPU gets batches read by several threads into memory that it can copy from by itself, a CPU the next batch read by
    one thread. Order and numbers are the same as without reading ahead.
    """

    def __init__(self, batches: PairBatches, tables: GeneTables):
        self.batches, self.tables = batches, tables

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if self.tables.resident:
            yield from self.batches
            return
        n_ahead = THREADS if self.tables.on_gpu else 1
        waiting: deque[tuple[Any, ...]] = deque()
        with ThreadPoolExecutor(n_ahead, thread_name_prefix="read_ahead") as pool:
            try:
                for genes, samples in self.batches:
                    waiting.append((genes, samples, pool.submit(self.tables.read, genes, samples)))
                    if len(waiting) > n_ahead:
                        yield _finished(waiting)
                while waiting:
                    yield _finished(waiting)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)


def _finished(waiting: deque[tuple[Any, ...]]) -> tuple[Any, ...]:
    # nothing here holds on to a batch while it is used
    genes, samples, read = waiting.popleft()
    return genes, samples, read.result()


class PairData(lightning.LightningDataModule):
    """Training and validation pairs for the trainer.

    The trainer keeps this object after training; the tables are held by a weak reference, so that they are freed.
    """

    def __init__(
        self,
        train: torch.Tensor,
        valid: torch.Tensor,
        batch_size: int,
        seed: int,
        eval_batch: int,
        tables: GeneTables,
    ):
        super().__init__()
        self.eval_batch, self.tables = eval_batch, weakref.proxy(tables)
        self.train_pairs, self.valid_pairs = train, valid
        self.batch_size, self.order = batch_size, torch.Generator().manual_seed(seed)
        self.n_train, self.n_val = len(train), len(valid)
        # scvi-tools' runner keeps these as the model's train_indices and validation_indices
        self.train_idx, self.val_idx = (pairs[:, 0].unique().numpy() for pairs in (train, valid))

    def state_dict(self) -> dict[str, Any]:
        """Give what decides on the order of the epochs to come."""
        return {"order": self.order.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the order of a training that was cut short."""
        self.order.set_state(state_dict["order"])

    def train_dataloader(self) -> ReadAhead:
        """Shuffled training pairs."""
        # a gene is then read once for all samples
        by_gene = self.tables.known is not None
        pairs = PairBatches(self.train_pairs, self.batch_size, shuffle=True, seed=self.order, by_gene=by_gene)
        return ReadAhead(pairs, self.tables)

    def val_dataloader(self) -> ReadAhead | list:
        """Give validation pairs in order, in large batches."""
        if not len(self.valid_pairs):
            return []
        return ReadAhead(PairBatches(self.valid_pairs, max(self.batch_size, self.eval_batch)), self.tables)
