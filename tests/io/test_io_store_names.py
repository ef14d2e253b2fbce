"""Whatever is written is read back equal, or is refused before: names of keys, columns, genes, samples and marks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx

VALUES = np.array([1.0, 2.0, 3.0])


def small(genes=("a", "b", "c"), marks=("H3K4me3", "H3K27me3"), sample="K562"):
    bins = np.arange(24, dtype=np.float32).reshape(3, 2, 4)
    return gx.io.from_bins(bins, genes=list(genes), marks=list(marks), sample=sample)


def table(name):
    return pd.DataFrame({name: VALUES}, index=["a", "b", "c"])


def put_index_name(mdata, name):
    mdata["chromatin"].obs.index.name = name


# place -> how a name is put there, and how what stands there is found again
PLACES = {
    "obs": (lambda m, n: m.obs.__setitem__(n, VALUES), lambda m, n: m.obs[n]),
    "obs of a modality": (lambda m, n: m["chromatin"].obs.__setitem__(n, VALUES), lambda m, n: m["chromatin"].obs[n]),
    "var": (lambda m, n: m["chromatin"].var.__setitem__(n, VALUES[:2]), lambda m, n: m["chromatin"].var[n]),
    "uns": (lambda m, n: m.uns.__setitem__(n, VALUES), lambda m, n: m.uns[n]),
    "a dictionary of uns": (lambda m, n: m.uns.setdefault("d", {}).__setitem__(n, VALUES), lambda m, n: m.uns["d"][n]),
    "a table of uns": (
        lambda m, n: m.uns.setdefault("t", table("first")).__setitem__(n, VALUES),
        lambda m, n: m.uns["t"][n],
    ),
    "obsm": (lambda m, n: m["chromatin"].obsm.__setitem__(n, VALUES[:, None]), lambda m, n: m["chromatin"].obsm[n]),
    "layers": (
        lambda m, n: m["chromatin"].layers.__setitem__(n, m["chromatin"].X.copy()),
        lambda m, n: m["chromatin"].layers[n],
    ),
    "obsp": (lambda m, n: m.obsp.__setitem__(n, np.eye(3)), lambda m, n: m.obsp[n]),
}
MORE_PLACES = {
    "a table of obsm": lambda m, n: m["chromatin"].obsm.__setitem__("t", table(n)),
    "the index of obs": put_index_name,
    "the index of a table": lambda m, n: m.uns.__setitem__("t", table("x").rename_axis(n)),
    "a modality": lambda m, n: m.mod.__setitem__(n, m["chromatin"].copy()),
}
REFUSED = {
    "": "is empty",
    ".": "stands for a folder",
    "..": "stands for a folder",
    "a/b": "holds a slash",
    "/": "holds a slash",
    "a\\b": "holds a backslash",
    "a\0b": "holds a control character",
    "a\nb": "holds a control character",
    "\x7f": "holds a control character",
    "\ud800": "holds half a character",
    ".zarray": "is a name that zarr uses itself",
    "zarr.json": "is a name that zarr uses itself",
    "x" * 256: "is longer than 255 bytes",
    "é" * 128: "is longer than 255 bytes",
    5: "is of the type int and no text",
    1.5: "is of the type float and no text",
    ("a", "b"): "is of the type tuple and no text",
}
KEPT = [
    " a", "a ", "index", "__categories", "a:b", "0", "nan", "-", "...", "encoding-type", "é" * 127, "A", "a", "*?<>\"'",
    "\u200b", "ﬁ",
]  # fmt: skip


@pytest.mark.parametrize("place", [*PLACES, *MORE_PLACES])
def test_names_that_no_file_keeps_are_refused_before(place, tmp_path):
    put = PLACES[place][0] if place in PLACES else MORE_PLACES[place]
    refused = 0
    for name, why in REFUSED.items():
        mdata = small()
        try:
            put(mdata, name)
        except (ValueError, TypeError, KeyError, AttributeError):
            continue  # anndata does not take it
        for ending in (".h5mu", ".zarr"):
            with pytest.raises(gx.InputError) as error:
                gx.io.write_mudata(mdata, tmp_path / f"m{ending}")
            assert why in str(error.value), name
            assert repr(name) in str(error.value)
            refused += 1
    assert refused >= 20
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", [".h5mu", ".zarr"])
def test_all_other_names_come_back(ending, tmp_path):
    mdata = small()
    for put, _ in PLACES.values():
        for name in KEPT:
            put(mdata, name)
    gx.io.write_mudata(mdata, tmp_path / f"m{ending}")
    back = gx.io.read_mudata(tmp_path / f"m{ending}")
    for place, (_, get) in PLACES.items():
        for name in KEPT:
            np.testing.assert_array_equal(np.asarray(get(back, name)), np.asarray(get(mdata, name)), f"{place}: {name}")


@pytest.mark.parametrize("ending", [".h5mu", ".zarr"])
def test_genes_samples_and_marks_come_back(ending, tmp_path):
    """Ids are values and no names of keys: they may be nearly anything."""
    genes, marks = [".", "a/b", " é "], ["..", "H3K4/me3"]
    mdata = small(genes, marks, "a/b")
    mdata.obs["text"] = pd.Categorical(["", "/", ""])
    gx.io.write_mudata(mdata, tmp_path / f"m{ending}")
    back = gx.io.read_mudata(tmp_path / f"m{ending}")
    assert back.obs_names.tolist() == genes
    assert back["chromatin"].var["mark"].tolist() == marks
    assert back["chromatin"].var_names.tolist() == mdata["chromatin"].var_names.tolist()
    assert back["chromatin"].var["sample"].tolist() == ["a/b", "a/b"]
    assert back.obs["text"].tolist() == ["", "/", ""]


@pytest.mark.parametrize(
    ("text", "genes", "columns"),
    [
        (",gene_id,chrom,tss,strand\n0,a,1,5,+\n1,b,1,9,-\n", ["a", "b"], []),
        ("Unnamed: 0,gene_id,chrom,tss,strand\n0,a,1,5,+\n1,b,1,9,-\n", ["a", "b"], []),
        (",chrom,tss,strand\na,1,5,+\nb,1,9,-\n", ["a", "b"], []),
        (",chrom,tss,strand\n7157,1,5,+\n672,1,9,-\n", ["7157", "672"], []),
        ("gene_id,chrom,tss,strand,GC/AT,a\\b\na,1,5,+,1,2\nb,1,9,-,1,2\n", ["a", "b"], ["GC_AT", "a_b"]),
    ],
)
def test_tables_as_pandas_saves_them(text, genes, columns, tmp_path):
    path = tmp_path / "genes.csv"
    path.write_text(text)
    table = gx.io.read_genes(path)
    assert table.index.tolist() == genes
    assert table.columns.tolist() == ["chrom", "tss", "strand", "gene_id_version", *columns]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gene_id,chrom,tss,strand,.\na,1,5,+,1\n", "the name '.' of a column of .* stands for a folder"),
        ("gene_id,chrom,tss,strand,,x\na,1,5,+,5,2\n", "column 5 of .* has no name"),
        (",chrom,tss,strand\n0,1,5,+\n1,1,9,-\n", "lacks the column gene_id"),
    ],
)
def test_columns_of_tables_that_no_file_keeps(text, said, tmp_path):
    path = tmp_path / "genes.csv"
    path.write_text(text)
    with pytest.raises(gx.InputError, match=said):
        gx.io.read_genes(path)
