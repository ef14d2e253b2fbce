from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

import genexp_scverse as gx
from genexp_scverse.io.assemble import assemble_chromatin, assemble_mudata

MARKS = ["H3K4me3", "H3K27me3", "H3K36me3"]
FAST: dict[str, dict[str, Any]] = {
    "AttentiveChrome": {
        "hyper": {"n_hidden": 8, "n_mark_hidden": 8, "bins_per_step": 2},
        "train": {
            "max_epochs": 8,
            "enable_progress_bar": False,
            "accelerator": "cpu",
            "lr": 3e-2,
            "batch_size": 32,
        },
    },
    "DeepChrome": {
        "hyper": {"n_filters": 8, "kernel_size": 5, "n_hidden": [16, 8], "dropout": 0.1},
        "train": {
            "max_epochs": 8,
            "enable_progress_bar": False,
            "accelerator": "cpu",
            "lr": 1e-2,
            "weight_decay": 1e-2,
            "batch_size": 32,
        },
    },
    "Ensemble": {
        "hyper": {
            "model": [
                "Linear",
                {"model": "DeepChrome", "n_filters": 8, "kernel_size": 5, "n_hidden": [16, 8], "dropout": 0.1},
            ],
            "n_members": 1,
        },
        "train": {
            "max_epochs": 8,
            "enable_progress_bar": False,
            "accelerator": "cpu",
            "lr": 1e-2,
            "weight_decay": 1e-2,
            "batch_size": 32,
        },
    },
    "Linear": {"hyper": {}, "train": {}},
    "LinearSVM": {"hyper": {}, "train": {}},
    "RandomForest": {"hyper": {"n_trees": 40}, "train": {}},
    "Seq2ExpModel": {
        "hyper": {"width": 16, "n_layers": 1, "backbone": "conv", "n_hidden": [16], "dropout": 0.1},
        "train": {
            "max_epochs": 8,
            "enable_progress_bar": False,
            "accelerator": "cpu",
            "lr": 1e-2,
            "weight_decay": 1e-2,
            "batch_size": 32,
        },
    },
    "SimpleChromeVAE": {
        "hyper": {
            "n_latent": 6,
            "n_filters": [8],
            "kernel_size": 5,
            "n_hidden": [32],
            "dropout": 0.1,
            "n_predictor": [16],
            "predictor_dropout": 0.1,
        },
        "train": {
            "max_epochs": 12,
            "enable_progress_bar": False,
            "accelerator": "cpu",
            "lr": 1e-2,
            "weight_decay": 1e-2,
            "batch_size": 32,
        },
    },
}


def make_mdata(n_genes: int = 240, n_bins: int = 40, seed: int = 0, samples=("A", "B")):
    """Counts whose first mark rises and second falls with the level around the TSS; two samples; some gaps."""
    rng = np.random.default_rng(seed)
    genes = [f"g{i:04d}" for i in range(n_genes)]
    bins, levels = {}, {}
    for sample in samples:
        level = rng.normal(2, 1, n_genes).clip(0)
        x = rng.poisson(1.0, (n_genes, len(MARKS), n_bins)).astype(np.float32)
        near = slice(n_bins // 2 - 3, n_bins // 2 + 3)
        x[:, 0, near] += rng.poisson(np.exp(0.8 * level))[:, None]
        x[:, 1, near] += rng.poisson(np.exp(1.6 - 0.6 * level))[:, None]
        bins[sample] = x
        levels[sample] = np.expm1(level + rng.normal(0, 0.3, n_genes).clip(-level))
    expression = pd.DataFrame(levels, index=genes)
    expression.iloc[::17] = np.nan
    obs = pd.DataFrame(
        {
            "chrom": rng.choice([f"chr{i}" for i in range(1, 9)], n_genes),
            "tss": rng.integers(10_000, 10**6, n_genes),
            "strand": rng.choice(["+", "-"], n_genes),
        },
        index=genes,
    )
    mdata = gx.io.from_bins(
        bins,
        genes=genes,
        marks=MARKS,
        expression=expression,
        unit="tpm",
        scale="counts",
        obs=obs,
        window={"upstream": n_bins * 50, "downstream": n_bins * 50, "bin_size": 100, "stranded": True},
    )
    gx.pp.split_by_chromosome(mdata, test=["chr1", "chr2"], valid=["chr3"])
    gx.pp.label(mdata)
    return mdata


def make_model(name: str, mdata, *, train: bool = True, setup: dict | None = None, seed: int = 0, **hyper):
    """A small model of any registered class, trained."""
    cls = gx.model.model_class(name)
    if setup is not None:
        cls.setup_mudata(mdata, **setup)
    model = cls(mdata, seed=seed, **{**FAST[name]["hyper"], **hyper})
    if train:
        model.train(**FAST[name]["train"])
    return model


def without(mdata, *tracks: str, renamed: dict[str, str] | None = None):
    """The same genes without some tracks; marks may get another name."""
    chromatin = mdata["chromatin"]
    keep = [i for i, name in enumerate(chromatin.var_names) if name not in tracks]
    assert len(keep) == chromatin.n_vars - len(tracks)
    var = chromatin.var.iloc[keep].reset_index(drop=True)
    if renamed:
        var["mark"] = [renamed.get(f"{s}.{m}", m) for s, m in zip(var["sample"], var["mark"], strict=True)]
    smaller = assemble_chromatin(
        mdata.obs_names, var, np.asarray(chromatin.obsm["bins"])[:, keep], chromatin.uns["window"]
    )
    return assemble_mudata(mdata.obs, {**mdata.mod, "chromatin": smaller})
