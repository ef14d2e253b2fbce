"""A genome on disk: windows of its DNA and tracks, read as asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd

from genexp_scverse import schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._output import recover
from genexp_scverse.io._genome_files import CODES, FORMAT, MANIFEST, SIGNAL, VERSION, check_npy, is_safe
from genexp_scverse.io.chroms import match_chroms
from genexp_scverse.io.fasta import reverse_complement

_UNKNOWN = schema.BASES.index("N")
_LARGEST_MANIFEST = 2**28
_CAN_PREADV = hasattr(os, "preadv")


class GenomeStore:
    """DNA and tracks of a genome in a folder, from which windows are read; made by :func:`write_genome`.

    Open one with :func:`read_genome`. Reading goes past memory maps, so that memory does not grow with what was read,
    and keeps no file open: a store can be pickled, and used by several processes and threads at once.

    Parameters
    ----------
    path
        The folder.
    manifest
        What ``manifest.json`` holds, checked.

    Examples
    --------
    See :func:`write_genome`.
    """

    def __init__(self, path: Path, manifest: Mapping[str, Any]):
        self.path = path
        """The folder."""
        self.chrom_sizes: dict[str, int] = {c["name"]: c["size"] for c in manifest["chroms"]}
        """Chromosome -> length in bases."""
        self.has_codes: bool = manifest["codes"]
        """Whether there is DNA."""
        self.tracks = pd.DataFrame(manifest["tracks"], columns=["sample", "mark", "scale", "source"])
        """A row per track, in order: sample, mark, scale, source."""
        self.bin_size: int = manifest["bin_size"]
        """Bases in a bin of the signal."""
        self.dtype = np.dtype(manifest["dtype"]).newbyteorder("<")
        """Type of the signal on disk."""
        self.assembly: str = manifest["assembly"]
        """Name of the genome where it is a well-known one, else ``unknown``."""
        self.files = pd.DataFrame(manifest["files"], columns=["role", "path", "size", "modified"])
        """Where it came from, as in ``mdata.uns["files"]``."""
        self._files = {c["name"]: f"{c['file']}.npy" for c in manifest["chroms"]}
        self._names = {c: c for c in self.chrom_sizes}
        self._starts: dict[str, list[int]] = {CODES: [], SIGNAL: []}
        for chrom, size in self.chrom_sizes.items():
            if self.has_codes:
                self._starts[CODES].append(check_npy(self._file(CODES, chrom), (size,), np.dtype("u1")))
            if len(self.tracks):
                shape = (len(self.tracks), -(-size // self.bin_size))
                self._starts[SIGNAL].append(check_npy(self._file(SIGNAL, chrom), shape, self.dtype))
        self._at = {c: i for i, c in enumerate(self.chrom_sizes)}

    def __repr__(self) -> str:
        return (
            f"GenomeStore of {len(self.chrom_sizes)} chromosomes, {sum(self.chrom_sizes.values()):,} bases "
            f"({self.assembly}): {'DNA and ' if self.has_codes else ''}{len(self.tracks)} tracks at {self.bin_size} bp"
        )

    def codes(self, chrom: str | Sequence[str] | np.ndarray, start: Any, end: Any, reverse: Any = False) -> np.ndarray:
        """Read the DNA of windows.

        Parameters
        ----------
        chrom
            Chromosome of every window, or of all; other spellings of a name are understood.
        start, end
            First base and the base after the last one (0-based half-open) of every window, all equally long. Bases
            beyond the ends of the chromosome are N.
        reverse
            Of which windows the reverse complement is given.

        Returns
        -------
        Array of windows x bases, uint8, A C G T N = 0 1 2 3 4.

        Raises
        ------
        InputError
            When there is no DNA or no such chromosome, windows differ in length, or a file was changed.

        Examples
        --------
        See :func:`write_genome`.
        """
        if not self.has_codes:
            msg = f"the genome store {self.path} holds no DNA: make it with gx.io.write_genome(..., fasta=)"
            raise InputError(msg)
        names, first, length, flip = self._windows(chrom, start, end, reverse)
        out = np.full((len(first), length), _UNKNOWN, np.uint8)
        for name, rows in _by_chrom(names):
            size, begin = self.chrom_sizes[name], self._starts[CODES][self._at[name]]
            low, high = np.clip(first[rows], 0, size), np.clip(first[rows] + length, 0, size)
            spans = [
                (begin + int(a), out[row, int(a) - int(first[row]) : int(b) - int(first[row])])
                for row, a, b in zip(rows, low, high, strict=True)
                if b > a
            ]
            _read(self._file(CODES, name), spans)
        if out.size and out.max() > _UNKNOWN:
            msg = f"{self.path / CODES} holds {out.max()}, which is no base: it is damaged, copy the genome store again"
            raise InputError(msg)
        out[flip] = reverse_complement(out[flip])
        return out

    def signal(
        self,
        chrom: str | Sequence[str] | np.ndarray,
        start: Any,
        end: Any,
        reverse: Any = False,
        tracks: Sequence[int] | np.ndarray | None = None,
    ) -> np.ndarray:
        """Read the signal of windows in bins.

        Windows are a whole number of bins long. A window that does not begin at the edge of a bin is moved to the
        nearest edge, by at most half a bin; where two are equally near, upstream: to the left, and to the right where
        the window is read backwards. With bins of one base nothing is moved.

        Parameters
        ----------
        chrom, start, end
            As for :meth:`codes`; bins beyond the ends of the chromosome are 0.
        reverse
            Which windows are read from their end to their start.
        tracks
            Positions of tracks, in any order; by default all.

        Returns
        -------
        Array of windows x tracks x bins, float32.

        Raises
        ------
        InputError
            When there is no such track or chromosome, windows differ in length or are no whole number of bins, or a
            file was changed.

        Examples
        --------
        See :func:`write_genome`.
        """
        wanted = self._wanted_tracks(tracks)
        names, first, length, flip = self._windows(chrom, start, end, reverse)
        if length % self.bin_size:
            msg = f"windows of {length:,} bases are no whole number of bins of {self.bin_size}: choose a multiple"
            raise InputError(msg)
        n_bins = length // self.bin_size
        # half a bin goes upstream on both strands
        half = np.where(flip, self.bin_size // 2, (self.bin_size - 1) // 2)
        at = (first + half) // self.bin_size
        out = np.zeros((len(first), len(wanted), n_bins), self.dtype)
        for name, rows in _by_chrom(names):
            size = -(-self.chrom_sizes[name] // self.bin_size)
            begin = self._starts[SIGNAL][self._at[name]]
            low, high = np.clip(at[rows], 0, size), np.clip(at[rows] + n_bins, 0, size)
            spans = [
                (
                    begin + (int(track) * size + int(a)) * self.dtype.itemsize,
                    out[row, i, int(a) - int(at[row]) : int(b) - int(at[row])],
                )
                for row, a, b in zip(rows, low, high, strict=True)
                if b > a
                for i, track in enumerate(wanted)
            ]
            _read(self._file(SIGNAL, name), spans)
        result = out.astype(np.float32, copy=False)
        result[flip] = result[flip, :, ::-1]
        return result

    def _wanted_tracks(self, tracks: Sequence[int] | np.ndarray | None) -> np.ndarray:
        if not len(self.tracks):
            msg = f"the genome store {self.path} holds no track: make it with gx.io.write_genome(..., sheet=)"
            raise InputError(msg)
        wanted = np.arange(len(self.tracks)) if tracks is None else np.atleast_1d(np.asarray(tracks))
        if wanted.dtype.kind not in "iu" or not ((wanted >= 0) & (wanted < len(self.tracks))).all():
            msg = f"tracks={tracks!r}: give positions from 0 to {len(self.tracks) - 1} in the store's table of tracks"
            raise InputError(msg)
        return wanted

    def _windows(
        self, chrom: str | Sequence[str] | np.ndarray, start: Any, end: Any, reverse: Any
    ) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
        first, last = (np.atleast_1d(np.asarray(x)) for x in (start, end))
        if first.dtype.kind not in "iu" or last.dtype.kind not in "iu" or first.ndim != 1 or first.shape != last.shape:
            msg = "start and end of windows must be equally many whole numbers: give two arrays of positions"
            raise InputError(msg)
        length = last.astype(np.int64) - first.astype(np.int64)
        if len(length) and (length[0] < 1 or (length != length[0]).any()):
            msg = f"windows must be equally long and hold a base: they have {some(np.unique(length))} bases"
            raise InputError(msg)
        given = np.broadcast_to(np.asarray(chrom, dtype=object), first.shape)
        flip = np.broadcast_to(np.asarray(reverse, dtype=bool), first.shape)
        asked = list(dict.fromkeys(map(str, given)))
        if not self._names.keys() >= set(asked):
            match = match_chroms(asked, self.chrom_sizes, wanted_in="the windows", available_in=str(self.path))
            absent = [c for c in asked if c not in match]
            if absent:
                msg = f"the genome store {self.path} has no {some(absent)}: it has {some(self.chrom_sizes, 6)}"
                raise InputError(msg)
            self._names = {**self._names, **match}
        names = np.array([self._names[str(c)] for c in given], dtype=object)
        return names, first.astype(np.int64), int(length[0]) if len(length) else 0, flip

    def _file(self, kind: str, chrom: str) -> Path:
        return self.path / kind / self._files[chrom]


def read_genome(folder: str | os.PathLike) -> GenomeStore:
    """Open a genome store; nothing in it is executed, and sizes and types of all its arrays are checked.

    Parameters
    ----------
    folder
        As :func:`write_genome` left it.

    Returns
    -------
    The store.

    Raises
    ------
    InputError
        When the folder is no genome store, or one that is incomplete, damaged or of a later version.

    Examples
    --------
    See :func:`write_genome`.
    """
    folder = Path(folder)
    recover(folder)
    path = folder / MANIFEST
    if not path.is_file():
        problem = "is no genome store (it has no manifest.json)" if folder.exists() else "does not exist"
        msg = f"{folder} {problem}: make one with gx.io.write_genome (a relative path starts at {Path.cwd()})"
        raise InputError(msg)
    try:
        if path.stat().st_size > _LARGEST_MANIFEST:
            msg = "it is too large"
            raise ValueError(msg)
        manifest = json.loads(path.read_text(encoding="utf-8"))
        wrong = _what_is_wrong(manifest)
    except (OSError, ValueError, RecursionError) as error:
        wrong = " ".join(str(error).split())[:100]
    if wrong:
        msg = f"{path} is damaged or of another program ({wrong}): copy the store again, or make it anew"
        raise InputError(msg)
    return GenomeStore(folder, manifest)


def _what_is_wrong(manifest: Any) -> str:
    """Name what keeps a manifest from being used, '' where nothing does."""
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        return f'its "format" is not {FORMAT!r}'
    if manifest.get("version") != VERSION:
        return f"its version is {manifest.get('version')!r} and this package reads {VERSION}"
    chroms, tracks, files = (manifest.get(key) for key in ("chroms", "tracks", "files"))
    if not (isinstance(chroms, list) and chroms and all(_is_chrom(c) for c in chroms)):
        return '"chroms" is no list of name, size and file'
    for key in ("name", "file"):
        if len({c[key] for c in chroms}) < len(chroms):
            return f'"chroms" has a {key} twice'
    columns = ("sample", "mark", "scale", "source")
    if not (isinstance(tracks, list) and all(_has_text(t, columns) for t in tracks)):
        return f'"tracks" is no list of {", ".join(columns)}'
    if not (isinstance(files, list) and all(isinstance(f, dict) for f in files)):
        return '"files" is no list'
    if not (isinstance(manifest.get("codes"), bool) and isinstance(manifest.get("assembly"), str)):
        return '"codes" or "assembly" is missing'
    if not _is_count(manifest.get("bin_size")) or manifest.get("dtype") not in ("float32", "float16"):
        return '"bin_size" or "dtype" is none that there is'
    return ""


def _is_chrom(entry: Any) -> bool:
    return _has_text(entry, ("name", "file")) and is_safe(entry["file"]) and _is_count(entry.get("size"))


def _has_text(entry: Any, keys: Sequence[str]) -> bool:
    return isinstance(entry, dict) and all(isinstance(entry.get(key), str) for key in keys)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40


def _by_chrom(names: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    for name in dict.fromkeys(names):
        yield name, np.flatnonzero(names == name)


def _read(path: Path, spans: list[tuple[int, np.ndarray]]) -> None:
    """Fill arrays from a file, each from its byte on."""
    if not spans:
        return
    try:
        with path.open("rb", buffering=0) as file:
            if hasattr(os, "posix_fadvise"):
                # the disk can work on all of them while the first is awaited
                for place, target in spans:
                    os.posix_fadvise(file.fileno(), place, target.nbytes, os.POSIX_FADV_WILLNEED)
            for place, target in spans:
                _fill(file, place, target)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}): is the genome store still there?"
        raise InputError(msg) from error


def _fill(file: BinaryIO, place: int, target: np.ndarray) -> None:
    left = memoryview(target.view(np.uint8).data)
    while len(left):
        if _CAN_PREADV:
            n = os.preadv(file.fileno(), [left], place)
        else:
            file.seek(place)
            n = file.readinto(left)  # type: ignore[attr-defined]
        if not n:
            msg = "it is cut short"
            raise OSError(msg)
        left, place = left[n:], place + n
