"""Signal tracks (bigWig) to bins around the TSS of genes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io._bigwig_blocks import Options, bin_track
from genexp_scverse.io._bigwig_tracks import Track, agree_on_sizes, check_sign, open_tracks
from genexp_scverse.io.chroms import match_chroms
from genexp_scverse.io.window import check_tss, count_bins, tss_windows
from genexp_scverse.schema import SCALES

SUMMARIES = ("mean", "max", "sum")


def bin_tracks(
    genes: pd.DataFrame,
    paths: Sequence[str | os.PathLike],
    *,
    upstream: int,
    downstream: int,
    bin_size: int,
    summary: str = "mean",
    stranded: bool = True,
    uncovered: float = 0.0,
    dtype: str | np.dtype = "float32",
    n_jobs: int | None = None,
    progress: bool = True,
    scales: Sequence[str | None] | None = None,
) -> np.ndarray:
    """Bin bigWig tracks over the window around the TSS of every gene.

    A window is `upstream` bases before the TSS and `downstream` bases from the TSS base on, see
    :func:`~genexp_scverse.io.window.tss_windows`; its bins are in the direction of transcription. Parts of a
    window beyond the ends of the chromosome are treated like bases without a value, and so are NaN in a file and genes
    on a chromosome that a track lacks (counted in the log). Chromosome names are matched by :func:`match_chroms`.

    Parameters
    ----------
    genes
        Indexed by gene id, with chrom, tss (0-based) and strand (+ or -; not needed unless `stranded`).
    paths
        Local bigWig files, one per track, all of one assembly.
    upstream
        Bases before the TSS.
    downstream
        Bases from the TSS base on.
    bin_size
        Bases in a bin; must divide the length of the window.
    summary
        What a bin holds of its bases: ``mean``, ``max`` or ``sum``.
    stranded
        Mirror the windows of genes on the minus strand.
    uncovered
        0 counts bases without a value as 0. NaN leaves them out of the summary: the mean is then over the
        covered bases, and a bin without any is NaN.
    dtype
        ``float32`` or ``float16``.
    n_jobs
        Number of processes. None takes all cores where the work is worth it, 1 stays in this process.
    progress
        Show a bar over tracks when stderr is a terminal.
    scales
        Scale of each track, of :data:`genexp_scverse.schema.SCALES` (None where it is not known). Negative
        values are then an error unless the scale is ``log_ratio``.

    Returns
    -------
    Array of genes x tracks x bins.

    Raises
    ------
    InputError
        Before the work starts when a file is missing, cut short or no bigWig, the tracks are of different
        assemblies, no chromosome matches or a TSS lies beyond its chromosome;
        later when a value is infinite.

    Examples
    --------
    >>> import tempfile, pandas as pd, pyBigWig
    >>> from pathlib import Path
    >>> genes = pd.DataFrame({"chrom": "chr1", "tss": [20, 20], "strand": ["+", "-"]}, index=["a", "b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "H3K4me3.bigWig"
    ...     with pyBigWig.open(str(path), "w") as bw:
    ...         bw.addHeader([("chr1", 100)])
    ...         bw.addEntries(["chr1", "chr1"], [11, 25], ends=[16, 40], values=[2.0, 5.0])
    ...     bins = bin_tracks(genes, [path], upstream=10, downstream=20, bin_size=10)
    >>> bins[:, 0].tolist()  # gene b: bases 21 to 30, 11 to 20 and 1 to 10, the last ones first
    [[1.0, 2.5, 5.0], [3.0, 1.0, 0.0]]
    """
    n_bins = count_bins(upstream=upstream, downstream=downstream, bin_size=bin_size)
    windows = tss_windows(genes, upstream=upstream, downstream=downstream, stranded=stranded)
    kind = _check_options(summary, uncovered, dtype, n_jobs)
    tracks = open_tracks(paths)
    scales = _check_scales(tracks, scales)
    agree_on_sizes(tracks, None)
    chroms = _match(genes, windows.chrom, tracks, uncovered)
    options = Options(n_bins, int(bin_size), summary, float(uncovered))
    tasks = [
        (track, theirs, windows.start, windows.reverse, options, kind, scale)
        for track, theirs, scale in zip(tracks, chroms, scales, strict=True)
    ]
    result = np.empty((len(genes), len(tracks), n_bins), dtype=kind)
    bar = tqdm(total=len(tracks), desc="tracks", unit="track", disable=None if progress else True)
    with bar:
        for i, bins in enumerate(_run(tasks, _count_jobs(n_jobs, tracks, result.size))):
            result[:, i] = bins
            bar.update()
            if len(bins) and not np.any(np.nan_to_num(bins)):
                logger.warning("%s is zero in every window: is it the right file?", tracks[i].path)
    return result


def check_bigwigs(
    paths: Sequence[str | os.PathLike], *, chrom_sizes: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Check that files are whole bigWigs of one assembly, without reading their signal.

    The same chromosome must have the same length in all files, whatever it is called there. Where only the
    mitochondrion differs (hg19 has two versions of it) that is a warning.

    Parameters
    ----------
    paths
        Local bigWig files.
    chrom_sizes
        Chromosome -> length that the files have to agree with.

    Returns
    -------
    Chromosome -> length in bases, over all files; names are those of the first file with the chromosome.

    Raises
    ------
    InputError
        When a file is missing, given twice, no bigWig, cut short or of another assembly than the others.

    Examples
    --------
    >>> import tempfile, pyBigWig
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "H3K4me3.bigWig"
    ...     with pyBigWig.open(str(path), "w") as bw:
    ...         bw.addHeader([("chr1", 100)])
    ...         bw.addEntries(["chr1"], [10], ends=[15], values=[2.0])
    ...     check_bigwigs([path], chrom_sizes={"1": 100})
    {'chr1': 100}
    """
    return agree_on_sizes(open_tracks(paths), chrom_sizes)


def _match(genes: pd.DataFrame, chrom: np.ndarray, tracks: list[Track], uncovered: float) -> list[np.ndarray]:
    """Give the chromosome of every gene in the words of each track, None where the track lacks it."""
    lacking: dict[tuple[str, ...], list[str]] = {}
    done: dict[tuple[str, ...], dict[str, str]] = {}
    result = []
    for track in tracks:
        names = tuple(track.chroms)
        if names not in done:
            done[names] = match_chroms(pd.unique(chrom), names, wanted_in="the genes", available_in=str(track.path))
        match = done[names]
        present = check_tss(genes, track.chroms, names=match, source=str(track.path))
        result.append(np.array([match.get(c) for c in chrom], dtype=object))
        if not present.all():
            lacking.setdefault(tuple(pd.unique(chrom[~present])), []).append(str(track.path))
    for missing, files in lacking.items():
        n = int(np.isin(chrom, missing).sum())
        logger.warning(
            "%d of %d genes are on chromosomes that %s lacks (%s): their bins are %g",
            n, len(genes), some(files), some(missing), uncovered,
        )  # fmt: skip
    return result


def _check_options(summary: str, uncovered: float, dtype: str | np.dtype, n_jobs: int | None) -> np.dtype:
    if summary not in SUMMARIES:
        msg = f"summary is {summary!r}: allowed are {', '.join(SUMMARIES)}"
        raise InputError(msg)
    if not (uncovered == 0 or np.isnan(uncovered)):
        msg = f"uncovered is {uncovered!r}: give 0 (count as 0) or nan (leave out)"
        raise InputError(msg)
    kind = np.dtype(dtype)
    if kind not in (np.dtype("float32"), np.dtype("float16")):
        msg = f"dtype is {kind}: allowed are float32 and float16"
        raise InputError(msg)
    if n_jobs is not None and n_jobs < 1:
        msg = f"n_jobs is {n_jobs}: give a number of processes from 1 on, or None for all cores"
        raise InputError(msg)
    return kind


def _check_scales(tracks: list[Track], scales: Sequence[str | None] | None) -> list[str | None]:
    if scales is None:
        return [None] * len(tracks)
    if len(scales) != len(tracks):
        msg = f"scales has {len(scales)} entries for {len(tracks)} tracks: give one per track"
        raise InputError(msg)
    for track, scale in zip(tracks, scales, strict=True):
        if scale is not None and scale not in SCALES:
            msg = f"scale of {track.path} is {scale!r}: allowed are {', '.join(SCALES)}"
            raise InputError(msg)
        if track.header.minimum is not None:
            check_sign(track.path, scale, track.header.minimum)
    return list(scales)


def _count_jobs(n_jobs: int | None, tracks: list[Track], n_values: int) -> int:
    """Take one process for what is done before others have started."""
    if n_jobs is None:
        # Seconds per interval read and per bin filled, measured on one core.
        seconds = 4e-7 * sum(t.header.intervals for t in tracks) + 1e-7 * n_values
        n_jobs = 1 if seconds < 6 else _cores()
    return min(n_jobs, len(tracks))


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _run(tasks: list[tuple], n_jobs: int) -> Iterator[np.ndarray]:
    if n_jobs == 1:
        yield from (bin_track(*task) for task in tasks)
        return
    # pyBigWig keeps the GIL, so threads would wait for each other; loky needs no __main__ guard on macOS.
    from joblib import Parallel, delayed

    yield from Parallel(n_jobs=n_jobs, return_as="generator")(delayed(bin_track)(*task) for task in tasks)
