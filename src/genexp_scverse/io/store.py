"""MuData on disk: whole or not at all, and without running what a file may carry."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import h5py
import mudata
from anndata._io.specs.registry import IORegistryError
from mudata import MuData

from genexp_scverse import schema
from genexp_scverse._compat import nothing_pulled
from genexp_scverse._errors import InputError
from genexp_scverse.io._store_content import as_written, check_content, not_writable
from genexp_scverse.io._store_on_disk import read_on_disk, stays_on_disk
from genexp_scverse.io._untrusted import UNREADABLE, check_hdf5, check_zarr, plain_codecs_only

_SUFFIXES = (".h5mu", ".zarr")


def write_mudata(mdata: MuData, path: str | Path) -> None:
    """Write a MuData to ``.h5mu`` or ``.zarr``; what was there before stays until the new one is complete.

    Parameters
    ----------
    mdata
        What to write.
    path
        File ending in ``.h5mu``, or folder ending in ``.zarr``; an older one is replaced.

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
    folder: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
        beside = folder / path.name
        with as_written(mdata), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix == ".h5mu":
                mdata.write_h5mu(beside)
            else:
                mdata.write_zarr(beside)
        put_in_place(beside, path, folder)
    except (OSError, RuntimeError) as error:
        # h5py closes a file on a full disk with a RuntimeError, which hides the OSError of the write
        if not (isinstance(error, OSError) or isinstance(error.__context__, OSError)):
            raise
        msg = f"{path} could not be written ({_one_line(error)}): nothing was changed there"
        raise InputError(msg) from error
    except (TypeError, AttributeError, IORegistryError, ValueError, NotImplementedError) as error:
        if isinstance(error, InputError):
            raise
        what = not_writable(mdata) or _one_line(" ".join([str(error), *getattr(error, "__notes__", [])]))
        msg = f"{path} could not be written ({what}): turn it into text, numbers or a table, or take it out"
        raise InputError(msg) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


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
    there = next(p for p in path.resolve().parents if p.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        msg = f"{there} cannot be written to: choose another place for {path.name}"
        raise InputError(msg)


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
    except InputError:
        raise
    except UNREADABLE as error:
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
    except InputError as error:
        msg = f"{path} is not a gene-centric MuData: {error}"
        raise InputError(msg) from error
    # mudata 0.4 keeps the number as h5py gives it, and cannot write that to zarr
    mdata._axis = int(mdata._axis)
    return mdata


def put_in_place(beside: Path, path: Path, folder: Path) -> None:
    """Replace at once; a folder that is there cannot be, so it steps aside and comes back if that fails."""
    before = folder / "before"
    if path.is_dir():
        path.rename(before)
    try:
        beside.replace(path)
    except OSError:
        if before.exists():
            before.rename(path)
        raise


def _one_line(error: BaseException | str) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:197]}..."


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in (".zgroup", "zarr.json"))
