"""What a format of expression is: how it is told, which columns are samples, and of which unit."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse.io.gene_columns import kind_of
from genexp_scverse.io.plain_text import open_text
from genexp_scverse.io.tables import Layout, table_layout

WHAT = "a table of expression (genes in rows, samples in columns)"
ANY = "(.+)"
"""Pattern of a sample of any name: every column that does not describe genes."""
_LINES = 10
_TRANSCRIPT = re.compile(r"(?:ENS[A-Z]*T\d{6,}|[NX][MR]_\d+|TCONS_\d+|FBtr\d{7})")


@dataclass(frozen=True)
class Head:
    r"""How a file begins.

    Examples
    --------
    >>> Head(Path("rna.tsv"), ["gene_id\tK562", "g1\t1"], Layout(["gene_id", "K562"], "\t", 1)).names
    ['gene_id', 'K562']
    """

    path: Path
    lines: list[str]
    """The first ones, comments among them."""
    layout: Layout

    @property
    def names(self) -> list[str]:
        """Columns, as the first line that is no comment names them."""
        return self.layout.names


@dataclass(frozen=True)
class Example:
    r"""A small file of a format, and what is to be read from it: tests take both from here.

    Examples
    --------
    >>> Example("rna.tsv", "gene_id\tK562\ng1\t1\n", ["g1"], {"tpm": {"K562": [1.0]}}).genes
    ['g1']
    """

    file: str
    """Its name, with a folder where the name of the sample is there."""
    text: str
    genes: list[str]
    read: Mapping[str, Mapping[str, list[float]]]
    """Unit that is asked for -> sample -> values. The first is what is read when no unit is asked for; all of it is
    refused where it is empty."""


@dataclass(frozen=True)
class Format:
    """A format of expression; :data:`genexp_scverse.io.expression.known.FORMATS` holds all of them.

    Examples
    --------
    >>> from genexp_scverse.io.expression.known import FORMATS
    >>> next(f for f in FORMATS if f.name == "RSEM").take
    {'tpm': 'TPM', 'fpkm': 'FPKM', 'counts': 'expected_count'}
    """

    name: str
    take: Mapping[str, str]
    """Unit -> pattern of its columns, the default first. A group in the pattern is the name of the sample; without one
    the file holds one sample, named as the file. The unit is "" where the file does not tell it."""
    example: Example
    header: tuple[str, ...] = ()
    """Columns that it has."""
    file: str = ""
    """A pattern that is in the name of the file."""
    tells: Callable[[Head], bool] | None = None
    """What else holds."""
    ids: str = ""
    """Column of the gene ids; else the first."""
    layout: Callable[[Head], Layout] | None = None
    """How it is laid out, where there is no header or more than one."""
    about: Callable[[Head], Collection[str]] | None = None
    """Columns that are no samples; else those of `header`, and those whose names describe genes."""
    suffix: str = r"\.(tsv|txt|csv|tab)"
    """What of the name of a file is not the name of its sample; where nothing is left, the folder has it."""
    fractions: bool = False
    """Its counts are estimates, or normalised, and no whole numbers."""
    sums: bool = False
    """A gene may have several rows, one for each of its loci, which are summed."""
    check: Callable[[Head, pd.DataFrame, Mapping[str, str]], None] | None = None
    """Checks the table and its samples (sample -> column), and takes out what is no value."""
    id_end: str = ""
    """A pattern of what is no part of an id."""
    refused: str = ""
    """Why it is not read, and what to give instead."""
    note: str = ""
    """For the documentation."""

    def tell(self, head: Head) -> bool:
        """Return whether a file is of this format."""
        return (
            set(self.header) <= set(head.names)
            and (not self.file or re.search(self.file, head.path.name, re.IGNORECASE) is not None)
            and (self.tells is None or self.tells(head))
        )

    def id_column(self, head: Head) -> str:
        """Return the column of the gene ids."""
        return next((name for name in head.names if self.ids and name.lower() == self.ids.lower()), head.names[0])

    def columns(self, head: Head) -> dict[str, dict[str, str]]:
        """Return which columns are samples: unit -> sample -> column."""
        ids, about = self.id_column(head), set(self.header if self.about is None else self.about(head))
        found: dict[str, dict[str, str]] = {}
        for unit, pattern in self.take.items():
            of = found.setdefault(unit, {})
            for name in head.names:
                match = re.fullmatch(pattern, name)
                no_sample = pattern == ANY and (name in about or (self.about is None and kind_of(name) is not None))
                if match and name != ids and not no_sample:
                    of[match[1] if match.groups() else self.sample(head.path)] = name
        return found

    def sample(self, path: Path) -> str:
        """Return the name of the only sample of a file: the file's, or its folder's where all files have one name.

        Examples
        --------
        >>> from genexp_scverse.io.expression.known import FORMATS
        >>> salmon = next(f for f in FORMATS if f.name == "Salmon")
        >>> salmon.sample(Path("K562/quant.genes.sf")), salmon.sample(Path("H1.quant.genes.sf.gz"))
        ('K562', 'H1')
        """
        stem = re.sub(r"(\.gz|\.bgz)$", "", path.name)
        stem = re.sub(rf"(?:{self.suffix})$", "", stem, flags=re.IGNORECASE)
        return stem or path.resolve().parent.name or path.name

    def row(self) -> str:
        """Return its row in the table of the user guide."""
        if self.refused:
            return f"| {self.name} | not read | {self.refused} |"
        return f"| {self.name} | {', '.join(unit or 'to be given' for unit in self.take)} | {self.note} |"


def read_head(path: Path) -> Head:
    """Read how a file begins."""
    lines: list[str] = []
    with open_text(path, what=WHAT) as handle:
        for raw in handle:
            lines.append(raw.decode("utf-8").rstrip("\n"))
            if len(lines) == _LINES:
                break
    skip = 2 if lines[0].startswith("#1.") else 0
    return Head(path, lines, table_layout(path, what=WHAT, skip=skip))


def refuse_transcripts(path: Path, name: str, ids: pd.Series) -> None:
    """Refuse a table whose ids are those of transcripts."""
    first = ids.astype(str).iloc[:1000]
    transcripts = np.array([_TRANSCRIPT.match(name) is not None for name in first])
    if transcripts.mean() > 0.5:
        msg = (
            f"{path} ({name}) has a row per transcript ({some(first[transcripts])}): give a table per gene, as "
            "tximport or the quantifier makes it with a map of transcripts to genes"
        )
        raise InputError(msg)
