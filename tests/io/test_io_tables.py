"""Tables as they come: delimiters, short rows, quotes, numbers in the writing of a country."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from genexp_scverse import InputError
from genexp_scverse.io.tables import _UnsafeNumberError, _Watched, read_table, table_layout
from genexp_scverse.io.written_numbers import UnclearNumberError, read_numbers, to_numbers


def read(tmp_path, content, **options):
    path = tmp_path / "table.txt"
    path.write_text(content, encoding="utf-8")
    layout = table_layout(path, what="a table")
    return read_table(path, layout, what="a table", **{"text": ["gene_id"], **options})


@pytest.mark.parametrize(
    ("text", "columns", "first"),
    [
        ("gene_id;K562, rep 1;H1\ng1;1;2\ng2;3;4\n", ["gene_id", "K562, rep 1", "H1"], ["g1", 1, 2]),
        ("gene_id;K562, rep 1\ng1;1,5\ng2;2,5\n", ["gene_id", "K562, rep 1"], ["g1", "1,5"]),
        ("gene_id,a;b\ng1,1\ng2,2\n", ["gene_id", "a;b"], ["g1", 1]),
        ('gene_id,text\ng1,"a;b;c"\ng2,"d;e;f"\n', ["gene_id", "text"], ["g1", "a;b;c"]),
        ("gene_id\tK562, all; of it\ng1\t1,5\n", ["gene_id", "K562, all; of it"], ["g1", "1,5"]),
        ("a, b\tc, d\ng1\t1,5\t2,5\n", ["gene_id", "a, b", "c, d"], ["g1", "1,5", "2,5"]),
        ('"K562" "H1"\n"g1" 1 2\n"g2" 3 4\n', ["gene_id", "K562", "H1"], ["g1", 1, 2]),
        ('"K562"\n"g1" 1,5\n"g2" 2,25\n', ["gene_id", "K562"], ["g1", "1,5"]),
        ("gene id,K562\ng 1,5\ng 2,7\n", ["gene id", "K562"], ["g 1", 5]),
        ("gene_id\ta b\ng 1\t1\ng 2\t2\n", ["gene_id", "a b"], ["g 1", 1]),
        # spreadsheets put their delimiter above the header
        ("sep=;\r\ngene_id;a,b\r\ng1;1\r\n", ["gene_id", "a,b"], ["g1", 1]),
        ('\ufeff"sep=,"\ngene_id,a\ng1,1\ng2,5\n', ["gene_id", "a"], ["g1", 1]),
    ],
)
def test_the_delimiter_cuts_all_lines_alike(tmp_path, text, columns, first):
    table = read(tmp_path, text)
    assert list(table.columns) == columns
    assert table.iloc[0].tolist() == first


@pytest.mark.parametrize(
    ("text", "line", "fields"),
    [
        ("gene_id\ta\tb\ng1\t1\t2\ng2\t3\ng3\t5\t6\n", 3, 2),
        ("# made by hand\n\ngene_id\ta\tb\ng1\t1\t2\n\ng2\n", 6, 1),
        ("gene_id\ta\tname\ng1\t1\tx\ng2\t3\n", 3, 2),
        ("gene_id,a,b\ng1,1,2\n" + 3000 * "g2,1,2\n" + "g3,1\n", 3003, 2),
    ],
)
def test_a_short_row_is_refused(tmp_path, text, line, fields):
    for names in ([], ["gene_id", "name"]):
        with pytest.raises(InputError, match=rf"line {line} of .* has {fields} fields and the header 3: give every"):
            read(tmp_path, text, text=names)


@pytest.mark.parametrize(
    "text",
    ["gene_id\ta\ng1\t1\t5\n", "gene_id,a\ng1,1\ng2,3,4\n", "gene_id,a\n" + 3000 * "g1,1\n" + "g2,1,2\n"],
)
def test_a_long_row_is_refused(tmp_path, text):
    with pytest.raises(InputError, match="give every row the fields of the header"):
        read(tmp_path, text)


def test_a_title_above_the_header_is_named(tmp_path):
    with pytest.raises(InputError, match=r"has 3 fields and the header 1: take out what .* \(it is 'Table S1'\)"):
        read(tmp_path, "Table S1\t\t\ngene_id\ta\tb\ng1\t1\t2\n")


def test_an_empty_last_field_is_no_short_row(tmp_path):
    table = read(tmp_path, 'gene_id\ta\ttext\ng1\t1\t\n# g2\ng3\t3\t"x\ty"\n', comments=True, text=["gene_id"])
    assert table["gene_id"].tolist() == ["g1", "g3"]
    assert table["text"].isna().tolist() == [True, False]
    assert table["text"].iloc[1] == "x\ty"


def test_rows_do_not_vanish_in_a_quote(tmp_path):
    rows = ["gene_id\tname\tK562", 'g1\t"5 prime\t1', "g2\tx\t2", 'g3\t"3 prime\t3', "g4\ty\t4"]
    with pytest.raises(InputError, match=r"table\.txt (is no regular table|.*go over several lines)"):
        read(tmp_path, "\n".join(rows) + "\n")


@pytest.mark.parametrize(
    ("texts", "numbers"),
    [
        (["1,234.5", "12"], [1234.5, 12]),
        (["1.234,5", "12", "0,25"], [1234.5, 12, 0.25]),
        (["1,5", "2,25", ",5"], [1.5, 2.25, 0.5]),
        (["1,234", "0.5"], [1234, 0.5]),
        (["1.234.567", "1.234"], [1234567, 1234]),
        (["1,234,567", "1,234"], [1234567, 1234]),
        (["1\u00a0234,5", "7"], [1234.5, 7]),
        (["1'234.5", "7"], [1234.5, 7]),
        (["1,5e3", "-2,5E-1", "inf"], [1500, -0.25, np.inf]),
        (["1.234", "1e5"], [1.234, 1e5]),
    ],
)
def test_numbers_in_one_notation(texts, numbers):
    assert read_numbers(texts)[0].tolist() == numbers


@pytest.mark.parametrize(
    ("texts", "wrong", "said"),
    [
        (["1,234", "12"], "1,234", "which may be 1234 or 1.234: write numbers without separators of thousands"),
        (["12,345", "1.234"], "12,345", "which may be 12345 or 12.345"),
        (["1,234.5", "1.234,5"], "1,234.5", "and also '1.234,5', written in another way"),
        (["1,5", "0.5"], "1,5", "and also '0.5', written in another way"),
        (["1,23,4", "5"], "1,23,4", "which is no number"),
        (["high", "5"], "high", "which is no number"),
        (["1_000", "5"], "1_000", "which is no number"),
        (["0x10"], "0x10", "which is no number"),
        (["<0.1", "5"], "<0.1", "which is no number"),
    ],
)
def test_numbers_in_no_or_several_notations(texts, wrong, said):
    with pytest.raises(UnclearNumberError) as error:
        read_numbers(texts)
    assert error.value.text == wrong
    assert said in str(error.value)


def test_whole_numbers_have_separators_of_thousands():
    assert read_numbers(["1,234", "12"], whole=True)[0].tolist() == [1234, 12]
    assert read_numbers(["1,5", "12"], whole=True)[0].tolist() == [1.5, 12]


@pytest.mark.parametrize("exponent", [2147483647, 2147483648, 4294967297, 99999999999999999999])
def test_large_exponents_are_infinite_and_end_no_process(tmp_path, exponent):
    code = (
        "import sys\nfrom genexp_scverse.io.tables import _UnsafeNumberError, _Watched, read_table, table_layout\n"
        "from genexp_scverse.io.written_numbers import to_numbers\n"
        "layout = table_layout(sys.argv[1], what='a table')\n"
        "table = read_table(sys.argv[1], layout, what='a table', text=['gene_id'])\n"
        "print([to_numbers(table[name]).tolist() for name in table.columns[1:]])"
    )
    path = tmp_path / "table.tsv"
    path.write_text(f"gene_id\ta\tb\ng1\t1e{exponent}\tx\ng2\t-1e{exponent}\t1e{exponent}\ng3\t1e-{exponent}\t1\n")
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[[inf, -inf, 0.0], [nan, inf, 1.0]]"


def test_plain_numbers_of_any_column():
    column = pd.Series(["1.5", " 2 ", "1_000", "", None, 7, "nan"])
    assert to_numbers(column).tolist()[:2] == [1.5, 2]
    np.testing.assert_array_equal(to_numbers(column)[2:], [np.nan, np.nan, np.nan, 7, np.nan])
    np.testing.assert_array_equal(to_numbers(pd.Series(["1e3", pd.NA, "2"], dtype="string")), [1000, np.nan, 2])


@pytest.mark.parametrize("size", range(1, 13))
@pytest.mark.parametrize("number", [b"1e2147483648", b"7.E+100", b"5e-123", b"0.00001234567890123"])
def test_what_the_fast_parser_misreads_is_seen_across_the_pieces_of_a_file(size, number):
    for before in range(13):
        watched = _Watched(io.BytesIO(before * b"g" + b"\t" + number + b"\n"))
        with pytest.raises(_UnsafeNumberError):
            while watched.read(size):
                pass
        for harmless in (b"ENSG0000123", b"E003", b"1e21\t333", b"1e-5", b"0.00012345678901234567"):
            watched = _Watched(io.BytesIO(before * b"g" + b"\t" + harmless + b"\n"))
            assert b"".join(iter(lambda w=watched: w.read(size), b"")).endswith(harmless + b"\n")


def test_numbers_that_become_float32_are_right(tmp_path):
    rng = np.random.default_rng(0)
    texts = [f"{v:.{d}g}" for d in range(1, 18) for v in 10.0 ** rng.uniform(-30, 30, 300)] + ["1e99", "-2.5E-99", "0"]
    text = "gene_id\tx\n" + "".join(f"g{i}\t{t}\n" for i, t in enumerate(texts))
    exact = np.array([float(t) for t in texts])
    read_single = read(tmp_path, text, single=True)["x"].to_numpy(np.float64)
    np.testing.assert_allclose(read_single, exact, rtol=1e-12)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(read_single.astype(np.float32), exact.astype(np.float32))
    assert read(tmp_path, text)["x"].tolist() == exact.tolist()
    large = text + "h\t1e300\n"
    assert read(tmp_path, large, single=True)["x"].tolist() == [*exact, 1e300]
    small = [f"{v:.30f}" for v in 10.0 ** rng.uniform(-20, 0, 300)]
    text = "gene_id\tx\n" + "".join(f"g{i}\t{t}\n" for i, t in enumerate(small))
    assert read(tmp_path, text, single=True)["x"].tolist() == [float(t) for t in small]
