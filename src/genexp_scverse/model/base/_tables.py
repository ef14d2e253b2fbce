"""The arrays that a batch gathers from: a batch is only two index vectors, genes and samples."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from genexp_scverse import schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.model.base._graph import NeighborTable, neighbor_table
from genexp_scverse.model.base._registration import (
    _plain_window,
    array_fields,
    plain,
    split_values,
    track_positions,
)
from genexp_scverse.model.base._sequence import SequenceTable
from genexp_scverse.model.base._signal import RESIDENT_BYTES, SignalTable
from genexp_scverse.model.base._sources import codes_of, has_store, tracks_of
from genexp_scverse.pp._dna_features import feature_columns

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.pp.scaler import SignalScaler

_LOGGED = ("log", "log_ratio")


@dataclass
class GeneTables:
    """Everything a model reads of one MuData, ready to be gathered by (gene, sample).

    Attributes
    ----------
    genes, samples, marks
        Their names; indices of a batch refer to `genes` and `samples`.
    level, label
        Genes x samples, float32, NaN where nothing was measured.
    signal
        Source of bins, genes x marks x bins of one sample.
    features
        Genes x columns of scalar features, or None; the last column is NaN where a sample lacks a feature.
    feature_columns
        Samples x features, the column of `features` that holds the feature of a sample.
    sequence
        Source of DNA as codes, genes x bases, or None.
    present
        Samples x marks, 1 where the sample has the mark; None when every sample has all.
    known
        Which of the model's samples each one is, -1 for none of them; None where tracks or features tell them apart.
    neighbors
        Which genes are the neighbours of each, or None.
    latents
        Samples x genes x units, in place of bins: what a network reads that has encoded the signal before.
    extra
        Arrays of genes x anything that a network reads besides, by the name that they have in a batch.
    """

    genes: np.ndarray
    samples: list[str]
    marks: list[str]
    level: np.ndarray
    label: np.ndarray
    signal: SignalTable | None = None
    features: np.ndarray | None = None
    feature_columns: np.ndarray | None = None
    sequence: SequenceTable | None = None
    present: np.ndarray | None = None
    known: np.ndarray | None = None
    neighbors: NeighborTable | None = None
    latents: torch.Tensor | None = None
    extra: dict[str, np.ndarray] = field(default_factory=dict)
    _device: dict[str, torch.Tensor] = field(default_factory=dict)

    @property
    def resident(self) -> bool:
        """Whether a batch is gathered from memory, or on the GPU, without a file."""
        signal = self.signal is None or self.latents is not None or self.signal.resident
        return signal and (self.sequence is None or self.sequence.resident)

    @property
    def on_gpu(self) -> bool:
        """Whether batches go to a GPU."""
        return bool(self._device) and self._device["level"].is_cuda

    def to(self, device: torch.device | str) -> GeneTables:
        """Move what fits to `device`; later batches come from there."""
        self._device = {
            "level": torch.as_tensor(self.level, device=device),
            "label": torch.as_tensor(self.label, device=device),
        }
        if self.features is not None:
            self._device["features"] = torch.as_tensor(self.features, device=device)
            self._device["feature_columns"] = torch.as_tensor(self.feature_columns, device=device)
        if self.present is not None:
            self._device["present"] = torch.as_tensor(self.present, device=device)
        if self.known is not None:
            self._device["known"] = torch.as_tensor(self.known, device=device)
        if self.sequence is not None:
            self.sequence.to(device)
        self._device |= {k: torch.as_tensor(v, device=device) for k, v in self.extra.items()}
        if self.neighbors is not None:
            self.neighbors.to(device)
        if self.latents is not None:
            self.latents = self.latents.to(device)
        elif self.signal is not None:
            self.signal.to(device)
        return self

    def read(self, genes: torch.Tensor, samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """Read what lies on disk of the pairs for :meth:`gather`, on the CPU; threads may do so at once."""
        found = {}
        if self.sequence is not None and not self.sequence.resident:
            found["codes"] = self.sequence.gather(genes if self.known is None else torch.unique(genes))
        if self.signal is not None and self.latents is None and not self.signal.resident:
            found["bins"] = self.signal.gather(genes, samples)
        # the copy to a GPU then runs beside its work
        return {k: v.pin_memory() for k, v in found.items()} if self.on_gpu else found

    def gather(
        self, genes: torch.Tensor, samples: torch.Tensor, read: dict[str, torch.Tensor] | None = None
    ) -> dict[str, torch.Tensor]:
        """Collect inputs and targets of the (gene, sample) pairs; `read` is what :meth:`read` gave for them.

        Returns
        -------
        ``level`` and ``label`` (B,); as there are ``features`` (B, features), ``codes`` (B, bases), ``present`` (B,
        marks); ``bins`` (B, marks, bins) or ``latent`` (B, units). With neighbours ``neighbor_bins`` or
        ``neighbor_latent`` (B, k, ...) and what :class:`NeighborTable` says of them.

        Without tracks or features to tell several samples apart, what is read is that of every gene once, (genes,
        ...), with ``gene`` (B,), the place of a pair's gene there, and ``sample`` (B,), its sample among those of the
        model.
        """
        if not self._device:
            self.to(genes.device)
        read = read or {}
        batch = {
            "level": self._device["level"][genes, samples],
            "label": self._device["label"][genes, samples],
        }
        if "known" in self._device:
            genes, batch["gene"] = torch.unique(genes, return_inverse=True)
            batch["sample"] = self._device["known"][samples]
        if "features" in self._device:
            # genes that are read once for all samples have features that are the same in all
            of = self._device["feature_columns"][slice(1) if "known" in self._device else samples]
            batch["features"] = self._device["features"][genes[:, None], of]
        batch |= {k: self._device[k][genes] for k in self.extra}
        if "present" in self._device:
            batch["present"] = self._device["present"][samples]
        if self.sequence is not None:
            batch["codes"] = self.sequence.gather(genes) if "codes" not in read else read["codes"].to(genes.device)
        name = "bins" if self.latents is None else "latent"
        if self.signal is not None or self.latents is not None:
            batch[name] = self._inputs(genes, samples) if name not in read else read[name].to(genes.device)
        if self.neighbors is not None:
            index, described = self.neighbors.gather(genes)
            batch |= described
            k = index.shape[1]
            # a place without a neighbour holds the gene itself, and neighbor_there says so
            others = torch.where(index < 0, genes[:, None], index).flatten()
            batch[f"neighbor_{name}"] = self._inputs(others, samples.repeat_interleave(k)).unflatten(0, (-1, k))
        return batch

    def _inputs(self, genes: torch.Tensor, samples: torch.Tensor) -> torch.Tensor:
        if self.latents is not None:
            return self.latents[samples, genes]
        assert self.signal is not None
        return self.signal.gather(genes, samples)


def build_tables(
    mdata: MuData,
    setup: dict,
    *,
    samples: list[str],
    thresholds: dict[str, float],
    scaler: SignalScaler | None,
    stranded: bool,
    resident_bytes: int = RESIDENT_BYTES,
    graph: str | None = None,
    n_neighbors: int = 0,
) -> GeneTables:
    """Gather sources of `samples` of `mdata` for a model with `setup`; checks that the MuData fits the model.

    With `graph`, a key of ``obsp``, every gene also gets its `n_neighbors` neighbours of the largest weight.
    """
    schema.validate(mdata)
    mods = setup["modalities"]
    arrays = {}
    for f in array_fields_checked(mdata, setup):
        f.validate_field(mdata)
        arrays[f.registry_key] = f.get(mdata)
    level, label = targets(mdata, mods[schema.RNA], samples, thresholds)
    tables = GeneTables(np.asarray(mdata.obs_names), list(samples), list(setup["marks"] or []), level, label)
    if setup["marks"]:
        if scaler is None:
            msg = "the model reads tracks but carries no scaling for them: train it again"
            raise InputError(msg)
        chromatin = tracks_of(mdata, setup, quiet=False)
        _check_window(chromatin, setup)
        _check_scales(chromatin, setup, samples, scaler)
        tracks = track_positions(chromatin, samples, setup["marks"], masked=setup["masked"])
        _adapt(scaler, mdata, setup, chromatin, tracks)
        if setup["masked"]:
            tables.present = (tracks >= 0).astype(np.float32)
        tables.signal = SignalTable(
            chromatin.obsm[schema.BINS],
            tracks=tracks,
            marks=list(setup["marks"]),
            scales=[str(s) for s in chromatin.var["scale"]],
            scaler=scaler,
            flip=flips(mdata, setup["window"], stranded),
            names=list(samples),
            # windows of a genome overlap: scaled, they would take many times its room
            resident_bytes=0 if setup["genome"] else resident_bytes,
        )
    if setup["codes"]:
        codes, window = codes_of(mdata, setup)
        if codes is None or window != setup["codes"]:
            msg = f"the model reads DNA in the window {setup['codes']} and the MuData has {window}: build it alike"
            raise InputError(msg)
        tables.sequence = SequenceTable(codes, flips(mdata, window, stranded), resident_bytes=resident_bytes)
    if own_readouts(setup) > 1:
        at = {s: i for i, s in enumerate(setup["samples"])}
        tables.known = np.array([at.get(s, -1) for s in samples], np.int64)
    if setup["features"]:
        x = np.asarray(arrays["features"], np.float32)
        names, columns = feature_columns(mdata.mod[mods[schema.DNA]].var, samples)
        if (columns < 0).any():
            lacking = [s for s, of in zip(samples, columns, strict=True) if (of < 0).any()]
            lost = [n for n, of in zip(names, columns.T, strict=True) if (of < 0).any()]
            text = "%s: without %s, for which the mean of the training genes stands in"
            logger.warning(text, some(lacking), some(lost))
            x = np.hstack([x, np.full((len(x), 1), np.nan, np.float32)])
            columns[columns < 0] = x.shape[1] - 1
        tables.features, tables.feature_columns = x, columns
    if graph is not None:
        tables.neighbors = neighbor_table(mdata, graph, n_neighbors, samples=setup["samples"])
    return tables


def own_readouts(setup: dict) -> int:
    """Count the readouts of a network: one for each sample where neither tracks nor features tell samples apart."""
    return 1 if setup["marks"] or setup["sample_features"] else len(setup["samples"])


def array_fields_checked(mdata: MuData, setup: dict):
    """Fields of `mdata` for `setup`; raises when a modality or a feature that the model reads is not there."""
    mods = setup["modalities"]
    arrays = not setup["genome"]
    for role, used in (
        (schema.CHROMATIN, setup["marks"] and arrays),
        (schema.DNA, setup["features"] or (setup["codes"] and arrays)),
    ):
        if used and mods[role] not in mdata.mod:
            msg = f'the model reads the modality "{mods[role]}", which the MuData lacks: it has {", ".join(mdata.mod)}'
            raise InputError(msg)
    if setup["genome"] and not has_store(mdata):
        msg = "the model reads a genome store and the MuData names none: attach it with gx.io.attach_genome"
        raise InputError(msg)
    if setup["features"]:
        there, _ = feature_columns(mdata.mod[mods[schema.DNA]].var, [])
        if there != setup["features"]:
            msg = (
                f"the model was trained on {len(setup['features'])} features of the DNA and the MuData has "
                f"{len(there)} or others: make the same ones with gx.pp.sequence_features"
            )
            raise InputError(msg)
        made = [plain(mdata.mod[mods[schema.DNA]].uns.get(key)) for key in ("window", "sequence_features")]
        if any(a is not None and b is not None and a != b for a, b in zip(setup["dna"], made, strict=True)):
            msg = (
                f"the model was trained on features of the DNA {setup['dna']} and the MuData has {made}: "
                "make them alike"
            )
            raise InputError(msg)
    return array_fields(mdata, setup)


def targets(
    mdata: MuData, modality: str, samples: list[str], thresholds: dict[str, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Level and label of `samples`, genes x samples float32; NaN where nothing was measured.

    The label is level > threshold where there is a level and a threshold, else what the layer ``label`` says.
    """
    level = np.full((mdata.n_obs, len(samples)), np.nan, np.float32)
    label = level.copy()
    if modality not in mdata.mod:
        return level, label
    rna = mdata.mod[modality]
    at = {str(s): i for i, s in enumerate(rna.var["sample"])}
    for j, sample in enumerate(samples):
        if sample not in at:
            continue
        if schema.LOG in rna.layers:
            level[:, j] = np.asarray(rna.layers[schema.LOG][:, at[sample]], np.float32)
        measured = ~np.isnan(level[:, j])
        if measured.any() and sample in thresholds:
            label[measured, j] = level[measured, j] > thresholds[sample]
        elif schema.LABEL in rna.layers:
            label[:, j] = np.asarray(rna.layers[schema.LABEL][:, at[sample]], np.float32)
    return level, label


def flips(mdata: MuData, window: dict | None, stranded: bool) -> np.ndarray | None:
    """Genes on the minus strand whose bins must be reversed so that bins read as `stranded` says."""
    if window is None or bool(window["stranded"]) == stranded or "strand" not in mdata.obs:
        return None
    if window["upstream"] != window["downstream"]:
        msg = (
            f"a window of {window['upstream']} bases upstream and {window['downstream']} downstream cannot be "
            f"turned round: build the MuData with stranded={stranded}, or ask the model for "
            f"stranded={bool(window['stranded'])}"
        )
        raise InputError(msg)
    strand = mdata.obs["strand"].astype(str)
    wrong = sorted(set(strand) - {"+", "-"})
    if wrong:
        msg = f'mdata.obs["strand"] holds {some(wrong)}: bins can be turned round where it says + or - alone'
        raise InputError(msg)
    return (strand == "-").to_numpy()


def _check_window(chromatin, setup: dict) -> None:
    window, n_bins = _plain_window(chromatin), chromatin.obsm[schema.BINS].shape[2]
    if n_bins != setup["n_bins"] or window != setup["window"]:
        msg = (
            f"the model was trained on {setup['n_bins']} bins of the window {setup['window']} and the MuData has "
            f"{n_bins} bins of {window}: build it with the same window and bin size"
        )
        raise InputError(msg)
    binning = plain(chromatin.uns.get("binning"))
    if setup["binning"] is not None and binning is not None and binning != setup["binning"]:
        msg = f"the model was trained on bins made with {setup['binning']} and the MuData has {binning}: build it alike"
        raise InputError(msg)


def _check_scales(chromatin, setup: dict, samples: list[str], scaler: SignalScaler) -> None:
    """Refuse a track that would be transformed in another way than the trained ones: other numbers."""
    var = chromatin.var
    for mark, trained in setup["scales"].items():
        of = var["scale"][(var["mark"].astype(str) == mark) & var["sample"].astype(str).isin(samples)]
        for scale in sorted(set(of.astype(str)) - set(trained)):
            if scaler.name in ("auto", "quantile") and (scale in _LOGGED) not in {t in _LOGGED for t in trained}:
                msg = (
                    f"{mark} is of scale {scale} in the MuData and was {some(trained)} in training: the model would "
                    "read other numbers; correct the scale, or use tracks of the same kind"
                )
                raise InputError(msg)
            logger.warning("%s is of scale %s here and was %s in training", mark, scale, some(trained))


def _adapt(scaler: SignalScaler, mdata: MuData, setup: dict, chromatin, tracks: np.ndarray) -> None:
    """Let a scaler that maps every track on its own know those of samples that the model has not seen."""
    used = np.unique(tracks[tracks >= 0])
    rows, whose = np.arange(mdata.n_obs), "all, since there is no split"
    if setup["split_key"] in mdata.obs:
        training = np.flatnonzero(split_values(mdata, setup["split_key"]) == "train")
        if len(training):
            rows, whose = training, "the training genes"
    var = chromatin.var.iloc[used].astype(str)
    new = scaler.adapt(
        chromatin.obsm[schema.BINS],
        list(var["scale"]),
        list(var["mark"]),
        rows,
        samples=list(var["sample"]),
        tracks=used,
    )
    if new:
        logger.info(
            "The model has not seen %s: quantiles are taken of the signal of %d genes (%s)", some(new), len(rows), whose
        )
