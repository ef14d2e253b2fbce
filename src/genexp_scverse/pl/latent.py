"""What a latent keeps of the signal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.patches import Rectangle

from genexp_scverse._errors import InputError, some
from genexp_scverse.pl import _stored, _style
from genexp_scverse.pp.scaler import SignalScaler
from genexp_scverse.schema import CHROMATIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from mudata import MuData


def reconstruction(
    mdata: MuData,
    gene: str | None = None,
    *,
    key: str = "simplechrome_reconstruction",
    split: str | None = None,
    vmax_quantile: float = 0.99,
    ax: Axes | None = None,
) -> Axes:
    """Draw signal as it was observed, and beside it what an autoencoder makes of its latent.

    Reads ``mdata["chromatin"].obsm[key]`` (genes x marks x bins) and ``uns[key]``, as
    ``model.reconstruct(key_added=key)`` stores them, and ``obsm["bins"]`` of the same tracks, in the same units.

    Parameters
    ----------
    mdata
        Gene-centric MuData with a stored reconstruction.
    gene
        Id of one gene; without it the mean over genes is drawn.
    key
        Where the reconstruction is.
    split
        Genes to take the mean of: ``train``, ``valid``, ``test``, or None for all that were reconstructed.
    vmax_quantile
        Quantile of the drawn values at which the colour scale ends.
    ax
        Axes to draw into; a new figure without it.

    Returns
    -------
    The axes; its image holds marks x (bins observed, a gap, bins reconstructed).

    Raises
    ------
    InputError
        When there is no reconstruction, or none of these genes.

    Examples
    --------
    >>> import numpy as np
    >>> import genexp_scverse as gx
    >>> mdata = gx.io.from_bins(np.ones((2, 1, 3)), genes=["a", "b"], marks=["H3K4me3"], sample="K562")
    >>> mdata["chromatin"].obsm["again"] = np.full((2, 1, 3), 0.5)
    >>> mdata["chromatin"].uns["again"] = {"sample": "K562", "marks": ["H3K4me3"], "units": "file"}
    >>> gx.schema.name_axes(mdata, "again")
    >>> ax = gx.pl.reconstruction(mdata, "b", key="again")
    >>> ax.get_images()[0].get_array().tolist()
    [[1.0, 1.0, 1.0, None, 0.5, 0.5, 0.5]]
    """
    observed, again, marks, said, n = _both(mdata, gene, key, split)
    n_marks, n_bins = again.shape
    gap = max(1, round(0.12 * n_bins))
    step = n_bins + gap
    wide = np.full((n_marks, step + n_bins), np.nan)
    wide[:, :n_bins], wide[:, step:] = observed, again

    ax = _style.axes(ax, (7.0, 1.9 + 0.3 * n_marks))
    ax.spines[["left", "bottom"]].set_visible(False)
    known = np.abs(wide[~np.isnan(wide)])
    top = float(np.quantile(known, vmax_quantile)) or float(known.max()) or 1.0
    signed = bool(np.nanmin(observed) < 0)
    image = ax.imshow(
        np.ma.masked_invalid(wide),
        aspect="auto",
        cmap="RdBu_r" if signed else "Blues",
        vmin=-top if signed else 0,
        vmax=top,
        interpolation="nearest",
    )
    for block, name in enumerate(("observed", "reconstructed")):
        frame: dict[str, Any] = {"fill": False, "edgecolor": _style.GREY, "linewidth": 0.8, "clip_on": False}
        ax.add_patch(Rectangle((block * step - 0.5, -0.5), n_bins, n_marks, **frame))
        ax.text(block * step + n_bins / 2 - 0.5, -0.62, name, ha="center", va="bottom")
    ax.set_yticks(range(n_marks), marks)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(_style.label_blocks(ax, mdata[CHROMATIN].uns, 2, n_bins, step), fontsize=_style.SMALL)
    sample = str(said["sample"])
    ax.set_title(
        f"{_name(mdata, gene)}, {sample}" if gene else _style.where(sample, split, n), pad=18, fontsize="medium"
    )
    _style.colorbar(ax, image, _units(mdata, said), extend="max" if known.max() > top else "neither")
    return ax


def _both(mdata: MuData, gene: str | None, key: str, split: str | None):
    """Observed and reconstructed marks x bins, in the same units; marks; what is said of them; number of genes."""
    chromatin = _stored.modality(mdata, CHROMATIN)
    if key not in chromatin.obsm or not {"sample", "marks", "units"} <= set(chromatin.uns.get(key, {})):
        msg = (
            f'mdata["chromatin"] holds no reconstruction {key!r} (obsm has {some(chromatin.obsm, 6)}): '
            f'make it with model.reconstruct(key_added="{key}")'
        )
        raise InputError(msg)
    said: Mapping[str, Any] = chromatin.uns[key]
    marks, sample = [str(m) for m in np.asarray(said["marks"]).tolist()], str(said["sample"])
    again = np.asarray(_stored.by_mark(chromatin, key, sample, marks))
    if gene is not None:
        if gene not in mdata.obs_names:
            msg = f"the MuData has no gene {gene!r}: genes are named as in mdata.obs_names"
            raise InputError(msg)
        rows = np.array([mdata.obs_names.get_loc(gene)])
    else:
        rows = _stored.genes_of(mdata, split)
    rows = rows[~np.isnan(again[rows]).all(axis=(1, 2))]
    if not len(rows):
        what = f"gene {gene!r}" if gene is not None else _stored.split_words(split)
        msg = f"nothing of {what} was reconstructed: run model.reconstruct(key_added={key!r}) for all genes"
        raise InputError(msg)
    var = chromatin.var
    at = {(str(s), str(m)): i for i, (s, m) in enumerate(zip(var["sample"], var["mark"], strict=True))}
    tracks = [at.get((sample, m)) for m in marks]
    observed = np.full((len(rows), *again.shape[1:]), np.nan)
    for i, track in enumerate(tracks):
        # a mark that the sample lacks is reconstructed, and was not observed
        if track is not None:
            observed[:, i] = _stored.track_values(mdata, track, rows)
    if str(said["units"]) == "scaled":
        there = [i for i, track in enumerate(tracks) if track is not None]
        observed[:, there] = _scaler(said).transform(
            observed[:, there],
            [str(var["scale"].iloc[tracks[i]]) for i in there],
            [marks[i] for i in there],
            samples=[sample] * len(there),
        )
    return _mean(observed), again[rows].mean(axis=0), marks, said, len(rows)


def _mean(values: np.ndarray) -> np.ndarray:
    known = ~np.isnan(values)
    count = known.sum(axis=0)
    return np.divide(np.where(known, values, 0).sum(axis=0), count, out=np.full(count.shape, np.nan), where=count > 0)


def _scaler(said: Mapping[str, Any]) -> SignalScaler:
    return SignalScaler.from_dict(said["scaler"])


def _name(mdata: MuData, gene: str) -> str:
    if "gene_name" not in mdata.obs:
        return gene
    name = str(mdata.obs["gene_name"].loc[gene])
    return name if name and name != "nan" else gene


def _units(mdata: MuData, said: Mapping[str, Any]) -> str:
    if str(said["units"]) == "scaled":
        return "Signal (SD of the mark)"
    scales = set(mdata[CHROMATIN].var["scale"].astype(str))
    words = _style.SCALE_WORDS.get(scales.pop(), "signal") if len(scales) == 1 else "signal"
    return words[0].upper() + words[1:]
