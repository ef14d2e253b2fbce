from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scored import made, stored
from small_models import make_mdata, make_model

import genexp_scverse as gx
from genexp_scverse import InputError


def called(mdata, **options):
    options = {"key": "mask", "exclude_promoter": 0} | options
    return gx.tl.call_elements(None, mdata, **options)


def spans(table) -> list[tuple[str, int, int]]:
    return list(zip(table["gene_id"], table["start"].tolist(), table["end"].tolist(), strict=True))


def by_base(mdata, *, threshold, exclude=0) -> set[tuple[str, int]]:
    """Bases of elements of each gene, one by one: an independent reading of the window's definition."""
    window, values = mdata["chromatin"].uns["mask"], mdata["chromatin"].obsm["mask"]
    sizes = dict(zip(mdata.uns["chrom_sizes"]["chrom"], mdata.uns["chrom_sizes"]["size"], strict=True))
    found = set()
    for i, gene in enumerate(mdata.obs_names):
        tss, sign = int(mdata.obs["tss"].iloc[i]), -1 if mdata.obs["strand"].iloc[i] == "-" else 1
        for j in range(values.shape[1]):
            offsets = range(j * window["bin_size"], (j + 1) * window["bin_size"])
            bases = [tss + sign * (o - window["upstream"]) for o in offsets]
            if values[i, j] >= threshold and min(abs(b - tss) for b in bases) >= exclude:
                found |= {(gene, b) for b in bases if 0 <= b < sizes[mdata.obs["chrom"].iloc[i]]}
    return found


def test_window_of_both_strands_by_hand():
    # window [400, 600) on + and [401, 601) read backwards on -, positions of 50 bases
    mdata = made([("a", 500, "+"), ("b", 500, "-")], upstream=100, downstream=100, bin_size=50)
    stored(mdata, [[0.9, 0.7, 0.1, 0.6], [0.9, 0.7, 0.1, 0.6]])
    table = called(mdata)
    assert spans(table) == [("a", 400, 500), ("a", 550, 600), ("b", 401, 451), ("b", 501, 601)]
    assert table["score"].round(6).tolist() == [0.8, 0.6, 0.6, 0.8]
    assert table["distance"].tolist() == [-1, 50, 50, -1]
    assert table["name"].tolist() == ["A_1", "A_2", "B_1", "B_2"]
    assert table["gene_tss"].tolist() == [500] * 4
    assert table["strand"].tolist() == ["."] * 4
    assert table["sample"].tolist() == ["K562"] * 4
    pd.testing.assert_frame_equal(mdata.uns["intervals"]["elements"], table)


def test_unstranded_windows_are_not_turned():
    mdata = made([("b", 500, "-")], upstream=100, downstream=100, bin_size=50, stranded=False)
    stored(mdata, [[0.9, 0.0, 0.0, 0.0]])
    table = called(mdata)
    assert spans(table) == [("b", 400, 450)]
    # along the gene, which is known to be on -, this lies downstream
    assert table["distance"].tolist() == [51]


def test_elements_are_cut_at_the_ends_of_the_chromosome():
    mdata = made([("a", 30, "+"), ("b", 960, "-"), ("c", 990, "+")], upstream=100, downstream=100, bin_size=50)
    stored(mdata, np.ones((3, 4)))
    assert spans(called(mdata)) == [("a", 0, 130), ("b", 861, 1000), ("c", 890, 1000)]
    assert spans(called(mdata, min_length=111)) == [("a", 0, 130), ("b", 861, 1000)]


def test_the_ends_of_a_chromosome_that_the_genes_name_otherwise():
    mdata = made([("a", 30, "+"), ("b", 960, "-"), ("c", 990, "+")], upstream=100, downstream=100, bin_size=50)
    stored(mdata, np.ones((3, 4)))
    # c is on a chromosome of unknown length
    mdata.obs["chrom"] = ["1", "1", "7"]
    table = called(mdata)
    assert spans(table) == [("a", 0, 130), ("b", 861, 1000), ("c", 890, 1090)]
    assert table["chrom"].tolist() == ["1", "1", "7"]
    mdata.obs["chrom"] = "7"
    with pytest.raises(InputError, match=r"none of the 1 chromosomes of mdata.obs \('7'\) is among the 1 of uns\["):
        called(mdata)
    mdata.obs["chrom"] = np.nan
    assert called(mdata).empty


@pytest.mark.parametrize("exclude", [0, 1, 40, 75])
def test_bases_are_those_of_a_loop_over_bases(exclude):
    rng = np.random.default_rng(exclude)
    genes = [(f"g{i}", int(t), s) for i, (t, s) in enumerate(zip(rng.integers(0, 1000, 25), "+-" * 13, strict=False))]
    mdata = made(genes, upstream=140, downstream=200, bin_size=20)
    stored(mdata, rng.random((25, 17)))
    table = called(mdata, threshold=0.6, exclude_promoter=exclude)
    bases = {(g, b) for g, start, end in spans(table) for b in range(start, end)}
    assert bases == by_base(mdata, threshold=0.6, exclude=exclude)
    assert sum(end - start for _, start, end in spans(table)) == len(bases)


def test_gaps_are_bridged_but_not_over_the_promoter():
    mdata = made([("a", 500, "+")], upstream=200, downstream=200, bin_size=50)
    stored(mdata, [[0.9, 0.1, 0.8, 0.9, 0.9, 0.9, 0.1, 0.7]])
    assert spans(called(mdata, merge_gap=49)) == [("a", 300, 350), ("a", 400, 600), ("a", 650, 700)]
    table = called(mdata, merge_gap=50)
    assert spans(table) == [("a", 300, 700)]
    assert table["score"].iloc[0] == pytest.approx((0.9 * 4 + 0.8 + 0.7 + 0.2) / 8)
    table = called(mdata, merge_gap=200, exclude_promoter=60)
    assert spans(table) == [("a", 300, 350), ("a", 650, 700)]


def test_positions_by_rank():
    rng = np.random.default_rng(3)
    mdata = made([("a", 500, "+"), ("b", 600, "-")], upstream=200, downstream=200, bin_size=10)
    values = rng.permutation(80).reshape(2, 40).astype(float)
    stored(mdata, values)
    table = called(mdata, top=0.25)
    kept = {(g, b) for g, start, end in spans(table) for b in range(start, end, 10)}
    assert len(kept) == 20
    assert kept == {(g, b) for g, b in kept if (g, b) in by_base(mdata, threshold=60)}
    # positions in the promoter take no part: the best 10 of the 60 others
    table = called(mdata, top=1 / 6, exclude_promoter=50)
    away = np.ones(40, bool)
    away[15:25] = False
    cut = np.sort(values[:, away].ravel())[-10]
    assert (table["end"] - table["start"]).sum() == 100
    assert {(g, b) for g, s, e in spans(table) for b in range(s, e)} == by_base(mdata, threshold=cut, exclude=50)


def test_positions_that_are_always_open_are_no_elements_by_default():
    mdata = made([("a", 500, "+"), ("b", 500, "-")], upstream=200, downstream=200, bin_size=50)
    stored(mdata, np.ones((2, 8)))
    whole = {"key": "mask", "exclude_promoter": None}
    assert spans(called(mdata, **whole)) == []
    # two before the TSS and one from it on, in the direction of transcription
    mdata["chromatin"].uns["mask"]["always_open"] = [2, 5]
    assert spans(called(mdata, **whole)) == [("a", 300, 400), ("a", 550, 700), ("b", 301, 451), ("b", 601, 701)]
    assert spans(called(mdata, **whole | {"exclude_promoter": 0})) == [("a", 300, 700), ("b", 301, 701)]


def test_equal_scores_stay_together(caplog):
    mdata = made([("a", 500, "+")], upstream=100, downstream=100, bin_size=50)
    stored(mdata, [[0.0, 1.0, 0.0, 0.0]])
    assert spans(called(mdata, top=0.75)) == [("a", 450, 500)]
    assert "0.25 of the positions are kept instead of 0.75" in caplog.text
    stored(mdata, [[0.4, 0.4, 0.4, 0.4]])
    table = called(mdata, top=0.5)
    assert len(table) == 0
    assert gx.tl.union_elements(table).empty


def test_genes_without_a_place_and_missing_scores_are_left_out(caplog):
    mdata = made([("a", 500, "+"), ("b", np.nan, "+")], upstream=100, downstream=100, bin_size=50)
    stored(mdata, [[np.nan, 0.9, np.nan, 0.1], [1, 1, 1, 1]])
    assert spans(called(mdata)) == [("a", 450, 500)]
    assert "1 of 2 genes have no chromosome or no TSS" in caplog.text


def test_samples_have_their_own_scores():
    mdata = made([("a", 500, "+")], upstream=100, downstream=100, bin_size=50)
    stored(mdata, {"A": [[0.9, 0, 0, 0]], "B": [[0, 0, 0, 0.9]]})
    table = called(mdata)
    assert list(zip(table["sample"], table["start"], strict=True)) == [("A", 400), ("B", 550)]
    assert table["name"].tolist() == ["A_1_A", "A_1_B"]
    assert called(mdata, samples=["B"])["name"].tolist() == ["A_1"]
    assert called(mdata, samples="B")["sample"].tolist() == ["B"]
    with pytest.raises(InputError, match=r"the scores 'mask' are not of sample 'C': they are of 'A', 'B'"):
        called(mdata, samples=["C"])
    joined = gx.tl.union_elements(called(mdata, merge_gap=1000))
    assert joined["sample"].tolist() == ["A", "B"]


def test_a_model_is_asked_whatever_is_stored():
    mdata = make_mdata(60)

    def model(seed, **hyper):
        made = make_model("Seq2ExpModel", mdata, setup={}, seed=seed, train=False, **hyper)
        made.train(1, accelerator="cpu", enable_progress_bar=False)
        return made

    first, second = model(0), model(1)
    alone = gx.tl.call_elements(second, mdata.copy(), top=0.1)
    assert set(alone["sample"]) == {"A", "B"}
    before = gx.tl.call_elements(first, mdata, top=0.1)
    assert not before.equals(alone)
    pd.testing.assert_frame_equal(gx.tl.call_elements(second, mdata, top=0.1), alone)
    of_b = gx.tl.call_elements(first, mdata, top=0.1, samples=["B"])
    places = ["start", "end", "score", "sample"]
    expected = before.loc[before["sample"] == "B", places].reset_index(drop=True)
    pd.testing.assert_frame_equal(of_b[places].reset_index(drop=True), expected)
    # without a model what is stored counts
    pd.testing.assert_frame_equal(gx.tl.call_elements(None, mdata, top=0.1), of_b)
    with pytest.raises(InputError, match=r'the model was made with mask="none": there is no mask to give'):
        gx.tl.call_elements(model(0, mask="none"), mdata)
    with pytest.raises(InputError, match=r"object has no mask: give a model that selects positions"):
        gx.tl.call_elements(object(), mdata)
    with pytest.raises(InputError, match=r"no scores per position are stored as 'other' \(there are 'seq2exp_mask'\)"):
        gx.tl.call_elements(None, mdata, key="other")


def test_union_is_that_of_bases():
    rng = np.random.default_rng(0)
    start = rng.integers(0, 900, 60)
    table = pd.DataFrame(
        {
            "chrom": rng.choice(["chr1", "chr2", "chr10"], 60),
            "start": start,
            "end": start + rng.integers(1, 40, 60),
            "score": rng.random(60),
            "gene_id": rng.choice(list("abcdef"), 60),
        }
    )
    joined = gx.tl.union_elements(table)
    bases = {(c, b) for c, s, e in table[["chrom", "start", "end"]].to_numpy() for b in range(s, e)}
    assert {(c, b) for c, s, e in joined[["chrom", "start", "end"]].to_numpy() for b in range(s, e)} == bases
    assert (joined["end"] - joined["start"]).sum() == len(bases)
    for row in joined.itertuples():
        inside = table[(table["chrom"] == row.chrom) & (table["start"] >= row.start) & (table["end"] <= row.end)]
        assert row.score == inside["score"].max()
        assert sorted(row.gene_id.split(",")) == sorted(inside["gene_id"].unique())
        assert row.n_genes == inside["gene_id"].nunique()
    # nothing touches: what does is one
    for _, of in joined.groupby("chrom"):
        assert (of["start"].to_numpy()[1:] > of["end"].to_numpy()[:-1]).all()


def test_wrong_arguments_are_said():
    mdata = made([("a", 500, "+")], upstream=100, downstream=100, bin_size=50)
    stored(mdata, np.ones((1, 4)))
    with pytest.raises(InputError, match=r"threshold=0.5 and top=0.1 are both given"):
        called(mdata, threshold=0.5, top=0.1)
    with pytest.raises(InputError, match=r"top is 2: give a share of positions above 0 and below 1"):
        called(mdata, top=2)
    with pytest.raises(InputError, match="merge_gap=-1 is not possible: give a whole number of at least 0"):
        called(mdata, merge_gap=-1)
    mdata["chromatin"].uns["mask"]["bin_size"] = 10
    with pytest.raises(InputError, match=r"shape \(1, 4\), but uns\['mask'\] says a window of 200 bases in positions"):
        called(mdata)
    mdata["chromatin"].uns["mask"] = {"upstream": 3}
    with pytest.raises(InputError, match=r"lacks 'downstream', 'bin_size', 'stranded'"):
        called(mdata)
    with pytest.raises(InputError, match=r"the table of elements lacks the column 'score', 'gene_id'"):
        gx.tl.union_elements(pd.DataFrame(columns=["chrom", "start", "end"]))
