"""DNA around the TSS of genes, as codes, from the FASTA of a genome."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from pyfaidx import Faidx

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io._fasta_stream import check_letters, fasta_pieces
from genexp_scverse.io.chroms import match_chroms, same_chrom
from genexp_scverse.io.plain_text import with_home
from genexp_scverse.io.window import Windows, check_tss, tss_windows
from genexp_scverse.schema import BASES

_N = BASES.index("N")
_AMBIGUOUS = _N + 1
_COMPLEMENT = np.array([3, 2, 1, 0, 4], dtype=np.uint8)

# The whole file streams as fast as this part of it is fetched window by window.
_PART_FOR_INDEX = 0.5

# Bases on either side of a TSS that are looked at, and the share of genes without any base there that is usual.
_AROUND_TSS, _MOST_GAPS = 50, 0.02


def _code_table() -> np.ndarray:
    table = np.full(256, _AMBIGUOUS, dtype=np.uint8)
    for code, base in enumerate(BASES):
        table[[ord(base), ord(base.lower())]] = code
    table[[ord("U"), ord("u")]] = BASES.index("T")  # RNA
    return table


_CODE_OF_LETTER = _code_table()


def read_codes(
    genes: pd.DataFrame,
    fasta: str | os.PathLike,
    *,
    upstream: int,
    downstream: int,
    stranded: bool = True,
) -> np.ndarray:
    r"""Read the DNA of the window around the TSS of every gene as codes A C G T N = 0 1 2 3 4.

    A window is `upstream` bases before the TSS and `downstream` bases from the TSS base on, see
    :func:`~genexp_scverse.io.window.tss_windows`; genes on the minus strand are reverse-complemented. Case is
    ignored, and U (RNA) is T. Letters other than A, C, G, T and U, bases beyond the ends of the chromosome and
    genes on sequences that the file lacks are N; the latter and other IUPAC letters are counted in the log. Names
    are matched by :func:`match_chroms`.

    The file is read once from beginning to end, with one chromosome in memory at a time, and nothing is
    written beside it. Where a plain FASTA has an up-to-date index (``.fai``) and the windows are a small part
    of it, only they are read.

    Parameters
    ----------
    genes
        Indexed by gene id, with chrom, tss (0-based) and strand (+ or -; not needed unless `stranded`).
    fasta
        FASTA of the genome: plain, gzip or bgzip. A sequence is named by the first word of its header.
    upstream
        Bases before the TSS.
    downstream
        Bases from the TSS base on.
    stranded
        Reverse-complement the windows of genes on the minus strand.

    Returns
    -------
    Array of genes x bases, uint8.

    Raises
    ------
    InputError
        When the file is missing, no FASTA, no DNA, cut short or has a name twice, when no chromosome matches,
        or when a TSS lies beyond the end of its chromosome.

    Examples
    --------
    >>> import tempfile, pandas as pd
    >>> from pathlib import Path
    >>> genes = pd.DataFrame({"chrom": "chr1", "tss": [2, 2], "strand": ["+", "-"]}, index=["a", "b"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genome.fa"
    ...     _ = path.write_text(">chr1 a small genome\nacGT\nTN\n")
    ...     codes = read_codes(genes, path, upstream=1, downstream=3)
    >>> ["".join("ACGTN"[i] for i in row) for row in codes]
    ['CGTT', 'ACGT']
    """
    path = with_home(fasta)
    windows = tss_windows(genes, upstream=upstream, downstream=downstream, stranded=stranded)
    codes = np.full((len(genes), upstream + downstream), _N, dtype=np.uint8)
    index = _read_index(path)
    if index and not _is_gzip(path) and codes.size < _PART_FOR_INDEX * path.stat().st_size:
        names, ambiguous = _fetch(genes, windows, path, index, codes)
    else:
        names, ambiguous = _stream(genes, windows, path, codes)
    absent = ~np.isin(windows.chrom, list(names))
    if absent.any():
        logger.warning(
            "%d of %d genes are on sequences that %s lacks (%s): their DNA is N",
            absent.sum(), len(genes), path, some(pd.unique(windows.chrom[absent])),
        )  # fmt: skip
    around = codes[:, max(0, upstream - _AROUND_TSS) : upstream + _AROUND_TSS]
    gap = (around == _N).all(1) & ~absent
    if gap.sum() > _MOST_GAPS * len(genes):
        logger.warning(
            "%d of %d genes have nothing but N around the TSS in %s: it is hard-masked, or of another assembly",
            gap.sum(), len(genes), path,
        )  # fmt: skip
    if ambiguous:
        logger.info("%d letters of %s other than A, C, G, T and N were read as N", ambiguous, path)
    return codes


def fasta_sizes(path: str | os.PathLike) -> dict[str, int]:
    r"""Give the length of every sequence of a FASTA file.

    They are taken from the index (``.fai``) where it is not older than the file; else the file is read once.

    Parameters
    ----------
    path
        FASTA: plain, gzip or bgzip.

    Returns
    -------
    First word of the header -> length in bases, in the order of the file.

    Raises
    ------
    InputError
        When the file is missing, no FASTA, cut short or has a name twice.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genome.fa"
    ...     _ = path.write_text(">chr1 a small genome\nACGT\nTN\n>chrM\nAA\n")
    ...     fasta_sizes(path)
    {'chr1': 6, 'chrM': 2}
    """
    path = with_home(path)
    sizes = _read_index(path)
    if sizes is None:
        sizes = {}
        for name, piece in fasta_pieces(path):
            sizes[name] = sizes.get(name, 0) + len(piece)
    return sizes


def codes_of_letters(letters: np.ndarray) -> tuple[np.ndarray, int]:
    """Turn letters (uint8, ASCII) into codes, and count those other than A, C, G, T, U and N, which become N.

    Examples
    --------
    >>> codes, ambiguous = codes_of_letters(np.frombuffer(b"ACgtNR", np.uint8))
    >>> codes.tolist(), ambiguous
    ([0, 1, 2, 3, 4, 4], 1)
    """
    codes = _CODE_OF_LETTER[letters]
    ambiguous = int(np.count_nonzero(codes == _AMBIGUOUS))
    if ambiguous:
        codes[codes == _AMBIGUOUS] = _N
    return codes, ambiguous


def reverse_complement(codes: np.ndarray) -> np.ndarray:
    """Read codes from the other strand, along the last axis.

    Examples
    --------
    >>> reverse_complement(np.array([0, 0, 1, 4], np.uint8)).tolist()
    [4, 2, 3, 3]
    """
    return _COMPLEMENT[codes[..., ::-1]]


def _stream(genes: pd.DataFrame, windows: Windows, path: Path, codes: np.ndarray) -> tuple[dict[str, str], int]:
    wanted = list(pd.unique(windows.chrom))
    available: list[str] = []
    filled: dict[str, str] = {}
    counts: dict[str, int] = {}
    for name, letters in _sequences(path, wanted):
        available.append(name)
        for chrom in _served(name, wanted):
            # Both chr1 and 1 may be there: the one with the very name counts.
            if chrom in filled and name != chrom:
                continue
            rows = np.flatnonzero(windows.chrom == chrom)
            check_tss(genes.iloc[rows], {name: len(letters)}, names={chrom: name}, source=str(path))
            filled[chrom], counts[chrom], codes[rows] = name, 0, _N
            for row in rows:
                start, end = max(0, windows.start[row]), max(0, min(len(letters), windows.end[row]))
                odd = _write(codes, windows, row, letters[start:end])
                counts[chrom] += odd
                if odd:
                    check_letters(name, letters[start:end].tobytes(), path)
    match = match_chroms(wanted, available, wanted_in="the genes", available_in=str(path))
    for chrom in match:
        if match[chrom] != filled[chrom]:
            msg = (
                f"both {match[chrom]!r} and {filled[chrom]!r} of {path} may be {chrom!r} of the genes: "
                "rename the chromosome of the genes as in the file"
            )
            raise InputError(msg)
    return match, sum(counts.values())


def _sequences(path: Path, wanted: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each sequence, with its letters when it serves a wanted chromosome, else without."""
    name, letters, keep = None, bytearray(), False
    for next_name, piece in fasta_pieces(path):
        if next_name != name:
            if name is not None:
                yield name, np.frombuffer(letters, dtype=np.uint8)
            name, letters, keep = next_name, bytearray(), bool(_served(next_name, wanted))
        if keep:
            if not letters:
                check_letters(next_name, piece, path)
            letters += piece
    if name is not None:
        yield name, np.frombuffer(letters, dtype=np.uint8)


def _served(name: str, wanted: list[str]) -> list[str]:
    return [chrom for chrom in wanted if same_chrom(chrom) == same_chrom(name)]


def _fetch(
    genes: pd.DataFrame, windows: Windows, path: Path, sizes: dict[str, int], codes: np.ndarray
) -> tuple[dict[str, str], int]:
    match = match_chroms(pd.unique(windows.chrom), sizes, wanted_in="the genes", available_in=str(path))
    present = check_tss(genes, sizes, names=match, source=str(path))
    ambiguous = 0
    faidx = Faidx(str(path), as_raw=True, rebuild=False, build_index=False)
    try:
        for row in np.flatnonzero(present):
            name = match[windows.chrom[row]]
            start, end = max(0, int(windows.start[row])), min(sizes[name], int(windows.end[row]))
            if start < end:
                letters = faidx.fetch(name, start + 1, end).encode()
                if b" " in letters or b"\t" in letters:  # blanks at line ends, which shift what an index finds
                    return _stream(genes, windows, path, codes)
                odd = _write(codes, windows, row, np.frombuffer(letters, dtype=np.uint8))
                ambiguous += odd
                if odd:
                    check_letters(name, letters, path)
    finally:
        faidx.close()
    return match, ambiguous


def _write(codes: np.ndarray, windows: Windows, row: int | np.integer, letters: np.ndarray) -> int:
    """Write the part of a window that lies on the sequence; return its number of ambiguous letters."""
    piece, ambiguous = codes_of_letters(letters)
    first = max(0, -int(windows.start[row]))
    codes[row, first : first + len(piece)] = piece
    if windows.reverse[row]:
        codes[row] = reverse_complement(codes[row])
    return ambiguous


def _read_index(path: Path) -> dict[str, int] | None:
    """Read sizes from the index beside a FASTA, None where there is none that fits the file."""
    index = path.with_name(f"{path.name}.fai")
    if not (path.is_file() and index.is_file()):
        return None
    if index.stat().st_mtime < path.stat().st_mtime:
        logger.info("%s is older than the FASTA and not used: samtools faidx renews it", index)
        return None
    try:
        rows = [line.split("\t") for line in index.read_text().splitlines()]
        sizes = {row[0]: int(row[1]) for row in rows}
        last = max(int(row[2]) + int(row[1]) for row in rows)
    except (ValueError, IndexError, OSError):
        sizes, last, rows = {}, 0, []
    if not sizes or len(sizes) < len(rows) or (not _is_gzip(path) and last > path.stat().st_size):
        logger.warning("%s does not fit the FASTA and is not used: samtools faidx renews it", index)
        return None
    return sizes


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"
