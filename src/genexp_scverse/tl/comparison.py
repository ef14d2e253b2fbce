"""Models side by side on the same genes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from genexp_scverse import pp, schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse.model.base._making import read_recipe
from genexp_scverse.model.base._registration import arguments_of
from genexp_scverse.model.base._selection import chosen_rows, chosen_samples
from genexp_scverse.model.base._statistics import thresholds_of
from genexp_scverse.tl import _trials

if TYPE_CHECKING:
    from mudata import MuData

    from genexp_scverse.model.base import GeneModel

BASELINES = {"linear": "Linear", "random forest": "RandomForest"}
"""Label -> model that is in every comparison."""


def compare(
    models: Mapping[str, GeneModel],
    mdata: MuData,
    *,
    split: str | None = "test",
    samples: Sequence[str] | str | None = None,
    reference: str = "random forest",
    n_bootstrap: int = 1000,
    seed: int = 0,
    key_added: str = "comparison",
) -> pd.DataFrame:
    """Compare models on the same genes: measures, and paired differences to a reference, with intervals.

    A gene counts where it was measured and every model has predicted it. The label is that of the reference (level
    above the median of its training genes), the same for all models. Resamples of genes are the same for all, and a
    difference is taken within each, see :func:`genexp_scverse.metrics.bootstrap_differences`.

    A linear model and a random forest are always there: where `models` has none of that class, one is trained on the
    training genes of `mdata` with the setup of the first model. Where the models read bare DNA, these two read GC, CpG
    and the shares of its 4-mers (:func:`genexp_scverse.pp.sequence_features`). Models that differ in what they were
    trained on are compared all the same, and it is said in the log.

    Parameters
    ----------
    models
        Label -> trained model, as many as you like; none gives the two baselines with the default setup.
    mdata
        Where the genes are, with expression and what the models read.
    split
        Genes to compare on; None for all.
    samples
        Samples to compare on; by default those that all models can predict and that have a measured gene there.
    reference
        Label of the model that differences are taken to.
    n_bootstrap
        Number of bootstrap resamples of genes for 95 % intervals, 0 for none.
    seed
        Of the resampling, and of baselines that are trained here.
    key_added
        Name of the result.

    Returns
    -------
    A row per model and sample, index ``model``: sample, n (genes compared), auroc, auprc, pearson and spearman with
    ``<metric>_low`` and ``<metric>_high``; ``<metric>_diff``, ``<metric>_diff_low`` and ``<metric>_diff_high``, model
    minus reference (NaN for the reference itself); train_seconds, n_parameters, and reference. Also written to
    ``mdata.uns[key_added]``, drawn by :func:`genexp_scverse.pl.comparison`.

    Raises
    ------
    InputError
        When a model is untrained or was trained on genes that are compared (unless `split` is ``train``), when the
        reference is not there, or nothing was measured.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((150, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(150)], marks=["H3K4me3", "H3K27me3"],
    ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata)
    >>> svm = gx.model.LinearSVM(mdata)
    >>> svm.train()
    >>> table = gx.tl.compare({"SVM": svm}, mdata, n_bootstrap=50)
    >>> list(table.index)
    ['SVM', 'linear', 'random forest']
    >>> bool(table.loc["SVM", "pearson_diff_low"] <= table.loc["SVM", "pearson_diff"])
    True
    """
    models = dict(models)
    for label, model in models.items():
        if not getattr(model, "is_trained_", False):
            msg = f"{label!r} is not trained: call its train() first"
            raise InputError(msg)
    missing = {_free(name, models): cls for name, cls in BASELINES.items() if not _has(models, cls)}
    reference = _reference(models, missing, reference)
    if models:
        setup = _common_setup(models)
        _check_unseen(models, mdata, _rows(mdata, setup, split), split)
    else:
        setup = {}
    counted = _with_kmers(mdata, models, setup) if missing and models else None
    if counted is not None:
        setup["modalities"] = {**setup["modalities"], schema.DNA: schema.DNA}
    of_label = dict.fromkeys(models, mdata)
    for label, name in missing.items():
        logger.info("Training a %s for comparison", label)
        of_label[label] = mdata if counted is None else counted
        models[label] = _trials.trained(read_recipe(name), of_label[label], setup, seed=seed, training={})
    chief = models[reference]
    _say_differences(models)
    rows = _rows(mdata, chief.setup_, split)
    _check_unseen(models, mdata, rows, split)
    if split == "valid":
        logger.info("Validation genes have chosen the epochs of networks, so they flatter them")
    names = _samples(models, mdata, samples)
    frames = {k: model.predict(of_label[k], indices=rows.tolist(), samples=names) for k, model in models.items()}
    rna = chief.setup_["modalities"][schema.RNA]
    level, label_of = _trials.truth(
        mdata, names, rna=rna, thresholds=thresholds_of(mdata, chief.setup_, chief.fitted_, names)
    )
    table = []
    for j, sample in enumerate(names):
        y, c = level[rows, j].astype(np.float64), label_of[rows, j].astype(np.float64)
        said = {label: _trials.predicted(frame, sample) for label, frame in frames.items()}
        for of, truth in ((0, y), (1, c)):
            for values in [pair[of] for pair in said.values()]:
                if values is not None:
                    truth[np.isnan(values)] = np.nan
        if np.isnan(y).all() and np.isnan(c).all():
            if samples is None and len(names) > 1:
                logger.info("sample %r has no measured gene among the %d and is left out", sample, len(rows))
                continue
            msg = f"sample {sample!r} has no measured gene in {'all genes' if split is None else f'split {split!r}'}"
            raise InputError(f"{msg}: there is nothing to compare with")
        for label, model in models.items():
            row = _trials.shown(_trials.scores(y, c, said[label], n_bootstrap=n_bootstrap, seed=seed))
            row |= _trials.differences(y, c, said[label], said[reference], n_bootstrap=n_bootstrap, seed=seed)
            if label == reference:
                row |= {k: np.nan for k in row if "_diff" in k}
            cost = {"train_seconds": model.fitted_.get("train_seconds", np.nan), "n_parameters": model.n_parameters}
            table.append({"model": label, "sample": sample, **row, **cost, "reference": reference})
    result = pd.DataFrame(table).set_index("model")
    mdata.uns[key_added] = result.copy()
    return result


def _has(models: Mapping[str, GeneModel], cls: str) -> bool:
    return any(type(m).__name__ == cls for m in models.values())


def _free(label: str, models: Mapping[str, GeneModel]) -> str:
    return label if label not in models else f"{label} (baseline)"


def _reference(models: Mapping[str, GeneModel], missing: Mapping[str, str], reference: str) -> str:
    """Label of the reference; a model of the class that a baseline has by default goes by that name too."""
    labels = [*models, *missing]
    alike = [label for label, m in models.items() if type(m).__name__ == BASELINES.get(reference)]
    if reference not in labels and not alike:
        msg = f"reference={reference!r} is not among the models: choose one of {', '.join(labels)}"
        raise InputError(msg)
    return reference if reference in labels else alike[0]


def _rows(mdata: MuData, setup: Mapping, split: str | None) -> np.ndarray:
    return chosen_rows(mdata, {"split_key": setup["split_key"]}, split, None)


def _common_setup(models: Mapping[str, GeneModel]) -> dict:
    """Take the setup of the first model; both targets where models differ in it, and DNA where one reads it."""
    setups = [m.setup_ for m in models.values()]
    common = arguments_of(setups[0])
    if len({s["target"] for s in setups}) > 1:
        common["target"] = "both"
    dna = next((s["modalities"][schema.DNA] for s in setups if s["features"]), None)
    return {**common, "modalities": {**common["modalities"], schema.DNA: dna}}


def _with_kmers(mdata: MuData, models: Mapping[str, GeneModel], setup: dict) -> MuData | None:
    """Give baselines something to read of bare DNA, a light copy with k-mers; None where they have what they read."""
    dna = next((m.setup_["modalities"][schema.DNA] for m in models.values() if m.setup_["codes"]), None)
    if dna is None or any(setup["modalities"].get(role, role) for role in (schema.CHROMATIN, schema.DNA)):
        return None
    if dna not in mdata.mod or schema.CODES not in mdata.mod[dna].obsm:
        msg = (
            "the models read the DNA of a genome store alone, which the linear model and the forest cannot: give both, "
            "trained on features of the DNA or of the genes (gx.pp.sequence_features, gx.pp.add_gene_features)"
        )
        raise InputError(msg)
    light = _trials.light_copy(mdata, setup["modalities"].get(schema.RNA, schema.RNA))
    pp.sequence_features(light, k=4)
    return light


def _check_unseen(models: Mapping[str, GeneModel], mdata: MuData, rows: np.ndarray, split: str | None) -> None:
    if split == "train":
        logger.warning("Models are compared on their training genes: the figures are not those of unseen genes")
        return
    for label, model in models.items():
        seen = mdata.obs_names[rows].isin(model.fitted_["training_genes"])
        if seen.any():
            msg = (
                f"{label!r} was trained on {int(seen.sum())} of the {len(rows)} genes that are to be compared, such as "
                f"{some(mdata.obs_names[rows][seen], 1)}: choose genes that no model has seen with split=, or train it "
                "again on this split"
            )
            raise InputError(msg)


def _say_differences(models: Mapping[str, GeneModel]) -> None:
    """Say which models differ in what they were trained on: their difference is then not one of the method alone."""
    traits = {
        "training genes": lambda m: tuple(m.fitted_["training_genes"]),
        "samples": lambda m: tuple(sorted(m.setup_["samples"])),
        "marks": lambda m: tuple(sorted(m.setup_["marks"] or ())),
        "features of the DNA": lambda m: tuple(m.setup_["features"]),
    }
    for what, of in traits.items():
        groups: dict[tuple, list[str]] = {}
        for label, model in models.items():
            groups.setdefault(of(model), []).append(label)
        if len(groups) > 1:
            said = "; ".join(f"{', '.join(labels)}: {_short(values)}" for values, labels in groups.items())
            logger.warning("The models differ in their %s, not in the method alone (%s)", what, said)


def _short(values: tuple) -> str:
    return ", ".join(values) if 0 < len(values) <= 8 else str(len(values))


def _samples(models: Mapping[str, GeneModel], mdata: MuData, samples: Sequence[str] | str | None) -> list[str]:
    of = [chosen_samples(mdata, m.setup_, samples) for m in models.values()]
    names = [s for s in of[0] if all(s in other for other in of)]
    if not names:
        msg = f"the models share no sample: they predict {'; '.join(some(o) for o in of)}; choose with samples="
        raise InputError(msg)
    return names
