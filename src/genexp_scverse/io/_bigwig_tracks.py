"""Open bigWigs that belong together: each whole, none twice, all of one assembly."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse.io._bigwig_file import BigWig
from genexp_scverse.io._bigwig_header import Header, read_header
from genexp_scverse.io.chroms import same_chrom
from genexp_scverse.io.plain_text import with_home


class Track(NamedTuple):
    """A bigWig that was looked at."""

    path: Path
    header: Header
    chroms: dict[str, int]


def open_tracks(paths: Sequence[str | os.PathLike]) -> list[Track]:
    """Read the headers and chromosomes of bigWigs; raise InputError where one cannot be used."""
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    files = [with_home(p) for p in paths]
    if not files:
        msg = "no bigWig was given: name at least one track"
        raise InputError(msg)
    headers = [read_header(file) for file in files]
    seen: dict[Path, int] = {}
    for i, file in enumerate(files):
        if file.resolve() in seen:
            msg = f"tracks {seen[file.resolve()] + 1} and {i + 1} are one file, {file}: give each file once"
            raise InputError(msg)
        seen[file.resolve()] = i
    return [Track(file, header, _chroms(file)) for file, header in zip(files, headers, strict=True)]


def _chroms(path: Path) -> dict[str, int]:
    with BigWig(path) as bw:
        return bw.chroms


def agree_on_sizes(tracks: list[Track], chrom_sizes: Mapping[str, int] | None) -> dict[str, int]:
    """Give the length of every chromosome, or raise InputError where the tracks disagree."""
    agreed: dict[str, tuple[str, int, str]] = {}
    names: dict[str, int] = {}
    expected = [] if chrom_sizes is None else [("chrom_sizes", chrom_sizes)]
    for where, sizes in [*((str(t.path), t.chroms) for t in tracks), *expected]:
        earlier = dict(agreed)
        for name, size in sizes.items():
            meaning = same_chrom(name)
            known, length, source = earlier.get(name) or earlier.get(meaning) or (name, size, where)
            if length != size:
                text = f"{known} has {length:,} bases in {source} and {size:,} in {where}"
                if meaning != "MT":
                    msg = f"{text}: they are of different assemblies, give tracks of one"
                    raise InputError(msg)
                logger.warning("%s: the mitochondrion is of another version there", text)
            agreed.setdefault(name, (known, length, source))
            agreed.setdefault(meaning, (known, length, source))
            if where != "chrom_sizes":
                names.setdefault(known, length)
    return names


def check_sign(path: Path, scale: str | None, minimum: float) -> None:
    """Raise InputError when a track has negative values and its scale has none."""
    if minimum < 0 and scale is not None and scale != "log_ratio":
        msg = (
            f"{path} has values down to {minimum:g}, which the scale {scale} does not allow: "
            "declare its scale as log_ratio if negative values are meant"
        )
        raise InputError(msg)
