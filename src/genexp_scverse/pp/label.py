"""Classes of genes: high or low, by the median of the training genes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.pp.split import training_rows
from genexp_scverse.schema import LABEL, LOG, RNA

if TYPE_CHECKING:
    from mudata import MuData


def label(mdata: MuData, *, modality: str = RNA) -> None:
    """Call a gene high (1) where its level is above the median of the training genes, else low (0).

    Per sample, on the log layer. Samples of the unit ``label`` keep the classes they came with.

    Parameters
    ----------
    mdata
        With ``obs["split"]`` and expression.
    modality
        The modality with expression.

    Returns
    -------
    None. Writes

    ``mdata["rna"].layers["label"]`` : ndarray (genes x samples, float32)
        1, 0, or NaN where expression was not measured.
    ``mdata["rna"].var["label_threshold"]`` : Series (float64)
        The median, on the scale of the log layer; NaN for samples of the unit ``label``.

    Raises
    ------
    InputError
        There is no such modality, no split, or a sample without a measured training gene.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(
    ...     np.ones((4, 1, 1)), genes=list("abcd"), marks=["H3K4me3"], expression=[1, 2, 6, 3], unit="log"
    ... )
    >>> mdata.obs["split"] = ["train", "train", "train", "test"]
    >>> gx.pp.label(mdata)
    >>> mdata["rna"].layers["label"].ravel().tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    if modality not in mdata.mod:
        msg = f'there is no modality "{modality}" with expression: the MuData has {some(mdata.mod.keys())}'
        raise InputError(msg)
    rna = mdata.mod[modality]
    given = (rna.var["unit"].astype(str) == "label").to_numpy(bool)
    thresholds = np.full(rna.n_vars, np.nan)
    classes = np.full(rna.shape, np.nan, np.float32)
    if LABEL in rna.layers:
        classes[:, given] = np.asarray(rna.layers[LABEL])[:, given]
    if not given.all():
        log = np.asarray(rna.layers[LOG])[:, ~given]
        thresholds[~given] = median_of_training(log, training_rows(mdata), rna.var_names[~given])
        classes[:, ~given] = np.where(np.isnan(log), np.nan, log > thresholds[~given])
    if given.any():
        logger.info("%s came with labels, which are kept", some(rna.var_names[given]))
    rna.layers[LABEL] = classes
    rna.var["label_threshold"] = thresholds


def median_of_training(log: np.ndarray, rows: np.ndarray, samples) -> np.ndarray:
    """Give the median level of the training genes, the threshold between low and high.

    Parameters
    ----------
    log
        Genes x samples, NaN where not measured.
    rows
        Positions of the training genes.
    samples
        Names of the samples, for messages.

    Returns
    -------
    One threshold per sample, float64.

    Raises
    ------
    InputError
        A sample has no measured training gene.

    Examples
    --------
    >>> median_of_training(np.array([[1.0], [4.0], [np.nan], [9.0]]), np.array([0, 1, 2]), ["K562"]).tolist()
    [2.5]
    """
    training = np.asarray(log, np.float64)[rows]
    unmeasured = np.isnan(training).all(axis=0)
    if unmeasured.any():
        named = [s for s, none in zip(samples, unmeasured, strict=True) if none]
        msg = (
            f"no training gene of sample {some(named)} was measured, so there is no median: leave the sample "
            "out or choose another split"
        )
        raise InputError(msg)
    return np.nanmedian(training, axis=0)
