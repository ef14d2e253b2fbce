"""One CSV file of DeepChrome: a gene is 100 rows of five counts."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.io.plain_text import open_text

MARKS = ("H3K27me3", "H3K36me3", "H3K4me1", "H3K4me3", "H3K9me3")
N_BINS = 100
_N_COLUMNS = 2 + len(MARKS) + 1


def read_csv(file: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read one file, its genes in order of appearance.

    Parameters
    ----------
    file
        CSV without a header, 100 rows per gene; may be compressed.

    Returns
    -------
    Gene ids; counts genes x marks x bins float32; labels 0 and 1.

    Raises
    ------
    InputError
        As for :func:`genexp_scverse.io.read_deepchrome`.

    Examples
    --------
    See :func:`genexp_scverse.io.read_deepchrome`.
    """
    numeric = range(1, _N_COLUMNS)
    with open_text(file, what="a CSV of DeepChrome") as handle:
        text = handle.read()
    width = text.partition(b"\n")[0].count(b",") + 1
    if width != _N_COLUMNS:
        msg = (
            f"{file} has {width} columns, expected {_N_COLUMNS}: gene id, bin id, {', '.join(MARKS)}, "
            "label, separated by commas"
        )
        raise InputError(msg)
    try:
        table = pd.read_csv(
            io.BytesIO(text),
            header=None,
            dtype={0: str, **dict.fromkeys(numeric, np.float32)},
            keep_default_na=False,
            na_values={i: [""] for i in numeric},
            # the fast parser, several times as fast, reads some exponents wrongly
            float_precision="round_trip" if b"e" in text or b"E" in text else None,
        )
    except (pd.errors.ParserError, ValueError) as error:
        why = str(error).strip()
        msg = f"{file} is not a table of numbers without a header ({why}): see gx.io.read_deepchrome"
        raise InputError(msg) from error
    values = table[list(numeric)].to_numpy(np.float32)
    codes, ids = pd.factorize(table[0])
    genes = [str(g) for g in ids]
    known = np.isfinite(values).all(axis=1)
    if "" in genes:
        known &= codes != genes.index("")
    if not known.all():
        row = int(known.argmin())
        msg = f"{file} is incomplete at row {row + 1} (gene {table[0].iat[row]!r}): was the file cut off?"
        raise InputError(msg)
    values = _in_order(file, genes, codes, values).reshape(len(genes), N_BINS, _N_COLUMNS - 1)
    counts = np.ascontiguousarray(values[:, :, 1:-1].transpose(0, 2, 1))
    label = values[:, :, -1]
    if (counts < 0).any():
        gene = genes[int((counts < 0).any(axis=(1, 2)).argmax())]
        msg = f"{file} holds negative counts (gene {gene!r}): counts of reads are 0 or more"
        raise InputError(msg)
    bad = (~np.isin(label, (0, 1))).any(axis=1) | (label != label[:, :1]).any(axis=1)
    if bad.any():
        i = int(bad.argmax())
        seen = ", ".join(f"{v:g}" for v in np.unique(label[i]))
        msg = f"the label of gene {genes[i]!r} in {file} is {seen}: it has to be 0 or 1, one for all rows"
        raise InputError(msg)
    return genes, counts, label[:, 0].copy()


def _in_order(file: Path, genes: list[str], codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    rows = np.bincount(codes, minlength=len(genes))
    wrong = np.flatnonzero(rows != N_BINS)
    if len(wrong):
        i = int(wrong[0])
        guess = "was the file cut off?" if rows[i] < N_BINS else "is it there twice?"
        msg = (
            f"{len(wrong)} of {len(genes)} genes of {file} do not have {N_BINS} rows; gene {genes[i]!r} has "
            f"{rows[i]}: {guess}"
        )
        raise InputError(msg)
    bin_id = values[:, 0]
    expected = np.tile(np.arange(1, N_BINS + 1, dtype=np.float32), len(genes))
    if (codes == np.repeat(np.arange(len(genes)), N_BINS)).all() and (bin_id == expected).all():
        return values
    order = np.lexsort((bin_id, codes))
    bad = np.flatnonzero(bin_id[order] != expected)
    if len(bad):
        gene = genes[int(bad[0]) // N_BINS]
        msg = f"the bins of gene {gene!r} in {file} are not 1 to {N_BINS}, each once"
        raise InputError(msg)
    moved = len(np.unique(codes[order != np.arange(len(order))]))
    logger.info("%s: rows of %d of %d genes were not in order and are sorted by bin id", file, moved, len(genes))
    return values[order]
