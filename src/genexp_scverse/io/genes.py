"""Genes with their TSS from GTF, GFF3, BED6 or a table."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.chroms import is_scaffold, same_chrom
from genexp_scverse.io.gene_table import is_gene_header, read_bed, read_gene_table
from genexp_scverse.io.gff import read_gff
from genexp_scverse.io.ids import is_par_copy, strip_versions
from genexp_scverse.io.plain_text import first_line, open_text

_WHAT = "a GTF, GFF3, BED6 or a table of genes with a header"
_FIRST = ["chrom", "tss", "strand", "start", "end", "gene_name", "gene_type", "gene_id_version"]


def read_genes(
    path: str | Path,
    *,
    biotypes: Sequence[str] | None = ("protein_coding",),
    tss_source: Literal["gene", "canonical", "longest"] = "gene",
    tss_column: str | Sequence[str] | None = None,
    keep_scaffolds: bool = False,
) -> pd.DataFrame:
    r"""Read genes and their transcription start sites.

    The kind of file is seen from its content, plain or gzip: GTF and GFF3 (GENCODE, Ensembl, RefSeq, SGD),
    BED with at least six columns (the name is the gene id), or a table with a header (gene_id, chrom, strand,
    and tss or start and end; other columns are kept as they are, with ``_``
    for a slash in their name). Positions of BED and tables are 0-based
    half-open; the 1-based closed ones of GTF and GFF3 are converted. The TSS is the first base of the gene on
    its strand: start on +, end - 1 on -.

    Left out, and counted in the log: genes of other biotypes, genes on scaffolds, patches and alternative
    loci, and the copies on chrY of pseudo-autosomal genes.

    Parameters
    ----------
    path
        The file.
    biotypes
        Biotypes to keep; ``None`` keeps all. A file that knows no biotypes keeps all of its genes.
    tss_source
        For GTF and GFF3, whose start is taken: ``"gene"``, that of the gene record; ``"canonical"``, that of
        the transcript tagged MANE_Select, else Ensembl_canonical, RefSeq_Select, appris_principal_1 (the
        longest of several); ``"longest"``, that of the transcript with the most exonic bases. Genes without
        such a transcript keep the start of the gene record.
    tss_column
        For tables, columns with a 0-based TSS: of each gene the first that is not missing, else ``tss``, else
        start or end by strand.
    keep_scaffolds
        Keep genes outside of the chromosomes as well.

    Returns
    -------
    A row per gene in the order of the file. The index ``gene_id`` has no Ensembl version; columns are chrom,
    tss (int64), strand, start and end (int64, where the file knows them), gene_name and gene_type (likewise),
    gene_id_version (the id with its version) and the other columns of a table. ``attrs["start_codons"]``: gene id ->
    0-based first base of a start codon, as far as a GTF says so, by which :func:`build_mudata` checks the FASTA.

    Raises
    ------
    InputError
        When the file is missing, damaged or of another kind, when columns are missing or positions are no
        positions, when genes have no strand or the same id occurs twice, or when no gene is left.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import genexp_scverse as gx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.bed"
    ...     _ = path.write_text("chr1\t100\t900\tg1\t0\t+\nchr1\t2000\t2500\tg2\t0\t-\n")
    ...     genes = gx.io.read_genes(path)
    >>> genes["tss"].to_dict()
    {'g1': 100, 'g2': 2499}
    """
    if tss_source not in ("gene", "canonical", "longest"):
        msg = f"tss_source={tss_source!r} is not known: give 'gene', 'canonical' or 'longest'"
        raise InputError(msg)
    kind = _kind(path)
    if kind in ("bed", "table") and tss_source != "gene":
        msg = f"tss_source={tss_source!r} needs transcripts, but {path} is a {kind}: give a GTF or GFF3"
        raise InputError(msg)
    if kind != "table" and tss_column is not None:
        msg = f"tss_column={tss_column!r} is for tables, but {path} is a {kind.upper()}: use tss_source"
        raise InputError(msg)
    if kind == "table":
        table = _storable_names(read_gene_table(path, tss_column=tss_column), str(path))
    elif kind == "bed":
        table = read_bed(path)
    else:
        table = read_gff(path, gff3=kind == "gff3", tss_source=tss_source)
    biotypes = [biotypes] if isinstance(biotypes, str) else biotypes
    return _finish(table, str(path), biotypes, tss_source, keep_scaffolds=keep_scaffolds)


def _kind(path: str | Path) -> str:
    """Tell gtf, gff3, bed and table apart by the first line that is no comment."""
    comment = ""
    with open_text(path, what=_WHAT) as handle:
        for raw in handle:
            line = raw.decode("utf-8").rstrip("\r\n")
            if line.startswith("#"):
                comment = line.lstrip("#")
            elif line.strip() and not line.startswith(("track ", "browser ")):
                break
        else:
            line = comment
    fields = line.split("\t")
    if len(fields) >= 8 and _are_positions(fields[3:5]):
        return "gff3" if re.match(r'\s*[^\s="]+=', fields[-1]) else "gtf"
    if len(fields) >= 3 and _are_positions(fields[1:3]):
        return "table" if "\t" in comment and is_gene_header(comment.split("\t")) else "bed"
    if is_gene_header(re.split("[\t,;]", line)):
        return "table"
    msg = f"{path} is not {_WHAT} (gene_id, chrom, tss, strand): its first line is {first_line(line)}"
    raise InputError(msg)


def _are_positions(fields: list[str]) -> bool:
    return all(re.fullmatch(r"-?\d+", field) for field in fields)


def _storable_names(table: pd.DataFrame, path: str) -> pd.DataFrame:
    """Put ``_`` for a slash in names of columns: no file of a MuData keeps one."""
    renamed = {name: name.replace("/", "_") for name in table if "/" in name}
    if not renamed:
        return table
    taken = [name for name, new in renamed.items() if [*table, *renamed.values()].count(new) > 1]
    if taken:
        msg = f"column {some(taken)} of {path} holds a slash, and with '_' for it the name is there twice: rename it"
        raise InputError(msg)
    logger.info("%s: columns renamed: %s", path, ", ".join(f"{old} to {new}" for old, new in renamed.items()))
    return table.rename(columns=renamed)


def _finish(
    table: pd.DataFrame, path: str, biotypes: Sequence[str] | None, tss_source: str, *, keep_scaffolds: bool
) -> pd.DataFrame:
    """Leave out what is not wanted, check the rest and set the TSS."""
    if (table["gene_id_version"] == "").any():
        msg = f"{int((table['gene_id_version'] == '').sum())} genes of {path} have no id: give them one"
        raise InputError(msg)
    table.index = pd.Index(strip_versions(table["gene_id_version"]), name="gene_id")
    keep = _wanted(table, path, biotypes, keep_scaffolds=keep_scaffolds)
    table = table[keep].copy()
    _check_unique(table, path, keep_scaffolds=keep_scaffolds)
    _check_places(table, path)
    if "start" in table and "end" in table:
        by_strand = np.where(table["strand"] == "-", table["end"] - 1, table["start"])
        table["tss"] = table["tss"].where(table["tss"].notna(), by_strand)
    missing = table.index[table["tss"].isna()]
    if len(missing):
        msg = f"{len(missing)} genes of {path} have no TSS ({some(missing)}): give tss, or start and end"
        raise InputError(msg)
    if (table["tss"] < 0).any():
        before = table.index[table["tss"] < 0]
        msg = f"{len(before)} genes of {path} have a negative TSS ({some(before)}): positions start at 0"
        raise InputError(msg)
    counts = table["tss_from"].value_counts()
    if tss_source == "canonical" and f"the {tss_source} transcript" not in counts:
        msg = (
            f"no transcript of {path} is tagged MANE_Select, Ensembl_canonical or appris_principal_1: use "
            "tss_source='gene' or 'longest'"
        )
        raise InputError(msg)
    logger.info("%s: TSS from %s", path, ", ".join(f"{name} ({n} genes)" for name, n in counts.items()))
    table["tss"] = table["tss"].astype("int64")
    for name in ("start", "end"):
        if name in table and table[name].notna().all():
            table[name] = table[name].astype("int64")
    codons = table.attrs.pop("start_codons", {})
    of_gene = zip(table.index, table["gene_id_version"], strict=True)
    table = _ordered(table)
    table.attrs["start_codons"] = {gene: codons[version] for gene, version in of_gene if version in codons}
    return table


def _wanted(table: pd.DataFrame, path: str, biotypes: Sequence[str] | None, *, keep_scaffolds: bool) -> pd.Series:
    """Mark the genes to keep and say how many are left out, and why."""
    reasons = []
    keep = pd.Series(True, index=table.index)
    if not keep_scaffolds:
        names = [chrom for chrom in table["chrom"].unique() if is_scaffold(chrom)]
        dropped = table["chrom"].isin(names)
        if dropped.any():
            reasons.append(f"{int(dropped.sum())} on scaffolds or alternative loci ({some(names)})")
        keep &= ~dropped
    dropped = keep & _par_copies(table)
    if dropped.any():
        reasons.append(f"{int(dropped.sum())} copies on chrY of pseudo-autosomal genes ({some(table.index[dropped])})")
    keep &= ~dropped
    kinds = table["gene_type"] if "gene_type" in table else pd.Series("", index=table.index)
    if biotypes is not None and not (kinds != "").any():
        logger.info("%s knows no biotypes: genes of all kinds are kept", path)
    elif biotypes is not None:
        dropped = keep & ~kinds.isin(biotypes)
        if dropped.any():
            reasons.append(f"{int(dropped.sum())} of other biotypes ({_biotypes(kinds[dropped])})")
        if keep.any() and not (keep & ~dropped).any():
            msg = (
                f"no gene of {path} has the biotype {some(biotypes)}: it has {_biotypes(kinds[keep], 10)}; "
                "choose with biotypes=, or None for all"
            )
            raise InputError(msg)
        keep &= ~dropped
    if not keep.any():
        msg = f"no gene of {path} is left of {len(table)}: {'; '.join(reasons) or 'the file has no rows'}"
        raise InputError(msg + ("; see keep_scaffolds=True" if not keep_scaffolds and reasons else ""))
    left_out = f"; left out: {'; '.join(reasons)}" if reasons else ""
    logger.info("%s: kept %d of %d genes%s", path, int(keep.sum()), len(table), left_out)
    return keep


def _biotypes(kinds: pd.Series, n: int = 3) -> str:
    counts = kinds.replace("", "none given").value_counts()
    more = f", ... ({len(counts)} in all)" if len(counts) > n else ""
    return ", ".join(f"{name} {count}" for name, count in counts.iloc[:n].items()) + more


def _par_copies(table: pd.DataFrame) -> pd.Series:
    """Mark copies on chrY by their id, or because the same gene is on chrX as well."""
    marked = is_par_copy(table["gene_id_version"])
    chrom = table["chrom"].map({name: same_chrom(name) for name in table["chrom"].unique()})
    identity = pd.Series(table.index, index=table.index)
    if "entrez" in table:
        # RefSeq gives the copy another id (gene-CRLF2-2) but the same number
        identity = identity.where(table["entrez"] == "", "GeneID:" + table["entrez"])
    on_x = set(identity[chrom == "X"])
    return marked | ((chrom == "Y") & identity.isin(on_x))


def _check_unique(table: pd.DataFrame, path: str, *, keep_scaffolds: bool) -> None:
    twice = table.index[table.index.duplicated()].unique()
    if len(twice):
        more = ", or leave keep_scaffolds out" if keep_scaffolds else ""
        msg = f"{len(twice)} gene ids of {path} occur more than once ({some(twice)}): keep one of each{more}"
        raise InputError(msg)


def _check_places(table: pd.DataFrame, path: str) -> None:
    wrong = ~table["strand"].isin(["+", "-"])
    if wrong.any():
        found = some(sorted(set(table["strand"][wrong])))
        msg = (
            f"{int(wrong.sum())} genes of {path} have no strand ({some(table.index[wrong])}; found {found}): "
            "give + or -, or remove them"
        )
        raise InputError(msg)
    if (table["chrom"] == "").any():
        nowhere = table.index[table["chrom"] == ""]
        msg = f"{len(nowhere)} genes of {path} have no chromosome ({some(nowhere)}): give it, or remove them"
        raise InputError(msg)
    if "start" not in table or "end" not in table:
        return
    for wrong, problem in (
        (table["start"] < 0, "start before the chromosome does"),
        (table["start"] >= table["end"], "have a start that is not before their end"),
    ):
        if wrong.any():
            gene = table[wrong].iloc[0]
            msg = (
                f"{int(wrong.sum())} genes of {path} {problem} ({some(table.index[wrong])}; the first has "
                f"[{gene['start']:.0f}, {gene['end']:.0f}), 0-based half-open): mend or remove them"
            )
            raise InputError(msg)


def _ordered(table: pd.DataFrame) -> pd.DataFrame:
    columns = [name for name in _FIRST if name in table]
    extra = [name for name in table.columns if name not in (*columns, "tss_from", "entrez")]
    return table[[*columns, *extra]]
