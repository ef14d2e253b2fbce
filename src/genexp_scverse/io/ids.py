"""Gene ids: versions and the copies of the pseudo-autosomal regions; names of samples."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

from genexp_scverse._errors import InputError, some

_ENSEMBL = r"(ENS[A-Z_]*\d{6,})"
_VERSIONED = re.compile(rf"^{_ENSEMBL}\.\d+(?:_\d+)?(?=$|_PAR_Y$)")
_CONTROL = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069\\ufeff\\ud800-\\udfff]")
_PAR_Y = re.compile(r"^ENSGR\d|_PAR_Y$")


class IdSet(frozenset[str]):
    """Ids in the attrs of a table, which pandas copies with every step and need not.

    Examples
    --------
    >>> import copy
    >>> ids = IdSet(["g1"])
    >>> copy.deepcopy(ids) is ids
    True
    """

    def __deepcopy__(self, memo: dict) -> IdSet:
        return self


def strip_versions(ids: pd.Series) -> pd.Series:
    """Strip the version of Ensembl ids and leave all other ids as they are.

    Also strips the mapping version of GENCODE's lifted annotation (``ENSG00000223972.5_2``). Ids such as
    ``AC012.1`` or ``YDL247W-A`` are no Ensembl ids: the part after the dot belongs to their name.

    Parameters
    ----------
    ids
        Gene ids as strings.

    Returns
    -------
    Ids without version, with the same index.

    Examples
    --------
    >>> strip_versions(pd.Series(["ENSG00000186092.4", "AC012.1", "YDL247W-A"])).tolist()
    ['ENSG00000186092', 'AC012.1', 'YDL247W-A']
    """
    return pd.Series([_VERSIONED.sub(r"\1", name) for name in ids], index=ids.index, dtype=ids.dtype)


def is_par_copy(ids: pd.Series) -> pd.Series:
    """Tell which ids are GENCODE's second copies, on chrY, of pseudo-autosomal genes.

    GENCODE writes them ``ENSG00000182378.15_PAR_Y``, before version 25 ``ENSGR0000182378.8``.

    Parameters
    ----------
    ids
        Gene ids as strings.

    Returns
    -------
    Boolean series with the same index.

    Examples
    --------
    >>> is_par_copy(pd.Series(["ENSG00000182378.15", "ENSG00000182378.15_PAR_Y"])).tolist()
    [False, True]
    """
    return pd.Series([_PAR_Y.search(name) is not None for name in ids], index=ids.index, dtype=bool)


def looks_ensembl(name: str) -> bool:
    """Tell whether a name is an Ensembl id, with or without version.

    Parameters
    ----------
    name
        The name.

    Returns
    -------
    True for an Ensembl id.

    Examples
    --------
    >>> looks_ensembl("ENSG00000186092.4"), looks_ensembl("SAMPLE1")
    (True, False)
    """
    return re.match(_ENSEMBL, name) is not None


def check_samples(samples: Iterable[str], where: str) -> None:
    """Refuse names of samples with control characters, and those that end in ``:prob`` as columns of predictions do.

    Parameters
    ----------
    samples
        Names of samples.
    where
        What holds them, for the message.

    Raises
    ------
    InputError
        When there is one.

    Examples
    --------
    >>> check_samples(["K562", "H1"], "the sheet")
    """
    samples = list(samples)
    check_names(samples, "sample", where)
    wrong = list(dict.fromkeys(s for s in map(str, samples) if s.endswith(":prob")))
    if wrong:
        msg = f"{where} names the sample {some(wrong)}, but ':prob' marks predicted probabilities: rename it"
        raise InputError(msg)


def is_printable(name: str) -> bool:
    r"""Tell whether a name is without characters that no table or screen shows as they are.

    These are control characters (line ends, tabs, NUL, escape), separators of lines, marks that turn the direction of
    writing, byte-order marks and halves of surrogate pairs.

    Parameters
    ----------
    name
        The name.

    Returns
    -------
    False where there is one of them.

    Examples
    --------
    >>> is_printable("H3K4me3 (rep 1)"), is_printable("K562\n")
    (True, False)
    """
    return _CONTROL.search(name) is None


def check_names(names: Iterable[object], what: str, where: str) -> None:
    """Refuse names with characters that :func:`is_printable` does not let through.

    Parameters
    ----------
    names
        Ids of genes, names of samples or marks.
    what
        What they name, for the message: ``"gene id"``.
    where
        What holds them, for the message.

    Raises
    ------
    InputError
        When a name has one.

    Examples
    --------
    >>> check_names(["K562", "H1"], "sample", "the sheet")
    """
    texts = list(map(str, names))
    # all at once: names are many, and seldom wrong
    if not (together := " ".join(texts)).isprintable() and _CONTROL.search(together):
        wrong = [name for name in texts if _CONTROL.search(name)]
        msg = (
            f"{where} has the {what} {some(map(ascii, wrong))} with control characters, which no table can hold: take "
            "them out"
        )
        raise InputError(msg)
