"""Numbers per gene from a table: half-life features of the mRNA, lengths, counts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.expression.columns import chosen, column_numbers, is_numeric, may_be_numbers
from genexp_scverse.io.gene_columns import is_row_numbers, kind_of
from genexp_scverse.io.gene_table import GENE_ID
from genexp_scverse.io.ids import check_names, is_par_copy, strip_versions
from genexp_scverse.io.tables import read_table, table_layout

_FEATURES = ("length", "composition")
_WHAT = "a table of features (a column gene_id, the others numbers)"


def read_gene_features(path: str | os.PathLike, *, columns: Sequence[str] | None = None) -> pd.DataFrame:
    r"""Read a table with a row per gene and numbers in its columns.

    The gene id is in a column ``gene_id`` (or ensembl_id, gene, name), else in the first column. Versions of Ensembl
    ids are stripped and GENCODE's PAR_Y copies left out, as by :func:`read_genes`. Columns without a number are left
    out, and named in the log.

    Parameters
    ----------
    path
        Delimited by tabs, commas or semicolons, with a header, plain or gzip.

    Returns
    -------
    Genes x features, float64, NaN where a field is empty; the index is the gene id. ``attrs["path"]`` is the file.

    Raises
    ------
    InputError
        When the file is missing or no table, a gene is there twice, no column holds numbers, a value of one that
        does is none, may be one of two, or is infinite or too large for float32, or a column that is asked for is not
        there.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "features.tsv"
    ...     _ = path.write_text("gene_id\tUTR5GC\tCDSLEN\nENSG00000000003.14\t0.6\t738\n")
    ...     read_gene_features(path).to_dict("index")
    {'ENSG00000000003': {'UTR5GC': 0.6, 'CDSLEN': 738.0}}
    """
    layout = table_layout(Path(path), what=_WHAT)
    lower = {name.lower(): name for name in reversed(layout.names)}
    key = next((lower[name] for name in GENE_ID if name in lower), layout.names[0])
    table = read_table(Path(path), layout, what=_WHAT, text=[key])
    ids = table.pop(key).astype(object).str.strip()
    check_names(ids, "gene id", str(path))
    named = (ids.notna() & (ids != "")).to_numpy()
    if not named.all():
        logger.info("%s: %d rows without a gene id are left out", path, int((~named).sum()))
        table, ids = table[named], ids[named]
    copies = is_par_copy(ids).to_numpy()
    table.index = pd.Index(strip_versions(ids), dtype=object, name="gene_id")
    table = table[~copies]
    if copies.any():
        logger.info("%s: %d PAR_Y copies are left out", path, int(copies.sum()))
    twice = table.index[table.index.duplicated()].unique()
    if len(twice):
        msg = f"{path} has {len(twice)} genes more than once ({some(twice)}): keep one row of each"
        raise InputError(msg)
    names = list(table.columns)
    if columns is None:
        features = {name: name for name in names if _is_feature(name, table[name])}
    else:
        features = chosen(columns, names, str(path))
    if not features:
        msg = f"no column of {path} holds numbers (it has {some(layout.names, 6)}): give {_WHAT}"
        raise InputError(msg)
    others = [name for name in names if name not in features.values()]
    if others:
        logger.info("%s: columns that are no features are left out: %s", path, some(others, 6))

    def as_text() -> pd.DataFrame:
        text = read_table(Path(path), layout, what=_WHAT, text=layout.names)
        return text[named][~copies].set_axis(table.index)

    result = column_numbers(table, features, source=str(path), what="column", whole=False, as_text=as_text)
    for name, column in result.items():
        # models take float32
        large = column[column.abs() > np.finfo(np.float32).max]
        if len(large):
            msg = (
                f"column {name!r} of {path} has {len(large)} values that are infinite or too large for float32 (gene "
                f"{large.index[0]!r}): give numbers below 3.4e38, or leave them empty"
            )
            raise InputError(msg)
    empty = [name for name in result if result[name].isna().all()]
    if len(empty) == result.shape[1]:
        msg = f"no column of {path} holds numbers (it has {some(layout.names, 6)}): give {_WHAT}"
        raise InputError(msg)
    result = result.drop(columns=empty)
    result.attrs["path"] = str(path)
    return result


def _is_feature(name: str, column: pd.Series) -> bool:
    """Tell whether a column holds numbers that say something of genes: a length does, a position does not."""
    kind = kind_of(name)
    if is_row_numbers(name, column) or (kind is not None and kind not in _FEATURES):
        return False
    return is_numeric(column) or may_be_numbers(column)
