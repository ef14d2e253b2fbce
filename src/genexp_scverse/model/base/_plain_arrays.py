"""Arrays in a zip archive (``.npz``, ``.skops``), read without trusting it: headers first, and nothing but numbers."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from genexp_scverse._errors import InputError, some
from genexp_scverse._rows import npy_header

_MOST_MEMBERS = 1_000_000


class Expected(NamedTuple):
    """What an array has to be; a length of None is free."""

    shape: tuple[int | None, ...]
    dtype: np.dtype
    needed: bool = True


def regular_file(path: Path, folder: Path) -> Path:
    """Return a file of a saved model; raises where it is missing, no file, or a link that leads out of the folder."""
    if not path.exists():
        msg = f"{path} is missing: the model is incomplete, save it again"
        raise InputError(msg)
    if not path.is_file() or not path.resolve().is_relative_to(folder.resolve()):
        msg = (
            f"{path} is no file of the model's folder but leads elsewhere: copy the folder with what its links lead to "
            "(cp -rL)"
        )
        raise InputError(msg)
    return path


@contextlib.contextmanager
def plain_archive(path: Path) -> Iterator[zipfile.ZipFile]:
    """Open an archive whose members are stored as they are, so that none unpacks to more than the file holds."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED or m.flag_bits & 1]
            if packed or len(members) > _MOST_MEMBERS or len({m.filename for m in members}) < len(members):
                what = f"packs {some(packed)}" if packed else "holds too many files, or two of one name"
                msg = f"it {what}, which model.save does not"
                raise ValueError(msg)
            yield archive
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged archive fails in many ways, none of them ours
        why = " ".join(str(error).split())[:200] or type(error).__name__
        msg = f"{path} does not hold plain arrays ({why}): it is damaged or not from this package, and is not read"
        raise InputError(msg) from None


def read_array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read a member in the format ``.npy``; raises ValueError where it holds objects or is not as long as it says."""
    with archive.open(name) as stream:
        shape, fortran, dtype = _header(stream, name)
        start = stream.tell()
        n = int(np.prod(shape, dtype=object))
        if n * dtype.itemsize != archive.getinfo(name).file_size - start:
            msg = f"{name} declares {n:,} numbers and has other bytes"
            raise ValueError(msg)
        array = np.frombuffer(bytearray(stream.read()), dtype, count=n)
    return array.reshape(shape, order="F" if fortran else "C")


def _header(stream: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        return npy_header(stream)
    except ValueError as error:
        msg = f"{name}: {error}"
        raise ValueError(msg) from error


def read_npz(
    path: Path, expected: Mapping[str, Expected], *, describes: str, read: bool = True
) -> dict[str, np.ndarray]:
    """Read the arrays that are expected and no others, or look at their headers alone.

    Raises
    ------
    InputError
        Before an array is read, when one is missing, too many or of another shape or type than expected; when the file
        is damaged or a value is not finite. `describes` is the file that they have to fit to, for the message.
    """
    with plain_archive(path) as archive:
        there = {name.removesuffix(".npy"): name for name in archive.namelist()}
        wrong = [k for k, e in expected.items() if e.needed and k not in there]
        wrong += [k for k in there if k not in expected]
        for key in set(expected) & set(there):
            with archive.open(there[key]) as stream:
                shape, _, dtype = _header(stream, there[key])
            wanted = expected[key]
            fits = len(shape) == len(wanted.shape) and dtype == wanted.dtype
            if not fits or any(w is not None and w != n for w, n in zip(wanted.shape, shape, strict=True)):
                wrong.append(key)
        if wrong:
            msg = (
                f"the arrays in {path} do not fit the model that {describes} describes ({some(sorted(wrong))}): "
                "load it with the version that saved it, or train it again"
            )
            raise InputError(msg)
        arrays = {key: read_array(archive, there[key]) for key in expected if read and key in there}
    check_finite(arrays, path)
    return arrays


def check_finite(arrays: Mapping[str, np.ndarray], path: Path) -> None:
    """Raise where an array holds NaN or infinite values."""
    wrong = [k for k, a in arrays.items() if a.dtype.kind == "f" and not np.isfinite(a).all()]
    if wrong:
        msg = f"{path} holds values that are no finite numbers ({some(wrong)}): it is damaged, train the model again"
        raise InputError(msg)
