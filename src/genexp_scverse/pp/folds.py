"""Cross-validation folds to training, validation and test."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pp.split import chromosomes, natural_order, write_split

if TYPE_CHECKING:
    from mudata import MuData


def split_by_fold(
    mdata: MuData,
    fold: str | pd.Series = "fold",
    *,
    test: Hashable | Sequence[Hashable],
    valid: Hashable | Sequence[Hashable] | None = None,
) -> None:
    """Take the split from a table of cross-validation folds.

    Parameters
    ----------
    mdata
        Gene-centric MuData.
    fold
        Column of ``mdata.obs``, or a Series gene id -> fold.
    test
        The fold (or folds) of the test genes.
    valid
        The fold (or folds) of the validation genes; by default the one after the (last) test fold, in the order
        of the sorted folds, the first after the last. Names that are no fold may be chromosomes.

    Returns
    -------
    None. Writes

    ``mdata.obs["split"]`` : Series (categorical)
        train, valid or test; NaN for genes without a fold, which are counted in the log.

    Raises
    ------
    InputError
        There is no such column, a name is neither a fold nor a chromosome, test and valid share a fold, or a
        part stays empty.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import genexp_scverse as gx
    >>> obs = pd.DataFrame({"fold": [0, 1, 2, 2]}, index=list("abcd"))
    >>> mdata = gx.io.from_bins(np.ones((4, 1, 1)), genes=list("abcd"), marks=["H3K4me3"], obs=obs)
    >>> gx.pp.split_by_fold(mdata, test=2)
    >>> mdata.obs["split"].tolist()
    ['valid', 'train', 'test', 'test']
    """
    if isinstance(fold, pd.Series):
        by_gene = fold.copy()
        by_gene.index = by_gene.index.astype(str)
        if not by_gene.index.is_unique:
            twice = by_gene.index[by_gene.index.duplicated()].unique()
            msg = f"gene {some(twice)} has more than one fold: give every gene one"
            raise InputError(msg)
        folds = by_gene.reindex(mdata.obs_names)
    elif fold in mdata.obs:
        folds = mdata.obs[fold]
    else:
        msg = f"mdata.obs has no column {fold!r}: it has {some(mdata.obs.columns, 8)}"
        raise InputError(msg)
    keys = folds.astype(object).map(_fold_name)
    there = sorted(keys.dropna().unique(), key=natural_order)
    if not there:
        msg = "no gene has a fold: check that the table names the genes by the ids in mdata.obs_names"
        raise InputError(msg)
    tested = _known_folds(test, there)
    split = pd.Series("train", index=mdata.obs_names, dtype=object).mask(keys.isna().to_numpy())
    if valid is None:
        at = there.index(tested[-1])
        following = [f for f in there[at + 1 :] + there[:at] if f not in tested][:1]
        held = keys.isin(following).to_numpy()
        logger.info("validation genes are those of fold %s", some(following))
    else:
        held = _folds_or_chromosomes(mdata, keys, valid, there, tested)
    split[held & keys.notna().to_numpy()] = "valid"
    split[keys.isin(tested).to_numpy()] = "test"
    write_split(mdata, split, "by fold")


def _fold_name(fold: Any) -> Any:
    """Fold as text; 11, 11.0 (a column with gaps) and "11" are the same."""
    if pd.isna(fold):
        return np.nan
    if isinstance(fold, float | np.floating) and float(fold).is_integer():
        return str(int(fold))
    return str(fold)


def _as_list(names: Any) -> list[str]:
    many = isinstance(names, list | tuple | set | np.ndarray | pd.Index | pd.Series | range)
    return [_fold_name(n) for n in (names if many else [names])]


def _known_folds(names: Any, there: list[str]) -> list[str]:
    wanted = _as_list(names)
    unknown = [n for n in wanted if n not in there]
    if unknown or not wanted:
        msg = f"test fold {some(unknown)} is not there: there are {some(there, 30)}"
        raise InputError(msg)
    return sorted(wanted, key=there.index)


def _folds_or_chromosomes(
    mdata: MuData, keys: pd.Series, valid: Any, there: list[str], tested: list[str]
) -> np.ndarray:
    wanted = _as_list(valid)
    twice = [n for n in wanted if n in tested]
    if twice:
        msg = f"fold {some(twice)} is in test and in valid: name every fold once"
        raise InputError(msg)
    chrom = chromosomes(mdata) if "chrom" in mdata.obs else pd.Series(np.nan, index=mdata.obs_names, dtype=object)
    unknown = [n for n in wanted if n not in there and not (chrom == n).any()]
    if unknown:
        msg = f"valid {some(unknown)} is neither a fold nor a chromosome: there are folds {some(there, 30)}"
        raise InputError(msg)
    folds = [n for n in wanted if n in there]
    chroms = [n for n in wanted if n not in there]
    return keys.isin(folds).to_numpy() | chrom.isin(chroms).to_numpy()
