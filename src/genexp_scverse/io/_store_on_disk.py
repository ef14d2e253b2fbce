"""A stored MuData whose large arrays stay in the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr
from anndata.experimental import read_dispatched
from anndata.io import read_elem
from mudata import MuData

from genexp_scverse import schema
from genexp_scverse._compat import nothing_pulled
from genexp_scverse._logging import logger

LARGE = (schema.BINS, schema.CODES)
"""Entries of the ``obsm`` of a modality that stay in the file."""


def stays_on_disk(name: str) -> bool:
    """Tell of an array, by its place in the file, whether it is left there."""
    return name.endswith(tuple(f"/obsm/{key}" for key in LARGE))


def read_on_disk(path: Path) -> MuData:
    """Read everything but bins and codes, which become arrays that read from the file.

    Parameters
    ----------
    path
        ``.h5mu`` file or ``.zarr`` folder that is known to be one.

    Returns
    -------
    The MuData. An array that lies in one piece, as :func:`genexp_scverse.io.write_mudata` writes it to ``.h5mu``, is a
    read-only numpy memmap; a compressed one an h5py dataset; one of zarr a dask array
    (in memory where dask is not installed).
    """
    if path.is_dir():
        return _assembled(zarr.open_group(str(path), mode="r"), _from_zarr)
    # a dataset of h5py needs its file for as long as it is used
    file = h5py.File(path, "r")
    return _assembled(file, lambda dataset: _from_hdf5(dataset, path))


def files_of(mdata: MuData) -> set[Path]:
    """Files and folders in which arrays of a MuData lie, rather than in memory."""
    found = {getattr(holder, "filename", None) for holder in (mdata, *mdata.mod.values())}
    for mod in mdata.mod.values():
        for array in (*mod.obsm.values(), *mod.layers.values(), *(() if mod.isbacked else (mod.X,))):
            if isinstance(array, h5py.Dataset):
                found.add(array.file.filename)
            elif isinstance(array, np.memmap):
                found.add(array.filename)
            elif hasattr(array, "dask"):
                found |= {_folder_of(part) for part in array.dask.values() if isinstance(part, zarr.Array)}
    return {Path(path) for path in found if path is not None}


def _folder_of(array: zarr.Array) -> str | None:
    """Root of the store of a zarr array, which versions 2 and 3 name differently."""
    return getattr(array.store, "root", None) or getattr(array.store, "path", None)


def _assembled(store: Any, large: Callable[[Any], Any]) -> MuData:
    def kept(func, name: str, element, iospec):
        if hasattr(element, "shape") and stays_on_disk(name):
            return large(element)
        return func(element)

    order = store["mod"].attrs.get("mod-order")
    names = list(store["mod"].keys()) if order is None else [str(n) for n in order]
    mods = {name: read_dispatched(store["mod"][name], kept) for name in names}
    obs = read_elem(store["obs"])
    with nothing_pulled():
        mdata = MuData(mods, axis=0)
        if not mdata.obs_names.equals(obs.index):
            msg = "obs does not list the genes of the modalities in their order"
            raise ValueError(msg)
        for column in obs.columns:
            mdata.obs[column] = obs[column].array
    for slot in ("obsm", "obsp", "uns"):
        for key in list(store[slot]) if slot in store else []:
            if slot != "obsm" or key not in mods:
                getattr(mdata, slot)[key] = read_elem(store[slot][key])
    return mdata


def _from_hdf5(dataset: h5py.Dataset, path: Path) -> Any:
    offset = dataset.id.get_offset()
    if offset is None or not dataset.size:
        return dataset if dataset.size else dataset[...]
    return np.memmap(path, dtype=dataset.dtype, mode="r", offset=offset, shape=dataset.shape)


def _from_zarr(array: Any) -> Any:
    try:
        import dask.array as da
    except ImportError:
        logger.warning("Arrays of a .zarr stay on disk with dask alone, which is not installed: read into memory")
        return array[...]
    return da.from_zarr(array)
