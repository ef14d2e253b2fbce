from __future__ import annotations

import numpy as np
import pytest

import genexp_scverse as gx
from genexp_scverse.datasets.published import published_cells

# As printed in the papers: mean, median, max, min of the test AUROC.
PRINTED = {
    "DeepChrome": (0.8008, 0.8009, 0.9225, 0.6854),
    "LSTM with one level of attention": (0.8052, 0.8036, 0.9185, 0.7073),
    "AttentiveChrome": (0.8115, 0.8123, 0.9177, 0.7215),
}


@pytest.mark.parametrize("model", PRINTED)
def test_figures_are_those_of_the_papers(model):
    row = gx.datasets.published_results().loc[model]
    assert tuple(row[["mean", "median", "max", "min"]]) == PRINTED[model]
    assert row["n_cells"] == 56


def test_single_cells():
    assert published_cells("DeepChrome") == {"E123": 0.9225, "E112": 0.6854}
    assert published_cells("DeepChrome, independent rerun") == {"E123": 0.917, "E112": 0.660}
    assert published_cells("AttentiveChrome") == published_cells("Linear") == {}


def test_every_row_is_whole():
    table = gx.datasets.published_results("deepchrome")
    assert table.index.name == "model"
    assert table.index.is_unique
    assert table["mean"].between(0.5, 1).all()
    known = table.dropna()
    assert ((known["min"] < known["median"]) & (known["median"] < known["max"])).all()
    assert table["source"].str.contains("doi:10|arXiv:").all()
    assert (table.loc[table["max"].isna(), "max_cell"] == "").all()
    assert table.loc[["SVM, best bin", "SVM, average bin", "random forest"], "mean"].tolist() == [0.75, 0.66, 0.59]
    assert np.isnan(table.loc["TransferChrome", "median"])


def test_an_unknown_benchmark_is_refused():
    with pytest.raises(gx.InputError, match=r"'enformer' are known: choose one of deepchrome"):
        gx.datasets.published_results("enformer")
