"""Scores per gene and position as they are stored: a mask, an attribution, any number for every stretch of a window."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse import _axes
from genexp_scverse._chroms import match_chroms
from genexp_scverse._errors import InputError, some
from genexp_scverse.schema import CHROMATIN, DNA

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from mudata import MuData

ALWAYS_OPEN = "always_open"
_WINDOW = ("upstream", "downstream", "bin_size", "stranded")


class Scores(NamedTuple):
    """Scores of one sample, genes x positions, read in the direction of the window."""

    values: Any
    """Genes x positions: an array, or what is sliced like one."""
    spread: Any
    """The same for the standard deviation of every score, None where none is stored."""
    modality: str
    """Modality that holds them."""
    window: dict[str, Any]
    """upstream, downstream and bin_size in bases, and stranded."""
    sample: str | None
    """Sample they are of; None where they are of none."""


class Places(NamedTuple):
    """Where the windows of genes lie, 0-based half-open."""

    chrom: np.ndarray
    """Chromosome (str), empty where it is not known."""
    tss: np.ndarray
    """TSS (int64), -1 where it is not known."""
    start: np.ndarray
    """First base of the window (int64), possibly negative."""
    reverse: np.ndarray
    """Whether position 0 is the last along the chromosome (bool)."""
    minus: np.ndarray
    """Whether the gene is known to lie on the - strand (bool)."""
    known: np.ndarray
    """Whether the gene has a chromosome and a TSS (bool)."""


def stored_key(key: str, samples: Sequence[str], sample: str | None) -> str:
    """Name the array of a sample: `key`, or ``<key>_<sample>`` where there are several."""
    return key if sample is None or len(samples) < 2 else f"{key}_{sample}"


def samples_of(mdata: MuData, key: str) -> list[str]:
    """Name the samples that the scores `key` are of; none for scores that belong to no sample."""
    return _samples(_about(mdata, key)[1])


def always_open(mdata: MuData, key: str) -> tuple[int, int] | None:
    """Say which positions the scores `key` keep open in every gene, first and one past the last, if that is known."""
    first_last = _about(mdata, key)[1].get(ALWAYS_OPEN)
    return None if first_last is None else (int(first_last[0]), int(first_last[1]))


def scores_of(mdata: MuData, key: str, sample: str | None = None) -> Scores:
    """Find the scores of one sample; without a name there must be one sample, or none.

    Raises
    ------
    InputError
        When nothing is stored under `key`, or not for this sample, or in another shape than it says.
    """
    adata, about = _about(mdata, key)
    samples = samples_of(mdata, key)
    if sample is None and len(samples) > 1:
        msg = f"the scores {key!r} are of {len(samples)} samples ({some(samples, 6)}): choose one with sample="
        raise InputError(msg)
    if sample is not None and samples and sample not in samples:
        msg = f"the scores {key!r} are not of sample {sample!r}: they are of {some(samples, 6)}"
        raise InputError(msg)
    sample = sample if sample is not None and samples else (samples[0] if samples else None)
    name = stored_key(key, samples, sample)
    if name not in adata.obsm:
        msg = f"obsm has no {name!r}, though uns[{key!r}] says so: store the scores again"
        raise InputError(msg)
    values = adata.obsm[name]
    window = {k: bool(about[k]) if k == "stranded" else int(about[k]) for k in _WINDOW}
    length = window["upstream"] + window["downstream"]
    if len(values.shape) != 2 or values.shape[1] * window["bin_size"] != length:
        msg = (
            f"obsm[{name!r}] has shape {tuple(values.shape)}, but uns[{key!r}] says a window of {length} bases in "
            f"positions of {window['bin_size']}: store the scores again"
        )
        raise InputError(msg)
    _axes.check_window(adata, name, about, of=sample)
    stds = [f"{key}_std"] if name == key else [f"{key}_std_{sample}", f"{name}_std"]
    spread = next((adata.obsm[k] for k in stds if k in adata.obsm), None)
    modality = next(m for m in (CHROMATIN, DNA) if m in mdata.mod and mdata.mod[m] is adata)
    return Scores(values, spread, modality, window, sample)


def holder_of(mdata: MuData) -> str:
    """Name the modality that holds scores per position: chromatin, or dna where there is none.

    Raises
    ------
    InputError
        When there is neither.
    """
    for name in (CHROMATIN, DNA):
        if name in mdata.mod:
            return name
    msg = (
        f"the MuData has the modalities {some(mdata.mod, 6)}, but scores per position are stored in chromatin or dna: "
        "build it with tracks or with fasta=, of windows as short as you like where a genome store is read"
    )
    raise InputError(msg)


def store_scores(
    mdata: MuData, modality: str, key: str, values: np.ndarray, window: Mapping[str, Any], samples: Sequence[str]
) -> None:
    """Store scores of one sample, or of none, as :func:`scores_of` finds them, in place of older ones of this name."""
    drop_scores(mdata, key)
    adata = mdata.mod[modality]
    sample = samples[0] if samples else None
    _axes.put(adata, key, np.asarray(values, dtype=np.float32), window=window, of=sample)
    adata.uns[key] = {k: window[k] for k in _WINDOW} | {"samples": np.array([str(s) for s in samples], dtype=object)}


def drop_scores(mdata: MuData, key: str) -> None:
    """Remove the scores `key` from all modalities: those left in one would hide newer ones in another."""
    for name in (CHROMATIN, DNA):
        adata = mdata.mod.get(name)
        about = {} if adata is None else adata.uns.get(key, {})
        if adata is None or not _describes(about):
            continue
        ends = ["", *(f"_{s}" for s in _samples(about))]
        for array in [f"{key}{middle}{end}{of}" for middle in ("", "_std") for end in ends for of in ("", _axes.AXES)]:
            if array in adata.obsm:
                del adata.obsm[array]
        del adata.uns[key]


def places_of(mdata: MuData, window: Mapping[str, Any]) -> Places:
    """Give the place of the window of every gene; a gene without chromosome or TSS has none.

    The window is that of :func:`genexp_scverse.io.window.tss_windows`.

    Raises
    ------
    InputError
        When obs has no chrom or tss, or no strand where the windows are stranded.
    """
    obs = mdata.obs
    needed = ["chrom", "tss", *(["strand"] if window["stranded"] else [])]
    missing = [c for c in needed if c not in obs]
    if missing:
        msg = f"mdata.obs has no column {some(missing)}, so the genes have no place in the genome: add it"
        raise InputError(msg)
    tss = pd.to_numeric(obs["tss"], errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    known = (obs["chrom"].notna() & ~np.isnan(tss)).to_numpy(bool)
    chrom = np.where(known, obs["chrom"].astype(object).map(str).to_numpy(object), "")
    tss = np.where(known, np.nan_to_num(tss), -1).astype(np.int64)
    minus = np.zeros(len(obs), bool)
    if "strand" in obs:
        minus = (obs["strand"].astype(object) == "-").to_numpy(bool)
    reverse = minus & bool(window["stranded"])
    up, down = int(window["upstream"]), int(window["downstream"])
    return Places(chrom, tss, np.where(reverse, tss - down + 1, tss - up), reverse, minus, known)


def along_genome(block: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """Turn rows that are read backwards, so that positions rise along the chromosome."""
    if not reverse.any():
        return block
    turned = np.array(block)
    turned[reverse] = turned[reverse, ::-1]
    return turned


def covered(
    places: Places, window: Mapping[str, Any], row: np.ndarray, start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    """Tell which positions share a base with an interval of their gene.

    `row` is the gene of each interval ``[start, end)``. Returns genes x positions (bool), read in the direction of the
    window.
    """
    size = int(window["bin_size"])
    n = (int(window["upstream"]) + int(window["downstream"])) // size
    steps = np.zeros((len(places.tss), n + 1), np.int32)
    first = np.clip((start - places.start[row]) // size, 0, n)
    last = np.clip(-(-(end - places.start[row]) // size), 0, n)
    hit = last > first
    np.add.at(steps, (row[hit], first[hit]), 1)
    np.add.at(steps, (row[hit], last[hit]), -1)
    return along_genome(np.cumsum(steps[:, :-1], axis=1) > 0, places.reverse)


def chrom_sizes(mdata: MuData) -> dict[str, int] | None:
    """Chromosome -> length by ``mdata.uns["chrom_sizes"]``; None where it is not there."""
    stored = mdata.uns.get("chrom_sizes")
    if stored is None:
        return None
    if isinstance(stored, pd.DataFrame):
        return {str(c): int(n) for c, n in zip(stored["chrom"], stored["size"], strict=True)}
    return {str(c): int(n) for c, n in dict(stored).items()}


def gene_chrom_sizes(mdata: MuData) -> dict[str, int] | None:
    """Chromosome -> length as :func:`chrom_sizes`, but under the names that the genes have; of known lengths only."""
    sizes = chrom_sizes(mdata)
    if not sizes or "chrom" not in mdata.obs:
        return sizes
    ours = mdata.obs["chrom"].dropna().astype(str).unique().tolist()
    names = match_chroms(ours, sizes, wanted_in="mdata.obs", available_in="uns['chrom_sizes']")
    return {mine: sizes[theirs] for mine, theirs in names.items()}


def signed_distance(tss: np.ndarray, start: np.ndarray, end: np.ndarray, minus: np.ndarray) -> np.ndarray:
    """Bases from the TSS to the nearest base of ``[start, end)``: 0 where it covers it, negative upstream."""
    along = np.where(tss < start, start - tss, np.where(tss >= end, end - 1 - tss, 0))
    return np.where(minus, -along, along)


def gene_names(mdata: MuData) -> np.ndarray:
    """Name of every gene, its id where it has none."""
    ids = np.asarray(mdata.obs_names, dtype=object)
    if "gene_name" not in mdata.obs:
        return ids
    names = mdata.obs["gene_name"].astype(object)
    return np.where((names.notna() & (names.astype(str) != "")).to_numpy(bool), names.to_numpy(object), ids)


def intervals_of(mdata: MuData, name: str) -> pd.DataFrame:
    """Give the table ``mdata.uns["intervals"][name]`` with chrom, start and end."""
    there = mdata.uns.get("intervals", {})
    if name not in there:
        msg = (
            f'mdata.uns["intervals"] has no table {name!r} (it has {some(list(there), 6) or "none"}): put a DataFrame '
            "with chrom, start and end (0-based half-open) there"
        )
        raise InputError(msg)
    table = there[name]
    if missing := [c for c in ("chrom", "start", "end") if c not in table]:
        msg = f'mdata.uns["intervals"][{name!r}] lacks the column {some(missing)}: it has {some(table.columns, 6)}'
        raise InputError(msg)
    return table


def _samples(about: Mapping[str, Any]) -> list[str]:
    return [str(s) for s in np.asarray(about.get("samples", []), dtype=object).ravel().tolist()]


def _describes(about: Any) -> bool:
    """Tell whether an entry of uns is one of scores per position."""
    return hasattr(about, "keys") and set(_WINDOW) <= set(about.keys())


def _about(mdata: MuData, key: str) -> tuple[AnnData, Mapping[str, Any]]:
    if not hasattr(mdata, "mod"):
        msg = f"expected a MuData of genes, got {type(mdata).__name__}: see gx.io.build_mudata"
        raise InputError(msg)
    for name in (CHROMATIN, DNA):
        if name in mdata.mod and key in mdata.mod[name].uns:
            about = mdata.mod[name].uns[key]
            if missing := [k for k in _WINDOW if k not in about]:
                msg = f'mdata["{name}"].uns[{key!r}] lacks {some(missing)}: it is no description of scores per position'
                raise InputError(msg)
            return mdata.mod[name], about
    there = sorted(
        {str(k) for m in (CHROMATIN, DNA) if m in mdata.mod for k, v in mdata.mod[m].uns.items()
         if _describes(v) and k != "window"}
    )  # fmt: skip
    msg = (
        f"no scores per position are stored as {key!r} (there are {some(there, 6) or 'none'}): make them with "
        f'model.get_mask(mdata, key_added="{key}") or gx.tl.fixed_mask'
    )
    raise InputError(msg)
