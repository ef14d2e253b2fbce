"""DNA and tracks of a whole genome to a folder from which any window is read."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from numbers import Integral
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._output import PREFIX, check_apart, check_place, written
from genexp_scverse.io._bigwig_bases import chromosome_bins
from genexp_scverse.io._bigwig_file import BigWig
from genexp_scverse.io._bigwig_tracks import Track, agree_on_sizes, check_sign, open_tracks
from genexp_scverse.io._build_checks import check_same_genome, guess_assembly, named_path, provenance, report_scales
from genexp_scverse.io._fasta_stream import check_letters, fasta_pieces
from genexp_scverse.io._genome_files import CODES, FORMAT, MANIFEST, SIGNAL, VERSION, create_npy, file_names
from genexp_scverse.io.chroms import is_scaffold, match_chroms
from genexp_scverse.io.fasta import codes_of_letters, fasta_sizes
from genexp_scverse.io.genome_store import GenomeStore, read_genome
from genexp_scverse.io.sheet import read_sheet

# larger than a page of the file system: a file in a hundred thousand pieces is slow to read and to delete
_PAGE = 2**18


def write_genome(
    folder: str | os.PathLike,
    *,
    fasta: str | os.PathLike | None = None,
    sheet: str | os.PathLike | pd.DataFrame | None = None,
    bin_size: int = 1,
    dtype: str = "float32",
    chroms: str | Sequence[str] | None = None,
) -> GenomeStore:
    r"""Write the DNA and the tracks of a genome as one array per chromosome, from which windows are read as asked.

    For windows that are too many or too long to be kept per gene. The folder holds ``manifest.json`` and, for
    every chromosome, ``codes/<chrom>.npy`` (uint8, A C G T N = 0 1 2 3 4) and ``signal/<chrom>.npy`` (tracks x
    bins; bin i is the mean of bases ``[i * bin_size, (i + 1) * bin_size)``, 0-based, where bases without a value
    and beyond the end of the chromosome count as 0). Long stretches without signal take no room on most file systems.
    Chromosomes are those that the FASTA and a track both have, under the names of the FASTA; a chromosome that
    one of the tracks lacks is 0 there. Unplaced and alternative sequences are left out unless `chroms` names them.

    Files are read in pieces of a few million bases. The folder appears under its name when it is complete; an
    older genome store of that name stays until then.

    Parameters
    ----------
    folder
        Where to write.
    fasta
        FASTA of the genome, plain, gzip or bgzip; None for tracks alone.
    sheet
        Sample sheet of the tracks, see :func:`read_sheet`; None for DNA alone.
    bin_size
        Bases in a bin of the signal.
    dtype
        Of the signal: ``float32``, or ``float16`` (half the room, 3 digits, values up to 65,504).
    chroms
        Chromosomes to write, in any spelling; by default all.

    Returns
    -------
    The store, opened.

    Raises
    ------
    InputError
        When neither file is given, a file is damaged or of another assembly (lengths are compared), no chromosome is
        in both, a value does not fit `dtype`, or the folder cannot be written or holds something else.

    Examples
    --------
    >>> import tempfile, pandas as pd, pyBigWig
    >>> from pathlib import Path
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = (folder / "genome.fa").write_text(">chr1\nACGTTTGCAN\n")
    >>> with pyBigWig.open(str(folder / "a.bigWig"), "w") as bw:
    ...     bw.addHeader([("chr1", 10)])
    ...     bw.addEntries(["chr1"], [2], ends=[5], values=[4.0])
    >>> sheet = pd.DataFrame({"sample": ["K562"], "mark": ["DNase"], "path": [folder / "a.bigWig"]})
    >>> store = write_genome(folder / "genome", fasta=folder / "genome.fa", sheet=sheet)
    >>> store.codes("chr1", [-1], [4]).tolist(), store.signal("chr1", [-1], [4]).tolist()
    ([[4, 0, 1, 2, 3]], [[[0.0, 0.0, 0.0, 4.0, 4.0]]])
    """
    folder = Path(folder)
    if fasta is None and sheet is None:
        msg = "neither a FASTA file nor a sample sheet is given, so there is nothing to write: give one of them"
        raise InputError(msg)
    kind = _check_options(bin_size, dtype)
    _check_target(folder)
    table, tracks, track_sizes = _checked_tracks(sheet)
    dna_sizes = None if fasta is None else fasta_sizes(fasta)
    sizes = _choose(track_sizes, dna_sizes, fasta, chroms)
    files = named_path("sheet", sheet) + [("track", t.path) for t in tracks] + named_path("fasta", fasta)
    check_apart(folder, [path for _, path in files])
    came_from = provenance([(role, Path(path)) for role, path in files])
    names = file_names(sizes)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "assembly": guess_assembly(sizes),
        "chroms": [{"name": c, "size": n, "file": names[c]} for c, n in sizes.items()],
        "codes": fasta is not None,
        "tracks": table.rename(columns={"path": "source"}).to_dict("records"),
        "bin_size": int(bin_size),
        "dtype": kind.name,
        "files": came_from.to_dict("records"),
    }
    needed = _bytes_needed(sizes, fasta is not None, len(tracks), int(bin_size), kind)
    bar = tqdm(
        total=sum(sizes.values()) * ((fasta is not None) + len(tracks)),
        desc="genome", unit="base", unit_scale=True, disable=None,
    )  # fmt: skip
    with written(folder, needs=f"it takes up to {needed / 1e9:.1f} GB") as whole, bar:
        whole.mkdir()
        if fasta is not None:
            _write_codes(whole / CODES, Path(fasta), sizes, names, bar)
        if tracks:
            _write_signal(whole / SIGNAL, tracks, table, sizes, names, int(bin_size), kind, bar)
        (whole / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    return read_genome(folder)


def _check_options(bin_size: int, dtype: str) -> np.dtype:
    if not isinstance(bin_size, Integral) or isinstance(bin_size, bool) or bin_size < 1:
        msg = f"bin_size is {bin_size!r}: give a whole number of bases, 1 or more"
        raise InputError(msg)
    if str(dtype) not in ("float32", "float16"):
        msg = f"dtype is {dtype}: allowed are float32 and float16"
        raise InputError(msg)
    return np.dtype(str(dtype)).newbyteorder("<")


def _check_target(folder: Path) -> None:
    """Refuse to replace anything but a genome store, which holds nothing else."""
    check_place(folder)
    if not folder.exists():
        return
    there = {p.name for p in folder.iterdir() if not p.name.startswith(PREFIX)} if folder.is_dir() else {folder.name}
    if there and not (MANIFEST in there and there <= {MANIFEST, CODES, SIGNAL}):
        msg = f"{folder} exists and is no genome store, so it is not replaced: choose another name"
        raise InputError(msg)


def _checked_tracks(
    sheet: str | os.PathLike | pd.DataFrame | None,
) -> tuple[pd.DataFrame, list[Track], dict[str, int] | None]:
    if sheet is None:
        return pd.DataFrame(columns=["sample", "mark", "path", "scale"]), [], None
    table = read_sheet(sheet if isinstance(sheet, pd.DataFrame) else Path(sheet))
    tracks = open_tracks(table["path"].tolist())
    sizes = agree_on_sizes(tracks, None)
    for track, scale in zip(tracks, table["scale"], strict=True):
        if track.header.minimum is not None:
            check_sign(track.path, scale, track.header.minimum)
    report_scales(table)
    return table, tracks, sizes


def _choose(
    track_sizes: dict[str, int] | None,
    dna_sizes: dict[str, int] | None,
    fasta: str | os.PathLike | None,
    chroms: str | Sequence[str] | None,
) -> dict[str, int]:
    """Chromosomes of the store with their lengths, in the order of the FASTA, else of the tracks."""
    sizes = dict(dna_sizes or track_sizes or {})
    if dna_sizes and track_sizes:
        check_same_genome(track_sizes, dna_sizes, source=fasta)
        match = match_chroms(dna_sizes, track_sizes, wanted_in=str(fasta), available_in="the tracks")
        # only the mitochondrion gets here with two lengths
        sizes = {c: n for c, n in dna_sizes.items() if c in match and track_sizes[match[c]] == n}
        lacking = [c for c in dna_sizes if c not in match and not is_scaffold(c)]
        if lacking:
            logger.info("%d sequences of %s are in no track and left out: %s", len(lacking), fasta, some(lacking))
    if chroms is not None:
        asked = [chroms] if isinstance(chroms, str) else [str(c) for c in chroms]
        match = match_chroms(asked, sizes, wanted_in="chroms", available_in="the files")
        absent = [c for c in asked if c not in match]
        if absent:
            msg = f"chroms names {some(absent)}, which the files lack: they have {some(sizes, 6)}"
            raise InputError(msg)
        return {c: n for c, n in sizes.items() if c in set(match.values())}
    placed = {c: n for c, n in sizes.items() if not is_scaffold(c)}
    if placed and len(placed) < len(sizes):
        logger.info("%d unplaced and alternative sequences are left out", len(sizes) - len(placed))
    return placed or sizes


def _write_codes(folder: Path, fasta: Path, sizes: dict[str, int], names: dict[str, str], bar: tqdm) -> None:
    folder.mkdir()
    ambiguous, written = 0, dict.fromkeys(sizes, 0)
    starts = {c: create_npy(folder / f"{names[c]}.npy", (n,), np.dtype("u1")) for c, n in sizes.items()}
    for chrom, piece in fasta_pieces(fasta):
        if chrom not in sizes or not piece:
            continue
        codes, odd = codes_of_letters(np.frombuffer(piece, np.uint8))
        if odd or not written[chrom]:
            check_letters(chrom, piece, fasta)
        with (folder / f"{names[chrom]}.npy").open("r+b") as file:
            file.seek(starts[chrom] + written[chrom])
            file.write(codes.data)
        ambiguous, written[chrom] = ambiguous + odd, written[chrom] + len(codes)
        bar.update(len(codes))
    wrong = [c for c, n in sizes.items() if written[c] != n]
    if wrong:
        msg = f"{fasta} changed while it was read ({some(wrong)}): start again when it is complete"
        raise InputError(msg)
    if ambiguous:
        logger.info("%d letters of %s other than A, C, G, T and N were written as N", ambiguous, fasta)


def _write_signal(
    folder: Path,
    tracks: list[Track],
    table: pd.DataFrame,
    sizes: dict[str, int],
    names: dict[str, str],
    bin_size: int,
    kind: np.dtype,
    bar: tqdm,
) -> None:
    folder.mkdir()
    found = np.zeros(len(tracks), bool)
    matches = [match_chroms(sizes, t.chroms, wanted_in="the genome store", available_in=str(t.path)) for t in tracks]
    with ExitStack() as stack:
        opened = [stack.enter_context(BigWig(t.path)) for t in tracks]
        for chrom, size in sizes.items():
            n_bins = -(-size // bin_size)
            path = folder / f"{names[chrom]}.npy"
            start = create_npy(path, (len(tracks), n_bins), kind)
            with path.open("r+b") as file:
                for i, (track, bw, scale) in enumerate(zip(tracks, opened, table["scale"], strict=True)):
                    theirs = matches[i].get(chrom)
                    if theirs is None or track.chroms[theirs] != size:
                        logger.warning("%s has no %s: its signal is 0 there", track.path, chrom)
                        bar.update(size)
                        continue
                    for first, bases, bins in chromosome_bins(bw, track, theirs, bin_size=bin_size, scale=scale):
                        if bins is not None:
                            found[i] |= bool(bins.any())
                            packed = _packed(bins, kind, track, f"{chrom}:{first * bin_size:,}")
                            _write_some(file, start + (i * n_bins + first) * kind.itemsize, packed)
                        bar.update(bases)
    for track, any_signal in zip(tracks, found, strict=True):
        if not any_signal:
            logger.warning("%s is zero on every chromosome of the store: is it the right file?", track.path)


def _packed(bins: np.ndarray, kind: np.dtype, track: Track, where: str) -> np.ndarray:
    if kind.itemsize == 2:
        most = bins[np.argmax(np.abs(bins))]
        if abs(most) > np.finfo(np.float16).max:
            msg = (
                f"{track.path} holds {most:,.0f} in the stretch from {where} on, and float16 ends at 65,504: "
                'take dtype="float32"'
            )
            raise InputError(msg)
    return bins.astype(kind, copy=False)


def _write_some(file, place: int, values: np.ndarray) -> None:
    """Write an array, and leave out long stretches of zeros: the file is one of zeros already, a hole takes no room."""
    size = values.itemsize
    edges = np.arange(-(place % _PAGE) // size, len(values), _PAGE // size).clip(0)
    used = np.logical_or.reduceat(values != 0, edges)
    change = np.flatnonzero(np.diff(used, prepend=False, append=False))
    edges = np.append(edges, len(values))
    for first, last in zip(edges[change[::2]], edges[change[1::2]], strict=True):
        file.seek(place + int(first) * size)
        file.write(values[first:last].data)


def _bytes_needed(sizes: dict[str, int], codes: bool, n_tracks: int, bin_size: int, kind: np.dtype) -> int:
    return sum(n * codes + n_tracks * (n // bin_size + 1) * kind.itemsize for n in sizes.values())
