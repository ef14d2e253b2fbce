"""Files to a gene-centric MuData, and more samples into one that is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
from anndata import AnnData
from mudata import MuData

from genexp_scverse import _axes, schema
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.io._build_checks import (
    check_genes,
    check_same_genome,
    check_start_codons,
    check_windows,
    guess_assembly,
    named_path,
    provenance,
    report_samples,
    report_scales,
)
from genexp_scverse.io._join_samples import check_new_tracks, join_expression, join_tracks
from genexp_scverse.io.assemble import assemble_chromatin, assemble_mudata, assemble_rna
from genexp_scverse.io.bigwig import SUMMARIES, bin_tracks, check_bigwigs
from genexp_scverse.io.chroms import match_chroms
from genexp_scverse.io.expression.columns import Columns
from genexp_scverse.io.expression.join import LEAST_JOINED, join_levels
from genexp_scverse.io.expression.levels import read_levels
from genexp_scverse.io.expression.sources import Asked
from genexp_scverse.io.fasta import fasta_sizes, read_codes
from genexp_scverse.io.genes import read_genes
from genexp_scverse.io.sheet import read_sheet
from genexp_scverse.io.window import check_tss, count_bins, tss_windows

_ROWS = {schema.RNA: "samples", schema.CHROMATIN: "tracks"}


def build_mudata(
    sheet: str | Path | pd.DataFrame | None = None,
    *,
    genes: str | Path | pd.DataFrame,
    expression: str | Path | pd.DataFrame | AnnData | None = None,
    unit: str | Mapping[str, str] | None = None,
    columns: Columns | None = None,
    layer: str | None = None,
    join_by: str | None = None,
    min_joined: float = LEAST_JOINED,
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
    gene_id: str | None = None,
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
        Annotation, see :func:`read_genes`, or a DataFrame as it returns; all its columns go to ``obs``.
        ``genes.attrs["path"]``, where there is one, is taken into the provenance.
    expression
        Table, see :func:`read_expression`; None when there is none yet.
    unit, columns, layer
        Unit of the expression, one for all or sample -> unit; its columns that are samples; the layer of an AnnData
        that holds it. Of a table that needs it, the samples of the sheet tell which columns are samples.
    join_by
        Column of the genes or of the expression that names genes (``gene_name``), where ids do not join: it is compared
        with the ids, or with another column, of the other. Or what of the ids is left out: ``no_prefix`` (of
        ``gene:g1``), ``no_version`` (of ``g1.v4.1``), ``before_bar`` or ``after_bar`` (of ``g1|NAME``), ``any_case``.
    min_joined
        Least share of genes that have a row of expression, or of rows that name a gene of the annotation, of whatever
        biotype: where both shares are smaller, the files are taken for strangers and refused.
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
    biotypes, tss_source, tss_column, gene_id, keep_scaffolds
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
        msg = "neither a sample sheet nor a FASTA file is given, so there is nothing to predict from: give one of them"
        raise InputError(msg)
    tracks, track_sizes = None, None
    files = named_path("sheet", sheet)
    if sheet is not None:
        _check_binning(upstream, downstream, bin_size, summary, uncovered, dtype)
        tracks = read_sheet(sheet)
        track_sizes = check_bigwigs(tracks["path"].tolist())
        report_scales(tracks)
        files += [("track", Path(p)) for p in tracks["path"]]
    if not isinstance(genes, pd.DataFrame):
        path = genes
        genes = read_genes(
            path,
            biotypes=biotypes,
            tss_source=tss_source,  # type: ignore[arg-type]
            tss_column=tss_column,
            gene_id=gene_id,
            keep_scaffolds=keep_scaffolds,
        )
        genes.attrs["path"] = str(path)
    obs = check_genes(genes)
    tss_windows(obs, upstream=upstream, downstream=downstream, stranded=stranded)
    levels = None
    if expression is not None:
        wanted = () if tracks is None else set(tracks["sample"])
        found = read_levels(expression, Asked(unit, columns, layer, wanted))
        levels = join_levels(obs, found, by=join_by, least=min_joined)
        if tracks is not None:
            report_samples(tracks, levels)
    files += named_path("genes", obs) + named_path("expression", expression) + named_path("fasta", fasta)
    dna_sizes = None if fasta is None else fasta_sizes(fasta)
    if track_sizes and dna_sizes:
        check_same_genome(track_sizes, dna_sizes, source=fasta)
    if dna_sizes:
        names = match_chroms(obs["chrom"], dna_sizes, wanted_in="the genes", available_in=str(fasta))
        check_tss(obs, dna_sizes, names=names, source=str(fasta))
    window = {"upstream": upstream, "downstream": downstream, "stranded": stranded}
    check_windows(obs, dna_sizes or track_sizes or {}, window=window, source=fasta or "the tracks")
    came_from = provenance(files)
    codes = None
    if fasta is not None:
        codes = read_codes(obs, fasta, upstream=upstream, downstream=downstream, stranded=stranded)
        check_start_codons(obs, codes, window=window, source=fasta)

    mods: dict[str, AnnData] = {}
    if levels is not None:
        mods[schema.RNA] = assemble_rna(obs.index, levels)
    if tracks is not None:
        binning = {"summary": summary, "uncovered": "nan" if np.isnan(uncovered) else "0"}
        in_bins = {**window, "bin_size": bin_size}
        mods[schema.CHROMATIN] = _read_chromatin(obs, tracks, in_bins, binning, dtype=dtype, n_jobs=n_jobs)
    if codes is not None:
        mods[schema.DNA] = AnnData(X=np.zeros((len(obs), 0), np.float32), obs=pd.DataFrame(index=list(obs.index)))
        _axes.put(mods[schema.DNA], schema.CODES, codes, window=window)
        mods[schema.DNA].uns["window"] = window
    mdata = assemble_mudata(obs, mods, files=came_from)
    sizes = track_sizes or dna_sizes or {}
    mdata.uns["chrom_sizes"] = _sizes_table(sizes)
    mdata.uns["assembly"] = assembly or guess_assembly(sizes)
    schema.validate(mdata)
    parts = [f"{name}: {adata.n_vars} {_ROWS[name]}" for name, adata in mods.items() if name in _ROWS]
    parts += [f"dna: {upstream + downstream} bases"] if fasta is not None else []
    logger.info("%d genes, %s, assembly %s", mdata.n_obs, ", ".join(parts), mdata.uns["assembly"])
    return mdata


def add_samples(
    mdata: MuData,
    sheet: str | Path | pd.DataFrame,
    *,
    expression: str | Path | pd.DataFrame | AnnData | None = None,
    unit: str | Mapping[str, str] | None = None,
    columns: Columns | None = None,
    layer: str | None = None,
    join_by: str | None = None,
    min_joined: float = LEAST_JOINED,
    n_jobs: int | None = None,
) -> MuData:
    """Read more samples for the genes, the marks and the window of a MuData that is there.

    Genes, split, graphs, features, predictions and embeddings stay. ``layers["label"]`` and predictions are
    NaN in the new samples, and ``varm`` of the tracks is left out, until they are made again.

    Parameters
    ----------
    mdata
        From :func:`build_mudata`; it is not changed.
    sheet
        Sample sheet of the new tracks; their marks are among those of `mdata`.
    expression, unit, columns, layer, join_by, min_joined
        Expression of new samples alone, as for :func:`build_mudata`.
    n_jobs
        Processes to read tracks with.

    Returns
    -------
    A new MuData with the old and the new samples.

    Raises
    ------
    InputError
        When a track or a sample is there already, a mark is not, or the files do not fit the MuData.

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
            "samples can be added where genes have chrom, tss and strand and tracks have a window: build the MuData "
            "from files"
        )
        raise InputError(msg)
    tracks = read_sheet(sheet)
    check_new_tracks(old.var, tracks)
    known = mdata.uns.get("chrom_sizes")
    sizes = check_bigwigs(tracks["path"].tolist())
    if known is not None and len(known):
        check_same_genome(sizes, dict(zip(known["chrom"], known["size"], strict=True)), source="the MuData")
    report_scales(tracks)
    mods = {name: adata.copy() for name, adata in mdata.mod.items()}
    if expression is not None:
        found = read_levels(expression, Asked(unit, columns, layer, set(tracks["sample"])))
        levels = join_levels(mdata.obs, found, by=join_by, least=min_joined)
        report_samples(tracks, levels)
        new = assemble_rna(mdata.obs_names, levels)
        mods[schema.RNA] = join_expression(mdata.mod[schema.RNA], new) if schema.RNA in mdata.mod else new
    came_from = provenance(
        named_path("sheet", sheet) + [("track", Path(p)) for p in tracks["path"]] + named_path("expression", expression)
    )
    before = mdata.uns.get("files")
    if before is not None:
        came_from = pd.concat([before.astype(came_from.dtypes), came_from], ignore_index=True)
        came_from.index = came_from.index.astype(str)
    binning = {k: str(v) for k, v in old.uns.get("binning", {"summary": "mean", "uncovered": "0"}).items()}
    obs = mdata.obs[["chrom", "tss", "strand"]]
    dtype = str(np.dtype(old.obsm[schema.BINS].dtype))
    added = _read_chromatin(obs, tracks, dict(old.uns["window"]), binning, dtype=dtype, n_jobs=n_jobs)
    mods[schema.CHROMATIN] = join_tracks(old, added)
    out = assemble_mudata(mdata.obs, mods, files=came_from)
    kept = {k: v for k, v in mdata.uns.items() if k not in out.uns and not str(k).startswith("_scvi")}
    out.uns.update(deepcopy(kept))
    for key, graph in mdata.obsp.items():
        out.obsp[key] = graph.copy()
    for key, array in mdata.obsm.items():
        if key not in mods:
            out.obsm[key] = array.copy()
    schema.validate(out)
    return out


def _check_binning(upstream: int, downstream: int, bin_size: int, summary: str, uncovered: float, dtype: str) -> None:
    count_bins(upstream=upstream, downstream=downstream, bin_size=bin_size)
    for name, value, allowed in (
        ("summary", summary, SUMMARIES),
        ("dtype", str(dtype), ("float32", "float16")),
    ):
        if value not in allowed:
            msg = f"{name} is {value!r}: allowed are {', '.join(allowed)}"
            raise InputError(msg)
    if not (uncovered == 0 or np.isnan(uncovered)):
        msg = f"uncovered is {uncovered!r}: give 0 (count as 0) or nan (leave out)"
        raise InputError(msg)


def _read_chromatin(
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


def _sizes_table(sizes: Mapping[str, int]) -> pd.DataFrame:
    table = pd.DataFrame({"chrom": list(sizes), "size": np.array(list(sizes.values()), np.int64)})
    table.index = table.index.astype(str)
    return table
