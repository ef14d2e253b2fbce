from __future__ import annotations

import gzip
import logging
from pathlib import Path

import pandas as pd
import pytest

from genexp_scverse import InputError
from genexp_scverse.io import read_sheet


@pytest.fixture
def folder(tmp_path):
    for name in ("a.bigWig", "b.bigWig", "c.bigWig"):
        (tmp_path / name).write_bytes(b"")
    return tmp_path


def write(folder, text, name="sheet.tsv"):
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


PLAIN = "sample\tmark\tpath\tscale\nK562\tH3K4me3\ta.bigWig\tfold_change\nH1\tH3K4me3\tb.bigWig\tfold_change\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN,
        PLAIN.replace("\t", ","),
        "# made by hand\n" + PLAIN,
        PLAIN.replace("H1\t", "# H9\tH3K4me3\tnowhere.bigWig\tlog\nH1\t"),
        PLAIN.replace("\nH1", "\n\nH1") + "\n",
        PLAIN.replace("sample\tmark\tpath\tscale", "Sample\tMark\tPath\tScale"),
        PLAIN.replace("fold_change", "Fold-Change"),
        PLAIN.replace("K562\t", " K562 \t"),
        gzip.compress(PLAIN.encode()),
    ],
    ids=["plain", "crlf", "bom", "commas", "comment", "commented row", "blank", "capitals", "scale", "spaces",
         "gzip"],
)  # fmt: skip
def test_sheets_as_they_are_found(folder, text):
    table = read_sheet(write(folder, text))
    assert table.to_dict("list") == {
        "sample": ["K562", "H1"],
        "mark": ["H3K4me3", "H3K4me3"],
        "path": [str(folder / "a.bigWig"), str(folder / "b.bigWig")],
        "scale": ["fold_change", "fold_change"],
    }


def test_paths_are_relative_to_the_sheet(folder, monkeypatch):
    (folder / "sheets").mkdir()
    (folder / "elsewhere").mkdir()
    text = f"sample\tmark\tpath\nK562\tH3K4me3\t../a.bigWig\nK562\tH3K27ac\t{folder / 'b.bigWig'}\n"
    write(folder / "sheets", text)
    monkeypatch.chdir(folder / "elsewhere")
    table = read_sheet("../sheets/sheet.tsv")
    assert [str(Path(p).resolve()) for p in table["path"]] == [
        str((folder / n).resolve()) for n in ("a.bigWig", "b.bigWig")
    ]


def test_paths_of_a_frame_are_relative_to_the_working_directory(folder, monkeypatch):
    monkeypatch.chdir(folder)
    frame = pd.DataFrame({"sample": ["K562"], "mark": ["H3K4me3"], "path": ["a.bigWig"], "scale": [None]}, index=[7])
    before = frame.copy()
    assert read_sheet(frame).to_dict("list") == {
        "sample": ["K562"],
        "mark": ["H3K4me3"],
        "path": ["a.bigWig"],
        "scale": ["coverage"],
    }
    pd.testing.assert_frame_equal(frame, before)


def test_samples_that_look_like_numbers_or_gaps_stay_text(folder):
    table = read_sheet(write(folder, "sample\tmark\tpath\n001\tNA\ta.bigWig\n"))
    assert table.iloc[0, :2].tolist() == ["001", "NA"]


def test_missing_scales_are_counted_and_other_columns_named(folder, caplog):
    caplog.set_level(logging.INFO)
    text = "sample\tmark\tlab\tpath\tscale\nK562\tH3K4me3\tX\ta.bigWig\t\nK562\tH3K27ac\tY\tb.bigWig\tlog\n"
    assert read_sheet(write(folder, text))["scale"].tolist() == ["coverage", "log"]
    assert "1 of 2 tracks have no scale; taken as coverage" in caplog.text
    assert "columns that are not used: 'lab'" in caplog.text


def test_mixed_scales_of_a_mark_are_said(folder, caplog):
    read_sheet(write(folder, PLAIN.replace("b.bigWig\tfold_change", "b.bigWig\tpvalue")))
    assert "Mixed signal scales" in caplog.text
    assert "'fold_change', 'pvalue' for H3K4me3" in caplog.text


def test_different_scales_of_different_marks_are_no_problem(folder, caplog):
    read_sheet(write(folder, "sample\tmark\tpath\tscale\nK562\tA\ta.bigWig\tlog\nK562\tB\tb.bigWig\tcoverage\n"))
    assert "Mixed" not in caplog.text


HEAD = "sample\tmark\tpath\tscale\n"


def test_rows_of_delimiters_alone_are_no_tracks(folder):
    rows = "K562\tA\ta.bigWig\tlog\n\t\t\t\n"
    assert read_sheet(write(folder, HEAD + rows + "\t\t\t\n"))["mark"].tolist() == ["A"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sample\tpath\nK562\ta.bigWig\n", "lacks the column 'mark': it has 'sample', 'path' and needs sample, mark"),
        (HEAD, "has a header and no rows"),
        (HEAD + "# K562\tA\ta.bigWig\tlog\n", "lists no track: give a row for each bigWig"),
        ("", "is empty"),
        (HEAD + "K562\t\ta.bigWig\tlog\n", "row 1 of .*sheet.tsv has an empty sample, mark or path: fill it in"),
        (HEAD + "K562\tA\ta.bigWig\tlog\nK562\tA\tb.bigWig\tlog\n", r"lists the track 'K562\.A' more than once: keep"),
        (HEAD + "K562\tA\ta.bigWig\tz-score\n", "has the scale 'z_score': allowed are counts, coverage, fold_change"),
        (HEAD + "K562\tA\tx.bigWig\tlog\n", r"1 of 1 files of .* do not exist \('.*x\.bigWig'\): mend the paths"),
        (HEAD + "K562\tA\thttps://e.org/x.bigWig\tlog\n", "gives the address .*download it first"),
        (b"\x1f\x8b\x08\x00", "truncated or damaged gzip"),
        (HEAD.encode() + b"K562\tA\xff\ta.bigWig\tlog\n", "UTF-8"),
        (b"PK\x03\x04" + bytes(10), "zip archive"),
    ],
)
def test_errors(folder, text, said):
    with pytest.raises(InputError, match=said):
        read_sheet(write(folder, text))


def test_missing_sheet_and_folder(folder):
    with pytest.raises(InputError, match=r"the sample sheet .*none\.tsv does not exist: check the path"):
        read_sheet(folder / "none.tsv")
    with pytest.raises(InputError, match="is a folder: check the path"):
        read_sheet(folder)


def test_frame_without_rows():
    with pytest.raises(InputError, match="the sample sheet lists no track"):
        read_sheet(pd.DataFrame({"sample": [], "mark": [], "path": []}))


def test_missing_files_of_a_frame_are_relative_to_the_working_directory():
    frame = pd.DataFrame({"sample": ["K562"], "mark": ["A"], "path": ["x.bigWig"]})
    with pytest.raises(InputError, match="relative to the working directory"):
        read_sheet(frame)


def test_names_that_would_collide_are_refused(folder):
    header = "sample\tmark\tpath\n"
    with pytest.raises(InputError, match=r"names the sample 'K562:prob', but ':prob' marks .*rename it"):
        read_sheet(write(folder, header + "K562:prob\tH3K4me3\ta.bigWig\n"))
    with pytest.raises(InputError, match=r"gives 'A\.B and C', 'A and B\.C' the same track name 'A\.B\.C': rename"):
        # the second file is missing: the names are checked before files are
        read_sheet(write(folder, header + "A.B\tC\ta.bigWig\nA\tB.C\tgone.bigWig\n"))


def test_the_same_file_for_two_tracks_is_a_warning(folder, caplog):
    rows = "sample\tmark\tpath\nK562\tH3K4me3\ta.bigWig\nK562\tH3K27ac\t./a.bigWig\nH1\tH3K4me3\tb.bigWig\n"
    assert len(read_sheet(write(folder, rows))) == 3
    warned = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warned) == 1
    assert f"the same file {folder / 'a.bigWig'} for the tracks 'K562.H3K4me3', 'K562.H3K27ac'" in warned[0]
