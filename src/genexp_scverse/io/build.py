"""Files to a gene-centric MuData, and more samples into one that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from genexp_scverse import schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.assemble import assemble_chromatin, assemble_mudata, assemble_rna
from genexp_scverse.io.bigwig import bin_tracks, check_bigwigs
from genexp_scverse.io.chroms import match_chroms, same_chrom
from genexp_scverse.io.expression import read_expression
from genexp_scverse.io.fasta import fasta_sizes, read_codes
from genexp_scverse.io.genes import read_genes
from genexp_scverse.io.provenance import file_table
from genexp_scverse.io.sheet import read_sheet
from genexp_scverse.io.window import check_tss, count_bins

_FIRST_CHROMOSOME = {
    ("1", 249_250_621): "hg19",
    ("1", 248_956_422): "hg38",
    ("1", 195_471_971): "mm10",
    ("1", 195_154_279): "mm39",
    ("I", 230_218): "sacCer3",
}


def build_mudata(
    sheet: str | Path | pd.DataFrame | None = None,
    *,
    genes: str | Path | pd.DataFrame,
    expression: str | Path | pd.DataFrame | AnnData | None = None,
    unit: str | Mapping[str, str] | None = None,
    fasta: str | Path | None = None,
    upstream: int = 5000,
    downstream: int = 5000,
    bin_size: int = 100,
    summary: str = "mean",
    stranded: bool = True,
    uncovered: float = 0.0,
    dtype: str = "float32",
    assembly: str | None = None,
    biotypes: Sequence[str] | None = ("protein_coding",),
    tss_source: str = "gene",
    tss_column: str | Sequence[str] | None = None,
    keep_scaffolds: bool = False,
    n_jobs: int | None = None,
) -> MuData:
    """Read annotation, tracks, DNA and expression into one gene-centric MuData.

    All files are checked before the long reading starts. Genes without expression are kept (NaN). What is
    dropped, and why, is counted in the log.

    Parameters
    ----------
    sheet
        Sample sheet of the tracks, see :func:`read_sheet`; None for DNA and expression alone.
    genes
        Annotation, see :func:`read_genes`, or a DataFrame as it returns.
    expression
        Table, see :func:`read_expression`; None when there is none yet.
    unit
        Unit of the expression, one for all or sample -> unit.
    fasta
        Genome; its windows become ``mdata["dna"].obsm["codes"]``.
    upstream, downstream
        Window around the TSS in bases, read in the direction of transcription.
    bin_size
        Bases in a bin of the tracks.
    summary
        ``mean``, ``max`` or ``sum`` of a bin.
    stranded
        Read windows of minus-strand genes reversed.
    uncovered
        Value of what a track does not cover: 0, or NaN.
    dtype
        Of the bins: ``float32`` or ``float16``.
    assembly
        Name of the genome; by default told from the length of the first chromosome where it is a known one.
    biotypes, tss_source, tss_column, keep_scaffolds
        As for :func:`read_genes`.
    n_jobs
        Processes to read tracks with; by default as many as there are cores.

    Returns
    -------
    MuData as :mod:`genexp_scverse.schema` says, with ``uns``: schema_version, assembly, chrom_sizes, files.

    Raises
    ------
    InputError
        When a file is missing, damaged, or does not fit the others.

    Examples
    --------
    >>> import tempfile, genexp_scverse as gx
    >>> paths = gx.datasets.simulate(tempfile.mkdtemp(), n_genes=40, n_chroms=2)
    >>> mdata = gx.io.build_mudata(paths.sheet, genes=paths.genes, expression=paths.expression, unit="tpm")
    >>> sorted(mdata.mod)
    ['chromatin', 'rna']
    """
    if sheet is None and fasta is None:
        msg = "neither a sample sheet nor a FASTA file is given: there is nothing to predict from"
        raise InputError(msg)
    files: list[tuple[str, Path]] = []
    tracks, track_sizes = None, None
    if sheet is not None:
        count_bins(upstream=upstream, downstream=downstream, bin_size=bin_size)
        tracks = read_sheet(sheet)
        track_sizes = check_bigwigs(tracks["path"].tolist())
        files += _path("sheet", sheet) + [("track", Path(p)) for p in tracks["path"]]
    if isinstance(genes, pd.DataFrame):
        obs = genes
    else:
        obs = read_genes(
            genes,
            biotypes=biotypes,
            tss_source=tss_source,
            tss_column=tss_column,
            keep_scaffolds=keep_scaffolds,
        )
    levels = None if expression is None else read_expression(expression, unit=unit)
    if levels is not None:
        report_join(obs.index, levels)
        if tracks is not None:
            _report_samples(tracks, levels)
    files += _path("genes", genes) + _path("expression", expression) + _path("fasta", fasta)
    dna_sizes = None if fasta is None else fasta_sizes(fasta)
    if track_sizes and dna_sizes:
        _check_same_genome(track_sizes, dna_sizes, fasta)
    if dna_sizes:
        names = match_chroms(obs["chrom"], dna_sizes, wanted_in="the genes", available_in=str(fasta))
        check_tss(obs, dna_sizes, names=names, source=str(fasta))

    mods: dict[str, AnnData] = {}
    if levels is not None:
        mods[schema.RNA] = assemble_rna(obs.index, levels)
    window = {
        "upstream": upstream,
        "downstream": downstream,
        "bin_size": bin_size,
        "stranded": stranded,
    }
    if tracks is not None:
        binning = {"summary": summary, "uncovered": "nan" if np.isnan(uncovered) else str(uncovered)}
        mods[schema.CHROMATIN] = _chromatin(obs, tracks, window, binning, dtype=dtype, n_jobs=n_jobs)
    if fasta is not None:
        codes = read_codes(obs, fasta, upstream=upstream, downstream=downstream, stranded=stranded)
        dna = AnnData(X=np.zeros((len(obs), 0), np.float32), obs=pd.DataFrame(index=obs.index.astype(str)))
        dna.obsm[schema.CODES] = codes
        dna.uns["window"] = {k: v for k, v in window.items() if k != "bin_size"}
        mods[schema.DNA] = dna
    mdata = assemble_mudata(obs, mods, files=file_table(files))
    sizes = track_sizes or dna_sizes or {}
    mdata.uns["chrom_sizes"] = _sizes_table(sizes)
    mdata.uns["assembly"] = assembly or _guess_assembly(sizes)
    schema.validate(mdata)
    logger.info(
        "%d genes, %s",
        mdata.n_obs,
        ", ".join(f"{name}: {adata.n_vars} {_WHAT[name]}" for name, adata in mods.items() if name in _WHAT)
        + (f", dna: {upstream + downstream} bases" if fasta is not None else ""),
    )
    return mdata


def add_samples(
    mdata: MuData,
    sheet: str | Path | pd.DataFrame,
    *,
    expression: str | Path | pd.DataFrame | AnnData | None = None,
    unit: str | Mapping[str, str] | None = None,
    n_jobs: int | None = None,
) -> MuData:
    """Read more tracks, and expression, for the genes and the window of a MuData that is there.

    Parameters
    ----------
    mdata
        From :func:`build_mudata`; it is not changed.
    sheet
        Sample sheet of the new tracks.
    expression, unit
        Expression of new samples, as for :func:`build_mudata`.
    n_jobs
        Processes to read tracks with.

    Returns
    -------
    A new MuData with the old and the new samples.

    Raises
    ------
    InputError
        When a track or a sample is there already, or the files do not fit the MuData.

    Examples
    --------
    >>> import tempfile, pandas as pd, genexp_scverse as gx
    >>> paths = gx.datasets.simulate(tempfile.mkdtemp(), n_genes=40, n_chroms=2)
    >>> sheet = gx.io.read_sheet(paths.sheet)
    >>> first, second = sheet[sheet["sample"] == "A"], sheet[sheet["sample"] == "B"]
    >>> mdata = gx.io.build_mudata(first, genes=paths.genes, expression=paths.expression, unit="tpm")
    >>> gx.io.add_samples(mdata, second)["chromatin"].n_vars == len(sheet)
    True
    """
    schema.validate(mdata)
    missing = {"chrom", "tss", "strand"} - set(mdata.obs)
    old = mdata.mod.get(schema.CHROMATIN)
    if missing or old is None or "window" not in old.uns:
        msg = (
            "samples can be added where genes have chrom, tss and strand and tracks have a window: build it from files"
        )
        raise InputError(msg)
    tracks = read_sheet(sheet)
    there = set(zip(old.var["sample"].astype(str), old.var["mark"].astype(str), strict=True))
    twice = [f"{s}.{m}" for s, m in zip(tracks["sample"], tracks["mark"], strict=True) if (s, m) in there]
    if twice:
        msg = f"the MuData has the track {some(twice)} already: drop it from the sheet or rename its sample"
        raise InputError(msg)
    known = mdata.uns.get("chrom_sizes")
    sizes = check_bigwigs(tracks["path"].tolist())
    if known is not None and len(known):
        _check_same_genome(sizes, dict(zip(known["chrom"], known["size"], strict=True)), "the MuData")
    mods = dict(mdata.mod)
    if expression is not None:
        mods[schema.RNA] = _more_expression(mdata, read_expression(expression, unit=unit))
    window = dict(old.uns["window"])
    obs = mdata.obs[["chrom", "tss", "strand"]].copy()
    bins = np.asarray(old.obsm[schema.BINS])
    binning = {k: str(v) for k, v in old.uns.get("binning", {"summary": "mean", "uncovered": "0.0"}).items()}
    new = _chromatin(obs, tracks, window, binning, dtype=str(bins.dtype), n_jobs=n_jobs)
    var = pd.concat([old.var, new.var])[["sample", "mark", "scale", "source"]]
    both = np.concatenate([bins, new.obsm[schema.BINS]], axis=1)
    joined = assemble_chromatin(mdata.obs_names, var.reset_index(drop=True), both, window)
    joined.uns["binning"] = binning
    mods[schema.CHROMATIN] = joined
    files = _path("sheet", sheet) + [("track", Path(p)) for p in tracks["path"]] + _path("expression", expression)
    before = mdata.uns.get("files")
    table = file_table(files)
    if before is not None:
        table = pd.concat([before, table], ignore_index=True)
        table.index = table.index.astype(str)
    out = assemble_mudata(mdata.obs, {k: v.copy() for k, v in mods.items()}, files=table)
    out.uns.update({k: v for k, v in mdata.uns.items() if k not in out.uns and not str(k).startswith("_scvi")})
    for key, graph in mdata.obsp.items():
        out.obsp[key] = graph
    return out


_WHAT = {schema.RNA: "samples", schema.CHROMATIN: "tracks"}


def report_join(genes: pd.Index, expression: pd.DataFrame) -> None:
    """Say how many genes have expression; raise when none has."""
    joined = genes.isin(expression.index)
    if not joined.any():
        msg = (
            f"no gene id of the annotation ({some(genes)}) is in the expression table ({some(expression.index)}): "
            "give both with ids of the same kind, such as Ensembl gene ids"
        )
        raise InputError(msg)
    surplus = expression.index[~expression.index.isin(genes)]
    logger.info(
        "%d of %d genes have expression%s%s",
        int(joined.sum()),
        len(genes),
        "" if joined.all() else f"; without: {some(genes[~joined])}",
        "" if not len(surplus) else f"; {len(surplus)} rows of the table are of other genes: {some(surplus)}",
    )


def _report_samples(tracks: pd.DataFrame, levels: pd.DataFrame) -> None:
    both = set(tracks["sample"]) & set(levels.columns)
    if not both:
        msg = (
            f"no sample of the sheet ({some(sorted(set(tracks['sample'])))}) is a column of the expression table "
            f"({some(levels.columns)}): give them the same names"
        )
        raise InputError(msg)
    for names, what in (
        (sorted(set(tracks["sample"]) - both), "tracks but no expression"),
        (sorted(set(levels.columns) - both), "expression but no tracks"),
    ):
        if names:
            logger.info("Samples with %s: %s", what, some(names))


def _chromatin(
    obs: pd.DataFrame, tracks: pd.DataFrame, window: dict, binning: dict, *, dtype: str, n_jobs: int | None
) -> AnnData:
    bins = bin_tracks(
        obs,
        tracks["path"].tolist(),
        upstream=int(window["upstream"]),
        downstream=int(window["downstream"]),
        bin_size=int(window["bin_size"]),
        stranded=bool(window["stranded"]),
        summary=binning["summary"],
        uncovered=float(binning["uncovered"]),
        dtype=dtype,
        scales=tracks["scale"].tolist(),
        n_jobs=n_jobs,
    )
    chromatin = assemble_chromatin(obs.index, tracks.rename(columns={"path": "source"}), bins, window)
    chromatin.uns["binning"] = binning
    return chromatin


def _more_expression(mdata: MuData, levels: pd.DataFrame) -> AnnData:
    report_join(mdata.obs_names, levels)
    old = mdata.mod.get(schema.RNA)
    new = assemble_rna(mdata.obs_names, levels)
    if old is None:
        return new
    twice = sorted(set(old.var_names) & set(new.var_names))
    if twice:
        msg = f"the MuData has expression of the sample {some(twice)} already: rename or drop it"
        raise InputError(msg)
    var = pd.concat([old.var, new.var])
    joined = AnnData(X=np.hstack([np.asarray(old.X), np.asarray(new.X)]), obs=old.obs.copy(), var=var)
    empty = np.full(new.shape, np.nan, np.float32)
    for key in {schema.LOG, *(k for k in old.layers if k is not None)}:
        right = np.asarray(new.layers[key]) if key in new.layers else empty
        joined.layers[key] = np.hstack([np.asarray(old.layers[key]), right])
    return joined


def _check_same_genome(sizes: dict[str, int], others: dict[str, int], source: Any) -> None:
    """Compare lengths of chromosomes under whatever names; one that differs means another assembly."""
    by_name = {same_chrom(str(c)): int(n) for c, n in others.items()}
    wrong = [
        f"{c}: {n:,} against {by_name[same_chrom(c)]:,}" for c, n in sizes.items() if by_name.get(same_chrom(c), n) != n
    ]
    if wrong:
        msg = (
            f"the tracks and {source} are of different assemblies ({len(wrong)} chromosomes differ in length: "
            f"{some(wrong)}): give both of the same one"
        )
        raise InputError(msg)


def _guess_assembly(sizes: dict[str, int]) -> str:
    for chrom, size in sizes.items():
        name = _FIRST_CHROMOSOME.get((same_chrom(chrom), int(size)))
        if name:
            return name
    return "unknown"


def _sizes_table(sizes: dict[str, int]) -> pd.DataFrame:
    table = pd.DataFrame({"chrom": list(sizes), "size": np.array(list(sizes.values()), np.int64)})
    table.index = table.index.astype(str)
    return table


def _path(role: str, source: Any) -> list[tuple[str, Path]]:
    return [(role, Path(source))] if isinstance(source, str | Path) else []
