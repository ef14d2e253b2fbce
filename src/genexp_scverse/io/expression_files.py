"""The files in which expression comes: plain tables, RSEM, GCT, Roadmap, featureCounts, AnnData."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.ids import looks_ensembl
from genexp_scverse.io.plain_text import first_line, open_text
from genexp_scverse.io.tables import Layout, read_table, table_layout

_WHAT = "a table of expression (genes in rows, samples in columns)"
_GENE_ID = ("gene_id", "geneid", "ensembl_gene_id", "ensembl_id")
_DESCRIPTIONS = {
    "gene_name", "gene name", "genename", "name", "symbol", "gene_symbol", "description", "gene_type",
    "gene_biotype", "biotype", "chrom", "chr", "chromosome", "start", "end", "stop", "strand", "tss",
    "length", "gene_length", "width", "effective_length", "effectivelength", "transcript_id",
    "transcript_id(s)", "entrez", "entrez_id", "entrezid", "entrezgene", "entrez_gene_id",
}  # fmt: skip
_RSEM = {"tpm": "TPM", "fpkm": "FPKM", "counts": "expected_count"}
_FEATURE_COUNTS = ["Geneid", "Chr", "Start", "End", "Strand", "Length"]


@dataclass
class Raw:
    """Expression as it stands in the file.

    Examples
    --------
    >>> Raw(pd.DataFrame({"K562": [1.5]}, index=["g1"]), "expression.tsv").known
    {}
    """

    values: pd.DataFrame
    """Genes x samples; the index holds the ids as given."""
    name: str
    """What it came from, for messages."""
    known: dict[str, str] = field(default_factory=dict)
    """Units that the format itself tells, by sample."""
    estimated: bool = False
    """Whether counts are expected counts of a model, which are fractions."""


def read_raw(source: Any, unit: str | Mapping[str, str] | None) -> Raw:
    """Read expression from whatever holds it.

    Parameters
    ----------
    source
        Path, AnnData or DataFrame, as in :func:`read_expression`.
    unit
        The unit asked for: decides which column of an RSEM file is read.

    Returns
    -------
    Genes x samples with the columns that describe genes taken out, and what the format tells about units.

    Raises
    ------
    InputError
        When the file is damaged, of another kind, has no header or the wrong orientation, or holds something
        else than numbers.

    Examples
    --------
    >>> read_raw(pd.DataFrame({"K562": [1.5]}, index=["g1"]), None).values["K562"].tolist()
    [1.5]
    """
    if isinstance(source, pd.DataFrame):
        raw = _from_frame(source)
    elif hasattr(source, "obs_names") and hasattr(source, "var_names"):
        raw = _from_anndata(source)
    elif Path(source).suffix == ".h5ad" and Path(source).is_file():
        raw = _from_h5ad(Path(source))
    else:
        raw = _from_file(Path(source), unit)
    raw.values.columns = raw.values.columns.astype(str)
    _check_orientation(raw)
    raw.values = _numbers(raw.values, raw.name)
    return raw


def _from_frame(frame: pd.DataFrame) -> Raw:
    name = "the DataFrame"
    if "gene_id" in frame:
        frame = frame.set_index("gene_id")
    elif not len(frame.index) or pd.api.types.is_numeric_dtype(frame.index):
        msg = f"{name} has no gene ids: give it rows, and gene ids as index or as column gene_id"
        raise InputError(msg)
    return Raw(frame.copy(deep=False), name, dict(frame.attrs.get("unit", {})))


def _from_h5ad(path: Path) -> Raw:
    from anndata import read_h5ad

    from genexp_scverse.io._untrusted import UNREADABLE, check_hdf5

    try:
        check_hdf5(path)
        raw = _from_anndata(read_h5ad(path))
    except InputError:
        raise
    except UNREADABLE as error:
        msg = f"{path} is no whole .h5ad file ({error}): write or copy it again"
        raise InputError(msg) from error
    raw.name = str(path)
    return raw


def _from_anndata(adata: Any) -> Raw:
    name = "the AnnData"
    if adata.X is None:
        msg = f"{name} has no X: put the expression there"
        raise InputError(msg)
    column = next((c for c in ("gene_id", "gene_ids") if c in adata.var), None)
    if column:
        logger.info('%s: gene ids from .var["%s"]', name, column)
    ids = adata.var[column].astype(str) if column else adata.var_names
    values = adata.X.toarray() if hasattr(adata.X, "toarray") else np.asarray(adata.X)
    frame = pd.DataFrame(values.T, index=pd.Index(ids), columns=adata.obs_names)
    return Raw(frame, name)


def _from_file(path: Path, unit: str | Mapping[str, str] | None) -> Raw:
    with open_text(path, what=_WHAT) as handle:
        top = [handle.readline().decode("utf-8").strip() for _ in range(2)]
    if top[0].startswith("#1."):
        return _from_gct(path, *top)
    layout = table_layout(path, what=_WHAT)
    _check_header(path, layout)
    if {"gene_id", "expected_count", "TPM", "FPKM"} <= set(layout.names):
        return _from_rsem(path, layout, unit)
    lower = {name.lower(): name for name in reversed(layout.names)}
    ids = next((lower[name] for name in _GENE_ID if name in lower), layout.names[0])
    values = read_table(path, layout, what=_WHAT, text=[ids]).set_index(ids)
    samples = [str(name) for name in values.columns]
    known: dict[str, str] = {}
    if layout.names[:6] == _FEATURE_COUNTS:
        known = dict.fromkeys(samples[5:], "counts")
    elif all(re.fullmatch(r"E\d{3}", name) for name in samples):
        told = {".RPKM.": "rpkm", ".N.": "counts"}
        known = {name: u for part, u in told.items() if part in path.name for name in samples}
    return Raw(values, str(path), known)


def _from_gct(path: Path, version: str, size: str) -> Raw:
    if version != "#1.2":
        msg = f"{path} is a GCT of version {version[1:]}, of which only 1.2 is read: save it as GCT 1.2 or as TSV"
        raise InputError(msg)
    layout = table_layout(path, what=_WHAT, skip=2)
    if [name.lower() for name in layout.names[:2]] != ["name", "description"]:
        msg = f"the third line of {path} must start with Name and Description, but has {some(layout.names)}"
        raise InputError(msg)
    _check_samples(path, layout.names[2:])
    values = read_table(path, layout, what=_WHAT, text=layout.names[:2]).set_index(layout.names[0])
    if size.split()[:1] != [str(len(values))]:
        msg = f"{path} announces {size.split()[0] if size else 'no'} genes but holds {len(values)}: get it again"
        raise InputError(msg)
    told = {"gene_tpm": "tpm", "gene_reads": "counts"}  # as GTEx names its files
    known = {str(s): u for part, u in told.items() if part in path.name for s in values.columns[1:]}
    return Raw(values, str(path), known)


def _from_rsem(path: Path, layout: Layout, unit: str | Mapping[str, str] | None) -> Raw:
    sample = re.sub(r"(\.gz|\.bgz)$", "", path.name)
    sample = re.sub(r"(\.genes\.results|\.tsv|\.txt|\.csv)$", "", sample)
    asked = unit if isinstance(unit, str) else (unit or {}).get(sample)
    asked = asked.lower() if asked else "tpm"
    if asked not in _RSEM:
        msg = f"{path} is of RSEM, which gives tpm, fpkm and counts, not {asked!r}: choose one of them"
        raise InputError(msg)
    table = read_table(path, layout, what=_WHAT, text=["gene_id", "transcript_id(s)"])
    logger.info("%s: column %s of RSEM as sample %s", path, _RSEM[asked], sample)
    values = table.set_index("gene_id")[[_RSEM[asked]]].set_axis([sample], axis=1)
    return Raw(values, str(path), {sample: asked}, estimated=True)


def _check_header(path: Path, layout: Layout) -> None:
    first, *samples = layout.names
    if not samples:
        msg = f"{path} has one column only ({first_line(first)}): give a table delimited by tabs or commas"
        raise InputError(msg)
    numbers = all(re.fullmatch(r"-?\d+(\.\d*)?(e[+-]?\d+)?", name.lower()) for name in samples)
    if numbers and first.lower() not in {"", "gene", "id", *_GENE_ID, *_DESCRIPTIONS}:
        msg = (
            f"{path} has no header (its first line is "
            f"{first_line(layout.delimiter.join(layout.names))}): put a "
            "line with gene_id and the names of the samples above it"
        )
        raise InputError(msg)
    _check_samples(path, layout.names)


def _check_samples(path: Path, names: list[str]) -> None:
    index = pd.Index(names)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        msg = f"{path} has samples of the same name ({some(twice)}): rename them"
        raise InputError(msg)
    if "" in names[1:]:
        msg = f"column {names[1:].index('') + 2} of {path} has no name: give every sample one"
        raise InputError(msg)


def _check_orientation(raw: Raw) -> None:
    if not raw.values.columns.is_unique:
        twice = raw.values.columns[raw.values.columns.duplicated()].unique()
        msg = f"{raw.name} has samples of the same name ({some(twice)}): rename them"
        raise InputError(msg)
    columns = [looks_ensembl(name) for name in raw.values.columns]
    rows = [looks_ensembl(str(name)) for name in raw.values.index[:100]]
    if columns and np.mean(columns) > 0.5 and not any(rows):
        is_anndata = raw.name == "the AnnData" or raw.name.endswith(".h5ad")
        held = "genes in .var and samples in .obs" if is_anndata else "genes in rows"
        msg = f"{raw.name} has gene ids where samples belong ({some(raw.values.columns)}): give {held} (.T turns it)"
        raise InputError(msg)


def _numbers(values: pd.DataFrame, name: str) -> pd.DataFrame:
    """Take out the columns that describe genes and make all others numbers."""
    dropped, columns = [], {}
    for sample in values.columns:
        column = values[sample]
        if sample.lower() in _DESCRIPTIONS:
            dropped.append(sample)
            continue
        numbers = pd.to_numeric(column, errors="coerce").astype(float)
        wrong = np.asarray(numbers.isna() & column.notna())
        if wrong.any() and wrong.sum() == column.notna().sum() and not _decimal_comma(column):
            dropped.append(sample)
        elif wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            msg = (
                f"{int(wrong.sum())} values of sample {sample!r} of {name} are no numbers "
                f"({str(column.iloc[at])!r} of gene {str(values.index[at])!r}): mend them, with a point "
                "for decimals"
            )
            raise InputError(msg)
        else:
            columns[sample] = numbers.to_numpy()
    if dropped:
        logger.info("%s: columns that are no samples are left out: %s", name, some(dropped, 8))
    if not columns:
        msg = f"{name} has no column of numbers: it has {some(values.columns, 8)}"
        raise InputError(msg)
    return pd.DataFrame(columns, index=values.index)


def _decimal_comma(column: pd.Series) -> bool:
    return any(re.fullmatch(r"-?\d+,\d+", str(value)) for value in column.dropna().iloc[:20])
