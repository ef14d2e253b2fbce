"""Read a contact matrix by hictkpy in a process of its own: a damaged file may end that one, and ends in an error here.

The other process answers one line of JSON for each that it gets, and the arrays of a fetch after it.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from genexp_scverse._errors import InputError


class Contacts(NamedTuple):
    """Bins and counts, as scipy's COO matrix has them."""

    row: np.ndarray
    col: np.ndarray
    data: np.ndarray
    shape: tuple[int, int]


class MatrixFile:
    """A matrix of one resolution that another process has open."""

    def __init__(self, process: subprocess.Popen):
        self._process = process
        self.about: dict[str, Any] = {}
        """resolution, normalizations and chromosomes (name -> length)."""

    def fetch(self, chrom: str, **options: Any) -> Contacts:
        """Fetch the contacts within a chromosome, with the options of hictkpy."""
        answer = self._ask({"chrom": chrom, **options})
        assert self._process.stdout is not None
        arrays = [
            np.load(io.BytesIO(self._process.stdout.read(length)), allow_pickle=False) for length in answer["lengths"]
        ]
        row, col, data = arrays
        return Contacts(row, col, data, tuple(answer["shape"]))

    def stop(self) -> None:
        """End the other process: what is asked of it ends in an error."""
        self._process.kill()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
            self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            msg = f"hictkpy ended while it read the file, with status {self._process.wait()}"
            raise RuntimeError(msg)
        answer = json.loads(line)
        if "input" in answer:
            raise InputError(answer["input"])
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer


@contextlib.contextmanager
def open_matrix(path: str, resolution: int | None) -> Iterator[MatrixFile]:
    """Open a matrix in another process; InputError where the resolution is not there, RuntimeError for damage."""
    command = [sys.executable, "-m", "genexp_scverse.io._hictk_process"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    )
    try:
        file = MatrixFile(process)
        file.about = file._ask({"path": path, "resolution": resolution})
        yield file
    finally:
        process.kill()
        process.communicate()


def _opened(hictkpy: Any, path: str, resolution: int | None) -> Any:
    if hictkpy.is_scool_file(path):
        msg = f"{path} holds matrices of single cells: give one of them, or a .cool of their sum"
        raise InputError(msg)
    if hictkpy.is_cooler(path):
        file = hictkpy.File(path)
        if resolution is not None and file.resolution() != resolution:
            msg = f"{path} has no resolution {resolution}: it has {file.resolution()}"
            raise InputError(msg)
        return file
    if not hictkpy.is_mcool_file(path) and not hictkpy.is_hic(path):
        msg = f"{path} is HDF5 but no .cool or .mcool: give a .cool, .mcool or .hic matrix, or loops in BEDPE"
        raise InputError(msg)
    there = [int(r) for r in hictkpy.MultiResFile(path).resolutions()]
    if resolution is None and len(there) == 1:
        resolution = there[0]
    if resolution not in there:
        said = "has several resolutions" if resolution is None else f"has no resolution {resolution}"
        msg = f"{path} {said}: choose resolution= from {', '.join(map(str, there))}"
        raise InputError(msg)
    return hictkpy.File(path, resolution)


def _answer(file: Any, request: dict[str, Any]) -> tuple[Any, dict[str, Any], list[bytes]]:
    if "path" in request:
        import hictkpy

        file = _opened(hictkpy, request["path"], request["resolution"])
        about = {
            "resolution": int(file.resolution()),
            "normalizations": [str(n) for n in file.avail_normalizations()],
            "chromosomes": {str(c): int(n) for c, n in file.chromosomes().items()},
        }
        return file, about, []
    matrix = file.fetch(request.pop("chrom"), **request).to_coo()
    arrays = []
    for array in (matrix.row, matrix.col, matrix.data):
        buffer = io.BytesIO()
        np.save(buffer, np.asarray(array), allow_pickle=False)
        arrays.append(buffer.getvalue())
    return file, {"shape": list(map(int, matrix.shape)), "lengths": [len(a) for a in arrays]}, arrays


def _serve() -> None:
    import logging

    logging.disable(logging.CRITICAL)
    if sys.platform == "linux":
        # one that reads without end does not outlive the process that asked, however that ends (PR_SET_PDEATHSIG)
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    # what a library prints must not get among the answers
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    file: Any = None
    for line in sys.stdin.buffer:
        arrays: list[bytes] = []
        try:
            file, answer, arrays = _answer(file, json.loads(line))
        except InputError as error:
            answer = {"input": str(error)}
        except Exception as error:  # noqa: BLE001 - to be said by who asked
            answer = {"error": " ".join(f"{error}".split())[:500] or type(error).__name__}
        answers.write(json.dumps(answer).encode() + b"\n")
        for array in arrays:
            answers.write(array)
        answers.flush()


if __name__ == "__main__":
    _serve()
