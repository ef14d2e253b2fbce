"""Loops in BEDPE and what is like it, with or without a header."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from genexp_scverse._errors import InputError, no_such, option
from genexp_scverse._logging import logger
from genexp_scverse.io.plain_text import first_line, is_position, open_text
from genexp_scverse.io.written_numbers import to_numbers

_WHAT = "a .cool, .mcool or .hic matrix, or loops in BEDPE"
_NAME, _SCORE = 6, 7
"""Columns of BEDPE without a header, counted from 0."""


@dataclass(frozen=True)
class LoopFormat:
    """A format of loops: a row of :data:`LOOP_FORMATS`."""

    name: str
    told_by: tuple[str, ...]
    """Names of columns, in small letters, that all stand in its header."""
    strength: str | None
    """Column of the strength of a loop; None where the format has none, and every loop counts 1."""
    example: str
    """A small file of it, which the tests read."""
    middles: tuple[int, int] | None = None
    """Columns of the middles of the anchors, where the format has these for starts and ends."""
    anchors: tuple[str, ...] | None = None
    """Names, in small letters, of the columns of the anchors, where these are not the first six."""


_BY_NAME = ("chrom1", "start1", "end1", "chrom2", "start2", "end2")
_ANCHORS = "chr1\t100\t200\tchr1\t500\t600\t"
LOOP_FORMATS = (
    LoopFormat(
        "HiCCUPS", ("o", "e_bl"), "o", f"chr1\tx1\tx2\tchr2\ty1\ty2\tcolor\to\te_bl\n{_ANCHORS}0,255,255\t4\t1.5\n"
    ),
    LoopFormat(
        "HiCCUPS of Juicer 1.8 and later",
        ("observed", "expectedbl"),
        "observed",
        "#chr1\tx1\tx2\tchr2\ty1\ty2\tname\tscore\tstrand1\tstrand2\tcolor\tobserved\texpectedBL\n"
        f"# juicer_tools version 1.22.01\n{_ANCHORS}.\t.\t.\t.\t0,255,255\t4\t1.5\n",
    ),
    LoopFormat(
        "FitHiChIP",
        ("cc", "p-value_bias"),
        "cc",
        f"chr1\ts1\te1\tchr2\ts2\te2\tcc\tP-Value_Bias\tQ-Value_Bias\n{_ANCHORS}4\t1e-30\t1e-28\n",
    ),
    LoopFormat(
        "Fit-Hi-C",
        ("fragmentmid1", "fragmentmid2", "contactcount"),
        "contactcount",
        "chr1\tfragmentMid1\tchr2\tfragmentMid2\tcontactCount\tp-value\tq-value\nchr1\t100\tchr1\t500\t4\t1e-9\t1e-7\n",
        middles=(1, 3),
    ),
    LoopFormat(
        "Mustache",
        ("fdr", "detection_scale"),
        None,
        "BIN1_CHR\tBIN1_START\tBIN1_END\tBIN2_CHROMOSOME\tBIN2_START\tBIN2_END\tFDR\tDETECTION_SCALE\n"
        f"{_ANCHORS}0.01\t2.2\n",
    ),
    LoopFormat(
        "dots of cooltools",
        ("count", "la_exp.donut.value"),
        "count",
        "chrom1\tstart1\tend1\tchrom2\tstart2\tend2\tcount\tla_exp.donut.value\tla_exp.donut.qval\n"
        f"{_ANCHORS}4\t1.5\t0.001\n",
    ),
    LoopFormat(
        "interact of UCSC",
        ("sourcechrom", "targetchrom", "value"),
        "value",
        "#chrom\tchromStart\tchromEnd\tname\tscore\tvalue\texp\tcolor\tsourceChrom\tsourceStart\tsourceEnd\tsourceName\t"
        "sourceStrand\ttargetChrom\ttargetStart\ttargetEnd\ttargetName\ttargetStrand\n"
        "chr1\t100\t600\ta\t500\t4\tK562\t0\tchr1\t100\t200\t.\t.\tchr1\t500\t600\t.\t.\n",
        anchors=("sourcechrom", "sourcestart", "sourceend", "targetchrom", "targetstart", "targetend"),
    ),
    LoopFormat(
        "ibed of CHiCAGO",
        ("bait_chr", "otherend_chr", "n_reads"),
        "n_reads",
        "bait_chr\tbait_start\tbait_end\tbait_name\totherEnd_chr\totherEnd_start\totherEnd_end\totherEnd_name\tN_reads\t"
        "score\nchr1\t100\t200\tTP53\tchr1\t500\t600\t.\t4\t5.5\n",
        anchors=("bait_chr", "bait_start", "bait_end", "otherend_chr", "otherend_start", "otherend_end"),
    ),
    LoopFormat(
        "promoter capture Hi-C",
        ("baitchr", "oechr"),
        None,
        "baitChr\tbaitStart\tbaitEnd\tbaitID\tbaitName\toeChr\toeStart\toeEnd\toeID\toeName\tdist\tMon\tMac0\n"
        "chr1\t100\t200\t1\tTP53\tchr1\t500\t600\t2\t.\t400\t5.5\t3\n",
        anchors=("baitchr", "baitstart", "baitend", "oechr", "oestart", "oeend"),
    ),
    *(
        LoopFormat(f"a column {name}", (name,), name, f"chr1\ts1\te1\tchr2\ts2\te2\t{name}\tpval\n{_ANCHORS}4\t0.01\n")
        for name in ("count", "counts", "observed", "o", "cc", "contactcount", "contact_count", "pets", "petcount")
    ),
    LoopFormat(
        "BEDPE with a header",
        ("score",),
        "score",
        f"#chrom1\tstart1\tend1\tchrom2\tstart2\tend2\tname\tscore\n{_ANCHORS}a\t4\n",
    ),
)
"""Formats of loops with a header, in the order in which they are tried."""


def read_loops(path: str | Path, *, strength: str | int | None = None) -> tuple[pd.DataFrame, list[str]]:
    r"""Read loops within chromosomes.

    Six columns are needed: chromosome, start and end of both anchors, the first six unless the header names them. Lines
    that start with ``#``, ``track`` or ``browser`` are comments; a header is the line before the first loop, with or
    without ``#``.

    Parameters
    ----------
    path
        The file, plain or gzip, 0-based half-open.
    strength
        Column of the strength of a loop: its name, or its number from 1 on. Without it, that of the format, see
        :data:`LOOP_FORMATS`.

    Returns
    -------
    Table with a row per loop (chrom, start1, end1, start2, end2, count, NaN where it is no number; the first anchor
    is the one that starts first), and the chromosomes in the order of the file.

    Raises
    ------
    InputError
        When a line has too few columns, or positions that are no whole numbers or run backwards, when no loop lies
        within a chromosome, or when a file without a header has numbers of which none is plainly the strength.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "loops.txt"
    ...     _ = path.write_text("chr1\tx1\tx2\tchr2\ty1\ty2\tcolor\to\n1\t50\t60\t1\t10\t20\t0,0,0\t4\n")
    ...     read_loops(path)[0].values.tolist()
    [['1', 10, 20, 50, 60, 4.0]]
    """
    header: list[str] = []
    columns: list[int] = []
    form: LoopFormat | None = None
    rows: list[tuple[str, int, int, int, int]] = []
    lines: list[list[str]] = []
    between = unplaced = 0
    with open_text(path, what=_WHAT) as handle:
        for number, raw in enumerate(handle, 1):
            line = raw.decode("utf-8").rstrip("\n")
            if not line.strip() or line.startswith(("track", "browser")):
                continue
            fields = line.lstrip("#").split("\t") if "\t" in line else line.lstrip("#").split()
            named = len(fields) >= 6 and not any(map(is_position, fields))
            if line.startswith("#") or (named and not rows and not between and not unplaced):
                if named:
                    header, form = [name.strip() for name in fields], _format(fields)
                continue
            columns = columns or _anchor_columns(header, form)
            if len(fields) <= max(columns):
                msg = (
                    f"line {number} of {path} has {len(fields)} tab-separated columns ({first_line(raw)}): loops in "
                    f"BEDPE need {1 + max(columns)}; give {_WHAT}"
                )
                raise InputError(msg)
            first, second = _anchors(fields, form, columns)
            if "." in (first[0], second[0]) or "-1" in (first[1], second[1]):
                unplaced += 1
            else:
                # also of what joins two chromosomes: it may be no loop at all
                places = sorted((_anchor(first[1:], number, path), _anchor(second[1:], number, path)))
                if first[0] != second[0]:
                    between += 1
                    continue
                rows.append((first[0], *places[0], *places[1]))
                lines.append(fields)
    for n, why in ((between, "join two chromosomes"), (unplaced, "lack an anchor")):
        if n:
            logger.info("%d of %d loops of %s %s and are left out", n, len(rows) + between + unplaced, path, why)
    if not rows:
        msg = f"{path} has no loop within a chromosome: give {_WHAT}"
        raise InputError(msg)
    table = pd.DataFrame(rows, columns=["chrom", "start1", "end1", "start2", "end2"])
    table["count"] = _strengths(header, form, lines, strength, path)
    return table, list(dict.fromkeys(table["chrom"]))


def _format(header: list[str]) -> LoopFormat | None:
    names = {name.strip().lower() for name in header}
    return next((form for form in LOOP_FORMATS if names.issuperset(form.told_by)), None)


def _anchor_columns(header: list[str], form: LoopFormat | None) -> list[int]:
    lower = [name.lower() for name in header]
    names = form.anchors if form is not None and form.anchors is not None else _BY_NAME
    return [lower.index(name) for name in names] if set(names) <= set(lower) else list(range(6))


def _anchors(fields: list[str], form: LoopFormat | None, columns: list[int]) -> tuple[list[str], list[str]]:
    """Chromosome, start and end of both anchors; where only their middle is known, that base."""
    if form is None or form.middles is None:
        return [fields[i] for i in columns[:3]], [fields[i] for i in columns[3:]]
    ends = [str(int(fields[i]) + 1) if is_position(fields[i]) else fields[i] for i in form.middles]
    return [*fields[:2], ends[0]], [*fields[2:4], ends[1]]


def _anchor(fields: list[str], number: int, path: str | Path) -> tuple[int, int]:
    if not all(is_position(value) for value in fields):
        shown = ", ".join(map(first_line, fields))
        msg = f"line {number} of {path} has the positions {shown}: they must be whole numbers"
        raise InputError(msg)
    start, end = (int(value) for value in fields)
    if not 0 <= start < end:
        msg = f"line {number} of {path} has an anchor from {start} to {end}: a start is 0 or more and below its end"
        raise InputError(msg)
    return start, end


def _strengths(
    header: list[str], form: LoopFormat | None, lines: list[list[str]], asked: str | int | None, path: str | Path
) -> pd.Series:
    """Take the column of the strength as float32; 1 where there is none."""
    at = _asked_column(header, lines, asked, path) if asked is not None else None
    if at is None and header:
        named = [name.lower() for name in header]
        at = named.index(form.strength) if form is not None and form.strength is not None else None
    elif at is None:
        at = _score_of_bedpe(lines, path)
    count = None if at is None else _column(lines, at)
    said = None if at is None else repr(header[at]) if at < len(header) else "score" if at == _SCORE else at + 1
    if count is None or (asked is None and said in ("score", "'score'") and not (count > 0).any()):
        others = f", and {option('strength')} takes another of its columns" if len(header) > 6 else ""
        logger.info("%s has no count of its loops: all count 1%s", path, others)
        return pd.Series(1.0, index=range(len(lines)), dtype="float32")
    logger.info("%s: the count of a loop is its column %s", path, said)
    return count.astype("float32")


def _column(lines: list[list[str]], at: int) -> pd.Series:
    return to_numbers(pd.Series([fields[at] if at < len(fields) else "" for fields in lines]))


def _asked_column(header: list[str], lines: list[list[str]], asked: str | int, path: str | Path) -> int:
    width = min(len(fields) for fields in lines)
    names = [name.lower() for name in header]
    if str(asked).lower() in names:
        at = names.index(str(asked).lower())
    elif str(asked).isdigit() and 0 < int(asked) <= width:
        at = int(asked) - 1
    else:
        msg = f"{path}: {no_such('column', asked, header or range(1, width + 1))}"
        raise InputError(msg)
    if not _column(lines, at).notna().any():
        msg = f"{option('strength', asked)}: this column of {path} holds no numbers ({lines[0][at]!r}): name another"
        raise InputError(msg)
    return at


def _score_of_bedpe(lines: list[list[str]], path: str | Path) -> int | None:
    """Take the score of BEDPE without a header, and ask where it may be something else.

    hichipper and mango write a count and a q-value in the places of name and score.
    """
    name, score = _column(lines, _NAME), _column(lines, _SCORE)
    likely = score[score.notna()]
    is_share = len(likely) > 0 and likely.between(0, 1).all() and (likely % 1 != 0).any()
    if name.notna().any() or is_share:
        shown = "\t".join(lines[0][_NAME:])
        msg = (
            f"{path} has no header, and its columns from 7 on ({first_line(shown)}) may be counts, scores or p-values: "
            f"say which of them is the strength of a loop, as by {option('strength', _NAME + 1)}"
        )
        raise InputError(msg)
    return _SCORE if likely.gt(0).any() else None
