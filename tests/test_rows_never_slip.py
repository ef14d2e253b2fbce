"""Random sequences of what users do to a MuData, against an oracle that knows which value belongs where.

Every value says of which gene, track or sample, and bin it is. The oracle follows the operations with tables of
pandas, by names alone. What models, plots and masks then read has to be what it says, or an InputError where the order
is not known. As a command, ``python tests/test_rows_never_slip.py 5000`` prints the table.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import mudata as md
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import torch

import genexp_scverse as gx
from genexp_scverse import InputError, _axes, _scores, _tracks
from genexp_scverse._compat import nothing_pulled
from genexp_scverse._logging import logger
from genexp_scverse.io._join_samples import join_expression, join_tracks
from genexp_scverse.io.assemble import assemble_chromatin, assemble_rna
from genexp_scverse.model.base._registration import resolve_setup
from genexp_scverse.model.base._tables import build_tables
from genexp_scverse.pl import _stored
from genexp_scverse.pp.scaler import SignalScaler

SEQUENCES = 500
N_BINS, MARKS, SAMPLES = 4, ["K4", "K27", "K36"], ["A", "B", "C"]
WINDOWS = {
    "one": {"upstream": 4, "downstream": 4, "bin_size": 2, "stranded": True},
    "two": {"upstream": 6, "downstream": 2, "bin_size": 2, "stranded": True},
}
MERGES = [None, "same", "unique", "first", "only"]
SKIPPED = (ValueError, KeyError, IndexError, TypeError, AttributeError, NotImplementedError)


def signal(gene, track, factor=1.0) -> np.ndarray:
    """Bins of genes x tracks; a track of NaN is not there."""
    gene, track = np.asarray(gene, float)[:, None, None], np.asarray(track, float)[..., None]
    return (gene * 1000 + track * 10 + np.arange(N_BINS) + 1) * np.reshape(factor, (-1, 1, 1))


def dna(gene) -> np.ndarray:
    """Eight bases that spell the number of a gene."""
    return (np.asarray(gene)[:, None] // 4 ** np.arange(8)[None] % 4).astype(np.uint8)


def level(gene, sample) -> np.ndarray:
    return np.asarray(gene, float)[:, None] * 100 + np.asarray(sample, float) + 1


@dataclass
class World:
    """A MuData, and what is known of it."""

    parts: dict[str, ad.AnnData]
    genes: list[int]
    """Number of every gene."""
    tracks: pd.DataFrame
    """Number of the track of every gene (rows) and name in var (columns)."""
    samples: pd.DataFrame
    """Number of the sample of every gene and name in var of rna."""
    factor: dict[int, float]
    window: dict[int, str]
    attention: dict[int, dict]
    """Number of the track by sample and mark of then, for every gene."""
    unsure: set[str] = field(default_factory=set)
    """Why a refusal would be right."""

    built: md.MuData | None = None

    @property
    def mdata(self) -> md.MuData:
        """The modalities as a MuData, made when it is asked for."""
        if self.built is None:
            with nothing_pulled():
                self.built = md.MuData(self.parts, axis=0)
            self.built.obs["strand"] = "+"
        return self.built

    def put(self, parts, **changes) -> World:
        return self.with_(parts=parts, built=None, **changes)

    def now(self, mdata, **changes) -> World:
        return self.with_(parts=dict(mdata.mod.items()), built=mdata, **changes)

    def with_(self, **changes) -> World:
        return dataclasses.replace(self, unsure=set(changes.pop("unsure", self.unsure)), **changes)

    def mods(self) -> dict:
        return dict(self.parts)

    def copies(self) -> dict:
        return {k: a.copy() for k, a in self.parts.items()}

    def rows(self, at) -> dict:
        return {
            "genes": [self.genes[i] for i in at],
            "tracks": self.tracks.iloc[at].reset_index(drop=True),
            "samples": self.samples.iloc[at].reset_index(drop=True),
        }


_next = {"gene": 1, "track": 1, "sample": 1}


def numbers(kind: str, n: int) -> list[int]:
    first = _next[kind]
    _next[kind] = (first + n) % 60 if first + n >= 60 and kind != "gene" else first + n
    return [(first + i - 1) % (4**8 - 1 if kind == "gene" else 90) + 1 for i in range(n)]


def make(rng, *, window: str = "one", samples=SAMPLES, order: bool = False, names=None, genes=None) -> World:
    """A MuData of tracks, DNA, expression, attention and a mask, all of this package's making."""
    n = int(rng.integers(5, 9))
    genes = numbers("gene", n) if genes is None else genes
    names = [f"g{g}" for g in genes] if names is None else names
    labels = [(s, m) for s in samples for m in MARKS if s != samples[-1] or m != MARKS[0] or len(samples) == 1]
    if order:
        labels = [labels[i] for i in rng.permutation(len(labels))]
    tracks = rng.permutation(90)[: len(labels)] + 1
    of_sample = rng.permutation(90)[: len(samples)] + 1
    chromatin = assemble_chromatin(
        names,
        pd.DataFrame(labels, columns=["sample", "mark"]).assign(scale="counts", source="made"),
        signal(genes, np.tile(tracks, (len(genes), 1))).astype(np.float32),
        WINDOWS[window],
    )
    table = pd.DataFrame(level(genes, np.tile(of_sample, (len(genes), 1))), index=names, columns=list(samples))
    table.attrs["unit"] = "log"
    rna = assemble_rna(names, table, table % 2 > 0)
    bases = ad.AnnData(np.zeros((len(genes), 0), np.float32), obs=pd.DataFrame(index=names))
    bases.uns["window"] = {k: WINDOWS[window][k] for k in ("upstream", "downstream", "stranded")}
    _axes.put(bases, "codes", dna(genes), window=bases.uns["window"])
    at = {label: i for i, label in enumerate(labels)}
    marks = [MARKS[i] for i in rng.permutation(len(MARKS))] if order else MARKS
    for sample in samples:
        places = np.array([at.get((sample, m), -1) for m in marks])
        values = signal(genes, np.tile(np.where(places < 0, 95, tracks[places]), (len(genes), 1))) + 0.5
        _axes.put(
            chromatin, f"toy_bin_attention_{sample}", values.astype(np.float32), tracks=places, names=marks,
            window=WINDOWS[window], of=sample,
        )  # fmt: skip
    chromatin.uns["toy_attention"] = {"marks": np.array(marks), "samples": np.array(samples)}
    parts = {"rna": rna, "chromatin": chromatin, "dna": bases}
    sample = samples[int(rng.integers(len(samples)))] if order else samples[0]
    mask = signal(genes, np.full((len(genes), 1), of_sample[list(samples).index(sample)]))[:, 0]
    _scores.store_scores(SimpleNamespace(mod=parts), "chromatin", "mask", mask, WINDOWS[window], [sample])
    known = {label: int(tracks[i]) for label, i in at.items()}
    known |= {"mask": (sample, int(of_sample[list(samples).index(sample)])), "marks": list(marks)}
    return World(
        parts,
        list(genes),
        pd.DataFrame(np.tile(tracks.astype(float), (len(genes), 1)), columns=[f"{s}.{m}" for s, m in labels]),
        pd.DataFrame(np.tile(of_sample.astype(float), (len(genes), 1)), columns=list(samples)),
        dict.fromkeys(genes, 1.0),
        dict.fromkeys(genes, window),
        dict.fromkeys(genes, known),
    )


# What users do.


def some_genes(w, rng):
    n = len(w.genes)
    at = rng.permutation(n)[: int(rng.integers(2, n + 1))]
    kind = rng.integers(3)
    if kind == 0:
        at = np.sort(at)
        mask = np.zeros(n, bool)
        mask[at] = True
        return w.now(w.mdata[mask].copy(), **w.rows(at))
    if kind == 1:
        return w.now(w.mdata[w.mdata.obs_names[at]].copy(), **w.rows(at))
    names = w.parts["rna"].obs_names[at]
    return w.put({k: a[names].copy() for k, a in w.mods().items()}, **w.rows(at))


def some_tracks(w, rng):
    mods, n = w.mods(), w.tracks.shape[1]
    order = rng.permutation(n)[: n if rng.random() < 0.6 else int(rng.integers(1, n + 1))]
    names = mods["chromatin"].var_names[order]
    mods["chromatin"] = mods["chromatin"][:, order if rng.random() < 0.5 else names].copy()
    return w.put(mods, tracks=w.tracks[list(names)])


def some_tracks_in_place(w, rng):
    mods = w.copies()
    keep = np.sort(rng.permutation(w.tracks.shape[1])[: int(rng.integers(1, w.tracks.shape[1] + 1))])
    mods["chromatin"]._inplace_subset_var(keep)
    return w.put(mods, tracks=w.tracks.iloc[:, keep])


def some_variables(w, rng):
    mask = rng.random(w.mdata.n_vars) < 0.7
    out = w.mdata[:, mask].copy()
    if not out["chromatin"].n_vars or not out["rna"].n_vars:
        raise IndexError
    return w.now(out, tracks=w.tracks[list(out["chromatin"].var_names)], samples=w.samples[list(out["rna"].var_names)])


def some_samples(w, rng):
    mods, n = w.mods(), w.samples.shape[1]
    order = rng.permutation(n)[: int(rng.integers(1, n + 1))]
    mods["rna"] = mods["rna"][:, order].copy()
    return w.put(mods, samples=w.samples.iloc[:, order])


def selected(w, rng):
    var = w.parts["chromatin"].var
    there = list(dict.fromkeys(var["sample"].astype(str)))
    samples = [there[i] for i in rng.permutation(len(there))[: int(rng.integers(1, len(there) + 1))]]
    marks = list(dict.fromkeys(var["mark"][var["sample"].astype(str).isin(samples)].astype(str)))
    marks = [marks[i] for i in rng.permutation(len(marks))]
    samples = samples if rng.random() < 0.7 else None
    out = gx.pp.select(w.mdata, samples=samples, marks=marks if rng.random() < 0.5 else None)
    return w.now(out, tracks=w.tracks[list(out["chromatin"].var_names)], samples=w.samples[list(out["rna"].var_names)])


def repaired(out, first):
    """Columns of var that the concatenation dropped, put back from the first part, as a user does."""
    for name in ("rna", "chromatin"):
        if not {"sample", "mark" if name == "chromatin" else "unit"} <= set(out[name].var):
            out[name].var = first[name].var.reindex(out[name].var_names)
    return out


def more_genes(w, rng):
    """Concatenate with genes that were built apart, their tracks in another order."""
    other = make(rng, window="two" if rng.random() < 0.15 else "one", order=True)
    for _ in range(int(rng.integers(3))):
        other = [some_tracks, selected, label_swapped, copied, some_genes][rng.integers(5)](other, rng)
    parts = [w, other] if rng.random() < 0.7 else [other, w]
    how = {
        "join": ["inner", "outer"][rng.integers(2)],
        "merge": MERGES[rng.integers(5)],
        "uns_merge": MERGES[rng.integers(5)],
    }
    if rng.random() < 0.5:
        mods = {k: ad.concat([p.parts[k] for p in parts], **how) for k in w.parts}
    else:
        mods = dict(md.concat([p.mdata for p in parts], **how).mod.items())
    mods = repaired(mods, parts[0].parts)
    sides = {}
    for part, name in (("tracks", "chromatin"), ("samples", "rna")):
        joined = pd.concat([getattr(p, part) for p in parts], join=how["join"], ignore_index=True)
        sides[part] = joined[list(mods[name].var_names)]
        if not len(mods[name].var_names):
            raise IndexError
    unsure = set(w.unsure) | other.unsure
    stored = [p.parts["chromatin"].obsm["bins"].shape[1] for p in parts]
    if how["join"] == "inner" and len(set(stored)) > 1:
        unsure.add("cut to the shorter")
    if len({p.window[g] for p in parts for g in p.genes}) > 1:
        unsure.add("two windows")
    if mods["chromatin"].var[["sample", "mark", "scale"]].isna().any().any() or mods["rna"].var["unit"].isna().any():
        unsure.add("no names")
    out = w.put(
        mods, genes=parts[0].genes + parts[1].genes, factor=w.factor | other.factor, unsure=unsure,
        window=w.window | other.window, attention=w.attention | other.attention, **sides,
    )  # fmt: skip
    if mods["rna"].obs_names.has_duplicates:
        raise IndexError
    return out


def _new_samples(w, rng):
    if any(w.factor[g] != 1 for g in w.genes):
        raise IndexError
    names = list(w.parts["rna"].obs_names)
    return make(rng, samples=[f"S{i}" for i in numbers("sample", 2)], names=names, genes=w.genes)


def more_samples_by_hand(w, rng):
    """Concatenate along tracks, which anndata does not do to ``obsm``."""
    other = _new_samples(w, rng)
    merge, mods = MERGES[rng.integers(5)], w.mods()
    uns_merge = MERGES[rng.integers(5)]
    for name in ("chromatin", "rna"):
        mods[name] = ad.concat([mods[name], other.parts[name]], axis=1, merge=merge, uns_merge=uns_merge)
    tracks = pd.concat([w.tracks, other.tracks], axis=1)
    samples = pd.concat([w.samples, other.samples], axis=1)
    if tracks.columns.has_duplicates or samples.columns.has_duplicates:
        raise IndexError
    unsure = set(w.unsure) | {"tracks joined by hand"}
    chromatin = mods["chromatin"]
    if rng.random() < 0.5:
        both = [np.asarray(_axes.get(m.parts["chromatin"], "bins", quiet=True)) for m in (w, other)]
        if "bins" in chromatin.obsm or rng.random() < 0.7:
            chromatin.obsm["bins"] = np.concatenate(both, axis=1)
        if "bins" in chromatin.obsm and rng.random() < 0.7 and len({w.window[g] for g in w.genes}) == 1:
            chromatin.uns["window"] = WINDOWS[w.window[w.genes[0]]]
            gx.schema.name_axes(chromatin, "bins")
    return w.put(mods, tracks=tracks, samples=samples, unsure=unsure)


def more_samples(w, rng):
    """What ``gx.io.add_samples`` does with what it has read."""
    other = _new_samples(w, rng)
    mods = w.copies()
    mods["chromatin"] = join_tracks(mods["chromatin"], other.parts["chromatin"])
    mods["rna"] = join_expression(mods["rna"], other.parts["rna"])
    return w.put(
        mods, tracks=pd.concat([w.tracks, other.tracks], axis=1), samples=pd.concat([w.samples, other.samples], axis=1)
    )


def copied(w, rng):
    return w.now(w.mdata.copy())


def viewed(w, rng):
    view = w.mdata[np.arange(w.mdata.n_obs)]
    order = rng.permutation(view.n_obs)
    return w.now(view[order].copy(), **w.rows(order))


def updated(w, rng):
    mdata = w.mdata.copy()
    mdata.mod["chromatin"] = mdata["chromatin"].copy()
    with nothing_pulled():
        mdata.update()
    return w.now(mdata)


def _folder() -> Path:
    return Path(tempfile.mkdtemp(dir=_folder.root))


def stored_h5mu(w, rng):
    path = _folder() / "m.h5mu"
    gx.io.write_mudata(w.mdata, path)
    if rng.random() < 0.3:
        with nothing_pulled():
            return w.now(md.read_h5mu(path))
    return w.now(gx.io.read_mudata(path, on_disk=bool(rng.integers(2))))


def stored_zarr(w, rng):
    path = _folder() / "m.zarr"
    gx.io.write_mudata(w.mdata, path)
    return w.now(gx.io.read_mudata(path, on_disk=bool(rng.integers(2))))


def backed(w, rng):
    path = _folder() / "m.h5mu"
    gx.io.write_mudata(w.mdata, path)
    with nothing_pulled():
        opened = md.read_h5mu(path, backed=True)
        return w.put({k: a.to_memory() for k, a in opened.mod.items()})


def genes_renamed(w, rng):
    mods = w.copies()
    names = [f"{n}_" for n in w.parts["rna"].obs_names]
    for adata in mods.values():
        adata.obs_names = names
    return w.put(mods)


def tracks_renamed(w, rng):
    mods = w.copies()
    names = [f"{n}'" for n in mods["chromatin"].var_names]
    mods["chromatin"].var_names = names
    return w.put(mods, tracks=w.tracks.set_axis(names, axis=1))


def sample_renamed(w, rng):
    mods = w.copies()
    var = mods["chromatin"].var
    old = var["sample"].astype(str).iloc[int(rng.integers(len(var)))]
    for adata in (mods["chromatin"], mods["rna"])[: int(rng.integers(1, 3))]:
        adata.var["sample"] = [f"{s}*" if s == old else s for s in adata.var["sample"].astype(str)]
    return w.put(mods)


def mark_renamed(w, rng):
    mods = w.copies()
    var = mods["chromatin"].var
    old = var["mark"].astype(str).iloc[int(rng.integers(len(var)))]
    var["mark"] = [f"{m}*" if m == old else m for m in var["mark"].astype(str)]
    return w.put(mods)


def label_swapped(w, rng):
    """Two tracks were mixed up: their names are exchanged, not their values."""
    mods = w.copies()
    chromatin = mods["chromatin"]
    if chromatin.n_vars < 2:
        raise IndexError
    i, j = rng.permutation(chromatin.n_vars)[:2]
    order = np.arange(chromatin.n_vars)
    order[[i, j]] = order[[j, i]]
    chromatin.var = chromatin.var.iloc[order]
    return w.put(mods, tracks=w.tracks.set_axis(list(chromatin.var_names), axis=1))


def sc_on_tracks(w, rng):
    mods = w.copies()
    adata = mods["chromatin"]
    kind = rng.integers(4)
    adata.X = np.nan_to_num(np.asarray(adata.X, np.float32))
    if kind == 0:
        sc.pp.log1p(adata)
    elif kind == 1:
        sc.pp.scale(adata)
    elif kind == 2:
        if min(adata.shape) < 3:
            raise IndexError
        sc.pp.pca(adata, n_comps=2)
    else:
        sc.pp.normalize_total(adata)
    return w.put(mods)


def sc_filtered(w, rng):
    mods = w.copies()
    adata = mods["chromatin"]
    total = np.nansum(np.asarray(adata.X), axis=0)
    adata.X = np.nan_to_num(np.abs(np.asarray(adata.X, np.float32)))
    sc.pp.filter_genes(adata, min_counts=float(np.median(total)))
    if not adata.n_vars:
        raise IndexError
    return w.put(mods, tracks=w.tracks[list(adata.var_names)])


def prepared(w, rng):
    mdata = w.mdata.copy()
    kind = rng.integers(4)
    if kind == 0:
        gx.pp.log1p(mdata, key_added=f"log{rng.integers(3)}")
    elif kind == 1:
        mdata.obs["split"] = np.resize(["train", "test"], mdata.n_obs)
        gx.pp.mean_profile(mdata)
    elif kind == 2:
        gx.pp.arcsinh(mdata)
    else:
        gx.schema.name_axes(mdata)
        if "tracks joined by hand" in w.unsure:
            raise IndexError
    return w.now(mdata)


def signal_doubled(w, rng):
    mods = w.copies()
    adata = mods["chromatin"]
    adata.obsm["bins"] = np.asarray(adata.obsm["bins"]) * np.float32(2)
    for key in [k for k in adata.obsm if k.startswith(("bins_", "log")) and not k.endswith("_axes")]:
        del adata.obsm[key]
        adata.obsm.pop(f"{key}_axes", None)
    factor = w.factor | {g: 2 * w.factor[g] for g in w.genes}
    # whether it is in order is known as long as var is not reordered
    return w.put(mods, factor=factor, unsure=w.unsure | {"changed by hand"})


def reordered_by_hand(w, rng):
    """Tracks of var and of bins reordered alike, as a user does who knows that anndata does not."""
    mods = w.mods()
    adata = mods["chromatin"]
    if adata.obsm["bins"].shape[1] != adata.n_vars:
        raise IndexError
    if _axes.get(adata, "bins", quiet=True) is not adata.obsm["bins"]:
        raise IndexError
    order = rng.permutation(adata.n_vars)[: int(rng.integers(1, adata.n_vars + 1))]
    out = adata[:, order].copy()
    out.obsm["bins"] = np.asarray(adata.obsm["bins"])[:, order]
    if rng.random() < 0.5:
        gx.schema.name_axes(out, "bins")
    mods["chromatin"] = out
    return w.put(mods, tracks=w.tracks.iloc[:, order], unsure=w.unsure | {"changed by hand"})


OPERATIONS = [
    some_genes, some_tracks, some_tracks_in_place, some_variables, some_samples, selected, more_genes, more_genes,
    more_samples_by_hand, more_samples, copied, viewed, updated, stored_h5mu, stored_zarr, backed, genes_renamed,
    tracks_renamed, sample_renamed, mark_renamed, label_swapped, sc_on_tracks, sc_filtered, prepared, signal_doubled,
    reordered_by_hand,
]  # fmt: skip
RARE = {stored_zarr: 0.9, stored_h5mu: 0.6, backed: 0.8}
"""Share of the times that a slow operation is left out."""


# What the package reads of it.


def expected_bins(w) -> np.ndarray:
    return signal(w.genes, w.tracks.to_numpy(float), [w.factor[g] for g in w.genes])


def labels(w) -> list[tuple[str, str]]:
    var = w.parts["chromatin"].var
    return list(zip(var["sample"].astype(str), var["mark"].astype(str), strict=True))


def one_window(w) -> None:
    """Two windows in one MuData can be read by no one rightly."""
    assert len({w.window[g] for g in w.genes}) == 1, "two windows were taken as one"


def as_models(w) -> None:
    """All that a model reads: signal by sample and mark, DNA, levels and labels."""
    setup = resolve_setup(
        w.mdata, samples=None, marks="all", target="both", split_key="split", modalities=None,
        reads=("chromatin", "dna"), required=("chromatin",), sequence=True,
    )  # fmt: skip
    names = list(setup["samples"])
    scaler = SignalScaler.from_dict(
        {"transform": "none", "marks": setup["marks"], "divisors": [1.0] * len(setup["marks"])}
    )
    tables = build_tables(w.mdata, setup, samples=names, thresholds={}, scaler=scaler, stranded=True)
    tables.to("cpu")
    one_window(w)
    at = {label: i for i, label in enumerate(labels(w))}
    bins = np.nan_to_num(expected_bins(w))
    genes = torch.arange(len(w.genes))
    of_rna = {str(s): i for i, s in enumerate(w.parts["rna"].var["sample"])}
    for j, sample in enumerate(names):
        batch = tables.gather(genes, torch.full((len(genes),), j))
        for m, mark in enumerate(setup["marks"]):
            want = bins[:, at[sample, mark]] if (sample, mark) in at else np.zeros_like(bins[:, 0])
            np.testing.assert_array_equal(batch["bins"][:, m].numpy(), want.astype(np.float32))
        np.testing.assert_array_equal(batch["codes"].numpy(), dna(w.genes))
        number = w.samples.iloc[:, of_rna[sample]].to_numpy() if sample in of_rna else np.nan
        value = level(w.genes, np.reshape(number, (-1, 1)))[:, 0]
        np.testing.assert_array_equal(batch["level"].numpy(), value.astype(np.float32))
        np.testing.assert_array_equal(batch["label"].numpy(), np.where(np.isnan(value), np.nan, value % 2 > 0))
    window = WINDOWS[w.window[w.genes[0]]]
    assert setup["window"] == window, "bins in another window"
    assert setup["codes"] == {k: window[k] for k in setup["codes"]}, "bases in another window"


def as_functions(w) -> None:
    """Masks, activity and pictures read these."""
    found = _tracks.tracks_of(w.mdata)
    if found is None:
        raise InputError("no bins")
    one_window(w)
    np.testing.assert_array_equal(np.asarray(found.bins[:, :]), expected_bins(w).astype(np.float32))
    last = w.tracks.shape[1] - 1
    rows = np.arange(len(w.genes))[::-1]
    np.testing.assert_array_equal(
        _stored.track_values(w.mdata, last, rows), expected_bins(w).astype(np.float32)[rows, last]
    )


def transforms(w) -> None:
    """What gx.pp wrote beside the bins."""
    chromatin = w.parts["chromatin"]
    for key in [k for k in _axes.keys_of(chromatin) if k.startswith(("log", "bins_arcsinh"))]:
        function = np.log1p if key.startswith("log") else np.arcsinh
        values = np.asarray(_axes.get(chromatin, key, quiet=True))
        one_window(w)
        np.testing.assert_allclose(values, function(expected_bins(w).astype(np.float32)), rtol=1e-6)


def attention(w) -> None:
    chromatin = w.parts["chromatin"]
    about = chromatin.uns.get("toy_attention")
    if about is None or not {"marks", "samples"} <= set(about):
        return
    marks, at = [str(m) for m in about["marks"]], {label: i for i, label in enumerate(labels(w))}
    for sample in [str(s) for s in about["samples"]]:
        key = f"toy_bin_attention_{sample}"
        if key not in chromatin.obsm:
            continue
        values = np.asarray(_stored.by_mark(chromatin, key, sample, marks))
        one_window(w)
        for m, mark in enumerate(marks):
            then = [w.attention[g].get((sample, mark), 95) for g in w.genes]
            track = w.tracks.iloc[:, at[sample, mark]].to_numpy() if (sample, mark) in at else np.array(then)
            np.testing.assert_array_equal(values[:, m], signal(w.genes, track[:, None])[:, 0] + 0.5)


def mask(w) -> None:
    if "mask" not in w.parts["chromatin"].uns or "mask" not in w.parts["chromatin"].obsm:
        return
    found = _scores.scores_of(w.mdata, "mask")
    one_window(w)
    assert {w.attention[g]["mask"][0] for g in w.genes} == {found.sample}, "a mask of another sample"
    number = [[w.attention[g]["mask"][1]] for g in w.genes]
    np.testing.assert_array_equal(np.asarray(found.values), signal(w.genes, number)[:, 0])


def profile(w) -> None:
    """A mean over genes has to stay with its track."""
    chromatin = w.parts["chromatin"]
    if "profile" not in chromatin.varm or w.factor[w.genes[0]] != 1 or w.tracks.isna().any().any():
        return
    step = np.diff(chromatin.varm["profile"], axis=1)
    if np.isfinite(step).all():
        assert (np.round(step, 3) == np.round(step[0, 0], 3)).all()


READERS = [as_models, as_functions, transforms, attention, mask, profile]
MAY_REFUSE = {attention, mask, transforms, profile}
"""Results that can be made again: where names do not tell the order, they are refused."""


def follow(seed: int, count: Counter) -> None:
    """Run one sequence and read what came of it."""
    rng = np.random.default_rng(seed)
    w = make(rng, order=bool(rng.integers(2)))
    done = []
    for _ in range(int(rng.integers(2, 7))):
        operation = OPERATIONS[rng.integers(len(OPERATIONS))]
        if rng.random() < RARE.get(operation, 0):
            continue
        try:
            w = operation(w, rng)
        except InputError as error:
            count["operations refused"] += 1
            if (
                not follow.unchecked
                and not w.unsure
                and operation is not more_genes
                and len({w.window[g] for g in w.genes}) == 1
            ):
                raise AssertionError(f"{[*done, operation.__name__]} refused: {error}") from error
            break
        except SKIPPED:
            count["operations that anndata or mudata refuse"] += 1
            continue
        done.append(operation.__name__)
        count["operations"] += 1
    twice = len(set(labels(w))) < len(labels(w)) or w.parts["rna"].var["sample"].astype(str).duplicated().any()
    for reader in READERS:
        count["readings"] += 1
        follow.messages.clear()
        try:
            reader(w)
        except InputError as error:
            count["refused"] += 1
            allowed = w.unsure or twice or len({w.window[g] for g in w.genes}) > 1 or reader in MAY_REFUSE
            if not allowed and not follow.unchecked:
                raise AssertionError(f"seed {seed}: {done} refused by {reader.__name__}: {error}") from error
        except SKIPPED as error:
            if not follow.unchecked:
                raise AssertionError(f"seed {seed}: {done}: {reader.__name__} failed: {error!r}") from error
            count["failed"] += 1
        except AssertionError as error:
            count["SILENT MISALIGNMENTS"] += 1
            follow.wrong.append((seed, done, reader.__name__, str(error).strip()[:200]))
        else:
            warned = any("another order" in m for m in follow.messages)
            count["right, put in order with a warning" if warned else "right"] += 1


def run(n: int, first: int = 0, *, unchecked: bool = False) -> Counter:
    """Run `n` sequences; what went wrong stands in ``follow.wrong``."""
    follow.wrong, follow.messages, follow.unchecked = [], [], unchecked
    handler, others, logger.handlers = logging.Handler(), logger.handlers, []
    handler.emit = lambda record: follow.messages.append(record.getMessage())
    logger.addHandler(handler)
    count = Counter({"sequences": n, "SILENT MISALIGNMENTS": 0})
    try:
        with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _folder.root = root
            for seed in range(first, first + n):
                _next.update(gene=1, track=1, sample=1)
                follow(seed, count)
    finally:
        logger.handlers = others
    return count


def unchecked(monkeypatch) -> None:
    """Read arrays as they lie, as was done before axes had names."""
    monkeypatch.setattr(_axes, "get", lambda adata, key, **_: adata.obsm[key])
    monkeypatch.setattr(_axes, "get_named", lambda adata, key, tracks, **_: adata.obsm[key])
    monkeypatch.setattr(_axes, "numbers_of", lambda *a, **_: None)
    monkeypatch.setattr(_axes, "check_window", lambda *a, **_: None)
    monkeypatch.setattr(_axes, "settle", lambda *a, **_: None)


def test_no_sequence_misaligns_anything():
    count = run(SEQUENCES)
    print(*(f"{n:6d}  {what}" for what, n in count.items()), sep="\n")
    assert not follow.wrong, follow.wrong[:3]
    assert count["right"] > 0.6 * count["readings"]
    assert count["right, put in order with a warning"] > SEQUENCES / 10


def test_without_the_comparison_many_are_found(monkeypatch):
    unchecked(monkeypatch)
    count = run(40, unchecked=True)
    assert count["SILENT MISALIGNMENTS"] > 5


if __name__ == "__main__":
    n = int(sys.argv[1]) if len(sys.argv) > 1 else SEQUENCES
    for title, patch in (("as it is", False), ("without the comparison", True)):
        with pytest.MonkeyPatch.context() as monkeypatch:
            if patch:
                unchecked(monkeypatch)
            count = run(n, unchecked=patch)
        print(title, *(f"{v:8d}  {k}" for k, v in count.items()), sep="\n")
        print(*follow.wrong[: 0 if patch else 5], sep="\n")
