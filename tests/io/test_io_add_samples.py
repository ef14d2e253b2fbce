"""More samples in a MuData that is there."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

import genexp_scverse as gx
from genexp_scverse import InputError


@pytest.fixture
def halves(files, small_genome):
    """A MuData of sample A with what users put into it, the sheet of B, and expression of B alone."""
    sheet = gx.io.read_sheet(files / "sheet.tsv")
    table = pd.read_csv(files / "expression.tsv", sep="\t")
    table[["gene_id", "A"]].to_csv(files / "a.tsv", sep="\t", index=False)
    table[["gene_id", "B"]].to_csv(files / "b.tsv", sep="\t", index=False)
    first = small_genome.build(files, sheet=sheet[sheet["sample"] == "A"], expression=files / "a.tsv")
    first.obs["split"] = ["train", "train", "valid", "test"]
    first["rna"].layers["label"] = np.array([[1], [0], [np.nan], [0]], np.float32)
    first["rna"].layers["deepchrome"] = np.arange(4, dtype=np.float32)[:, None]
    first["rna"].var["tissue"] = ["blood"]
    first["chromatin"].obsm["X_model"] = np.ones((4, 2), np.float32)
    first["chromatin"].varm["profile"] = np.ones((2, 6), np.float32)
    first.obsp["neighbors"] = csr_matrix(np.eye(4))
    first.uns["intervals"] = {"peaks": pd.DataFrame({"chrom": ["chr1"], "start": [1], "end": [5]})}
    return first, sheet[sheet["sample"] == "B"], files


def test_adding_a_sample_equals_building_at_once(halves, caplog, small_genome):
    caplog.set_level(logging.INFO)
    first, second, files = halves
    before = first["chromatin"].shape, first["rna"].shape, list(first.uns["files"]["path"])
    both = gx.io.add_samples(first, second, expression=files / "b.tsv", unit="tpm")
    at_once = small_genome.build(files)
    np.testing.assert_array_equal(both["chromatin"].obsm["bins"], at_once["chromatin"].obsm["bins"])
    np.testing.assert_array_equal(both["chromatin"].X, at_once["chromatin"].X)
    np.testing.assert_array_equal(both["rna"].X, at_once["rna"].X)
    np.testing.assert_array_equal(both["rna"].layers["log"], at_once["rna"].layers["log"])
    np.testing.assert_array_equal(both["dna"].obsm["codes"], at_once["dna"].obsm["codes"])
    for mod in ("chromatin", "rna"):
        columns = list(at_once[mod].var)
        assert both[mod].var[columns].astype(str).equals(at_once[mod].var.astype(str))
        assert both[mod].var_names.tolist() == at_once[mod].var_names.tolist()
    assert both.uns["chrom_sizes"].equals(at_once.uns["chrom_sizes"])
    assert both["chromatin"].uns["window"] == at_once["chromatin"].uns["window"]
    assert both.obs["split"].tolist() == ["train", "train", "valid", "test"]
    np.testing.assert_array_equal(
        both["rna"].layers["deepchrome"], [[0, np.nan], [1, np.nan], [2, np.nan], [3, np.nan]]
    )
    np.testing.assert_array_equal(both["rna"].layers["label"][:, 0], [1, 0, np.nan, 0])
    assert both["rna"].var["tissue"].astype(object).fillna("-").tolist() == ["blood", "-"]
    assert both["chromatin"].obsm["X_model"].shape == (4, 2)
    assert (both.obsp["neighbors"].toarray() == np.eye(4)).all()
    assert both.uns["intervals"]["peaks"]["end"].tolist() == [5]
    assert {str(files / "b.tsv"), str(files / "B.H3K4me3.bw"), str(files / "a.tsv")} <= set(both.uns["files"]["path"])
    assert "'profile' left out" in caplog.text
    assert "labels of 'B' are not known yet" in caplog.text
    assert before == (first["chromatin"].shape, first["rna"].shape, list(first.uns["files"]["path"]))


@pytest.mark.parametrize("ending", [".h5mu", ".zarr"])
def test_samples_are_added_to_a_mudata_from_disk(halves, ending, small_genome):
    first, second, files = halves
    gx.io.write_mudata(first, files / f"first{ending}")
    both = gx.io.add_samples(
        gx.io.read_mudata(files / f"first{ending}"), second, expression=files / "b.tsv", unit="tpm"
    )
    gx.io.write_mudata(both, files / f"both{ending}")
    back = gx.io.read_mudata(files / f"both{ending}")
    np.testing.assert_array_equal(back["chromatin"].obsm["bins"], small_genome.build(files)["chromatin"].obsm["bins"])


def test_a_sample_without_expression_or_with_fewer_marks_can_be_added(halves, caplog):
    first, second, _ = halves
    both = gx.io.add_samples(first, second[second["mark"] == "H3K4me3"])
    assert both["chromatin"].var_names.tolist() == ["A.H3K4me3", "A.H3K27me3", "B.H3K4me3"]
    assert both["rna"].var_names.tolist() == ["A"]
    assert "Sample B lacks the marks 'H3K27me3'" in caplog.text


def test_what_cannot_be_added(halves, small_genome):
    first, second, files = halves
    sheet = gx.io.read_sheet(files / "sheet.tsv")
    with pytest.raises(InputError, match=r"the MuData has the track 'A\.H3K4me3', 'A\.H3K27me3' already: drop it"):
        gx.io.add_samples(first, sheet)
    other = second.assign(mark=["h3k4me3", "H3K9ac"])
    with pytest.raises(InputError, match=r"the MuData has no mark 'h3k4me3', 'H3K9ac', it has 'H3K4me3', 'H3K27me3': "):
        gx.io.add_samples(first, other)
    with pytest.raises(InputError, match="the MuData has expression of the sample 'A' already: drop it from the table"):
        gx.io.add_samples(first, second, expression=files / "expression.tsv", unit="tpm")
    small_genome.rewrite(files / "B.H3K4me3.bw", {"chr1": 500, "chr2": 400})
    small_genome.rewrite(files / "B.H3K27me3.bw", {"chr1": 500, "chr2": 400})
    with pytest.raises(
        InputError, match=r"the tracks and the MuData are of different assemblies .*'chr1: 500 against 600'"
    ):
        gx.io.add_samples(first, second)
    bare = gx.io.from_bins(np.ones((3, 1, 4)), genes=["a", "b", "c"], marks=["H3K4me3"])
    with pytest.raises(InputError, match="samples can be added where genes have chrom, tss and strand"):
        gx.io.add_samples(bare, second)
