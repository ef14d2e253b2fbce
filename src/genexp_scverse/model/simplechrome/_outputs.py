"""What a trained SimpleChrome gives besides predictions: latents, reconstructions, draws, weights of neighbours."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.sparse import csr_matrix

from genexp_scverse import _axes, schema
from genexp_scverse._errors import InputError
from genexp_scverse.model.base import TorchGeneModel
from genexp_scverse.model.base._registration import track_positions
from genexp_scverse.model.base._selection import chosen_rows, chosen_samples
from genexp_scverse.model.base._tables import GeneTables
from genexp_scverse.model.simplechrome._context import ContextTables, encoded
from genexp_scverse.model.simplechrome._module import SimpleChromeModule
from genexp_scverse.model.simplechrome._units import in_units_of_the_files
from genexp_scverse.pp.scaler import SignalScaler

if TYPE_CHECKING:
    from mudata import MuData

UNITS = ("scaled", "file")


class LatentOutputs(TorchGeneModel):
    """The part of :class:`SimpleChromeVAE` that reads a trained network out."""

    module: SimpleChromeModule

    def get_latent_representation(  # type: ignore[override]
        self,
        mdata: MuData | None = None,
        *,
        samples: Sequence[str] | str | None = None,
        key_added: str | None = "X_simplechrome",
    ) -> np.ndarray | dict[str, np.ndarray]:
        """Return the posterior mean of every gene, measured or not.

        Parameters
        ----------
        mdata
            Another MuData; by default the model's own.
        samples
            Samples; by default all of the model.
        key_added
            Also write it to ``obsm[key_added]`` of the modality chromatin, of several samples to
            ``obsm[f"{key_added}_{sample}"]``; None to write nothing.

        Returns
        -------
        Genes x units, float32; of several samples a dictionary by sample.

        Raises
        ------
        InputError
            When the model is untrained or `mdata` does not fit it.

        Examples
        --------
        >>> import numpy as np, genexp_scverse as gx
        >>> x = np.random.default_rng(0).random((60, 2, 20))
        >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K4me3", "H3K27me3"],
        ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
        >>> gx.pp.split_at_random(mdata)
        >>> model = gx.model.SimpleChromeVAE(mdata, n_latent=4)
        >>> model.train(1, enable_progress_bar=False)
        >>> latent = model.get_latent_representation()
        >>> mdata["chromatin"].obsm["X_simplechrome"].shape
        (60, 4)
        """
        self._need_trained()
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        tables = self._single(mdata, names)
        found = {}
        for j, sample in enumerate(names):
            pairs = np.stack([np.arange(mdata.n_obs), np.full(mdata.n_obs, j)], axis=1)
            found[sample] = encoded(self.module.autoencoder, tables, pairs).float().cpu().numpy()
        if key_added is not None:
            obsm = self._chromatin(mdata).obsm
            for sample, latent in found.items():
                obsm[_key(key_added, sample, names)] = latent
        return found if len(names) > 1 else found[names[0]]

    def reconstruct(
        self,
        mdata: MuData | None = None,
        *,
        samples: str | None = None,
        split: str | None = None,
        indices: Sequence[int] | Sequence[str] | int | None = None,
        units: str = "scaled",
        key_added: str | None = None,
    ) -> np.ndarray:
        """Return the signal that the decoder makes of the posterior mean.

        Bins are in the order of ``obsm["bins"]``, whatever direction the network reads them in.

        Parameters
        ----------
        mdata
            Another MuData; by default the model's own.
        samples
            The sample; needed when there are several.
        split, indices
            Genes, as for :meth:`predict`; by default all.
        units
            ``scaled``: as the network reads signal, transformed and divided by the standard deviation of the mark;
            ``file``: what the files hold. Of a likelihood of counts the latter is the expected count; of the others
            it is the expected scaled signal turned back, which lies below the expected signal.
        key_added
            Also write it to ``obsm[key_added]`` of the modality chromatin, NaN for genes not asked for, and
            to ``uns[key_added]`` the sample, the marks and the units, for :func:`genexp_scverse.pl.reconstruction`.

        Returns
        -------
        Genes x marks x bins, float32.

        Raises
        ------
        InputError
            When several samples are possible and none is named, or the transform cannot be turned back.

        Examples
        --------
        ``model.reconstruct(split="test", units="file").shape`` is (test genes, marks, bins).
        """
        self._need_trained()
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        if len(names) != 1:
            msg = f"name one sample of {', '.join(names)}: reconstruct(samples={names[0]!r})"
            raise InputError(msg)
        rows = chosen_rows(mdata, self.setup_, split, indices)
        tables = self._single(mdata, names)
        pairs = np.stack([rows, np.zeros(len(rows), int)], axis=1)
        signal = self._decoded(encoded(self.module.autoencoder, tables, pairs))
        signal = self._in_units(signal, units)
        assert tables.signal is not None
        if tables.signal.flip is not None:
            reverse = tables.signal.flip[rows]
            signal[reverse] = signal[reverse, :, ::-1]
        if key_added is not None:
            chromatin = self._chromatin(mdata)
            if key_added == schema.BINS:
                msg = f'key_added="{schema.BINS}" would overwrite the signal: choose another name'
                raise InputError(msg)
            whole = np.full((mdata.n_obs, *signal.shape[1:]), np.nan, np.float32)
            whole[rows] = signal
            tracks = track_positions(chromatin, names, self.setup_["marks"], masked=True)[0]
            about = {"names": self.setup_["marks"], "window": self.setup_["window"], "of": names[0]}
            _axes.put(chromatin, key_added, whole, tracks=tracks, **about)
            chromatin.uns[key_added] = {
                "sample": names[0],
                "marks": list(self.setup_["marks"]),
                "units": units,
                "scaler": self._scaler().to_dict(),
            }
        return signal

    def sample(self, n: int = 1, *, seed: int = 0, units: str = "scaled") -> np.ndarray:
        """Draw genes from the model: latents from the prior, and the expected signal that the decoder makes of them.

        Parameters
        ----------
        n
            Number of genes.
        seed
            Of the draw.
        units
            As for :meth:`reconstruct`.

        Returns
        -------
        Genes x marks x bins, float32, in the direction in which the network reads.

        Raises
        ------
        InputError
            When the model is untrained.

        Examples
        --------
        ``model.sample(100, seed=1)``
        """
        self._need_trained()
        if n < 1:
            msg = f"n={n} draws nothing: give 1 or more"
            raise InputError(msg)
        generator = torch.Generator().manual_seed(int(seed))
        latent = torch.randn(int(n), int(self.hyperparameters_["n_latent"]), generator=generator)
        return self.decode(latent.numpy(), units=units)

    def decode(self, latent: np.ndarray, *, units: str = "scaled") -> np.ndarray:
        """Return the expected signal of latents, such as those on a line along one unit.

        Parameters
        ----------
        latent
            Genes x units.
        units
            As for :meth:`reconstruct`.

        Returns
        -------
        Genes x marks x bins, float32, in the direction in which the network reads.

        Raises
        ------
        InputError
            When the model is untrained, or `latent` has another number of units.

        Examples
        --------
        >>> import numpy as np, genexp_scverse as gx
        >>> x = np.random.default_rng(0).random((60, 2, 20))
        >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K4me3", "H3K27me3"],
        ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
        >>> gx.pp.split_at_random(mdata)
        >>> model = gx.model.SimpleChromeVAE(mdata, n_latent=4)
        >>> model.train(1, enable_progress_bar=False)
        >>> model.decode(np.linspace(-2, 2, 5)[:, None] * [0, 1, 0, 0]).shape
        (5, 2, 20)
        """
        self._need_trained()
        latent = np.asarray(latent, np.float32)
        n_latent = int(self.hyperparameters_["n_latent"])
        if latent.ndim != 2 or latent.shape[1] != n_latent:
            msg = f"latent has shape {latent.shape}, expected genes x {n_latent} units"
            raise InputError(msg)
        return self._in_units(self._decoded(torch.from_numpy(latent)), units)

    def get_neighbor_attention(
        self,
        mdata: MuData | None = None,
        *,
        samples: Sequence[str] | str | None = None,
        key_added: str | None = "simplechrome_attention",
    ) -> csr_matrix | dict[str, csr_matrix]:
        """Return the weight of every neighbour in the prediction of a gene.

        With ``combine="attention"`` it is the mean over the heads of the attention; what is missing from 1 in a row
        went to no neighbour. With ``"mean"`` all neighbours of a gene weigh the same.

        Parameters
        ----------
        mdata
            Another MuData; by default the model's own.
        samples
            Samples; by default all of the model.
        key_added
            Also write it to ``mdata.obsp[key_added]``, of several samples to ``obsp[f"{key_added}_{sample}"]``; None
            to write nothing.

        Returns
        -------
        Genes x genes, float32, row i with the neighbours of gene i that were read; of several samples a dictionary
        by sample.

        Raises
        ------
        InputError
            When the model has no neighbours, or combines them by concatenation, which has no weights.

        Examples
        --------
        ``model.get_neighbor_attention()[3]`` holds the weights of the neighbours of the fourth gene.
        """
        self._need_trained()
        if self._graph is None:
            msg = 'the model was made without neighbours: make it with SimpleChromeVAE(mdata, neighbors="neighbors")'
            raise InputError(msg)
        if self.hyperparameters_["combine"] == "concatenation":
            msg = 'neighbours that are put side by side have no weights: train with combine="attention"'
            raise InputError(msg)
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        tables = self._tables(mdata, names)
        assert tables.neighbors is not None
        index = tables.neighbors.index
        gene, place = np.nonzero(index >= 0)
        found = {}
        for j, sample in enumerate(names):
            pairs = np.stack([np.arange(mdata.n_obs), np.full(mdata.n_obs, j)], axis=1)
            weight = self._forward(self._ready(tables, pairs), pairs, ("attention",))["attention"]
            graph = csr_matrix((weight[gene, place], (gene, index[gene, place])), shape=(mdata.n_obs, mdata.n_obs))
            found[sample] = graph
        if key_added is not None:
            for sample, graph in found.items():
                mdata.obsp[_key(key_added, sample, names)] = graph
        return found if len(names) > 1 else found[names[0]]

    def _predict_tables(self, tables: GeneTables, pairs: np.ndarray) -> dict[str, np.ndarray]:
        return super()._predict_tables(self._ready(tables, pairs), pairs)

    def _ready(self, tables: GeneTables, pairs: np.ndarray) -> GeneTables:
        """Give tables with the latents of the neighbours of the genes of `pairs`."""
        if tables.neighbors is None:
            return tables
        context = ContextTables.of(tables)
        context.encode(self.module.autoencoder, pairs)
        return context

    def _single(self, mdata: MuData, names: list[str]) -> GeneTables:
        """Give tables without neighbours, whose graph need not be there then."""
        return self._tables(mdata, names, alone=True)

    def _decoded(self, latent: torch.Tensor) -> np.ndarray:
        parts = []
        with torch.inference_mode():
            for part in latent.to(self.module.device).split(1024):
                parts.append(self.module.autoencoder.decode(part).float().cpu().numpy())
        return np.concatenate(parts)

    def _in_units(self, signal: np.ndarray, units: str) -> np.ndarray:
        if units not in UNITS:
            msg = f"units={units!r} is not known: choose one of {', '.join(UNITS)}"
            raise InputError(msg)
        if units == "scaled":
            return signal
        return in_units_of_the_files(signal, self._scaler(), self.setup_["marks"], self._scales())

    def _scaler(self) -> SignalScaler:
        return SignalScaler.from_dict(self.fitted_["scaler"])

    def _scales(self) -> list[str]:
        return [self.setup_["scales"][m][0] for m in self.setup_["marks"]]

    def _chromatin(self, mdata: MuData) -> Any:
        return mdata.mod[self.setup_["modalities"][schema.CHROMATIN]]


def _key(key: str, sample: str, names: list[str]) -> str:
    return key if len(names) == 1 else f"{key}_{sample}"
