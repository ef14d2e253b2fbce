"""Figures that papers report, as tables, to set one's own beside."""

from __future__ import annotations

import pandas as pd

from genexp_scverse._errors import InputError

_SINGH_2016 = "Singh et al. 2016, doi:10.1093/bioinformatics/btw427"
_SINGH_2017 = "Singh et al. 2017, arXiv:1708.00339"
_RERUN = "Kadavath et al. 2022, arXiv:2209.11923"
_CHEN_2022 = "Chen et al. 2022, doi:10.3389/fgene.2022.1081842"
_COLUMNS = ("n_cells", "mean", "median", "max", "max_cell", "min", "min_cell", "source")
_NONE = float("nan")

_DEEPCHROME = {
    "DeepChrome": (56, 0.8008, 0.8009, 0.9225, "E123", 0.6854, "E112", _SINGH_2016),
    "DeepChrome, independent rerun": (55, 0.781, _NONE, 0.917, "E123", 0.660, "E112", _RERUN),
    "SVM, best bin": (56, 0.75, _NONE, _NONE, "", _NONE, "", _SINGH_2016),
    "SVM, average bin": (56, 0.66, _NONE, _NONE, "", _NONE, "", _SINGH_2016),
    "random forest": (56, 0.59, _NONE, _NONE, "", _NONE, "", _SINGH_2016),
    "LSTM with one level of attention": (56, 0.8052, 0.8036, 0.9185, "", 0.7073, "", _SINGH_2017),
    "AttentiveChrome": (56, 0.8115, 0.8123, 0.9177, "", 0.7215, "", _SINGH_2017),
    "TransferChrome": (56, 0.848, _NONE, _NONE, "", _NONE, "", _CHEN_2022),
}
_TABLES = {"deepchrome": _DEEPCHROME}


def published_results(benchmark: str = "deepchrome") -> pd.DataFrame:
    """Give the test AUROC that papers report on a benchmark, over its cell types.

    ``deepchrome``: histone marks of 56 cell types of the Roadmap Epigenomics project to high or low expression,
    one model for each cell type, on the split of the genes that :func:`deepchrome` fetches. In the independent
    rerun a linear network of 12 parameters did as well as the convolutional one.

    Parameters
    ----------
    benchmark
        ``deepchrome``.

    Returns
    -------
    A row per model, named by the index ``model``: ``n_cells``; ``mean``, ``median``, ``max`` and ``min`` AUROC over
    the cell types, NaN where the paper does not say; ``max_cell`` and ``min_cell``, the cell type of either, empty
    where it does not say; ``source``.

    Raises
    ------
    InputError
        The benchmark is unknown.

    Examples
    --------
    >>> from genexp_scverse.datasets import published_results
    >>> row = published_results("deepchrome").loc["DeepChrome"]
    >>> float(row["mean"]), float(row["max"]), row["max_cell"]
    (0.8008, 0.9225, 'E123')
    """
    if benchmark not in _TABLES:
        msg = f"no published results of {benchmark!r} are known: choose one of {', '.join(_TABLES)}"
        raise InputError(msg)
    table = pd.DataFrame.from_dict(_TABLES[benchmark], orient="index", columns=list(_COLUMNS))
    table.index.name = "model"
    return table


def published_cells(model: str, benchmark: str = "deepchrome") -> dict[str, float]:
    """Give the AUROC of single cell types as far as a model's paper reports them: the best and the worst.

    Parameters
    ----------
    model
        As in the index of :func:`published_results`; one that is not there has none.
    benchmark
        As for :func:`published_results`.

    Returns
    -------
    Cell type -> test AUROC.

    Examples
    --------
    >>> from genexp_scverse.datasets.published import published_cells
    >>> published_cells("DeepChrome")
    {'E123': 0.9225, 'E112': 0.6854}
    """
    table = published_results(benchmark)
    if model not in table.index:
        return {}
    row = table.loc[model]
    return {str(row[f"{end}_cell"]): float(row[end]) for end in ("max", "min") if row[f"{end}_cell"]}
