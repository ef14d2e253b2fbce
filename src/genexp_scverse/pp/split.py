"""Genes for training, validation and test."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pp.overlap import warn_of_overlaps
from genexp_scverse.schema import SPLIT, SPLITS

if TYPE_CHECKING:
    from mudata import MuData

_FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}
_CLOSE_ENOUGH = 0.02
_TRIES = 500


def split_by_chromosome(
    mdata: MuData,
    *,
    test: str | int | Sequence[str] | None = None,
    valid: str | int | Sequence[str] | None = None,
    seed: int = 0,
) -> None:
    """Put whole chromosomes into training, validation and test, so that no window lies in two of them.

    What is not named is drawn: chromosomes with about 20 % of the genes for test and 10 % for validation.
    The choice is said in the log.

    Parameters
    ----------
    mdata
        With ``obs["chrom"]``.
    test, valid
        Names of chromosomes as in ``obs["chrom"]``.
    seed
        Seed of the draw.

    Returns
    -------
    None. Writes

    ``mdata.obs["split"]`` : Series (categorical)
        train, valid or test; NaN for genes without a chromosome, which are counted in the log.

    Raises
    ------
    InputError
        There are no chromosomes or fewer than three, a name is unknown or named twice, or a part stays empty.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"chrom": ["chr1", "chr2", "chr3", "chr1"]}, index=list("abcd"))
    >>> mdata = gx.io.from_bins(np.ones((4, 1, 1)), genes=list("abcd"), marks=["H3K4me3"], obs=obs)
    >>> gx.pp.split_by_chromosome(mdata, test="chr2", valid="chr3")
    >>> mdata.obs["split"].tolist()
    ['train', 'test', 'valid', 'train']
    """
    chrom = chromosomes(mdata)
    sizes = chrom.value_counts()
    sizes = sizes[sorted(sizes.index)]
    named = {"valid": _named(valid, sizes.index, "valid"), "test": _named(test, sizes.index, "test")}
    twice = [c for c in named["test"] or () if c in (named["valid"] or ())]
    if twice:
        msg = f"{some(twice)} is in test and in valid: name every chromosome once"
        raise InputError(msg)
    groups = _drawn(sizes, named, seed)
    split = pd.Series(np.nan, index=mdata.obs_names, dtype=object)
    for name in SPLITS:
        split[chrom.isin(groups[name]).to_numpy()] = name
    write_split(mdata, split, "by chromosome", groups)


def split_at_random(mdata: MuData, *, fractions: tuple[float, float, float] = (0.7, 0.1, 0.2), seed: int = 0) -> None:
    """Put genes into training, validation and test at random, and say how many windows overlap across.

    Neighbouring genes share signal and sequence, so a model tested on this split looks better than it is
    wherever windows overlap: :func:`split_by_chromosome` avoids that.

    Parameters
    ----------
    mdata
        Gene-centric MuData.
    fractions
        Of training, validation and test; they add up to 1.
    seed
        Seed of the draw.

    Returns
    -------
    None. Writes

    ``mdata.obs["split"]`` : Series (categorical)
        train, valid or test.

    The log warns of validation and test genes whose window overlaps that of a training gene (the window in
    ``uns`` of chromatin or dna, else TSS +/- 5 kb).

    Raises
    ------
    InputError
        A fraction is not above 0, they do not add up to 1, or there are too few genes.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((10, 1, 1)), genes=list("abcdefghij"), marks=["H3K4me3"])
    >>> gx.pp.split_at_random(mdata)
    >>> mdata.obs["split"].value_counts().to_dict()
    {'train': 7, 'test': 2, 'valid': 1}
    """
    if len(fractions) != 3 or not all(f > 0 for f in fractions) or abs(sum(fractions) - 1) > 1e-6:
        msg = f"fractions={tuple(fractions)}: give three above 0 that add up to 1 (train, valid, test)"
        raise InputError(msg)
    n_valid, n_test = (max(1, round(f * mdata.n_obs)) for f in fractions[1:])
    if n_valid + n_test >= mdata.n_obs:
        msg = f"{mdata.n_obs} genes are too few for a split into three"
        raise InputError(msg)
    order = np.random.default_rng(seed).permutation(mdata.n_obs)
    split = pd.Series("train", index=mdata.obs_names, dtype=object)
    split.iloc[order[:n_test]] = "test"
    split.iloc[order[n_test : n_test + n_valid]] = "valid"
    write_split(mdata, split, "at random")
    warn_of_overlaps(mdata, split)


def training_rows(mdata: MuData) -> np.ndarray:
    """Give the positions of the training genes.

    Parameters
    ----------
    mdata
        With ``obs["split"]``.

    Returns
    -------
    Positions in ascending order, int64.

    Raises
    ------
    InputError
        There is no split, or it has no training gene.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((3, 1, 1)), genes=["a", "b", "c"], marks=["H3K4me3"])
    >>> mdata.obs["split"] = ["train", "test", "train"]
    >>> training_rows(mdata).tolist()
    [0, 2]
    """
    if SPLIT not in mdata.obs:
        msg = 'mdata.obs has no column "split": set it with gx.pp.split_by_chromosome(mdata)'
        raise InputError(msg)
    rows = np.flatnonzero((mdata.obs[SPLIT].astype(object) == "train").to_numpy(bool))
    if len(rows) == 0:
        msg = 'no gene has "train" in mdata.obs["split"]: set it with gx.pp.split_by_chromosome(mdata)'
        raise InputError(msg)
    return rows


def chromosomes(mdata: MuData) -> pd.Series:
    """Give the chromosome of every gene, NaN where it has none."""
    if "chrom" not in mdata.obs:
        msg = (
            'mdata.obs has no column "chrom": give the genes coordinates, or use gx.pp.split_at_random or '
            "gx.pp.split_by_fold"
        )
        raise InputError(msg)
    chrom = mdata.obs["chrom"].astype(object)
    return chrom.where(chrom.notna()).map(lambda c: c if pd.isna(c) else str(c))


def _named(names: str | int | Sequence[str] | None, there: Iterable[str], part: str) -> list[str] | None:
    if names is None:
        return None
    names = [str(names)] if isinstance(names, str | int) else [str(n) for n in names]
    there = list(there)
    for name in names:
        if name not in there:
            other = name[3:] if name.startswith("chr") else f"chr{name}"
            near = [other] if other in there else difflib.get_close_matches(name, there, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {some(there, 30)}"
            msg = f"{part} chromosome {name!r} is not there; {hint}"
            raise InputError(msg)
    if not names:
        msg = f"{part} names no chromosome: leave it away to have some drawn"
        raise InputError(msg)
    return names


def _drawn(sizes: pd.Series, named: dict[str, list[str] | None], seed: int) -> dict[str, list[str]]:
    """Fill in what is not named from chromosomes in random order, taking the first order that comes close."""
    rest = [c for c in sizes.index if c not in [*(named["test"] or ()), *(named["valid"] or ())]]
    wanted = [part for part in ("test", "valid") if named[part] is None]
    if len(rest) <= len(wanted):
        msg = (
            f"{len(sizes)} chromosomes ({some(sizes.index)}) are too few for training, validation and test: "
            "name fewer of them, or use gx.pp.split_at_random"
        )
        raise InputError(msg)
    rng = np.random.default_rng(seed)
    total = sizes.sum()
    best: tuple[float, dict[str, list[str]]] | None = None
    for _ in range(_TRIES if wanted else 1):
        order = [rest[i] for i in rng.permutation(len(rest))]
        groups, off = {part: list(chroms) for part, chroms in named.items() if chroms is not None}, 0.0
        for i, part in enumerate(wanted):
            # what is still wanted after this part, and training, need at least one chromosome each
            most = len(order) - (len(wanted) - i)
            share = np.cumsum([sizes[c] for c in order[:most]]) / total
            n = int(np.abs(share - _FRACTIONS[part]).argmin()) + 1
            off += abs(float(share[n - 1]) - _FRACTIONS[part])
            groups[part], order = order[:n], order[n:]
        groups["train"] = order
        if best is None or off < best[0]:
            best = off, groups
        if off <= _CLOSE_ENOUGH:
            break
    assert best is not None
    return {part: sorted(best[1][part], key=natural_order) for part in SPLITS}


def natural_order(name: str) -> tuple:
    """Give the key that sorts chr2 before chr10."""
    digits = "".join(c for c in name if c.isdigit())
    return (not digits, int(digits) if digits else 0, name)


def write_split(mdata: MuData, split: pd.Series, how: str, groups: dict[str, list[str]] | None = None) -> None:
    """Write ``obs["split"]`` and say in the log how many genes each part has; an empty part is an error."""
    counts = split.value_counts()
    for name in SPLITS:
        if counts.get(name, 0) == 0:
            msg = f"the split {how} leaves no gene for {name}: choose other parts"
            raise InputError(msg)
    mdata.obs[SPLIT] = pd.Categorical(split, categories=list(SPLITS))
    measured = int(counts.sum())
    parts = [
        f"{name} {counts[name]} ({100 * counts[name] / measured:.0f} %"
        + (f": {', '.join(groups[name])})" if groups else ")")
        for name in SPLITS
    ]
    logger.info("split %s: %s", how, "; ".join(parts))
    if measured < mdata.n_obs:
        logger.warning("%d of %d genes are in no part of the split", mdata.n_obs - measured, mdata.n_obs)
