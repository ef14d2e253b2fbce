"""Where expression comes from: files, of a known format or not, DataFrames and AnnData."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, no_such, option, some
from genexp_scverse._logging import logger
from genexp_scverse.io.expression.columns import Columns, choose, chosen, column_numbers
from genexp_scverse.io.expression.formats import WHAT, Format, Head, read_head
from genexp_scverse.io.expression.known import FORMATS
from genexp_scverse.io.gene_columns import KINDS, is_row_numbers, kind_of, plain_name, quantity_of
from genexp_scverse.io.ids import looks_ensembl
from genexp_scverse.io.plain_text import first_line, with_home
from genexp_scverse.io.tables import Layout, read_table
from genexp_scverse.io.written_numbers import like_a_number, to_numbers

_OF_DEPMAP = re.compile(r"\S+ \((?:\d{3,}|ENSG\d+)\)")
"""A gene as DepMap and CCLE name columns by: TSPAN6 (7105)."""
_PLAIN_FILE = "a table of genes x samples"


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
    names: pd.DataFrame = field(default_factory=pd.DataFrame)
    """Other names of the genes: the columns that hold text or ids, a row for each of `values`."""


@dataclass(frozen=True)
class Asked:
    """What of a source is asked for, as :func:`genexp_scverse.io.read_expression` is.

    Examples
    --------
    >>> Asked(unit="tpm").of("K562")
    'tpm'
    """

    unit: str | Mapping[str, str] | None = None
    columns: Columns | None = None
    layer: str | None = None
    wanted: Collection[str] = ()
    """Samples of the sample sheet."""

    def of(self, sample: str) -> str | None:
        """Return the unit that is asked for a sample."""
        unit = self.unit if isinstance(self.unit, str) or self.unit is None else self.unit.get(sample)
        return unit.lower() if isinstance(unit, str) else None


def read_raw(source: Any, asked: Asked) -> Raw:
    """Read expression from whatever holds it.

    Parameters
    ----------
    source
        Path, AnnData or DataFrame, as in :func:`genexp_scverse.io.read_expression`.
    asked
        The unit, the columns and the layer that are asked for.

    Returns
    -------
    Genes x samples, and what the format tells about units.

    Raises
    ------
    InputError
        When the file is damaged, of another kind, has no header or the wrong orientation, or holds something
        else than numbers.

    Examples
    --------
    >>> read_raw(pd.DataFrame({"K562": [1.5]}, index=["g1"]), Asked()).values["K562"].tolist()
    [1.5]
    """
    is_anndata = hasattr(source, "obs_names") and hasattr(source, "var_names")
    is_path = not is_anndata and not isinstance(source, pd.DataFrame)
    source = with_home(source) if is_path else source
    if asked.layer is not None and not is_anndata and not (is_path and source.suffix == ".h5ad"):
        what = source if is_path else "the DataFrame"
        msg = f"{option('layer', asked.layer)} is for an AnnData, and {what} is none: leave it out"
        raise InputError(msg)
    if is_anndata:
        raw = _from_anndata(source, asked, "the AnnData")
    elif not is_path:
        raw = _from_frame(source, asked)
    elif source.suffix == ".h5ad" and source.is_file():
        raw = _from_h5ad(source, asked)
    else:
        raw = _from_file(source, asked)
    return raw


def _from_frame(frame: pd.DataFrame, asked: Asked) -> Raw:
    name = "the DataFrame"
    frame = frame.copy(deep=False)
    frame.columns = frame.columns.astype(str)
    ids = "gene_id" if "gene_id" in frame else next((c for c in frame if kind_of(c) == "gene id"), None)
    _check_unique(name, list(frame.columns))
    if ids is not None:
        known = dict(frame.attrs.get("unit", {}))
        frame = frame.set_index(ids)
        frame.attrs["unit"] = known
    elif not len(frame.index) or is_row_numbers("index", pd.Series(frame.index)):
        msg = f"{name} has no gene ids: give it rows, and gene ids as index or as column gene_id"
        raise InputError(msg)
    frame.index = pd.Index(id_texts(pd.Series(frame.index)), name="gene_id")
    known = {str(sample): unit for sample, unit in dict(frame.attrs.get("unit", {})).items()}
    _check_orientation(name, frame, asked.wanted)
    samples = chosen(asked.columns, list(frame.columns), name) if asked.columns is not None else None
    if samples is None:
        samples = choose(frame, source=name, unit=_named(asked, frame, name), wanted={*asked.wanted, *known})
    values = column_numbers(frame, samples, source=name, whole=asked.unit == "counts", as_text=None)
    return Raw(values, name, known, names=_names(frame, samples))


def _from_h5ad(path: Path, asked: Asked) -> Raw:
    import h5py
    from anndata import read_h5ad
    from anndata._io.specs.registry import IORegistryError

    from genexp_scverse.io._untrusted import UNREADABLE, check_hdf5

    try:
        check_hdf5(path)
        with h5py.File(path) as file:
            held = list(file)
        if not {"obs", "var"} <= set(held):
            what = "a matrix of 10x Genomics" if "matrix" in held else f"HDF5 with {some(held)}"
            msg = (
                f"{path} is no AnnData but {what}: read it with scanpy (sc.read_10x_h5), sum the cells of each sample "
                "(sc.get.aggregate) and give the AnnData"
            )
            raise InputError(msg)
        adata = read_h5ad(path, backed="r")
        try:
            return _from_anndata(adata, asked, str(path))
        finally:
            adata.file.close()
    except InputError:
        raise
    except (*UNREADABLE, IORegistryError) as error:
        msg = f"{path} is no whole .h5ad file ({' '.join(str(error).split())[:200]}): write or copy it again"
        raise InputError(msg) from error


def _from_anndata(adata: Any, asked: Asked, name: str) -> Raw:
    if asked.layer is not None and asked.layer not in adata.layers:
        raise InputError(no_such("layer", asked.layer, [k for k in adata.layers if k is not None], where=f"in {name}"))
    array = _x(adata) if asked.layer is None else adata.layers[asked.layer]
    if array is None:
        layers = [key for key in adata.layers if key is not None]
        fix = f"choose a layer, as in {option('layer', layers[0])}" if layers else "put the expression there"
        msg = f"{name} has no X{f' but the layers {some(layers)}' if layers else ''}: {fix}"
        raise InputError(msg)
    column = next((c for c in ("gene_id", "gene_ids") if c in adata.var), None)
    if column:
        logger.info('%s: gene ids from .var["%s"]', name, column)
    ids = adata.var[column].astype(str) if column else adata.var_names.astype(str)
    frame = pd.DataFrame(_in_memory(array).T, index=pd.Index(ids, name="gene_id"), columns=adata.obs_names.astype(str))
    _check_unique(name, list(frame.columns))
    _check_orientation(name, frame)
    if asked.columns is not None:
        samples = chosen(asked.columns, list(frame.columns), name)
        frame = frame[list(samples.values())].set_axis(list(samples), axis=1)
    names = adata.var[[c for c in adata.var if not _is_numeric(adata.var[c])]].astype(str)
    if column:
        names = names.assign(var_names=adata.var_names.astype(str))
    return Raw(frame.astype(np.float64), name, names=names.drop(columns=column or []).set_axis(frame.index))


def _x(adata: Any) -> Any:
    try:
        return adata.X
    except KeyError:  # one on disk has none
        return None


def _in_memory(array: Any) -> np.ndarray:
    """Return an array that may be on disk, sparse, lazy, or several of these."""
    for method in ("to_memory", "compute", "toarray"):
        if hasattr(array, method):
            array = getattr(array, method)()
    return np.asarray(array[...] if hasattr(array, "chunks") else array)


def _from_file(path: Path, asked: Asked) -> Raw:
    head = read_head(path)
    known = next((fmt for fmt in FORMATS if fmt.tell(head)), None)
    if known is not None:
        return _from_known(known, head, asked)
    if len(head.names) < 2:
        msg = f"{path} has one column only ({first_line(head.names[0])}): give a table delimited by tabs or commas"
        raise InputError(msg)
    _check_no_row(head, head.names[1:])
    _check_unique(str(path), head.names)
    ids = _id_column(head.names)
    values = read_table(path, head.layout, what=WHAT, text=[ids], single=True)
    numbers = to_numbers(values[ids])
    if (is_row_numbers(ids, numbers) and len(values) > 1) or _are_levels(ids, numbers):
        ids = _other_ids(head, values, ids)
        values = read_table(path, head.layout, what=WHAT, text=[ids], single=True)
    _check_wide(path, ids, values)
    values = values.set_index(ids)
    _check_orientation(str(path), values, asked.wanted)
    if asked.columns is not None:
        samples = chosen(asked.columns, list(values.columns), str(path))
    else:
        samples = choose(values, source=str(path), unit=_named(asked, values, str(path)), wanted=asked.wanted)
        _check_no_row(head, samples.values())
    return Raw(_numbers(head, head.layout, values, samples, asked), str(path), names=_names(values, samples))


def _numbers(
    head: Head, layout: Layout, values: pd.DataFrame, samples: Mapping[str, str], asked: Asked
) -> pd.DataFrame:
    def as_text() -> pd.DataFrame:
        return read_table(head.path, layout, what=WHAT, text=layout.names).set_axis(values.index)

    whole = bool(samples) and all(asked.of(sample) == "counts" for sample in samples)
    return column_numbers(values, samples, source=str(head.path), whole=whole, as_text=as_text)


def _from_known(fmt: Format, head: Head, asked: Asked) -> Raw:
    path = head.path
    if fmt.refused:
        msg = f"{path} {fmt.refused}"
        raise InputError(msg)
    layout = head.layout if fmt.layout is None else fmt.layout(head)
    head = Head(path, head.lines, layout)
    _check_unique(str(path), head.names)
    samples, units = _of_format(fmt, head, asked)
    ids = fmt.id_column(head)
    text = [name for name in head.names if name == ids or kind_of(name) in ("gene id", "name", "other id")]
    table = read_table(path, layout, what=WHAT, text=text, single=True)
    if fmt.check is not None:
        fmt.check(head, table, samples)
    table.index = pd.Index(table.pop(ids), name="gene_id")
    if fmt.id_end:
        table.index = table.index.str.replace(fmt.id_end, "", regex=True)
    if len(samples) == 1 and list(samples) != list(samples.values()):
        logger.info("%s: column %s of %s as sample %s", path, *samples.values(), fmt.name, *samples)
    else:
        logger.info("%s: %d samples, as %s has them", path, len(samples), fmt.name)
    values, names = _numbers(head, layout, table, samples, Asked(units)), _names(table, samples)
    if fmt.sums and not values.index.is_unique:
        logger.info(
            "%s: %d rows of genes with several are summed", path, int(values.index.duplicated(keep=False).sum())
        )
        names = names[~values.index.duplicated()]
        values = values.groupby(level=0, sort=False).sum(min_count=1)
    told = {sample: unit for sample, unit in units.items() if unit}
    return Raw(values, str(path), told, estimated=fmt.fractions, names=names)


def _of_format(fmt: Format, head: Head, asked: Asked) -> tuple[dict[str, str], dict[str, str]]:
    """Return sample -> column, and sample -> unit where the format tells it."""
    columns = fmt.columns(head)
    default = next(iter(columns))
    if asked.columns is not None:
        wanted = chosen(asked.columns, head.names, str(head.path))
        of = {column: (unit, sample) for unit, by in columns.items() for sample, column in by.items()}
        one = not isinstance(asked.columns, Mapping) and len(wanted) == 1 and "(" not in fmt.take[default]
        names = {fmt.sample(head.path) if one else sample: column for sample, column in wanted.items()}
        only = default if len(columns) == 1 else ""
        return names, {s: of[c][0] if c in of else only for s, c in names.items()}
    samples: dict[str, str] = {}
    units: dict[str, str] = {}
    for sample in dict.fromkeys(s for of in columns.values() for s in of):
        unit = asked.of(sample) or default
        # values of one unit may have been made logs
        if len(columns) == 1 and (default == "" or unit == "log"):
            unit = default
        if unit not in columns:
            fix = "choose one of them" if len(columns) > 1 else "leave the unit out"
            msg = f"{head.path} is of {fmt.name}, which gives {_listed(columns)}, not {unit!r}: {fix}"
            raise InputError(msg)
        if sample in columns[unit]:
            samples[sample], units[sample] = columns[unit][sample], unit
    if not samples:
        msg = (
            f"{head.path} is of {fmt.name} and has no column of a sample (it has {some(head.names, 8)}): give a table "
            "of the values of each sample"
        )
        raise InputError(msg)
    return samples, units


def _listed(names: Collection[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def _named(asked: Asked, table: pd.DataFrame, source: str) -> str | Mapping[str, str] | None:
    """Return the unit, after a look at whether its samples are there."""
    if isinstance(asked.unit, Mapping):
        strangers = [name for name in asked.unit if name not in table.columns]
        if strangers:
            raise InputError(no_such("sample", strangers[0], table.columns, where=f"in {source}"))
    return asked.unit


def _id_column(names: list[str]) -> str:
    plain = {plain_name(name): name for name in reversed(names)}
    return next((plain[name] for name in ("geneid", *sorted(KINDS["gene id"])) if name in plain), names[0])


def _are_levels(name: str, numbers: pd.Series) -> bool:
    """Tell whether the first column is a sample: numbers of genes are whole, above 0, and each of one gene."""
    if numbers.isna().any() or kind_of(name) is not None or plain_name(name) in ("", "gene", "id"):
        return False
    return bool(numbers.duplicated().any() or (numbers <= 0).any() or (numbers % 1 != 0).any())


def _other_ids(head: Head, table: pd.DataFrame, ids: str) -> str:
    """Return the column of ids of a table whose first holds the numbers of its rows."""
    found = [n for n in table if n != ids and not _is_numeric(table[n]) and kind_of(n) in ("name", "other id")]
    if not found:
        msg = (
            f"the first column of {head.path} ({ids!r}) holds numbers and no ids, and none is called gene_id: give the "
            f"column of the gene ids that name (it has {some(head.names, 8)})"
        )
        raise InputError(msg)
    logger.info("%s: gene ids from the column %s", head.path, found[0])
    return found[0]


def id_texts(ids: pd.Series) -> list[str]:
    """Return ids as text; numbers of genes are whole, also where gaps made them floats."""
    if pd.api.types.is_float_dtype(ids.dtype):
        return ["" if np.isnan(value) else f"{value:.15g}" for value in ids]
    return ["" if pd.isna(value) else str(value) for value in ids]


def _names(table: pd.DataFrame, samples: Mapping[str, str]) -> pd.DataFrame:
    """Return the columns by which genes may be called."""
    held = {}
    for name in table.columns.difference(list(samples.values()), sort=False):
        kind = kind_of(name)
        if kind in ("gene id", "other id", "name") or (kind is None and name and not _is_numeric(table[name])):
            held[name] = id_texts(table[name])
    return pd.DataFrame(held, index=table.index)


def _check_no_row(head: Head, samples: Iterable[str]) -> None:
    """Refuse a first line that is a row already: all columns that would be samples are called by numbers."""
    path, first = head.path, head.names[0]
    if all(map(_is_number, samples)) and first and kind_of(first) is None and plain_name(first) not in ("gene", "id"):
        msg = (
            f"{path} has no header (its first line is {first_line(head.layout.delimiter.join(head.names))}): put a "
            "line with gene_id and the names of the samples above it"
        )
        raise InputError(msg)


def _is_number(text: str) -> bool:
    return like_a_number(text) and not text.startswith("#")


def _check_unique(source: str, names: list[str]) -> None:
    index = pd.Index(names)
    if not index.is_unique:
        twice = index[index.duplicated()].unique()
        msg = f"{source} has samples of the same name ({some(twice)}): rename them"
        raise InputError(msg)


def _check_orientation(name: str, values: pd.DataFrame, wanted: Collection[str] = ()) -> None:
    in_rows = [str(row) for row in values.index if row in wanted] if wanted else []
    if in_rows and not set(wanted) & set(values.columns):
        msg = f"{name} has samples of the sheet where genes belong ({some(in_rows)}): give genes in rows (.T turns it)"
        raise InputError(msg)
    columns = [looks_ensembl(column) or _OF_DEPMAP.fullmatch(column) is not None for column in values.columns]
    rows = [looks_ensembl(str(row)) for row in values.index[:100]]
    if columns and np.mean(columns) > 0.5 and not any(rows):
        is_anndata = name == "the AnnData" or name.endswith(".h5ad")
        held = "genes in .var and samples in .obs" if is_anndata else "genes in rows"
        msg = f"{name} has gene ids where samples belong ({some(values.columns)}): give {held} (.T turns it)"
        raise InputError(msg)


def _check_wide(path: Path, ids: str, table: pd.DataFrame) -> None:
    """Refuse a row for each gene and sample, as the Human Protein Atlas has them."""
    if len(table) < 1.5 * table[ids].nunique():
        return
    for name in table.columns.drop(ids):
        is_sample = not _is_numeric(table[name]) and kind_of(name) is None
        if is_sample and not table.duplicated([ids, name]).any():
            levels = [n for n in table if _is_numeric(table[n]) and kind_of(n) is None]
            value = next((n for n in levels if quantity_of(n)), levels[0] if levels else "value")
            msg = (
                f"{path} has a row for each gene and {name} ({some(table[name].unique())}): give a column for each, as "
                f"by pivot(index={ids!r}, columns={name!r}, values={value!r}) of pandas"
            )
            raise InputError(msg)


def _is_numeric(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column.dtype)
