from __future__ import annotations

import mudata
import numpy as np
import pandas as pd
import pytest

import genexp_scverse as gx
from genexp_scverse.io.assemble import assemble_chromatin, assemble_mudata, assemble_rna
from genexp_scverse.io.provenance import file_table


@pytest.fixture
def yeast(shared_data):
    return np.load(shared_data / "yeast" / "marks26_nuc12.npz")


@pytest.fixture
def counts(shared_data):
    return np.load(shared_data / "read_counts_200bins" / "deepdiff_600genes.npz")


def small(**kwargs):
    given = {"genes": ["g1", "g2", "g3"], "marks": ["H3K4me3", "H3K27me3"]} | kwargs
    return gx.io.from_bins(given.pop("bins", np.arange(24.0).reshape(3, 2, 4)), **given)


def test_nucleosomes_of_yeast(yeast, caplog):
    mdata = gx.io.from_bins(
        yeast["x"],
        genes=yeast["gene_id"],
        marks=yeast["mark"],
        sample="yeast",
        scale="log_ratio",
        bin_names=yeast["nucleosome"],
    )
    gx.schema.validate(mdata)
    named = yeast["gene_id"] != ""
    assert mdata.obs_names.tolist() == yeast["gene_id"][named].tolist()
    assert "22 of 4858 genes have no id and are dropped" in caplog.text
    chromatin = mdata["chromatin"]
    x = yeast["x"][named]
    np.testing.assert_array_equal(chromatin.obsm["bins"], x)
    assert f"{np.isnan(x).sum()} of {x.size} bins (2.0 %) are NaN" in caplog.text
    covered = ~np.isnan(x).all(axis=2)
    np.testing.assert_array_equal(np.isnan(chromatin.X), ~covered)
    np.testing.assert_allclose(
        chromatin.X[covered], np.nanmean(x[covered].astype(float), axis=-1), rtol=1e-4, atol=1e-6
    )
    assert chromatin.uns["bin_names"].tolist() == [str(n) for n in yeast["nucleosome"]]
    assert "window" not in chromatin.uns
    assert chromatin.var_names[0] == "yeast.H2AK5ac"
    assert "rna" not in mdata.mod


def test_several_samples(counts):
    samples = ("E123", "E003")
    mdata = gx.io.from_bins(
        {s: counts[f"X_{s}"].transpose(0, 2, 1) for s in samples},
        genes=counts["ensembl_id"],
        marks=counts["marks"],
        expression={s: counts[f"expr_{s}"] for s in samples},
        labels={s: counts[f"label_{s}"] for s in samples},
        unit="counts",
        scale="counts",
        window={"upstream": 10_000, "downstream": 10_000, "bin_size": 100, "stranded": False},
    )
    gx.schema.validate(mdata)
    chromatin, rna = mdata["chromatin"], mdata["rna"]
    assert chromatin.var_names.tolist() == [f"{s}.{m}" for s in samples for m in counts["marks"]]
    np.testing.assert_array_equal(chromatin.obsm["bins"][:, 6], counts["X_E003"][:, :, 1])
    assert chromatin.obsm["bins"].dtype == np.float32
    np.testing.assert_array_equal(rna.X[:, 1], counts["expr_E003"])
    np.testing.assert_allclose(rna.layers["log"][:, 0], np.log(counts["expr_E123"] + 1.0), rtol=1e-6)
    np.testing.assert_array_equal(rna.layers["label"][:, 0], counts["label_E123"])
    assert rna.var["unit"].tolist() == ["counts", "counts"]
    assert chromatin.uns["window"] == {"upstream": 10_000, "downstream": 10_000, "bin_size": 100, "stranded": False}


def test_table_of_expression_is_matched_by_gene(caplog):
    table = pd.DataFrame({"K562": [3.0, np.nan, 7.0, 1.0], "H1": 1.0}, index=["g3", "g2", "g9", "g8"])
    table.attrs["unit"] = {"K562": "log", "H1": "tpm"}
    mdata = small(sample="K562", expression=table)
    rna = mdata["rna"]
    np.testing.assert_array_equal(rna.X, [[np.nan, np.nan], [np.nan, 1], [3, 1]])
    np.testing.assert_allclose(rna.layers["log"], [[np.nan, np.nan], [np.nan, np.log(2)], [3, np.log(2)]], rtol=1e-6)
    assert "2 of 3 genes are in the table (NaN for the others); 2 genes of the table have no bins" in caplog.text
    assert "expression of sample 'H1' has no bins" in caplog.text


def test_vectors_follow_the_dropped_genes():
    series = pd.Series([1.0, 0.0], index=["g3", "g1"])
    mdata = small(genes=["g1", None, "g3"], expression=[5, 6, 7], labels=series, unit="tpm")
    assert mdata.obs_names.tolist() == ["g1", "g3"]
    assert mdata["rna"].X.ravel().tolist() == [5, 7]
    assert mdata["rna"].layers["label"].ravel().tolist() == [0, 1]


def test_labels_alone_have_no_levels():
    rna = small(labels=[0, 1, np.nan])["rna"]
    assert rna.var["unit"].tolist() == ["label"]
    assert np.isnan(rna.X).all()
    assert np.isnan(rna.layers["log"]).all()
    np.testing.assert_array_equal(rna.layers["label"].ravel(), [0, 1, np.nan])


def test_one_bin_and_what_is_known_of_genes(caplog):
    obs = pd.DataFrame({"chrom": ["chr2", "chr1"], "tss": [5, 7], "fold": [1, 2]}, index=["g2", "g1"])
    mdata = small(bins=np.ones((3, 2, 1)), obs=obs, scale={"H3K4me3": "pvalue", "H3K27me3": "log"})
    assert mdata["chromatin"].var["scale"].tolist() == ["pvalue", "log"]
    assert mdata.obs["chrom"].tolist()[:2] == ["chr1", "chr2"]
    assert mdata.obs["tss"].tolist()[:2] == [7, 5]
    assert "1 of 3 genes are not in obs" in caplog.text


@pytest.mark.parametrize("suffix", ["h5mu", "zarr"])
def test_round_trip_keeps_everything(suffix, tmp_path):
    obs = pd.DataFrame(
        {
            "chrom": ["chr1", np.nan, "chrX"],
            "strand": pd.Categorical(["+", "-", "+"]),
            "tss": [1, 2, 3],
            "gene_name": ["A", "B", None],
            "score": [0.5, np.nan, 1],
            "gene_type": ["protein_coding"] * 3,
        },
        index=["g1", "g2", "g3"],
    )
    bins = np.arange(24.0).reshape(3, 2, 4)
    bins[1, 0, 2] = np.nan
    mdata = small(
        bins=bins, obs=obs, expression=[1, np.nan, 3], unit="tpm", labels=[0, 1, np.nan], bin_names=list("abcd")
    )
    mdata.obs["split"] = pd.Categorical(["train", None, "test"], categories=["train", "valid", "test"])
    file = tmp_path / f"genes.{suffix}"
    if suffix == "h5mu":
        mdata.write(file)
        again = mudata.read_h5mu(file)
    else:
        mdata.write_zarr(file)
        again = mudata.read_zarr(file)
    gx.schema.validate(again)
    assert again.axis == 0
    assert again.obs.columns.tolist() == [*obs.columns, "split"]
    for column in again.obs:
        assert again.obs[column].isna().tolist() == mdata.obs[column].isna().tolist()
        assert again.obs[column].dropna().tolist() == mdata.obs[column].dropna().tolist()
    assert again.obs["split"].cat.categories.tolist() == ["train", "valid", "test"]
    assert again.obs["tss"].dtype.kind == "i"
    np.testing.assert_array_equal(again["chromatin"].obsm["bins"], bins)
    assert again["chromatin"].obsm["bins"].dtype == np.float32
    assert [str(b) for b in again["chromatin"].uns["bin_names"]] == list("abcd")
    assert again["chromatin"].var.astype(str).equals(mdata["chromatin"].var.astype(str)) or (
        again["chromatin"].var.astype(object).to_dict() == mdata["chromatin"].var.astype(object).to_dict()
    )
    for layer in ("log", "label"):
        np.testing.assert_array_equal(again["rna"].layers[layer], mdata["rna"].layers[layer])
    assert again.uns["schema_version"] == gx.schema.SCHEMA_VERSION
    assert again.uns["files"].columns.tolist() == ["role", "path", "size", "modified"]
    assert len(again.uns["files"]) == 0


def test_memmap_and_float16_stay_as_they_are(tmp_path):
    bins = np.memmap(tmp_path / "bins", np.float16, "w+", shape=(3, 1, 5))
    bins[:] = np.arange(15).reshape(3, 1, 5)
    tracks = pd.DataFrame({"sample": ["s"], "mark": ["m"], "scale": ["counts"], "source": [""]})
    chromatin = assemble_chromatin(["a", "b", "c"], tracks, bins, None)
    assert isinstance(chromatin.obsm["bins"], np.memmap)
    assert chromatin.obsm["bins"].dtype == np.float16
    assert chromatin.X.ravel().tolist() == [2, 7, 12]


def test_files_are_listed(tmp_path):
    (tmp_path / "a.tsv").write_text("12345")
    table = file_table([("expression", tmp_path / "a.tsv")])
    assert table["size"].tolist() == [5]
    assert table["path"].tolist() == [str((tmp_path / "a.tsv").resolve())]
    assert table["modified"].iloc[0].endswith("+00:00")


def test_obs_stays_free_of_columns_of_modalities():
    table = pd.DataFrame({"s": [1.0, 2.0]}, index=["a", "b"])
    table.attrs["unit"] = {"s": "tpm"}
    rna = assemble_rna(["a", "b"], table)
    rna.obs["n_reads"] = [3, 4]
    mdata = assemble_mudata(pd.DataFrame({"chrom": ["chr1", "chr2"]}, index=["a", "b"]), {"rna": rna})
    assert mdata.obs.columns.tolist() == ["chrom"]
    assert mdata.var.columns.tolist() == []
    assert mdata["rna"].obs["n_reads"].tolist() == [3, 4]
    with pytest.raises(gx.InputError, match='"rna" does not hold the 2 genes of obs in their order'):
        assemble_mudata(pd.DataFrame(index=["b", "a"]), {"rna": rna})
    with pytest.raises(gx.InputError, match="'a' occur more than once"):
        assemble_mudata(pd.DataFrame(index=["a", "a"]), {})
    with pytest.raises(gx.InputError, match="needs expression or labels"):
        assemble_rna(["a"], None)


@pytest.mark.parametrize(
    "given, message",
    [
        ({"genes": ["g1", "g1", "g2"]}, "'g1' occur more than once"),
        ({"genes": ["g1", "g2"]}, r"shape \(3, 2, 4\), expected 2 genes x 2 marks x bins"),
        ({"bins": np.ones((3, 9, 2))}, r"genes x bins x marks, turn it with bins.transpose\(0, 2, 1\)"),
        ({"bins": np.ones((3, 2))}, r"pass bins\[:, :, None\]"),
        ({"bins": np.ones((3, 2, 0))}, "at least one bin"),
        ({"bins": -np.ones((3, 2, 4))}, "'sample.H3K4me3' holds negative values.*scale='log_ratio'"),
        ({"bins": np.full((3, 2, 4), np.inf)}, "'sample.H3K4me3' holds infinite values"),
        ({"bins": {"a": np.ones((3, 2, 4)), "b": np.ones((3, 2, 5))}}, "different numbers of bins"),
        ({"marks": ["H3K4me3", "H3K4me3"]}, "'sample.H3K4me3' is there twice"),
        ({"scale": "rpm"}, "unknown scale 'rpm'"),
        ({"scale": {"H3K4me3": "log"}}, "no scale for the mark 'H3K27me3'"),
        ({"bin_names": ["a"]}, "1 bin_names for 4 bins"),
        ({"window": {"upstream": 5}}, "window lacks 'downstream'"),
        (
            {"window": {"upstream": 500, "downstream": 500, "bin_size": 100, "stranded": True}},
            r"has 10 bins, but the array has 4",
        ),
        ({"expression": [1, 2, 3]}, "no unit of expression for sample 'sample'"),
        ({"expression": [1, 2, 3], "unit": "TPM"}, "unknown unit of expression 'TPM'"),
        ({"expression": [1, 2, 3], "unit": "label"}, "pass its 0/1 classes as labels"),
        ({"expression": [1, 2], "unit": "tpm"}, "not one value for each of 3 genes"),
        ({"expression": [1, -2, 3], "unit": "tpm"}, "1 expression values of sample 'sample' are negative.*unit='log'"),
        ({"expression": [1, np.inf, 3], "unit": "log"}, "infinite"),
        (
            {"expression": pd.DataFrame({"K562": [1.0]}, index=["g1"]), "unit": "tpm"},
            "expression is of 'K562', but the bins are of 'sample'",
        ),
        (
            {"expression": pd.DataFrame({"sample": [1.0]}, index=["h1"]), "unit": "tpm"},
            "names none of the genes",
        ),
        (
            {"expression": pd.DataFrame({"sample": [1.0, 2.0]}, index=["g1", "g1"]), "unit": "tpm"},
            "gene 'g1' occurs more than once in the expression",
        ),
        ({"bins": dict.fromkeys("ab", np.ones((3, 2, 4))), "expression": [1, 2, 3]}, "with 2 samples give expression"),
        ({"labels": [0, 2, 1]}, "label of gene 'g2' in sample 'sample' is 2"),
        ({"labels": ["high", "low", "low"]}, "label of gene 'g1' in sample 'sample' is high"),
        ({"obs": pd.DataFrame({"chrom": ["1"]}, index=["x"])}, "obs names none of the genes"),
        ({"obs": pd.DataFrame({"chrom": ["1", "2"]}, index=["g1", "g1"])}, "obs holds gene 'g1' more than once"),
    ],
)
def test_errors(given, message):
    with pytest.raises(gx.InputError, match=message):
        small(**given)


def test_arrays_can_be_written_to():
    """Pandas 3 hands out views that cannot."""
    expression = pd.DataFrame({"sample": np.float32([1, 2, 3])}, index=["g1", "g2", "g3"])
    mdata = small(expression=expression, unit="tpm", labels=pd.DataFrame({"sample": [0, 1, 0]}, index=expression.index))
    rna = mdata["rna"]
    for array in (rna.X, rna.layers["log"], rna.layers["label"], mdata["chromatin"].X, mdata["chromatin"].obsm["bins"]):
        array[1] = 1
        assert (np.asarray(array)[1] == 1).all()
    assert expression["sample"].tolist() == [1, 2, 3]


def test_samples_named_as_probabilities_are_refused():
    with pytest.raises(gx.InputError, match=r"bins names the sample 'a:prob'.*rename it"):
        small(sample="a:prob")
    table = pd.DataFrame({"sample": [1, 2, 3], "a:prob": [1, 2, 3]}, index=["g1", "g2", "g3"])
    with pytest.raises(gx.InputError, match=r"expression names the sample 'a:prob'.*rename it"):
        small(expression=table, unit="tpm")


def test_series_by_number(caplog):
    """Gene ids that are numbers are matched, also when the index is a range."""
    down = pd.Series([30.0, 20.0, 10.0], index=pd.RangeIndex(3, 0, -1))
    mdata = small(genes=["1", "2", "3"], expression=down, unit="tpm")
    assert mdata["rna"].X.ravel().tolist() == [10, 20, 30]
    mdata = small(genes=["2", "0", "1"], expression=pd.Series([5.0, 6.0, 7.0]), unit="tpm")
    assert mdata["rna"].X.ravel().tolist() == [7, 5, 6]
    assert "taken in the order of genes" not in caplog.text
    mdata = small(expression=pd.Series([5.0, 6.0, 7.0]), unit="tpm")
    assert mdata["rna"].X.ravel().tolist() == [5, 6, 7]
    assert (
        "expression is a Series without gene ids (its index is 0, 1, ...): taken in the order of genes" in caplog.text
    )
    with pytest.raises(gx.InputError, match="expression names none of the genes"):
        small(expression=down, unit="tpm")


@pytest.mark.parametrize("strand", [[1, -1, 1], ["1", "-1", "+1"], [1.0, -1.0, 1.0], pd.Categorical([1, -1, 1])])
def test_strands_as_numbers(strand):
    mdata = small(obs=pd.DataFrame({"strand": strand}, index=["g1", "g2", "g3"]))
    assert mdata.obs["strand"].tolist() == ["+", "-", "+"]


def test_strands_that_are_none():
    with pytest.raises(gx.InputError, match=r"2 genes of obs have another strand than \+ and - \('\.', 'forward'; "):
        small(obs=pd.DataFrame({"strand": [".", "+", "forward"]}, index=["g1", "g2", "g3"]))
    kept = small(obs=pd.DataFrame({"strand": [1, -1]}, index=["g1", "g2"])).obs["strand"]
    assert kept.astype(object).where(kept.notna(), None).tolist() == ["+", "-", None]
