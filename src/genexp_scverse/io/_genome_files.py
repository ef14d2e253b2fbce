"""The files of a genome store: their names, and arrays (.npy) that are written and checked without being loaded."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from genexp_scverse._errors import InputError
from genexp_scverse._rows import npy_header

MANIFEST, CODES, SIGNAL = "manifest.json", "codes", "signal"
FORMAT, VERSION = "genexp_scverse genome", 1

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")
# Windows takes these for devices, whatever their ending
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def is_safe(name: object) -> bool:
    """Tell whether a name can be that of a file on any system, and leads into no other folder."""
    return isinstance(name, str) and bool(_SAFE.fullmatch(name)) and not _DEVICES.fullmatch(name)


def file_names(chroms: Iterable[str]) -> dict[str, str]:
    """Give every chromosome a file name: its own where that is safe and no other differs from it in case alone.

    Examples
    --------
    >>> file_names(["chr1", "../chr2", "CHR1"])
    {'chr1': 'chr1', '../chr2': 'sequence_2', 'CHR1': 'sequence_3'}
    """
    chroms = list(chroms)
    taken = {c.lower() for c in chroms}
    names: dict[str, str] = {}
    used: set[str] = set()
    for i, chrom in enumerate(chroms):
        name = chrom
        if not is_safe(chrom) or chrom.lower() in used:
            name = f"sequence_{i + 1}"
            while name in taken or name in used:
                name += "_"
        names[chrom] = name
        used.add(name.lower())
    return names


def create_npy(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Make an array of zeros, as a hole where the file system has them, and give the byte at which it begins."""
    with path.open("wb") as file:
        layout = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, layout)
        start = file.tell()
        file.truncate(start + int(np.prod(shape)) * dtype.itemsize)
    return start


def check_npy(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """Give the byte at which the array of a file begins.

    Raises
    ------
    InputError
        When the file is missing, cut short, or holds another array than `shape` and `dtype` say.
    """
    again = "copy the genome store again, or make it with gx.io.write_genome"
    try:
        with path.open("rb") as file:
            found = npy_header(file)
            start, size = file.tell(), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        msg = f"{path} is missing: {again}"
        raise InputError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror or error}): check that you may read it"
        raise InputError(msg) from error
    except ValueError as error:
        msg = f"{path} is damaged ({' '.join(str(error).split())[:100]}): {again}"
        raise InputError(msg) from error
    if found != (shape, False, dtype):
        msg = f"{path} holds {found[2]} of shape {found[0]}, and {dtype} of shape {shape} by the manifest: {again}"
        raise InputError(msg)
    expected = start + int(np.prod(shape)) * dtype.itemsize
    if size != expected:
        msg = f"{path} is cut short or damaged ({size:,} bytes instead of {expected:,}): {again}"
        raise InputError(msg)
    return start
