"""Read a FASTA file from beginning to end, plain or gzipped (bgzip is gzip too), in pieces."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.io.plain_text import existing_file, open_text, with_home

_PIECE = 2**22
# The empty block that ends a bgzipped file (SAM specification, 4.1.2).
_BGZIP_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_IUPAC = b"ACGTUNRYSWKMBDHVacgtunryswkmbdhv"
_LETTERS = string.ascii_letters.encode()
_WHAT = "the FASTA of the genome"
_LONGEST_HEADER = 2**20


def fasta_pieces(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the name and the next letters of each sequence, beginning with an empty piece.

    Raises
    ------
    InputError
        When the file is missing, no FASTA, empty or cut short, or has a name twice.
    """
    path = with_home(path)
    if path.is_dir() or not path.exists():
        msg = f"FASTA not found: {path}: mend the path (a relative path starts at {Path.cwd()})"
        raise InputError(msg)
    _check_end(existing_file(path, what=_WHAT))
    with open_text(path, what=_WHAT, pieces=True) as text:
        yield from _split(text, path)


def check_letters(name: str, piece: bytes, path: Path) -> None:
    """Raise InputError when a piece of sequence is not DNA."""
    odd = piece.translate(None, _IUPAC)
    if not odd:
        return
    no_letters = odd.translate(None, _LETTERS)
    if no_letters:
        signs = some(sorted({chr(c) for c in no_letters}))
        msg = f"sequence {name} of {path} holds {signs}, which are no letters: give the FASTA of a genome"
        raise InputError(msg)
    if len(odd) > max(10, 0.01 * len(piece)):
        letters = some(sorted({chr(c) for c in odd}))
        msg = f"sequence {name} of {path} is no DNA (it holds {letters}): give the FASTA of the genome"
        raise InputError(msg)


def _check_end(path: Path) -> None:
    """Warn of a bgzipped file without the block that ends one."""
    try:
        with path.open("rb") as stream:
            if stream.read(14)[12:] != b"BC":
                return
            stream.seek(-min(len(_BGZIP_END), stream.seek(0, 2)), 2)
            if stream.read() != _BGZIP_END:
                logger.warning("%s lacks the end mark of bgzip: it may be cut short", path)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}: check that you may read it"
        raise InputError(msg) from error


def _split(stream: IO[bytes], path: Path) -> Iterator[tuple[str, bytes]]:
    name, header, at_line_start = "", None, True
    seen: set[str] = set()
    first = True
    while chunk := stream.read(_PIECE):
        if first:
            chunk = chunk.lstrip()
            if not chunk.startswith(b">"):
                msg = f"{path} {_what_is(chunk)}: give the FASTA of the genome (plain, gzip or bgzip)"
                raise InputError(msg)
            first = False
        at = 0
        while at < len(chunk):
            if header is not None:
                stop = chunk.find(b"\n", at)
                header += chunk[at : stop if stop >= 0 else len(chunk)]
                if len(header) > _LONGEST_HEADER:
                    msg = f"{path} has a header of more than a million letters ({header[:20]!r}...): give {_WHAT}"
                    raise InputError(msg)
                if stop < 0:
                    break
                name, header = _name(header, seen, path), None
                at, at_line_start = stop + 1, True
                yield name, b""
            elif at_line_start and chunk[at] == ord(">"):
                header, at = b"", at + 1
            else:
                stop = _end_of_sequence(chunk, at)
                yield name, _without_blanks(chunk[at:stop])
                at_line_start = chunk[stop - 1] == ord("\n")
                at = stop
    if header is not None:
        _name(header, seen, path)
        msg = f"{path} is cut short: it ends within the header {header[:40].decode(errors='replace')!r}"
        raise InputError(msg)


def _end_of_sequence(chunk: bytes, at: int) -> int:
    """Find the next ``>`` at the start of a line (one byte is found far faster than two)."""
    stop = chunk.find(b">", at)
    while stop == 0 or (stop > 0 and chunk[stop - 1] != ord("\n")):
        stop = chunk.find(b">", stop + 1)
    return stop if stop > 0 else len(chunk)


def _without_blanks(piece: bytes) -> bytes:
    """Drop line ends and blanks; ``replace`` is several times as fast as ``translate``."""
    for blank in (b"\n", b" ", b"\t"):
        if blank in piece:
            piece = piece.replace(blank, b"")
    return piece


def _name(header: bytes, seen: set[str], path: Path) -> str:
    words = header.decode(errors="replace").split()
    if not words:
        msg = f"{path} has a sequence without a name (a line with '>' alone): name it"
        raise InputError(msg)
    if words[0] in seen:
        msg = f"{path} has the sequence {words[0]!r} twice: keep one of them"
        raise InputError(msg)
    seen.add(words[0])
    return words[0]


def _what_is(start: bytes) -> str:
    if start.startswith(b"@"):
        return "begins with '@' like FASTQ and is no FASTA"
    return f"is no FASTA (it begins with {start[:8]!r} and not with '>')"
