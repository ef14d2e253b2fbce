"""Open text files, plain or gzip, so that what can be wrong with them is said in one sentence."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from genexp_scverse._errors import InputError

_GZIP = b"\x1f\x8b"
_OTHER_KINDS = {
    b"BZh": "compressed with bzip2: unpack it or compress it with gzip",
    b"\xfd7zXZ\x00": "compressed with xz: unpack it or compress it with gzip",
    b"(\xb5/\xfd": "compressed with zstd: unpack it or compress it with gzip",
    b"PK\x03\x04": "a zip archive (an Excel workbook is one): unpack it or save it as tab-separated text",
    b"\xff\xfe": "UTF-16 text: save it as UTF-8",
    b"\xfe\xff": "UTF-16 text: save it as UTF-8",
}


@contextmanager
def open_text(path: str | Path, *, what: str) -> Iterator[IO[bytes]]:
    """Open a text file for reading bytes, unpacking gzip and bgzip whatever the name of the file.

    Parameters
    ----------
    path
        The file.
    what
        What the file should be, for messages (``"a GTF"``).

    Yields
    ------
    Binary handle at the first byte of text; a UTF-8 byte-order mark is skipped.

    Raises
    ------
    InputError
        When the file is missing, empty, binary, truncated or damaged, also while it is being read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "genes.bed.gz"
    ...     _ = path.write_bytes(gzip.compress(b"chr1"))
    ...     with open_text(path, what="a BED file") as handle:
    ...         handle.read()
    b'chr1'
    """
    path = Path(path)
    if path.is_dir() or not path.exists():
        problem = "is a folder" if path.is_dir() else "does not exist"
        msg = f"{path} {problem}: give the path of {what}"
        raise InputError(msg)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as handle:
            start = handle.read(4096)
            _check_is_text(start, path, what)
            handle.seek(3 if start.startswith(b"\xef\xbb\xbf") else 0)
            yield cast("IO[bytes]", handle)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        msg = f"{path} is a truncated or damaged gzip file ({error}): copy or download it again"
        raise InputError(msg) from error
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


def _check_is_text(start: bytes, path: Path, what: str) -> None:
    if not start.strip():
        msg = f"{path} is empty: give {what}"
        raise InputError(msg)
    for magic, kind in _OTHER_KINDS.items():
        if start.startswith(magic):
            msg = f"{path} is not {what} but {kind}"
            raise InputError(msg)
    if b"\x00" in start:
        msg = f"{path} is a binary file: give {what}"
        raise InputError(msg)
