"""MuData on disk: whole or not at all, and without running what a file may carry."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import h5py
import mudata
from anndata._io.specs.registry import IORegistryError
from mudata import MuData

from genexp_scverse import schema
from genexp_scverse._compat import nothing_pulled
from genexp_scverse._errors import InputError
from genexp_scverse._logging import logger
from genexp_scverse._output import check_place, recover, written
from genexp_scverse.io._store_content import as_written, check_content, not_writable
from genexp_scverse.io._store_on_disk import read_on_disk, stays_on_disk
from genexp_scverse.io._untrusted import UNREADABLE, check_hdf5, check_zarr, plain_codecs_only
from genexp_scverse.io.ids import check_names

_SUFFIXES = (".h5mu", ".zarr")


def write_mudata(mdata: MuData, path: str | Path) -> None:
    """Write a MuData to ``.h5mu`` or ``.zarr``; what was there before stays until the new one is complete.

    Parameters
    ----------
    mdata
        What to write.
    path
        File ending in ``.h5mu``, or folder ending in ``.zarr``; an older one is replaced, also the one in which
        arrays of `mdata` lie.

    Raises
    ------
    InputError
        When the ending is another one, the folder cannot be written to, or a folder that is no zarr store
        would be replaced; when a key holds a slash, or an object is there that no file can keep.

    Examples
    --------
    >>> import numpy as np, tempfile, genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((3, 2, 4)), genes=["a", "b", "c"], marks=["H3K4me3", "H3K27me3"])
    >>> path = tempfile.mkdtemp() + "/small.h5mu"
    >>> gx.io.write_mudata(mdata, path)
    >>> gx.io.read_mudata(path)["chromatin"].obsm["bins"].shape
    (3, 2, 4)
    """
    path = Path(path)
    check_output(path)
    check_content(mdata)
    try:
        with written(path) as made, as_written(mdata), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix == ".h5mu":
                with _Sink(made) as file:
                    mdata.write_h5mu(file)
            else:
                mdata.write_zarr(made)
    except (TypeError, AttributeError, IORegistryError, ValueError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        what = not_writable(mdata) or _one_line(" ".join([str(error), *getattr(error, "__notes__", [])]))
        msg = f"{path} could not be written ({what}): turn it into text, numbers or a table, or take it out"
        raise InputError(msg) from error


def check_output(path: str | Path) -> None:
    """Raise when a MuData cannot be written to `path`; meant to be asked before long work.

    Parameters
    ----------
    path
        As for :func:`write_mudata`.

    Raises
    ------
    InputError
        As for :func:`write_mudata`.

    Examples
    --------
    >>> check_output("out.h5mu")
    """
    path = Path(path)
    if path.suffix not in _SUFFIXES:
        msg = f"{path} has the ending {path.suffix!r}: the name must end in .h5mu or .zarr"
        raise InputError(msg)
    if path.suffix == ".zarr" and path.exists() and not _is_zarr(path):
        msg = f"{path} exists and is no zarr store, so it is not replaced: choose another name"
        raise InputError(msg)
    if path.suffix == ".h5mu" and path.is_dir():
        msg = f"{path} is a folder: choose another name"
        raise InputError(msg)
    check_place(path)


def read_mudata(path: str | Path, *, on_disk: bool = False) -> MuData:
    """Read a gene-centric MuData that :func:`write_mudata` or mudata wrote, and check it.

    Parameters
    ----------
    path
        ``.h5mu`` file or ``.zarr`` folder.
    on_disk
        Leave ``obsm["bins"]`` and ``obsm["codes"]`` in the file, which must stay where it is: models read from there
        what they need. The arrays cannot be changed; of an ``.h5mu`` they are memmaps (h5py datasets where they are
        compressed), of a ``.zarr`` dask arrays, if dask is installed.

    Returns
    -------
    The MuData.

    Raises
    ------
    InputError
        When the file is missing, damaged, of another kind or not gene-centric; when it holds what could run code or
        leads to other files (codecs and filters that are not plain, links, external and virtual datasets), or declares
        arrays that are far larger than what it stores or than the memory.

    Examples
    --------
    See :func:`write_mudata`.
    """
    path = Path(path)
    recover(path)
    if not path.exists():
        msg = f"{path} does not exist: make it with gx.io.build_mudata or `genexp build`"
        raise InputError(msg)
    if path.is_dir():
        if not _is_zarr(path):
            msg = f"{path} is a folder and no zarr store: give the .h5mu file or the .zarr folder"
            raise InputError(msg)
    else:
        # mudata writes a text of its own in front, so the signature stands at byte 512
        if not h5py.is_hdf5(path):
            msg = f"{path} is not an .h5mu file (no HDF5 signature): make it with `genexp build`"
            raise InputError(msg)
    try:
        # what stays on disk need not fit into memory
        check = check_zarr if path.is_dir() else check_hdf5
        check(path, in_memory=lambda name: not (on_disk and stays_on_disk(name)))
        with nothing_pulled(), plain_codecs_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if on_disk:
                mdata = read_on_disk(path)
            else:
                mdata = mudata.read_zarr(path) if path.is_dir() else mudata.read_h5mu(path)
        if str(mdata.uns.get("schema_version")) == "1":
            schema.name_axes(mdata)
            mdata.uns["schema_version"] = schema.SCHEMA_VERSION
            logger.info("%s is of schema version 1: its tracks are taken in the order in which it lists them", path)
    except InputError:
        raise
    except (*UNREADABLE, IORegistryError) as error:
        msg = (
            f"{path} cannot be read as a MuData ({type(error).__name__}: {_one_line(error)}): it is damaged, cut short "
            "or of another kind; copy it again, or make it with `genexp build`"
        )
        raise InputError(msg) from error
    if not mdata.mod:
        msg = f"{path} holds no modality, so it is no gene-centric MuData: make it with `genexp build`"
        raise InputError(msg)
    try:
        schema.validate(mdata)
        check_names(mdata.obs_names, "gene id", "obs")
        for name, modality in mdata.mod.items():
            for column in {"sample", "mark"} & set(modality.var):
                check_names(modality.var[column], column, f'modality "{name}"')
    except InputError as error:
        msg = f"{path} is not a gene-centric MuData: {error}"
        raise InputError(msg) from error
    # mudata 0.4 keeps the number as h5py gives it, and cannot write that to zarr
    mdata._axis = int(mdata._axis)
    return mdata


class _Sink(io.FileIO):
    """A file for HDF5 that never fails on its side, and raises at the end what the system has said first.

    HDF5 cannot close a file whose writes fail, and later ends the process.
    """

    def __init__(self, path: Path):
        super().__init__(path, "w+")
        self.path = path
        self.fault: OSError | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        size = len(left)
        try:
            while len(left) and self.fault is None:
                left = left[super().write(left) :]
        except OSError as error:
            self.fault = error
        return size

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.fault = self.fault or error
            return size or 0

    def readinto(self, buffer: Any) -> int | None:
        if self.fault is not None:
            raise self.fault
        return super().readinto(buffer)

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)  # type: ignore[arg-type]
        if self.fault is not None:
            raise self.fault


def _one_line(error: BaseException | str) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in (".zgroup", "zarr.json"))
