"""The mask of a trained Seq2Exp."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from genexp_scverse import _axes
from genexp_scverse._errors import InputError
from genexp_scverse._scores import ALWAYS_OPEN, drop_scores
from genexp_scverse.model.base import TorchGeneModel
from genexp_scverse.model.base._selection import chosen_samples
from genexp_scverse.model.base._tables import flips
from genexp_scverse.model.seq2exp._module import Seq2ExpModule

if TYPE_CHECKING:
    from mudata import MuData


class Mask(NamedTuple):
    """Mask of every gene, genes x positions, float32, in the order in which the window is read."""

    mean: np.ndarray
    """Mean of the Beta distribution; 1 at the positions that are always open."""
    std: np.ndarray
    """Its standard deviation."""

    @property
    def fraction(self) -> float:
        """Mean of the mask over all positions of all genes."""
        return float(self.mean.mean())


class MaskOutputs(TorchGeneModel):
    """The part of :class:`Seq2ExpModel` that reads the mask out."""

    module: Seq2ExpModule

    def get_mask(
        self,
        mdata: MuData | None = None,
        *,
        samples: Sequence[str] | str | None = None,
        key_added: str | None = "seq2exp_mask",
    ) -> Mask | dict[str, Mask]:
        """Return the mask of every gene, measured or not.

        Parameters
        ----------
        mdata
            Another MuData; by default the model's own.
        samples
            Samples; by default all of the model. Without tracks the mask is that of the DNA, the same for all.
        key_added
            Also write the mean to ``obsm[key_added]`` and the standard deviation to ``obsm[f"{key_added}_std"]`` of
            the modality chromatin (dna where there is none), of several samples with ``_<sample>`` at the end, and the
            window to ``uns[key_added]``: upstream, downstream and bin_size in bases, stranded, samples, and
            always_open, the first position around the TSS that is open in every gene and one past the last. None to
            write nothing.

        Returns
        -------
        ``mean`` and ``std``, genes x positions; of several samples a dictionary by sample.

        Raises
        ------
        InputError
            When the model is untrained, has no mask, or `mdata` does not fit it.

        Examples
        --------
        See :class:`Seq2ExpModel`; ``gx.tl.call_elements(model, mdata)`` makes intervals of it.
        """
        self._need_trained()
        if self.module.mask is None:
            msg = 'the model was made with mask="none": there is no mask to give'
            raise InputError(msg)
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        tables = self._tables(mdata, names)
        genes, turned = np.arange(mdata.n_obs), self._turned(mdata)
        found = {}
        for j, sample in enumerate(names):
            pairs = np.stack([genes, np.full(len(genes), j)], axis=1)
            out = self._forward(tables, pairs, ("mask_mean", "mask_std"))
            if turned is not None:
                for of in out.values():
                    of[turned] = of[turned, ::-1]
            found[sample] = Mask(out["mask_mean"], out["mask_std"])
        if key_added is not None:
            self._store(mdata, found, key_added)
        return found if len(names) > 1 else found[names[0]]

    def _turned(self, mdata: MuData) -> np.ndarray | None:
        """Say which genes the network reads in the other direction than their windows are stored in."""
        window = self.setup_["codes"] or (self.setup_["window"] if self.setup_["marks"] else None)
        return flips(mdata, window, bool(self.hyperparameters_["stranded"]))

    def _store(self, mdata: MuData, found: dict[str, Mask], key: str) -> None:
        holder = self._holder(mdata)
        drop_scores(mdata, key)
        places = self.module.geometry
        window = {
            "upstream": places.upstream,
            "downstream": places.downstream,
            "bin_size": places.resolution,
            "stranded": places.stranded,
        }
        for sample, mask in found.items():
            end = f"_{sample}" if len(found) > 1 else ""
            _axes.put(holder, f"{key}{end}", mask.mean, window=window, of=sample)
            _axes.put(holder, f"{key}_std{end}", mask.std, window=window, of=sample)
        holder.uns[key] = {**window, "samples": list(found), ALWAYS_OPEN: [places.first_open, places.last_open]}
