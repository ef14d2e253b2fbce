"""Scalar features of the DNA around the TSS."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from anndata import AnnData

from genexp_scverse import _axes
from genexp_scverse._errors import InputError
from genexp_scverse.pp._dna_features import COMPOSITION, SEQUENCE, replace_features
from genexp_scverse.schema import BASES, CODES, DNA

if TYPE_CHECKING:
    from mudata import MuData

_MAX_K = 8
_BLOCK = 4_000_000


def sequence_features(mdata: MuData, *, k: int | None = 4, region: tuple[int, int] | None = None) -> None:
    """Count what the DNA of every gene is made of.

    Frequencies are of the strand in ``codes`` (that of the gene where windows are stranded); the two strands
    are not merged. Whatever holds an N is not counted.

    Parameters
    ----------
    mdata
        With ``mdata["dna"].obsm["codes"]``, genes x length, A C G T N = 0 1 2 3 4.
    k
        Length of the k-mers, 1 to 8; None for none.
    region
        First base and the base after the last one, relative to the TSS and in the direction of ``codes``:
        ``(-500, 0)`` are the 500 bases before the TSS. All of the window when None.

    Returns
    -------
    None. Writes

    ``mdata["dna"].X`` : ndarray (genes x features, float32), and ``.var_names``
        ``GC``: fraction of G and C among known bases. ``CpG_oe``: observed over expected CpG,
        (number of CpG x number of known bases) / (number of C x number of G), after Gardiner-Garden &
        Frommer 1987. ``N``: fraction of unknown bases. ``kmer_<letters>``: its share of all k-mers; they add up
        to 1. Each is 0 where its denominator is. Other features in X (not named so) are kept in front.
    ``mdata["dna"].var["group"]`` : Series (str)
        ``sequence`` for these.
    ``mdata["dna"].uns["sequence_features"]`` : dict
        k (0 for none) and the region.

    The modality is replaced by a new one with the same obs, obsm, obsp and uns.

    Raises
    ------
    InputError
        There are no codes, `k` is out of range, or `region` lies outside of the window.

    Examples
    --------
    >>> import numpy as np, anndata, mudata
    >>> import genexp_scverse as gx
    >>> dna = anndata.AnnData(np.zeros((1, 0), np.float32))
    >>> dna.obsm["codes"] = np.array([[1, 2, 1, 2, 0, 4]], np.uint8)  # CGCGAN
    >>> mdata = mudata.MuData({"dna": dna}, axis=0)
    >>> gx.pp.sequence_features(mdata, k=None)
    >>> mdata["dna"].var_names.tolist(), mdata["dna"].X.round(3).astype(float).round(3).tolist()
    (['GC', 'CpG_oe', 'N'], [[0.8, 2.5, 0.167]])
    """
    if DNA not in mdata.mod or CODES not in mdata.mod[DNA].obsm:
        msg = 'there is no DNA (mdata["dna"].obsm["codes"]): build the MuData with fasta=, see gx.io.build_mudata'
        raise InputError(msg)
    if k is not None and not 1 <= k <= _MAX_K:
        msg = f"k={k} is out of range: choose 1 to {_MAX_K}, or None for no k-mers"
        raise InputError(msg)
    dna = mdata.mod[DNA]
    codes = dna.obsm[CODES]
    start, end = _bounds(dna, codes.shape[1], region)
    names = list(COMPOSITION) + ([] if k is None else kmer_names(k))
    features = np.empty((codes.shape[0], len(names)), np.float32)
    step = max(1, min(_BLOCK // (end - start), 4 * _BLOCK // 4 ** (k or 0)))
    for first in range(0, codes.shape[0], step):
        block = np.asarray(codes[first : first + step, start:end])
        features[first : first + step, : len(COMPOSITION)] = _composition(block)
        if k is not None:
            features[first : first + step, len(COMPOSITION) :] = _kmer_shares(block, k)
    replace_features(mdata, names, features, group=SEQUENCE)
    mdata.mod[DNA].uns["sequence_features"] = {
        "k": k or 0,
        "region": np.array([np.nan, np.nan] if region is None else region, float),
    }


def kmer_names(k: int) -> list[str]:
    """Name the features of k-mers in their order, that of the alphabet.

    Parameters
    ----------
    k
        Length.

    Returns
    -------
    4**k names.

    Examples
    --------
    >>> kmer_names(2)[:5]
    ['kmer_AA', 'kmer_AC', 'kmer_AG', 'kmer_AT', 'kmer_CA']
    """
    return [f"kmer_{''.join(letters)}" for letters in product(BASES[:4], repeat=k)]


def _bounds(dna: AnnData, length: int, region: tuple[int, int] | None) -> tuple[int, int]:
    if region is None:
        return 0, length
    if "window" not in dna.uns:
        msg = 'region needs the place of the TSS, and mdata["dna"].uns has no "window": set it, or give no region'
        raise InputError(msg)
    _axes.check_window(dna, CODES)
    upstream = int(dna.uns["window"]["upstream"])
    start, end = upstream + int(region[0]), upstream + int(region[1])
    if not 0 <= start < end <= length:
        msg = (
            f"region {tuple(region)} is no part of the window, which is {-upstream} to {length - upstream} around "
            "the TSS: choose one inside"
        )
        raise InputError(msg)
    return start, end


def _composition(codes: np.ndarray) -> np.ndarray:
    length = codes.shape[1]
    c, g, n = ((codes == base).sum(axis=1).astype(float) for base in (1, 2, 4))
    cpg = ((codes[:, :-1] == 1) & (codes[:, 1:] == 2)).sum(axis=1)
    known = length - n
    return np.column_stack([_share(c + g, known), _share(cpg * known, c * g), n / length])


def _kmer_shares(codes: np.ndarray, k: int) -> np.ndarray:
    n, length = codes.shape
    if length < k:
        return np.zeros((n, 4**k))
    width = length - k + 1
    word = np.zeros((n, width), np.int32)
    known = np.ones((n, width), bool)
    for i in range(k):
        letter = codes[:, i : i + width]
        word = word * 4 + letter
        known &= letter < 4
    word += np.arange(n, dtype=np.int32)[:, None] * 4**k
    counts = np.bincount(word[known], minlength=n * 4**k).reshape(n, 4**k)
    return _share(counts, counts.sum(axis=1, keepdims=True))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.zeros(np.shape(part), float), where=np.broadcast_to(whole > 0, np.shape(part)))
