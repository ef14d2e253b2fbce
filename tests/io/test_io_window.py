from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from genexp_scverse import InputError
from genexp_scverse.io.window import check_tss, count_bins, tss_windows


def _genes(**columns) -> pd.DataFrame:
    table = pd.DataFrame({"chrom": "chr1", "tss": [100, 100], "strand": ["+", "-"]} | columns)
    return table.set_axis(["a", "b"], axis=0)


@pytest.mark.parametrize(("upstream", "downstream"), [(10, 5), (0, 7), (7, 0), (1, 1), (500, 500)])
def test_tss_has_index_upstream_on_both_strands(upstream, downstream):
    windows = tss_windows(_genes(), upstream=upstream, downstream=downstream)
    forward = np.arange(windows.start[0], windows.end[0])
    backward = np.arange(windows.start[1], windows.end[1])[::-1]
    assert len(forward) == len(backward) == upstream + downstream
    if downstream:
        assert forward[upstream] == 100
        assert backward[upstream] == 100
    if upstream:
        assert forward[upstream - 1] == 99
        assert backward[upstream - 1] == 101


def test_unstranded_windows_need_no_strand():
    windows = tss_windows(_genes().drop(columns="strand"), upstream=10, downstream=5, stranded=False)
    assert windows.start.tolist() == [90, 90]
    assert windows.end.tolist() == [105, 105]
    assert not windows.reverse.any()


def test_categories_and_text_are_read():
    genes = _genes(tss=["100", "200"])
    genes = genes.astype({"chrom": "category", "strand": "category"})
    windows = tss_windows(genes, upstream=10, downstream=10)
    assert windows.start.tolist() == [90, 191]
    assert windows.chrom.tolist() == ["chr1", "chr1"]


@pytest.mark.parametrize(
    ("columns", "text"),
    [
        ({"strand": ["+", "."]}, r"strand of 1 of 2 genes .*'b'.*'\.'"),
        ({"tss": [100, -1]}, "tss of 1 of 2 genes is not a 0-based position .*'b'"),
        ({"tss": [100, np.nan]}, "tss of 1 of 2 genes"),
        ({"tss": [100.5, 3]}, "tss of 1 of 2 genes .*'a'"),
        ({"tss": ["x", 3]}, "tss of 1 of 2 genes .*'x'"),
        ({"tss": [1e30, 3]}, "tss of 1 of 2 genes .*'a'"),
        ({"tss": [3, 2**63]}, "tss of 1 of 2 genes .*'b'"),
    ],
)
def test_bad_genes(columns, text):
    with pytest.raises(InputError, match=text):
        tss_windows(_genes(**columns), upstream=10, downstream=10)


def test_missing_column():
    with pytest.raises(InputError, match="lacks the column 'tss'"):
        tss_windows(_genes().drop(columns="tss"), upstream=10, downstream=10)


@pytest.mark.parametrize("extent", [(-1, 5), (0, 0), (1.5, 5), (True, 5)])
def test_bad_extent(extent):
    with pytest.raises(InputError, match="upstream"):
        tss_windows(_genes(), upstream=extent[0], downstream=extent[1])


def test_bins_fill_the_window():
    assert count_bins(upstream=5000, downstream=5000, bin_size=100) == 100
    assert count_bins(upstream=np.int64(10), downstream=0, bin_size=np.int64(1)) == 10
    with pytest.raises(InputError, match=r"5000 \+ 5000 = 10000 .*bin_size 250 or 400, or downstream 4900"):
        count_bins(upstream=5000, downstream=5000, bin_size=300)
    with pytest.raises(InputError, match="take bin_size 10, or downstream"):
        count_bins(upstream=5, downstream=5, bin_size=30)
    with pytest.raises(InputError, match="bin_size is 0"):
        count_bins(upstream=5, downstream=5, bin_size=0)


def test_tss_beyond_the_end():
    genes = _genes(chrom=["1", "2"])
    names = {"1": "chr1"}
    assert check_tss(genes, {"chr1": 101}, names=names, source="x").tolist() == [True, False]
    with pytest.raises(InputError, match=r"1 of 2 genes .* in x \(a at 1:100 of 100\).*another assembly"):
        check_tss(genes, {"chr1": 100}, names=names, source="x")
