"""Which rows of a table of expression are which genes of the annotation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, no_such, option, some
from genexp_scverse._logging import logger
from genexp_scverse.io.expression.levels import Levels
from genexp_scverse.io.expression.sources import id_texts
from genexp_scverse.io.gene_columns import kind_of

GENE_ID = "gene_id"
FORMS: dict[str, Callable[[pd.Series], pd.Series]] = {
    "no_prefix": lambda ids: ids.str.replace(r"^[A-Za-z][\w -]*:", "", regex=True),
    "no_version": lambda ids: ids.str.replace(r"\.v?\d+(?:\.\d+)*$", "", regex=True),
    "before_bar": lambda ids: ids.str.replace(r"\|.*$", "", regex=True).str.replace(
        r"^(ENS[A-Z_]*\d{6,})(?:\.\d+)?_.*$", r"\1", regex=True
    ),
    "after_bar": lambda ids: ids.str.replace(r"^.*\|", "", regex=True),
    "any_case": lambda ids: ids.str.upper(),
}
"""Ways to compare ids of which a part is left out: the prefix of ``gene:g1``, the end of ``g1.v4.1``, what is before or
after the bar of ``g1|NAME``, or whether letters are capital."""
LEAST_JOINED = 0.5
_NO_NAMES = ("chrom", "strand", "gene_type", "split", "tss_from")


def join_levels(
    genes: pd.DataFrame, levels: Levels, *, by: str | None = None, least: float = LEAST_JOINED
) -> pd.DataFrame:
    """Give rows of expression the ids of the genes they belong to, and say how many genes have one.

    Parameters
    ----------
    genes
        Genes of the annotation; ``attrs["every_id"]`` holds the ids of those that were left out as well.
    levels
        Of :func:`genexp_scverse.io.expression.levels.read_levels`.
    by
        Column of either that names genes, to join by it and the ids or another column of the other; or one of
        :data:`FORMS`. None joins by the ids as they are.
    least
        Share of the genes that have a row, or of the rows that name a gene of the annotation: when both are below, the
        two are taken for strangers.

    Returns
    -------
    The expression, a row per gene that has one and, joined by ids, the rows of others behind.

    Raises
    ------
    InputError
        When `by` is not known, no gene has a row, or too few have; what would join more is said.

    Examples
    --------
    >>> from genexp_scverse.io.expression.sources import Asked
    >>> from genexp_scverse.io.expression.levels import read_levels
    >>> genes = pd.DataFrame({"gene_name": ["TSPAN6", "TNMD"]}, index=["ENSG00000000003", "ENSG00000000005"])
    >>> levels = read_levels(pd.DataFrame({"K562": [1.5, 2.5]}, index=["TNMD", "TSPAN6"]), Asked(unit="tpm"))
    >>> join_levels(genes, levels, by="gene_name")["K562"].to_dict()
    {'ENSG00000000003': 2.5, 'ENSG00000000005': 1.5}
    """
    of_genes, of_rows = _gene_keys(genes), _row_keys(levels)
    if not 0 <= least <= 1:
        msg = f"{option('min_joined', least)} is no share: give a number from 0 to 1"
        raise InputError(msg)
    values = levels.values
    if by in (None, GENE_ID):
        row = pd.Index(values.index).get_indexer(pd.Index(of_genes[GENE_ID]))
        every = genes.attrs.get("every_id", genes.index)
        named = int(values.index.isin(list(every)).sum())
    else:
        row, pair = _rows_by(str(by), of_genes, of_rows)
        named = int((row >= 0).sum())
        logger.info("%s joined by %s", levels.source, pair)
    joined = int((row >= 0).sum())
    few_genes, few_rows = joined < least * len(genes), named < least * len(values)
    if not joined or (few_genes and few_rows):
        raise InputError(_too_few(genes, levels, joined, named, of_genes, of_rows, by))
    if by in (None, GENE_ID):
        _report(genes.index, values.index, row, few=2 * joined < len(genes))
        return values
    lost = int(len(values) - joined)
    logger.info("%d of %d genes have expression; %d rows of the table are of other genes", joined, len(genes), lost)
    result = values.iloc[row[row >= 0]].set_axis(pd.Index(genes.index[row >= 0], name=GENE_ID), axis=0)
    result.attrs = dict(values.attrs)
    return result


def _gene_keys(genes: pd.DataFrame) -> dict[str, pd.Series]:
    """Return the ids of genes and the columns that may name them: text, most of it different."""
    keys = {GENE_ID: pd.Series(genes.index.astype(str), dtype=object)}
    for name in genes.columns:
        numbers = pd.api.types.is_numeric_dtype(genes[name].dtype)
        if str(name) in _NO_NAMES or (numbers and kind_of(str(name)) not in ("gene id", "other id")):
            continue
        keys.setdefault(str(name), _text(genes[name]))
    return {name: text for name, text in keys.items() if name == GENE_ID or _tells_apart(text)}


def _row_keys(levels: Levels) -> dict[str, pd.Series]:
    keys = {GENE_ID: pd.Series(levels.values.index.astype(str), dtype=object)}
    for name in levels.names.columns:
        keys.setdefault(str(name), _text(levels.names[name]))
    return {name: text for name, text in keys.items() if name == GENE_ID or _tells_apart(text)}


def _text(column: pd.Series) -> pd.Series:
    return pd.Series([text.strip() for text in id_texts(column)], dtype=object)


def _tells_apart(text: pd.Series) -> bool:
    given = text[text != ""]
    return bool(len(given)) and 2 * given.nunique() > len(given)


def _matches(of_gene: pd.Series, of_row: pd.Series) -> np.ndarray:
    """Return the row of each gene, -1 where it has none or a name stands for several."""
    rows = of_row.mask(of_row.duplicated(keep=False), "")
    rows = rows[rows != ""]
    at = pd.Index(rows).get_indexer(pd.Index(of_gene))
    at[(of_gene.duplicated(keep=False) | (of_gene == "")).to_numpy(bool)] = -1
    return np.where(at >= 0, rows.index.to_numpy()[at] if len(rows) else -1, -1)


def _pairs(of_genes: dict[str, pd.Series], of_rows: dict[str, pd.Series], by: str | None) -> Iterable[tuple]:
    """Give each way to join: what to ask for, how it is called, and the row of each gene."""
    for form, apply in FORMS.items():
        if by in (None, form):
            yield form, f"ids ({form})", _matches(apply(of_genes[GENE_ID]), apply(of_rows[GENE_ID]))
    for left, of_gene in of_genes.items():
        for right, of_row in of_rows.items():
            if left == right == GENE_ID or (by is not None and by not in (left, right)):
                continue
            asked = left if left != GENE_ID else right
            yield asked, f"{left} of the annotation and {right} of the table", _matches(of_gene, of_row)


def _rows_by(by: str, of_genes: dict[str, pd.Series], of_rows: dict[str, pd.Series]) -> tuple[np.ndarray, str]:
    found = list(_pairs(of_genes, of_rows, by))
    if not found:
        known = dict.fromkeys(name for name in [*of_genes, *of_rows, *FORMS])
        raise InputError(no_such("name of genes", by, known, where="in either file"))
    _, pair, row = max(found, key=lambda way: int((way[2] >= 0).sum()))
    return row, pair


def _too_few(
    genes: pd.DataFrame,
    levels: Levels,
    joined: int,
    named: int,
    of_genes: dict[str, pd.Series],
    of_rows: dict[str, pd.Series],
    by: str | None,
) -> str:
    ids, rows = genes.index, levels.values.index
    start = (
        f"only {joined} of {len(ids)} genes of the annotation ({some(ids)}) are in {levels.source} ({some(rows)}), and "
        f"only {named} of its {len(rows)} rows are genes of the annotation"
        if joined
        else f"no gene id of the annotation ({some(ids)}) is in the expression table ({levels.source}: {some(rows)})"
    )
    ways = [(int((row >= 0).sum()), asked, pair) for asked, pair, row in _pairs(of_genes, of_rows, None)]
    most, asked, pair = max(ways, key=lambda way: way[0])
    fixes = []
    if most > joined and asked != by:
        fixes.append(f"by {pair} {most} would join, which {option('join_by', asked)} does")
    else:
        fixes.append("give both with ids of the same kind, such as Ensembl gene ids")
    if joined:
        fixes.append(f"{option('min_joined', 0)} goes on with what joins")
    return f"{start}: {'; '.join(fixes)}"


def _report(genes: pd.Index, rows: pd.Index, row: np.ndarray, *, few: bool) -> None:
    joined = row >= 0
    surplus = rows[~rows.isin(genes)]
    (logger.warning if few else logger.info)(
        "%d of %d genes have expression%s%s%s",
        int(joined.sum()),
        len(genes),
        "" if joined.all() else f"; without: {some(genes[~joined])}",
        "" if not len(surplus) else f"; {len(surplus)} rows of the table are of other genes: {some(surplus)}",
        "; are the ids of the same kind and release?" if few else "",
    )
