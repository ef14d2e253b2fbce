"""Windows that lie on both sides of a split."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._logging import logger
from genexp_scverse.schema import CHROMATIN, DNA

if TYPE_CHECKING:
    from mudata import MuData

_FLANK = 5000


def warn_of_overlaps(mdata: MuData, split: pd.Series) -> None:
    """Log how many validation and test genes have a window that overlaps that of a training gene."""
    if "chrom" not in mdata.obs or "tss" not in mdata.obs:
        logger.warning("genes have no chrom and tss, so windows that overlap across a random split cannot be counted")
        return
    window = next(
        (mdata.mod[m].uns["window"] for m in (CHROMATIN, DNA) if m in mdata.mod and "window" in mdata.mod[m].uns),
        None,
    )
    up, down = (int(window["upstream"]), int(window["downstream"])) if window is not None else (_FLANK, _FLANK)
    tss = mdata.obs["tss"].to_numpy(np.float64)
    start = tss - up
    if window is not None and window["stranded"] and "strand" in mdata.obs:
        start = np.where(mdata.obs["strand"].astype(str) == "-", tss - down + 1, start)
    n = int(_overlapping(mdata.obs["chrom"], start, up + down, (split == "train").to_numpy()).sum())
    held = int((split != "train").sum())
    logger.log(
        logging.WARNING if n else logging.INFO,
        "the windows of %d of %d validation and test genes (%.0f %%) overlap the window of a training gene (%d + %d "
        "bases around the TSS)%s",
        *(n, held, 100 * n / held, up, down),
        ", so results will be too good: gx.pp.split_by_chromosome has no such overlap" if n else "",
    )


def _overlapping(chrom: pd.Series, start: np.ndarray, length: int, train: np.ndarray) -> np.ndarray:
    """Genes outside of training whose window overlaps one in it."""
    import pyranges

    known = chrom.notna().to_numpy() & ~np.isnan(start)
    windows = pd.DataFrame(
        {
            "Chromosome": chrom.astype(str).to_numpy()[known],
            "Start": start[known].astype(np.int64),
            "End": start[known].astype(np.int64) + length,
            "row": np.flatnonzero(known),
        }
    )
    of_training = train[known]
    found = np.zeros(len(start), bool)
    if of_training.any() and not of_training.all():
        held, ours = (pyranges.PyRanges(windows[mask].reset_index(drop=True)) for mask in (~of_training, of_training))
        overlapping = held.overlap(ours)
        if len(overlapping):
            found[overlapping.df["row"].to_numpy()] = True
    return found
