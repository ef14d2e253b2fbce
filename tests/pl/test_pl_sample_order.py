from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def table():
    return pd.DataFrame(
        {
            "model": ["net"] * 3 + ["linear"] * 3,
            "sample": ["E003", "E112", "E123"] * 2,
            "auroc": [0.80, 0.69, 0.92, 0.78, 0.70, 0.90],
            "auroc_low": [0.79, 0.68, 0.91, 0.77, 0.69, 0.89],
            "auroc_high": [0.81, 0.70, 0.93, 0.79, 0.71, 0.91],
        }
    )


def test_samples_stand_in_the_order_of_their_mean(table):
    ax = gx.pl.per_sample(table, references={"published mean": 0.8008})
    assert [t.get_text() for t in ax.get_xticklabels()] == ["E123", "E003", "E112"]
    points = [line for line in ax.lines if line.get_marker() == "o"]
    assert [p.get_ydata().tolist() for p in points] == [[0.80, 0.69, 0.92], [0.78, 0.70, 0.90]]
    assert [np.round(p.get_xdata()).tolist() for p in points] == [[1, 2, 0]] * 2
    (mean,) = (line for line in ax.lines if line.get_marker() != "o")
    assert set(mean.get_ydata()) == {0.8008}
    segments = np.concatenate([c.get_segments() for c in ax.collections])
    assert sorted(segments[:, :, 1].tolist()) == sorted(table[["auroc_low", "auroc_high"]].to_numpy().tolist())
    words = [t.get_text() for t in ax.get_legend().get_texts()]
    assert words == ["net", "linear", "published mean 0.801"]
    assert ax.get_ylabel() == "AUROC"


def test_a_sample_that_a_model_lacks_and_no_intervals(table):
    ax = gx.pl.per_sample(table.iloc[:5][["model", "sample", "auroc"]])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["E123", "E003", "E112"]
    assert [len(line.get_xdata()) for line in ax.lines] == [3, 2]


def test_an_evaluation_is_taken_as_it_is(table):
    one = table[table["model"] == "net"].set_index(["model", "sample"])
    ax = plt.figure().subplots()
    assert gx.pl.per_sample(one, ax=ax) is ax


def test_errors(table):
    with pytest.raises(gx.InputError, match=r"no column 'sample' .it has 'model', 'auroc'"):
        gx.pl.per_sample(table.drop(columns="sample"))
    with pytest.raises(gx.InputError, match="no numeric column 'pearson'"):
        gx.pl.per_sample(table, "pearson")
    with pytest.raises(gx.InputError, match="more than once"):
        gx.pl.per_sample(pd.concat([table, table]))
