"""How formats are told and laid out that their header alone does not tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.expression.formats import Head, refuse_transcripts
from genexp_scverse.io.gene_columns import kind_of
from genexp_scverse.io.tables import Layout

_STAR_ROWS = ("N_unmapped", "N_multimapping", "N_noFeature", "N_ambiguous")
_DIFFERENTIAL = {
    "baseMean": ("baseMean", "log2FoldChange", "lfcSE", "stat", "pvalue", "padj", "svalue"),
    "AveExpr": ("logFC", "AveExpr", "t", "P.Value", "adj.P.Val", "B", "F"),
    "logFC": ("logFC", "logCPM", "LR", "F", "PValue", "FDR", "FWER"),
}
"""Columns of DESeq2, limma and edgeR, by the one that tells them."""


def _is_number(text: str) -> bool:
    return re.fullmatch(r"-?\d+(\.\d*)?(e[+-]?\d+)?", text.strip().lower()) is not None


def is_gct(head: Head) -> bool:
    """Tell a GCT by its first line."""
    return head.lines[0].startswith("#1.")


def gct_layout(head: Head) -> Layout:
    """Return the layout of a GCT: 1.3 has rows that describe its columns."""
    version = head.lines[0].strip()
    if version == "#1.3":
        size = (head.lines[1] if len(head.lines) > 1 else "").split()
        if len(size) != 4 or not all(map(str.isdecimal, size)):
            msg = f"the second line of {head.path} must hold four numbers, as GCT 1.3 has: get it again"
            raise InputError(msg)
        return replace(head.layout, skip=head.layout.skip + int(size[3]))
    if version != "#1.2":
        msg = (
            f"{head.path} is a GCT of version {version[1:]}, of which only 1.2 and 1.3 are read: save it as GCT 1.2 or "
            "as TSV"
        )
        raise InputError(msg)
    lower = [name.lower() for name in head.names]
    if lower[:2] != ["name", "description"] and lower[:3] != ["id", "name", "description"]:
        msg = f"the third line of {head.path} must start with Name and Description, but has {some(head.names)}"
        raise InputError(msg)
    return head.layout


def gct_about(head: Head) -> list[str]:
    """Return the columns that describe the rows."""
    if head.lines[0].strip() == "#1.3":
        return head.names[: 1 + int(head.lines[1].split()[2])]
    return head.names[: 2 + (head.names[0].lower() == "id")]


def check_gct(head: Head, table: pd.DataFrame, samples: Mapping[str, str]) -> None:
    """Compare the table with the numbers of rows and columns that it announces."""
    size = (head.lines[1] if len(head.lines) > 1 else "").split()
    held = {"genes": len(table), "samples": len(head.names) - len(gct_about(head))}
    for i, (what, n) in enumerate(held.items()):
        announced = size[i] if i < len(size) else "no"
        if announced != str(n):
            msg = f"{head.path} announces {announced} {what} but holds {n}: get it again"
            raise InputError(msg)


def per_gene(head: Head, table: pd.DataFrame, samples: Mapping[str, str]) -> None:
    """Refuse transcripts."""
    refuse_transcripts(head.path, "a quantifier's table", table[head.names[0]])


def check_cufflinks(head: Head, table: pd.DataFrame, samples: Mapping[str, str]) -> None:
    """Refuse isoforms; take out values that Cufflinks itself calls failed, which are 0 and not measured."""
    other = table["tracking_id"].astype(str) != table["gene_id"].astype(str)
    if other.all():
        msg = (
            f"{head.path} has a row per transcript ({some(table['tracking_id'])}; the first is of the gene "
            f"{table['gene_id'].iloc[0]!r}): give genes.fpkm_tracking"
        )
        raise InputError(msg)
    for column in samples.values():
        status = "FPKM_status" if column == "FPKM" else re.sub("(FPKM|count)$", "status", column)
        failed = table[status].isin(["FAIL", "HIDATA"]) if status in table else pd.Series(data=False, index=table.index)
        if failed.any():
            logger.info("%s: %d values whose %s is FAIL or HIDATA are missing", head.path, int(failed.sum()), status)
            table[column] = table[column].mask(failed)


def is_star(head: Head) -> bool:
    """Tell STAR's ReadsPerGene, with or without a header, by its four rows that are no genes."""
    first = tuple(line.split("\t")[0] for line in head.lines)
    return len(head.names) == 4 and _STAR_ROWS in (first[:4], first[1:5])


def star_layout(head: Head) -> Layout:
    """Name the columns."""
    skip = 0 if head.lines[0].startswith("N_") else 1
    return replace(head.layout, names=["gene_id", "unstranded", "forward", "reverse"], skip=skip, trailing=0)


def is_headless(head: Head) -> bool:
    """Tell ids and numbers without a header, with names of genes between them or without."""
    first, *between, last = head.names if len(head.names) in (2, 3) else ("", "")
    described = kind_of(first) is not None or first.lower() in {"", "gene", "id"}
    return _is_number(last) and not described and not any(map(_is_number, between))


def is_headless_counts(head: Head) -> bool:
    """Tell ids and whole numbers without a header."""
    values = [line.split(head.layout.delimiter)[-1] for line in head.lines if line.strip() and not line.startswith("#")]
    return is_headless(head) and all(value.strip().isdecimal() for value in values)


def headless_layout(head: Head) -> Layout:
    """Name the columns."""
    skip = next(i for i, line in enumerate(head.lines) if line.strip() and not line.startswith("#"))
    names = ["gene_id", "gene_name", "value"] if len(head.names) == 3 else ["gene_id", "value"]
    return replace(head.layout, names=names, skip=skip, trailing=0)


def is_roadmap(part: str) -> Callable[[Head], bool]:
    """Tell a table of Roadmap by a part of its name and its samples."""
    return lambda head: part in head.path.name and all(re.fullmatch(r"E\d{3}", name) for name in head.names[1:])


def is_tximport(head: Head) -> bool:
    """Tell what R makes of a list of tximport."""
    return all(any(name.startswith(f"{part}.") for name in head.names) for part in ("abundance", "counts", "length"))


def is_differential(head: Head) -> bool:
    """Tell the result of a comparison, in which the samples may stand as well."""
    return bool({"log2FoldChange", "logFC"} & set(head.names)) and len(set(_of_comparison(head)) & set(head.names)) > 2


def differential_about(head: Head) -> list[str]:
    """Return what the comparison says, and what describes genes."""
    told = _of_comparison(head)
    return [name for name in head.names if name in told or kind_of(name)]


def _of_comparison(head: Head) -> tuple[str, ...]:
    return next((columns for first, columns in _DIFFERENTIAL.items() if first in head.names), ())
