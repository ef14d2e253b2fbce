"""Open text files, plain or gzip, so that every reader sees the same lines and every fault is said in one sentence."""

from __future__ import annotations

import gzip
import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from genexp_scverse._errors import InputError

_GZIP, _MARK = b"\x1f\x8b", b"\xef\xbb\xbf"
_OTHER_KINDS = {
    b"BZh": "compressed with bzip2: unpack it or compress it with gzip",
    b"\xfd7zXZ\x00": "compressed with xz: unpack it or compress it with gzip",
    b"(\xb5/\xfd": "compressed with zstd: unpack it or compress it with gzip",
    b"PK\x03\x04": "a zip archive (an Excel workbook is one): unpack it or save it as tab-separated text",
    b"\x43\x27\x41\x1a": "a 2bit file: twoBitToFa of UCSC makes FASTA of it",
    b"\x1a\x41\x27\x43": "a 2bit file: twoBitToFa of UCSC makes FASTA of it",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
}
_POSITION = re.compile(r"\s*-?\d{1,18}\s*", re.ASCII)
_WEB_PAGES = (b"<!doctype", b"<html", b"<?xml")
_CHUNK = 2**20
SEPARATOR_LINE = re.compile(r"\"?sep=.?\"?[,;\t]*", re.IGNORECASE)
"""The line that spreadsheets write above a table to tell its delimiter."""
LONGEST_LINE = 2**26
"""Bytes in a line beyond which a file is no table (a header of a million cells has 20 MB); FASTA has no such bound."""
_UNPACKED, _RATIO = 2**30, 500
"""A gzip that is 500 times as large unpacked, and more than a GiB, is no real file: text packs 3- to 50-fold."""


def with_home(path: str | os.PathLike) -> Path:
    """Return a path whose ``~/``, which a shell replaces and Python does not, is the home folder.

    Examples
    --------
    >>> with_home("~/genes.gtf").name, with_home("a~b")
    ('genes.gtf', PosixPath('a~b'))
    """
    return Path(path).expanduser() if str(path).startswith("~/") else Path(path)


def existing_file(path: str | os.PathLike, *, what: str) -> Path:
    """Check that a path is that of a file, before it is opened.

    Parameters
    ----------
    path
        The path; ``~/`` at its start is the home folder.
    what
        What the file should be, for messages (``"a GTF"``).

    Returns
    -------
    The path, with the home folder written out.

    Raises
    ------
    InputError
        When nothing is there, or a folder, a pipe or a device.

    Examples
    --------
    >>> existing_file("/", what="a GTF")
    Traceback (most recent call last):
    ...
    genexp_scverse._errors.InputError: / is a folder: give the path of a GTF
    """
    path = with_home(path)
    try:
        problem = "" if path.is_file() else "is a folder" if path.is_dir() else "does not exist"
        if problem == "does not exist" and path.exists():
            msg = f"{path} is a pipe or a device, which can be read only once: save {what} as a file and give its path"
            raise InputError(msg)
    except OSError as error:  # a name that is too long, a folder that may not be looked into
        problem = f"cannot be looked up ({error.strerror})"
    if problem:
        msg = f"{path} {problem}: give the path of {what}"
        raise InputError(msg)
    return path


@contextmanager
def open_text(path: str | os.PathLike, *, what: str, pieces: bool = False) -> Iterator[IO[bytes]]:
    r"""Open a text file for reading bytes, unpacking gzip and bgzip whatever the name of the file.

    Line ends are LF whatever the file has (LF, CRLF, or CR as on old Macintoshes), and a UTF-8 byte-order mark is
    skipped, so that no reader has to know of them.

    Parameters
    ----------
    path
        The file; ``~/`` at its start is the home folder.
    what
        What the file should be, for messages (``"a GTF"``).
    pieces
        Only ``read(n)`` is called, for pieces of any size: saves a copy, and lines may be as long as they like, as
        those of a FASTA are.

    Yields
    ------
    Binary handle at the first byte of text. It can be read and iterated over, and not sought in.

    Raises
    ------
    InputError
        When the file is missing, empty, no file, binary, truncated or damaged, unpacks to far more than text does,
        or has a line that is too long; also while it is being read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.bed.gz"
    ...     _ = path.write_bytes(gzip.compress(b"chr1\r\nchr2\rchr3"))
    ...     with open_text(path, what="a BED file") as handle:
    ...         list(handle)
    [b'chr1\n', b'chr2\n', b'chr3']
    """
    path = existing_file(path, what=what)
    try:
        with path.open("rb", buffering=0) as raw, _Text(raw, path, what) as text:
            yield cast("IO[bytes]", text if pieces else io.BufferedReader(text, _CHUNK))
    except UnicodeDecodeError as error:
        wrong = error.object[error.start : error.end]
        msg = f"{path} holds bytes that are not UTF-8 text ({wrong!r}): save it as UTF-8"
        raise InputError(msg) from error
    except PermissionError as error:
        msg = f"{path} may not be read (permission denied): change its permissions"
        raise InputError(msg) from error


def first_line(line: bytes | str) -> str:
    """Show the start of a line in a message.

    Parameters
    ----------
    line
        The line.

    Returns
    -------
    At most 60 characters, quoted.

    Examples
    --------
    >>> first_line(b">chr1" + 80 * b"A")[:10]
    "'>chr1AAAA"
    """
    text = line.decode("utf-8", "replace") if isinstance(line, bytes) else line
    text = text.rstrip("\r\n")
    return repr(text if len(text) <= 60 else text[:57] + "...")


def is_position(text: str) -> bool:
    """Tell whether a field is a whole number that fits a position: what ``int`` takes beside it (``1_0``) is none.

    Examples
    --------
    >>> [is_position(text) for text in ("12", " -1", "1_0", "1e3", "9" * 20)]
    [True, True, False, False, False]
    """
    return _POSITION.fullmatch(text) is not None


class _Text(io.RawIOBase):
    """What stands in a file, with line ends LF; large pieces are read, so that the checks cost next to nothing."""

    def __init__(self, raw: IO[bytes] | io.FileIO, path: Path, what: str):
        self.path = path
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        self.source = gzip.GzipFile(fileobj=cast("IO[bytes]", raw)) if packed else raw
        self.most = max(_UNPACKED, _RATIO * path.stat().st_size) if packed else None
        self.n_bytes = self.in_line = 0
        self.after_cr = False
        start = self._read(4096)
        _check_is_text(start, path, what)
        self.ahead = start.removeprefix(_MARK)

    def readable(self) -> bool:
        return True

    def read(self, n: int = -1) -> bytes:
        """Read at most `n` bytes, none at the end of the file."""
        chunk = b""
        while not chunk:
            chunk, self.ahead = self.ahead[:n] or self._read(n), self.ahead[n:]
            if not chunk:
                break
            self.n_bytes += len(chunk)
            chunk = self._with_lf(chunk)
        if self.most is not None and self.n_bytes > self.most:
            msg = f"{self.path} unpacks to more than {_RATIO} times its size, which no text does: get the file again"
            raise InputError(msg)
        return chunk

    def readinto(self, buffer) -> int:
        """Give lines their bytes, and check them."""
        chunk = self.read(len(buffer))
        if b"\0" in chunk:
            msg = f"{self.path} holds a zero byte and is no text: it is damaged, copy or download it again"
            raise InputError(msg)
        last = chunk.rfind(b"\n")
        self.in_line = self.in_line + len(chunk) if last < 0 else len(chunk) - last - 1
        if self.in_line > LONGEST_LINE:
            msg = (
                f"{self.path} has a line of more than {LONGEST_LINE / 2**20:.0f} MiB, which no table has: give lines "
                "that end in a line feed"
            )
            raise InputError(msg)
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def _read(self, n: int) -> bytes:
        try:
            return self.source.read(n) or b""
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            msg = f"{self.path} is a truncated or damaged gzip file ({error}): copy or download it again"
            raise InputError(msg) from error
        except OSError as error:
            msg = f"{self.path} cannot be read ({error.strerror or error}): check the disk, or copy it again"
            raise InputError(msg) from error

    def _with_lf(self, chunk: bytes) -> bytes:
        if self.after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        if b"\r" not in chunk:
            self.after_cr = False
            return chunk
        self.after_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _check_is_text(start: bytes, path: Path, what: str) -> None:
    if not start.removeprefix(_MARK).strip():
        msg = f"{path} is empty: give {what}"
        raise InputError(msg)
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            msg = f"{path} is not {what} but {kind}"
            raise InputError(msg)
    if start.lstrip().lower().startswith(_WEB_PAGES):
        msg = f"{path} is a web page and not {what}: the download failed, take the address of the file itself"
        raise InputError(msg)
    if b"\x00" in start:
        msg = f"{path} is a binary file: give {what}"
        raise InputError(msg)
