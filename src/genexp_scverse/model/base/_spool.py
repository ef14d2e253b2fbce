"""Records on disk for as long as they are needed."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading

import numpy as np

from genexp_scverse._errors import InputError


class Spool:
    """Arrays of one shape in a temporary file, written once and read in any order.

    The file has no name (on Windows it is deleted on closing), so the system removes it when the process ends,
    however that happens. It lies where :mod:`tempfile` puts files: ``TMPDIR`` chooses the folder. Reading goes past
    memory maps, whose pages would count as memory of the process.

    Parameters
    ----------
    n
        Number of records.
    shape
        Of one record of float32.

    Raises
    ------
    InputError
        When the folder has not enough room.

    Examples
    --------
    >>> spool = Spool(3, (2,))
    >>> spool.write(1, np.array([[1, 2], [3, 4]], np.float32))
    >>> spool.read(np.array([2, 1, 2])).tolist()
    [[3.0, 4.0], [1.0, 2.0], [3.0, 4.0]]
    """

    def __init__(self, n: int, shape: tuple[int, ...]):
        self.shape = shape
        self.record_bytes = 4 * int(np.prod(shape))
        self.folder = tempfile.gettempdir()
        self._needed = n * self.record_bytes
        free = shutil.disk_usage(self.folder).free
        if free < self._needed:
            raise InputError(self._no_room(free))
        # where threads share the place in the file
        self._one_by_one = threading.Lock()
        self._file = tempfile.TemporaryFile(prefix="genexp_", buffering=0)  # noqa: SIM115 - open as long as the spool

    def write(self, first: int, records: np.ndarray) -> None:
        """Write consecutive records from position `first` on."""
        left = np.ascontiguousarray(records, np.float32).reshape(-1).view(np.uint8).data
        try:
            self._file.seek(first * self.record_bytes)
            while len(left):
                left = left[self._file.write(left) :]
        except OSError as error:
            self.close()
            raise InputError(self._no_room(shutil.disk_usage(self.folder).free)) from error

    def read(self, which: np.ndarray) -> np.ndarray:
        """Read the records at positions `which`, in that order; neighbours in the file are read at once."""
        order = np.argsort(which, kind="stable")
        at = which[order]
        found = np.empty((len(at), *self.shape), np.float32)
        raw = found.reshape(-1).view(np.uint8).data
        starts = np.flatnonzero(np.diff(at, prepend=-2) != 1)
        stops = np.append(starts, len(at))[1:]
        runs = list(zip(starts.tolist(), stops.tolist(), at[starts].tolist(), strict=True))
        if hasattr(os, "posix_fadvise"):
            # the disk can work on all of them while the first is awaited
            number, size = self._file.fileno(), self.record_bytes
            for start, stop, first in runs:
                os.posix_fadvise(number, first * size, (stop - start) * size, os.POSIX_FADV_WILLNEED)
        for start, stop, first in runs:
            self._fill(raw[start * self.record_bytes : stop * self.record_bytes], first * self.record_bytes)
        out = np.empty_like(found)
        out[order] = found
        return out

    def close(self) -> None:
        """Remove the file."""
        self._file.close()

    def _fill(self, target: memoryview, at: int) -> None:
        while len(target):
            n = self._read_into(target, at)
            if not n:
                msg = f"the temporary file in {self.folder} was cut short: is the disk full or broken?"
                raise OSError(msg)
            target, at = target[n:], at + n

    def _read_into(self, target: memoryview, at: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._file.fileno(), [target], at)
        with self._one_by_one:
            self._file.seek(at)
            return self._file.readinto(target) or 0

    def _no_room(self, free: int) -> str:
        return (
            f"the signal needs {self._needed / 1e9:.1f} GB of temporary room to be streamed and {self.folder} has "
            f"{free / 1e9:.1f} GB: set TMPDIR to a folder with more"
        )
