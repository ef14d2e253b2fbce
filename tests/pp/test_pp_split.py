from __future__ import annotations

import numpy as np
import pandas as pd
import pyranges
import pytest

import genexp_scverse as gx


def genes_of(table: pd.DataFrame, window=None):
    n_bins = 1 if window is None else (window["upstream"] + window["downstream"]) // window["bin_size"]
    bins = np.ones((len(table), 1, n_bins))
    return gx.io.from_bins(bins, genes=table.index, marks=["H3K4me3"], obs=table, window=window)


@pytest.fixture
def human(shared_data):
    table = pd.read_csv(shared_data / "roadmap_peaks_hg19" / "genes.tsv", sep="\t").set_index("gene_id")
    return table[~table.index.duplicated()]


@pytest.fixture
def small():
    chrom = ["chr1"] * 4 + ["chr2"] * 3 + ["chr10"] * 2 + ["chrX"]
    return pd.DataFrame({"chrom": chrom, "tss": np.arange(10) * 1000}, index=[f"g{i}" for i in range(10)])


def test_named_chromosomes(small):
    mdata = genes_of(small)
    gx.pp.split_by_chromosome(mdata, test=["chr2", "chrX"], valid="chr10")
    assert mdata.obs["split"].tolist() == ["train"] * 4 + ["test"] * 3 + ["valid"] * 2 + ["test"]
    assert mdata.obs["split"].cat.categories.tolist() == ["train", "valid", "test"]
    gx.schema.validate(mdata)


def test_default_is_about_70_10_20_and_said(human, caplog):
    mdata = genes_of(human)
    seen = []
    for seed in (0, 0, 1, 2):
        gx.pp.split_by_chromosome(mdata, seed=seed)
        share = mdata.obs["split"].value_counts(normalize=True)
        assert share["test"] == pytest.approx(0.2, abs=0.025)
        assert share["valid"] == pytest.approx(0.1, abs=0.025)
        assert (mdata.obs.groupby("chrom", observed=True)["split"].nunique() == 1).all()
        seen.append(tuple(mdata.obs["split"]))
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3
    assert "split by chromosome: train" in caplog.text
    test = set(mdata.obs["chrom"][mdata.obs["split"] == "test"])
    assert all(c in caplog.messages[-1].split("test")[1] for c in test)


def test_one_part_named_the_other_drawn(human):
    mdata = genes_of(human)
    gx.pp.split_by_chromosome(mdata, test="chr1")
    assert ((mdata.obs["split"] == "test") == (mdata.obs["chrom"] == "chr1")).all()
    assert (mdata.obs["split"] == "valid").mean() == pytest.approx(0.1, abs=0.025)


def test_genes_without_chromosome_are_in_no_part(small, caplog):
    small.loc["g0", "chrom"] = np.nan
    mdata = genes_of(small)
    gx.pp.split_by_chromosome(mdata, test="chr2", valid="chr10")
    assert mdata.obs["split"].isna().tolist() == [True] + [False] * 9
    assert "1 of 10 genes are in no part" in caplog.text


@pytest.mark.parametrize(
    "given, message",
    [
        ({"test": "2"}, "test chromosome '2' is not there; did you mean 'chr2'"),
        ({"test": 2}, "did you mean 'chr2'"),
        ({"valid": "chr02"}, "did you mean 'chr2'"),
        ({"test": "MT"}, "there are 'chr1', 'chr10', 'chr2', 'chrX'"),
        ({"test": ["chr1", "chr2"], "valid": "chr2"}, "'chr2' is in test and in valid"),
        ({"test": ["chr1", "chr2"], "valid": ["chr10", "chrX"]}, "too few"),
        ({"test": []}, "test names no chromosome"),
    ],
)
def test_chromosome_errors(small, given, message):
    with pytest.raises(gx.InputError, match=message):
        gx.pp.split_by_chromosome(genes_of(small), **given)


def test_names_without_chr(small):
    small["chrom"] = small["chrom"].str[3:]
    with pytest.raises(gx.InputError, match="did you mean '1'"):
        gx.pp.split_by_chromosome(genes_of(small), test="chr1")


def test_no_or_too_few_chromosomes(small):
    with pytest.raises(gx.InputError, match=r'no column "chrom".*split_at_random'):
        gx.pp.split_by_chromosome(genes_of(small[["tss"]]))
    with pytest.raises(gx.InputError, match=r"2 chromosomes .* too few"):
        gx.pp.split_by_chromosome(genes_of(small.iloc[2:6]))


@pytest.mark.parametrize("stranded", [True, False])
def test_random_split_counts_overlaps_as_pyranges_does(human, caplog, stranded):
    window = {"upstream": 2000, "downstream": 6000, "bin_size": 1000, "stranded": stranded}
    mdata = genes_of(human, window)
    gx.pp.split_at_random(mdata, fractions=(0.6, 0.15, 0.25), seed=5)
    counts = mdata.obs["split"].value_counts()
    n = len(human)
    assert (counts["valid"], counts["test"]) == (round(0.15 * n), round(0.25 * n))
    minus = (human["strand"] == "-") & stranded
    start = np.where(minus, human["tss"] - 6000 + 1, human["tss"] - 2000)
    table = pd.DataFrame({"Chromosome": human["chrom"], "Start": start + 10_000, "End": start + 18_000}).astype(
        {"Chromosome": object}
    )
    train = (mdata.obs["split"] == "train").to_numpy()
    ours = pyranges.PyRanges(table[~train].reset_index(drop=True))
    expected = len(ours.overlap(pyranges.PyRanges(table[train].reset_index(drop=True))))
    assert expected > 100
    assert f"the windows of {expected} of {(~train).sum()} validation and test genes" in caplog.text
    assert "(2000 + 6000 bases around the TSS)" in caplog.text


def test_overlap_by_hand(caplog):
    # windows of 10 bases: [0, 10), [10, 20) touch; [19, 29) overlaps [10, 20) by one base; another chromosome
    from genexp_scverse.pp.overlap import _overlapping

    chrom = pd.Series(["a", "a", "a", "b", None])
    train = np.array([False, True, False, False, False])
    found = _overlapping(chrom, np.array([0.0, 10, 19, 10, 10]), 10, train)
    assert found.tolist() == [False, False, True, False, False]


def test_random_split_is_of_the_seed(small, caplog):
    mdata = genes_of(small[[]])
    splits = []
    for seed in (0, 0, 3):
        gx.pp.split_at_random(mdata, seed=seed)
        splits.append(mdata.obs["split"].tolist())
    assert splits[0] == splits[1] != splits[2]
    assert "cannot be counted" in caplog.text
    with pytest.raises(gx.InputError, match="add up to 1"):
        gx.pp.split_at_random(mdata, fractions=(0.7, 0.2, 0.2))
    with pytest.raises(gx.InputError, match="above 0"):
        gx.pp.split_at_random(mdata, fractions=(0.7, 0.0, 0.3))
    with pytest.raises(gx.InputError, match="2 genes are too few"):
        gx.pp.split_at_random(genes_of(small.iloc[:2]))


def test_published_folds(shared_data):
    table = pd.read_csv(shared_data / "k562_elements_hg38" / "genes.tsv", sep="\t").set_index("gene_id")
    table = table[~table.index.duplicated()]
    mdata = genes_of(table)
    gx.pp.split_by_fold(mdata, test=11, valid=["chr3", "chr21"])
    split, chrom = mdata.obs["split"], mdata.obs["chrom"]
    assert set(chrom[split == "valid"]) == {"chr3", "chr21"}
    assert ((split == "test") == (table["fold"] == 11).to_numpy()).all()
    folds = sorted(table["fold"].dropna().unique())
    gx.pp.split_by_fold(mdata, test=folds[-1])
    assert (mdata.obs["split"] == "valid").sum() == (table["fold"] == folds[0]).sum()


@pytest.mark.parametrize("form", [list, pd.Categorical])
@pytest.mark.parametrize("convert", [int, float, str])
def test_next_fold_in_cyclic_order(small, convert, form):
    small["fold"] = form([convert(f) for f in (0, 1, 2, 9, 10, 10, 1, 2, 0, 9)])  # as text 10 sorts before 2
    mdata = genes_of(small)
    expected = {9: "valid", 2: "test"}
    gx.pp.split_by_fold(mdata, test=2)
    assert mdata.obs["split"].tolist() == [expected.get(f, "train") for f in (0, 1, 2, 9, 10, 10, 1, 2, 0, 9)]
    expected = {0: "valid", 10: "test", 9: "test"}
    gx.pp.split_by_fold(mdata, test=["10", 9])
    assert mdata.obs["split"].tolist() == [expected.get(f, "train") for f in (0, 1, 2, 9, 10, 10, 1, 2, 0, 9)]


def test_fold_table_by_gene(small, caplog):
    mdata = genes_of(small)
    folds = pd.Series(["a", "b", "c"] * 3, index=[f"g{i}" for i in range(8, -1, -1)])
    gx.pp.split_by_fold(mdata, folds, test="b", valid="a")
    assert mdata.obs["split"].tolist()[:9] == ["train", "test", "valid"] * 3
    assert pd.isna(mdata.obs["split"].iloc[9])
    assert "1 of 10 genes are in no part" in caplog.text


@pytest.mark.parametrize(
    "given, message",
    [
        ({"fold": "part", "test": 0}, "no column 'part'"),
        ({"test": 7}, "test fold '7' is not there: there are '0', '1', '2'"),
        ({"test": 0, "valid": "chr9"}, "valid 'chr9' is neither a fold nor a chromosome"),
        ({"test": 0, "valid": 0}, "'0' is in test and in valid"),
        ({"test": [1, 2]}, "no gene for train"),
        ({"fold": pd.Series([1, 2], index=["g0", "g0"]), "test": 1}, "'g0' has more than one fold"),
        ({"fold": pd.Series([1, 2], index=["h0", "h1"]), "test": 1}, "no gene has a fold"),
    ],
)
def test_fold_errors(small, given, message):
    small["fold"] = [0, 1, 2] * 3 + [0]
    with pytest.raises(gx.InputError, match=message):
        gx.pp.split_by_fold(genes_of(small), **given)


def test_drawn_chromosomes_have_their_shares_over_many_seeds(human):
    """Every seed comes close to 10 and 20 %, and no chromosome is always or never drawn."""
    mdata = genes_of(human)
    drawn = {"valid": [], "test": []}
    for seed in range(60):
        gx.pp.split_by_chromosome(mdata, seed=seed)
        split = mdata.obs["split"]
        for part, share in (("valid", 0.1), ("test", 0.2)):
            assert (split == part).mean() == pytest.approx(share, abs=0.021)
            drawn[part].append(frozenset(mdata.obs["chrom"][(split == part).to_numpy()]))
    size = mdata.obs["chrom"].value_counts(normalize=True)
    for part, share in (("valid", 0.1), ("test", 0.2)):
        times = {c: sum(c in each for each in drawn[part]) for c in size.index}
        assert max(times.values()) < 40
        assert sum(n > 0 for c, n in times.items() if size[c] < share) > 0.9 * (size < share).sum()
        assert len(set(drawn[part])) > 30


def test_random_shares_and_genes_over_many_seeds(small):
    """Exactly the shares at every seed, and every gene as often in a part as its share says."""
    mdata = genes_of(small)
    times = np.zeros((10, 2))
    for seed in range(300):
        gx.pp.split_at_random(mdata, fractions=(0.5, 0.2, 0.3), seed=seed)
        split = mdata.obs["split"].to_numpy()
        assert [(split == s).sum() for s in ("train", "valid", "test")] == [5, 2, 3]
        times += np.stack([split == "valid", split == "test"], axis=1)
    # four standard deviations of a binomial of 300 draws
    assert np.abs(times[:, 0] / 300 - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / 300)
    assert np.abs(times[:, 1] / 300 - 0.3).max() < 4 * np.sqrt(0.3 * 0.7 / 300)
