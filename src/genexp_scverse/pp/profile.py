"""The mean signal along the window."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genexp_scverse import _axes
from genexp_scverse._rows import blocks_of
from genexp_scverse.pp.split import training_rows
from genexp_scverse.schema import BINS, CHROMATIN

if TYPE_CHECKING:
    from mudata import MuData


def mean_profile(mdata: MuData, *, key: str = BINS, key_added: str = "profile") -> None:
    """Average every track over the training genes, bin by bin.

    Parameters
    ----------
    mdata
        With ``obs["split"]``.
    key
        Entry of ``mdata["chromatin"].obsm`` to read, genes x tracks x bins.
    key_added
        Entry of ``varm`` to write.

    Returns
    -------
    None. Writes

    ``mdata["chromatin"].varm[key_added]`` : ndarray (tracks x bins, float32)
        Mean over the training genes that are covered there, NaN where none is.

    Raises
    ------
    InputError
        There is no split, no training gene, or no entry `key`.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> bins = np.array([[[0, 2]], [[4, 4]], [[9, 9]]])
    >>> mdata = gx.io.from_bins(bins, genes=["a", "b", "c"], marks=["H3K4me3"])
    >>> mdata.obs["split"] = ["train", "train", "test"]
    >>> gx.pp.mean_profile(mdata)
    >>> mdata["chromatin"].varm["profile"].tolist()
    [[2.0, 3.0]]
    """
    chromatin = mdata.mod[CHROMATIN]
    bins = _axes.get(chromatin, key)
    total, n = np.zeros(bins.shape[1:]), np.zeros(bins.shape[1:])
    for _, x in blocks_of(bins, np.sort(training_rows(mdata))):
        covered = ~np.isnan(x)
        n += covered.sum(axis=0)
        total += np.where(covered, x, 0).sum(axis=0, dtype=np.float64)
    chromatin.varm[key_added] = np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0).astype(np.float32)
