"""MuData on disk: whole or not at all, and without running what a file may carry."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from pathlib import Path

import mudata
from mudata import MuData

from genexp_scverse import schema
from genexp_scverse._errors import InputError

_SUFFIXES = (".h5mu", ".zarr")
_HDF5 = b"\x89HDF\r\n\x1a\n"


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
        would be replaced.

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
    path.parent.mkdir(parents=True, exist_ok=True)
    # scvi-tools' registration holds for the object in memory alone
    registration = {k: mdata.uns.pop(k) for k in list(mdata.uns) if str(k).startswith("_scvi")}
    folder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    beside = folder / path.name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.suffix == ".h5mu":
                mdata.write_h5mu(beside)
            else:
                mdata.write_zarr(beside)
        if path.is_dir():
            path.rename(folder / "before")
        beside.replace(path)
    except OSError as error:
        msg = f"{path} could not be written ({error}): nothing was changed there"
        raise InputError(msg) from None
    finally:
        mdata.uns.update(registration)
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
        msg = f"{path} must end in .h5mu or .zarr"
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


def read_mudata(path: str | Path) -> MuData:
    """Read a gene-centric MuData that :func:`write_mudata` or mudata wrote, and check it.

    Parameters
    ----------
    path
        ``.h5mu`` file or ``.zarr`` folder.

    Returns
    -------
    The MuData.

    Raises
    ------
    InputError
        When the file is missing, damaged, of another kind, not gene-centric, or carries pickled objects.

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
        _refuse_pickle(path)
    else:
        with path.open("rb") as handle:
            if handle.read(8) != _HDF5:
                msg = f"{path} is not an .h5mu file (no HDF5 signature): make it with `genexp build`"
                raise InputError(msg)
    try:
        with mudata.set_options(pull_on_update=False), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mdata = mudata.read_zarr(path) if path.is_dir() else mudata.read_h5mu(path)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        msg = f"{path} cannot be read as a MuData ({type(error).__name__}: {error}): it is damaged or of another kind"
        raise InputError(msg) from error
    schema.validate(mdata)
    return mdata


def _is_zarr(path: Path) -> bool:
    return any((path / name).is_file() for name in (".zgroup", "zarr.json"))


def _refuse_pickle(store: Path) -> None:
    for pattern in (".zarray", "zarr.json", ".zmetadata"):
        for meta in store.rglob(pattern):
            if b"pickle" in meta.read_bytes():
                msg = f"{meta} asks for pickled objects, which could run code: the store is not read"
                raise InputError(msg)
