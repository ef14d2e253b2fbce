from __future__ import annotations

import csv
import gzip
import shutil

import numpy as np
import pytest

import genexp_scverse as gx

MARKS = ["H3K27me3", "H3K36me3", "H3K4me1", "H3K4me3", "H3K9me3"]


@pytest.fixture
def toy(shared_data, tmp_path):
    """The three small files in a folder laid out as published: <cell>/classification/{train,valid,test}.csv."""
    folder = tmp_path / "cells" / "E003" / "classification"
    folder.mkdir(parents=True)
    for split in ("train", "valid", "test"):
        shutil.copyfile(shared_data / "deepchrome_csv" / f"toy_{split}.csv", folder / f"{split}.csv")
    return folder


def rows_of(file):
    with file.open() as handle:
        return list(csv.reader(handle))


def rewrite(file, rows):
    file.write_text("".join(",".join(str(v) for v in row) + "\n" for row in rows))


def test_every_number_is_where_it_belongs(shared_data):
    folder = shared_data / "deepchrome_csv"
    mdata = gx.io.read_deepchrome(folder)
    gx.schema.validate(mdata)
    chromatin, rna = mdata["chromatin"], mdata["rna"]
    assert chromatin.var["mark"].tolist() == MARKS
    assert set(chromatin.var["scale"]) == {"counts"}
    assert chromatin.uns["window"] == {"upstream": 5000, "downstream": 5000, "bin_size": 100, "stranded": False}
    assert not {"chrom", "tss", "strand"} & set(mdata.obs)
    genes = []
    for split in ("train", "valid", "test"):
        for gene, bin_id, *counts, label in rows_of(folder / f"toy_{split}.csv"):
            i = mdata.obs_names.get_loc(gene)
            assert chromatin.obsm["bins"][i, :, int(bin_id) - 1].tolist() == [float(c) for c in counts]
            assert rna.layers["label"][i, 0] == float(label)
            assert mdata.obs["split"].iloc[i] == split
            genes.append(gene)
    assert mdata.obs_names.tolist() == list(dict.fromkeys(genes))
    assert mdata.n_obs == 29
    assert "000003" in mdata.obs_names
    assert np.isnan(rna.X).all()
    assert rna.var["unit"].tolist() == ["label"]
    assert mdata.uns["files"]["size"].sum() == sum(f.stat().st_size for f in folder.iterdir())


def test_all_layouts_give_the_same(toy, shared_data):
    reference = gx.io.read_deepchrome(shared_data / "deepchrome_csv", sample="E003")
    for path in (toy, toy.parent, toy.parents[1]):
        mdata = gx.io.read_deepchrome(path)
        assert mdata["rna"].var_names.tolist() == ["E003"]
        np.testing.assert_array_equal(mdata["chromatin"].obsm["bins"], reference["chromatin"].obsm["bins"])
        assert mdata.obs["split"].equals(reference.obs["split"])
    with gzip.open(toy / "train.csv.gz", "wt") as handle:
        handle.write((toy / "train.csv").read_text())
    (toy / "train.csv").unlink()
    mdata = gx.io.read_deepchrome(toy)
    np.testing.assert_array_equal(mdata["chromatin"].obsm["bins"], reference["chromatin"].obsm["bins"])


def test_one_file(toy, caplog):
    mdata = gx.io.read_deepchrome(toy / "valid.csv", sample="E003")
    assert mdata.n_obs == 10
    assert set(mdata.obs["split"]) == {"valid"}
    (toy / "valid.csv").rename(toy / "genes.csv")
    mdata = gx.io.read_deepchrome(toy / "genes.csv")
    assert "split" not in mdata.obs
    assert mdata["rna"].var_names.tolist() == ["genes"]
    gx.io.read_deepchrome(toy)
    assert "has no file for 'valid'" in caplog.text


def test_cells_are_joined_by_gene(toy, caplog):
    other = toy.parents[1] / "E123" / "classification"
    shutil.copytree(toy, other)
    rows = rows_of(other / "train.csv")
    # a gene less, and the first gene at the end with other counts and the other label
    first = [[r[0], r[1], 7, 7, 7, 7, 7, 1 - int(r[7])] for r in rows[:100]]
    missing = rows[100][0]
    rewrite(other / "train.csv", rows[200:] + first)
    mdata = gx.io.read_deepchrome(toy.parents[1])
    assert mdata["rna"].var_names.tolist() == ["E003", "E123"]
    assert mdata["chromatin"].n_vars == 10
    assert mdata.n_obs == 29
    i, j = mdata.obs_names.get_loc("000003"), mdata.obs_names.get_loc(missing)
    bins, label = mdata["chromatin"].obsm["bins"], mdata["rna"].layers["label"]
    assert (bins[i, 5:] == 7).all()
    assert label[i].sum() == 1
    assert np.isnan(bins[j, 5:]).all()
    assert np.isnan(label[j, 1])
    others = [g for g in range(29) if g not in (i, j)]
    np.testing.assert_array_equal(bins[others, 5:], bins[others, :5])
    assert "E123 has 28 of 29 genes" in caplog.text
    assert gx.io.read_deepchrome(toy.parents[1], sample="E123").n_obs == 28
    with pytest.raises(gx.InputError, match="no cell 'E004': it has E003, E123"):
        gx.io.read_deepchrome(toy.parents[1], sample=["E004"])
    shutil.copyfile(toy / "test.csv", other / "valid.csv")
    shutil.copyfile(toy / "valid.csv", other / "test.csv")
    with pytest.raises(gx.InputError, match=r"19 genes are in other splits in E123 than in 'E003' .gene '132963'"):
        gx.io.read_deepchrome(toy.parents[1])


def test_rows_out_of_order_are_sorted_and_counted(toy, caplog):
    expected = gx.io.read_deepchrome(toy)["chromatin"].obsm["bins"]
    rows = rows_of(toy / "train.csv")
    rows[100:200] = rows[100:200][::-1]
    rewrite(toy / "train.csv", rows)
    np.testing.assert_array_equal(gx.io.read_deepchrome(toy)["chromatin"].obsm["bins"], expected)
    assert "rows of 1 of 10 genes were not in order" in caplog.text


def _edit(row, column, value):
    def edit(rows):
        rows[row][column] = value
        return rows

    return edit


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda rows: rows[:-30], "1 of 10 genes of .*train.csv do not have 100 rows; gene '001167' has 70: was the"),
        (lambda rows: rows + rows[:100], "gene '000003' has 200: is it there twice"),
        (lambda rows: [r[:-1] for r in rows], "has 7 columns, expected 8: gene id, bin id, H3K27me3"),
        (lambda rows: [["gene", "bin", *MARKS, "label"], *rows], "is not a table of numbers without a header"),
        (lambda rows: [*rows, ["999999", 1, 0]], "incomplete at row 1001 .gene '999999'.: was the file cut off"),
        (lambda rows: [*rows[:5], [*rows[5], 1], *rows[5:]], "is not a table of numbers"),
        (lambda rows: [], r"train\.csv is empty: give a CSV of DeepChrome"),
        (_edit(3, 4, "inf"), "incomplete at row 4 .gene '000003'"),
        (_edit(3, 4, ""), "incomplete at row 4 .gene '000003'"),
        (_edit(3, 0, ""), "incomplete at row 4 .gene ''"),
        (_edit(3, 4, -1), "negative counts .gene '000003'"),
        (_edit(3, 7, 0), "the label of gene '000003' in .* is 0, 1: it has to be 0 or 1"),
        (lambda rows: [[*r[:7], 2] for r in rows], "the label of gene '000003' in .* is 2"),
        (_edit(3, 1, 99), "the bins of gene '000003' in .* are not 1 to 100"),
        (
            lambda rows: [[172936 if r[0] == "000003" else r[0], *r[1:]] for r in rows],
            "'172936' of E003 is in more than",
        ),
    ],
)
def test_errors_in_a_file(toy, edit, message):
    rewrite(toy / "train.csv", edit(rows_of(toy / "train.csv")))
    with pytest.raises(gx.InputError, match=message):
        gx.io.read_deepchrome(toy)


def test_errors_of_places(tmp_path, toy):
    with pytest.raises(gx.InputError, match="does not exist"):
        gx.io.read_deepchrome(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(gx.InputError, match="holds no train, valid and test"):
        gx.io.read_deepchrome(tmp_path / "empty")
    shutil.copyfile(toy / "train.csv", toy / "train_2.csv")
    with pytest.raises(gx.InputError, match=r"two files for train: train.csv and train_2.csv"):
        gx.io.read_deepchrome(toy)


def test_names_of_cells_that_are_asked_for(toy):
    """One cell alone may be given another name, but is not taken for another."""
    assert gx.io.read_deepchrome(toy, sample="mine")["rna"].var_names.tolist() == ["mine"]
    assert gx.io.read_deepchrome(toy, sample=["E003"])["rna"].var_names.tolist() == ["E003"]
    for path in (toy, toy.parent, toy / "train.csv"):
        with pytest.raises(gx.InputError, match="has no cell 'E123': it has"):
            gx.io.read_deepchrome(path, sample=["E123"])
    with pytest.raises(gx.InputError, match="sample names no cell"):
        gx.io.read_deepchrome(toy.parents[1], sample=[])


def test_a_damaged_archive_of_one_file_is_said(toy):
    whole = gzip.compress((toy / "train.csv").read_bytes())
    (toy / "train.csv").unlink()
    for content, message in (
        (whole[: len(whole) // 2], "is a truncated or damaged gzip file"),
        (whole[:200] + b"spoilt" + whole[206:], "is a truncated or damaged gzip file"),
        (b"not gzip at all", "has 1 columns, expected 8"),
    ):
        (toy / "train.csv.gz").write_bytes(content)
        with pytest.raises(gx.InputError, match=rf"train\.csv\.gz {message}"):
            gx.io.read_deepchrome(toy)
