"""Expression of genes in samples, from files or from memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse._errors import InputError, no_such, option, some
from genexp_scverse._logging import logger
from genexp_scverse.io.expression.columns import Columns
from genexp_scverse.io.expression.sources import Asked, Raw, read_raw
from genexp_scverse.io.ids import check_names, check_samples, is_par_copy, strip_versions
from genexp_scverse.schema import UNITS

if TYPE_CHECKING:
    from anndata import AnnData

_LEVELS = tuple(unit for unit in UNITS if unit != "label")
# HTSeq, also before 0.6, QoRTs, STAR, spike-ins of ERCC and ENCODE, rows without id
_NO_GENE = (
    r"^(?:__\w+|no_feature|ambiguous|too_low_aQual|not_aligned|alignment_not_unique|_total_\w+|"
    r"N_(?:unmapped|multimapping|noFeature|ambiguous)|ERCC-\d+|gSpikein_.*|phiX.*|nan|)$"
)
# what a spreadsheet makes of MARCH1 and SEPT2; sep-1 is a gene of worms
_DATE = r"(?:\d{1,2}-(?:Mar|Sep|Sept|Dec|Oct)|(?:Mar|Sep|Sept|Dec|Oct)-\d{1,2})"
# below this many genes a table may well be a choice of genes with low values
_ENOUGH = 100


class BySample(dict):
    """Units or columns by sample, shown as a dict in Python and as SAMPLE=UNIT in the shell.

    Examples
    --------
    >>> str(BySample({"K562": "tpm"}))
    'K562=tpm'
    """

    def __str__(self) -> str:
        return ",".join(f"{sample}={unit}" for sample, unit in self.items())


@dataclass
class Levels:
    """Expression that has been checked, and by what else its genes may be called.

    Examples
    --------
    >>> read_levels(pd.DataFrame({"K562": [1.5]}, index=["g1"]), Asked(unit="tpm")).values.attrs["unit"]
    {'K562': 'tpm'}
    """

    values: pd.DataFrame
    """As :func:`read_expression` returns it."""
    names: pd.DataFrame
    """Other names of the genes, a row for each of `values`."""
    source: str
    """What it came from, for messages."""


def read_expression(
    source: str | Path | AnnData | pd.DataFrame,
    *,
    unit: str | Mapping[str, str] | None = None,
    columns: Columns | None = None,
    layer: str | None = None,
) -> pd.DataFrame:
    r"""Read expression as a table of genes x samples.

    The kind of file is seen from its content and, where that tells too little, from its name, plain or gzip. These
    are known, with their samples and units (the user guide lists them): RSEM, Salmon, kallisto, StringTie, prepDE,
    Cufflinks, Cuffdiff, Cuffnorm, featureCounts, HTSeq, STAR, STAR counts and FPKM of the GDC, nf-core/rnaseq,
    tximport, DESeq2, edgeR and limma with samples beside, GCT 1.2 and 1.3, GTEx, Roadmap, and ``.h5ad``. A file of one
    sample is named as the file, or as its folder where all files have the same name.

    Any other table has genes in rows and samples in columns, delimited by tabs, semicolons or commas; ids are in the
    column ``gene_id`` (or a name for the same), else in the first. An AnnData has samples in ``.obs`` and genes in
    ``.var``, as is its convention (ids from ``.var["gene_id"]`` or ``.var["gene_ids"]`` where there is one, as 10x has
    it); it may be sparse, backed or lazy. A DataFrame has genes in rows.

    Of other tables, columns that describe genes by their name (names, other ids, places, lengths, statistics, limits
    of confidence), row numbers and text are no samples; of several quantities of a sample (TPM and counts) those of
    the unit are read. Where that does not tell, `columns` is asked for. Rows that are no genes (``__no_feature`` of
    HTSeq, ``N_unmapped`` of STAR, ERCC and other spike-ins, rows without id) and the copies on chrY of pseudo-autosomal
    genes are left out. The log names or counts what is. Versions are stripped from Ensembl ids as in
    :func:`read_genes`. Missing values stay missing. Values that contradict the unit are reported as a warning.

    Numbers may be written with separators of thousands and decimal commas, where the whole table is written so.

    Parameters
    ----------
    source
        Path, AnnData or DataFrame.
    unit
        ``tpm``, ``rpkm``, ``fpkm``, ``counts``, ``cage`` or ``log``, for all samples or by sample; by sample, those of
        a table that are named are its samples. Not needed where the format tells; where a format has several, the
        first is read, or the one that is given.
    columns
        Columns that are samples, or sample -> column.
    layer
        Layer of an AnnData that holds the expression; else ``.X`` does.

    Returns
    -------
    Genes x samples, float32, index ``gene_id``, in the order of the file; ``.attrs["unit"]`` is a dict of
    sample -> unit.

    Raises
    ------
    InputError
        When the file is missing, damaged or of another kind, or has a row per transcript, a gene or sample occurs
        twice, a sample ends in ``:prob``, it is not clear whether a column is a sample, a value is no number, may be
        one of two, is infinite or too large for float32, or negative without the unit ``log``, a sample has no value
        at all, or a unit is missing or not known.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import genexp_scverse as gx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "expression.csv"
    ...     _ = path.write_text("gene_id,length,K562,H1\nENSG00000000003.14,900,1.5,0\nENSG00000000005.5,800,0,2\n")
    ...     expression = gx.io.read_expression(path, unit="tpm")
    >>> expression.loc["ENSG00000000003"].to_dict()
    {'K562': 1.5, 'H1': 0.0}
    >>> expression.attrs["unit"]
    {'K562': 'tpm', 'H1': 'tpm'}
    """
    return read_levels(source, Asked(unit, columns, layer)).values


def read_levels(source: str | Path | AnnData | pd.DataFrame, asked: Asked) -> Levels:
    """Read expression, check it, and keep by what else its genes may be called.

    Parameters
    ----------
    source
        Path, AnnData or DataFrame.
    asked
        Unit, columns, layer, and the samples of the sample sheet.

    Examples
    --------
    >>> frame = pd.DataFrame({"symbol": ["TSPAN6"], "K562": [1.5]}, index=["ENSG00000000003"])
    >>> read_levels(frame, Asked(unit="tpm")).names["symbol"].tolist()
    ['TSPAN6']
    """
    raw = read_raw(source, asked)
    check_samples(raw.values.columns, raw.name)
    units = _units(raw, asked.unit)
    keep, ids = _genes(raw)
    values = raw.values[keep].set_axis(ids, axis=0)
    _check_values(values, units, raw.name)
    _warn_of_contradictions(values, units, raw)
    values = values.astype(np.float32)
    values.attrs = {"unit": units}
    return Levels(values, raw.names[keep].set_axis(ids, axis=0), raw.name)


def _units(raw: Raw, unit: str | Mapping[str, str] | None) -> dict[str, str]:
    samples = list(raw.values.columns)
    given = dict.fromkeys(samples, unit) if isinstance(unit, str) else dict(unit or {})
    strangers = [name for name in given if name not in samples]
    if strangers:
        raise InputError(no_such("sample", strangers[0], samples, where=f"in {raw.name}"))
    given = {name: str(u).lower() for name, u in given.items()}
    wrong = sorted(set(given.values()) - set(_LEVELS))
    if wrong:
        more = "; a label is no level of expression" if "label" in wrong else ""
        msg = f"unit {some(wrong)} is not known: give one of {', '.join(_LEVELS)}{more}"
        raise InputError(msg)
    told = {name: u for name, u in raw.known.items() if name in samples and name not in given}
    if told:
        logger.info("%s: unit %s, as its format tells", raw.name, ", ".join(sorted(set(told.values()))))
    units = {name: given.get(name, told.get(name, "")) for name in samples}
    missing = [name for name, u in units.items() if not u]
    if missing:
        msg = (
            f"the unit of {len(missing)} of {len(samples)} samples of {raw.name} is missing "
            f"({some(missing)}): give it for all, as in {option('unit', 'tpm')}, or by sample, as in "
            f"{option('unit', BySample({missing[0]: 'tpm'}))} (one of {', '.join(_LEVELS)})"
        )
        raise InputError(msg)
    return units


def _genes(raw: Raw) -> tuple[np.ndarray, pd.Index]:
    """Tell which rows are genes, and the ids of those."""
    ids = pd.Series([("" if pd.isna(name) else str(name).strip()) for name in raw.values.index], dtype=object)
    no_gene = ids.str.fullmatch(_NO_GENE).astype(bool)
    par = is_par_copy(ids) & ~no_gene
    for dropped, what in (
        (no_gene, "rows that are no genes"),
        (par, "copies on chrY of pseudo-autosomal genes"),
    ):
        if dropped.any():
            shown = some(ids[dropped].unique())
            logger.info("%s: %d %s are left out (%s)", raw.name, int(dropped.sum()), what, shown)
    dates = ids[ids.str.fullmatch(_DATE).astype(bool)]
    if len(dates):
        logger.warning(
            "%s: %d gene ids are dates (%s), as a spreadsheet makes of names such as MARCH1 and SEPT2: take the table "
            "as it was before",
            *(raw.name, len(dates), some(dates.unique())),
        )
    fractions = ids[ids.str.fullmatch(r"[-+]?\d*\.\d+(?:[eE][-+]?\d+)?").astype(bool)]
    if len(fractions) > len(ids) / 2:
        msg = (
            f"{raw.name} has fractions where its gene ids should be ({some(fractions)}): put the names of its columns "
            "above what they name"
        )
        raise InputError(msg)
    keep = np.asarray(~no_gene & ~par)
    if not keep.any():
        msg = f"no gene is left of the {len(ids)} rows of {raw.name} ({some(ids)}): give gene ids in the first column"
        raise InputError(msg)
    check_names(ids[keep], "gene id", raw.name)
    kept = pd.Index(strip_versions(ids[keep]).astype(str), name="gene_id")
    twice = kept[kept.duplicated()].unique()
    if len(twice):
        msg = f"{len(twice)} gene ids of {raw.name} occur more than once ({some(twice)}): keep or sum the rows of each"
        raise InputError(msg)
    return keep, kept


def _check_values(values: pd.DataFrame, units: dict[str, str], name: str) -> None:
    for sample, unit in units.items():
        column = values[sample]
        if column.isna().all():
            msg = f"sample {sample!r} of {name} has no value at all: remove it"
            raise InputError(msg)
        large = column[(column.abs() > np.finfo(np.float32).max) & ~np.isinf(column)]
        if len(large):
            msg = (
                f"{len(large)} values of sample {sample!r} of {name} are too large for float32 ({large.iloc[0]:g} of "
                f"gene {large.index[0]!r}): give numbers below 3.4e38"
            )
            raise InputError(msg)
        endless = column[np.isinf(column)]
        if len(endless):
            msg = (
                f"{len(endless)} values of sample {sample!r} of {name} are infinite "
                f"({some(endless.index)}): give numbers, or leave them empty (a log needs a pseudo-count)"
            )
            raise InputError(msg)
        negative = column[column < 0]
        if unit != "log" and len(negative):
            msg = (
                f"{len(negative)} values of sample {sample!r} of {name} are negative "
                f"({negative.iloc[0]:g} of gene {negative.index[0]!r}), which {unit} cannot be: if they "
                "are logs, give the unit log"
            )
            raise InputError(msg)


def _warn_of_contradictions(values: pd.DataFrame, units: dict[str, str], raw: Raw) -> None:
    found: dict[str, list[str]] = {}
    for sample, unit in units.items():
        problem = _contradiction(values[sample].dropna(), unit, estimated=raw.estimated)
        if problem:
            found.setdefault(problem, []).append(f"{sample} ({unit})")
    for problem, samples in found.items():
        logger.warning("%s: %s: %s", raw.name, some(samples), problem)


def _contradiction(column: pd.Series, unit: str, *, estimated: bool) -> str:
    top = column.max()
    if unit == "log":
        return "values above 30 do not look like logs; is the unit tpm, fpkm or counts?" if top > 30 else ""
    if top == 0:
        return "all values are 0"
    if unit != "cage" and top < 25 and len(column) >= _ENOUGH:
        return "no value is above 25, which looks like logs already; is the unit log?"
    if unit == "tpm" and column.sum() > 1.1e6:
        return "the values sum to more than a million, which TPM cannot; is the unit fpkm or counts?"
    if unit == "counts" and not estimated and (column % 1 != 0).any():
        return "counts that are not whole numbers; expected counts may be, normalised ones are no counts"
    return ""
