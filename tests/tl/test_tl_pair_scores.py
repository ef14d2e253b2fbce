from __future__ import annotations

import gzip

import numpy as np
import pandas as pd
import pytest
from scored import made, stored
from sklearn.metrics import average_precision_score

import genexp_scverse as gx
from genexp_scverse import InputError

GENES = [("a", 20_000, "+"), ("b", 30_000, "-")]


def two_genes(**options):
    rng = np.random.default_rng(1)
    bins = rng.gamma(1, 3, (2, 2, 40))
    mdata = made(
        GENES, upstream=10_000, downstream=10_000, bin_size=500, bins=bins, marks=("DNase", "H3K27ac"), size=60_000,
        **options,
    )  # fmt: skip
    return stored(mdata, rng.random((2, 40)))


def pairs(rows):
    return pd.DataFrame(rows, columns=["chrom", "start", "end", "gene_id", "regulated"])


SOME = pairs(
    [
        ("1", 12_300, 13_100, "a", True),
        ("1", 24_000, 24_200, "b", False),
        ("1", 33_900, 36_100, "b", True),
        ("1", 27_000, 27_900, "a", "FALSE"),
    ]
)


def base_by_base(mdata, pair, array):
    """Values of the bases of an element that lie in the window, read base by base."""
    i = mdata.obs_names.get_loc(pair.gene_id)
    tss, sign = int(mdata.obs["tss"].iloc[i]), -1 if mdata.obs["strand"].iloc[i] == "-" else 1
    offsets = [sign * (b - tss) + 10_000 for b in range(pair.start, pair.end)]
    return np.array([array[i, o // 500] for o in offsets if 0 <= o < 20_000])


@pytest.mark.parametrize("how", ["max", "mean"])
def test_scores_are_those_of_the_bases(how):
    mdata = two_genes()
    result = gx.tl.score_pairs(mdata, SOME, key="mask", how=how, n_bootstrap=0)
    function = {"max": np.max, "mean": np.mean}[how]
    expected = [function(base_by_base(mdata, p, mdata["chromatin"].obsm["mask"])) for p in SOME.itertuples()]
    np.testing.assert_allclose(result.pairs["mask"], expected, rtol=1e-6)
    assert result.pairs["distance"].tolist() == [-6901, 5801, -3900, 7000]
    assert result.pairs["regulated"].tolist() == [True, False, True, False]
    auprc = result.auprc.set_index("score")
    assert auprc.loc["mask", "auprc"] == pytest.approx(average_precision_score([1, 0, 1, 0], expected))
    near = -np.abs(result.pairs["distance"])
    assert auprc.loc["distance", "auprc"] == pytest.approx(average_precision_score([1, 0, 1, 0], near))
    assert auprc["n_pairs"].tolist() == [4, 4, 4]
    stored_tables = mdata.uns["pair_scores"]
    pd.testing.assert_frame_equal(stored_tables["pairs"], result.pairs)
    pd.testing.assert_frame_equal(stored_tables["auprc"], result.auprc)


def test_activity_by_contact_by_hand():
    mdata = two_genes()
    bins = mdata["chromatin"].obsm["bins"].astype(float)

    def power(pair):
        activity = np.prod([base_by_base(mdata, pair, bins[:, t]).mean() for t in (0, 1)]) ** 0.5
        tss = {g: t for g, t, _ in GENES}[pair.gene_id]
        away = min(abs(b - tss) for b in (pair.start, pair.end - 1))
        return activity * max(away, 5000) ** -1.024

    result = gx.tl.score_pairs(mdata, SOME, key="mask", n_bootstrap=0)
    expected = np.array([power(p) for p in SOME.itertuples()])
    np.testing.assert_allclose(result.pairs["activity_by_contact"], expected, rtol=1e-6)

    # candidates: one that overlaps the tested element, two in the window of a, one far away
    near = pairs([("1", 13_000, 13_500, "a", 0), ("1", 18_000, 18_700, "a", 0), ("1", 26_000, 26_100, "a", 0)])
    far = pairs([("1", 55_000, 56_000, "a", 0)])
    mdata.uns["intervals"] = {"dhs": pd.concat([near, far])[["chrom", "start", "end"]]}
    result = gx.tl.score_pairs(mdata, SOME, key="mask", n_bootstrap=0, candidates="dhs")
    first, *others = (power(p) for p in [next(SOME.itertuples()), *near.itertuples()])
    assert result.pairs["activity_by_contact"].iloc[0] == pytest.approx(first / (first + others[1] + others[2]))
    assert result.pairs["activity_by_contact"].between(0, 1).all()


def test_logarithms_are_undone():
    mdata, logged = two_genes(), two_genes()
    logged["chromatin"].obsm["bins"] = np.log1p(mdata["chromatin"].obsm["bins"])
    logged["chromatin"].var["scale"] = "log"
    one, other = (gx.tl.score_pairs(m, SOME, key="mask", n_bootstrap=0).pairs for m in (mdata, logged))
    np.testing.assert_allclose(one["activity_by_contact"], other["activity_by_contact"], rtol=1e-5)


def test_why_pairs_are_not_scored_is_said(caplog):
    caplog.set_level("INFO")
    mdata = two_genes()
    mdata.obs["tss"] = [20_000, 30_000]
    more = pairs(
        [
            ("chr1", 1_000, 2_000, "a", True),
            ("chr1", 20_000, 21_000, "z", True),
            ("chr7", 12_300, 13_100, "a", False),
            ("chr1", 12_300, 13_100, "A", False),
            ("chr1", 9_500, 10_499, "a", False),
            ("chr1", 9_500, 10_501, "a", False),
        ]
    )
    table = gx.tl.score_pairs(mdata, pd.concat([SOME, more]), key="mask", n_bootstrap=0).pairs
    outside, scored = "outside the window", "scored"
    assert table["status"].tolist() == [
        *[scored] * 4, outside, "gene not in the data", outside, "gene not in the data", outside, scored
    ]  # fmt: skip
    assert table["mask"].notna().tolist() == (table["status"] == scored).tolist()
    said = (
        "5 of 10 pairs are scored, 2 of them regulated (of 4); not scored: 2 gene not in the data; 3 outside the window"
    )
    assert said in caplog.text
    # by name where there is no id, and by id without its version
    ids = more.assign(gene_id=["", "ENSG00000000001.7", "", "", "", ""], gene_name=["", "", "", "A", "", ""])
    mdata = made(
        [("a", 20_000, "+"), ("ENSG00000000001", 20_000, "+")], upstream=10_000, downstream=10_000, bin_size=500
    )
    stored(mdata, np.ones((2, 40)))
    table = gx.tl.score_pairs(mdata, ids, key="mask", n_bootstrap=0).pairs
    assert (table["status"] == scored).tolist() == [False, True, False, True, False, False]


def test_intervals_and_differences_are_paired():
    rng = np.random.default_rng(0)
    mdata = two_genes()
    start = rng.integers(11_000, 28_000, 120)
    table = pairs([("chr1", s, s + 500, "a", False) for s in start])
    truth = gx.tl.score_pairs(mdata, table.assign(regulated=start % 2 == 0), key="mask", n_bootstrap=0).pairs["mask"]
    table["regulated"] = (truth > truth.median()).to_numpy()
    mdata["chromatin"].obsm["noise"] = rng.random((2, 40))
    mdata["chromatin"].uns["noise"] = mdata["chromatin"].uns["mask"]
    gx.schema.name_axes(mdata)
    out = gx.tl.score_pairs(mdata, table, key=["mask", "noise"], reference="noise").auprc.set_index("score")
    assert out.index.tolist() == ["mask", "noise", "distance", "activity_by_contact"]
    assert out.loc["mask", "auprc"] == 1
    assert out.loc["noise", ["auprc_diff", "auprc_diff_low", "auprc_diff_high"]].tolist() == [0, 0, 0]
    row = out.loc["mask"]
    assert row["auprc_diff"] == pytest.approx(1 - out.loc["noise", "auprc"])
    # all that the reference loses is what the perfect score gains, resample by resample
    assert row["auprc_diff_low"] == pytest.approx(1 - out.loc["noise", "auprc_high"])
    assert row["auprc_diff_high"] == pytest.approx(1 - out.loc["noise", "auprc_low"])


def test_wrong_pairs_are_said():
    mdata = two_genes()
    for wrong, said in (
        (SOME.drop(columns=["gene_id", "end"]), r"lacks the column 'end', 'gene_id or gene_name'"),
        (SOME.assign(regulated="maybe"), r"regulated of 4 of 4 pairs is neither True nor False \('maybe'\)"),
        (SOME.assign(regulated=False), r"4 of 4 pairs can be scored, 0 of them regulated, but both classes are needed"),
        (SOME.assign(end=SOME["start"]), r"4 of 4 pairs have an empty element"),
        (SOME.assign(start=[1, np.nan, np.nan, 4]), r"start of 2 of 4 pairs is no whole number \('nan' in row 2\)"),
        (SOME.assign(end=[1.5, 2, 3, 4]), r"end of 1 of 4 pairs is no whole number \('1.5' in row 1\): mend or drop"),
        (SOME.assign(end=["9", "9", "9", "?"]), r"end of 1 of 4 pairs is no whole number \('\?' in row 4\)"),
        (SOME.assign(chrom="chr9"), r"none of the 1 chromosomes of the table of pairs \('chr9'\) is among"),
    ):
        with pytest.raises(InputError, match=said):
            gx.tl.score_pairs(mdata, wrong, key="mask", n_bootstrap=0)
    with pytest.raises(InputError, match=r"reference is 'abc': choose one of the scores 'mask', 'distance'"):
        gx.tl.score_pairs(mdata, SOME, key="mask", reference="abc")
    with pytest.raises(InputError, match=r"no scores per position are stored as 'seq2exp_mask'"):
        gx.tl.score_pairs(mdata, SOME)


def test_pairs_of_k562(shared_data, caplog):
    caplog.set_level("INFO")
    folder = shared_data / "k562_elements_hg38"
    with gzip.open(folder / "crispri_pairs.tsv.gz", "rt") as handle:
        tested = pd.read_csv(handle, sep="\t")
    genes = gx.io.read_genes(folder / "genes.tsv")
    genes = genes[genes.index.isin(tested["measuredGeneEnsemblId"])]
    mdata = gx.io.build_mudata(
        folder / "sheet.tsv", genes=genes, upstream=100_000, downstream=100_000, bin_size=500, n_jobs=1
    )
    gx.tl.fixed_mask(mdata, "signal")
    result = gx.tl.score_pairs(mdata, tested, key="signal_mask", n_bootstrap=100)
    counts = result.pairs["status"].value_counts()
    assert counts["gene not in the data"] == 546
    middle = (tested["chromStart"] + tested["chromEnd"]) // 2
    tss = genes["tss"].reindex(tested["measuredGeneEnsemblId"]).to_numpy()
    strand = genes["strand"].reindex(tested["measuredGeneEnsemblId"]).to_numpy()
    offset = np.where(strand == "-", tss - middle, middle - tss)
    by_id = ((offset >= -100_000) & (offset < 100_000)).sum()
    assert counts["scored"] == by_id
    auprc = result.auprc.set_index("score")["auprc"]
    share = result.auprc["n_regulated"].iloc[0] / result.auprc["n_pairs"].iloc[0]
    assert auprc["activity_by_contact"] > auprc["distance"] > share
