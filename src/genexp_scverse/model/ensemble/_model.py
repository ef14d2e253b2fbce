"""Several models of the contract as one model of the contract."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd

from genexp_scverse import schema
from genexp_scverse._errors import InputError, some
from genexp_scverse._logging import logger
from genexp_scverse._signals import signal_of
from genexp_scverse.model.base import Choice, GeneModel, Limit, _save, load
from genexp_scverse.model.base._making import Recipe, new_model, read_recipe, taken_options, train_whole
from genexp_scverse.model.base._plain_arrays import Expected, read_npz, regular_file
from genexp_scverse.model.base._selection import chosen_rows, chosen_samples
from genexp_scverse.model.base._statistics import level_scale
from genexp_scverse.model.base._tables import targets
from genexp_scverse.model.ensemble._calibration import calibrated, conformal_quantile, fit_platt

if TYPE_CHECKING:
    from mudata import MuData

FEWEST = 2
"""Complete members that are worth keeping when a training is interrupted."""


class Ensemble(GeneModel):
    """Mean of several models that differ in their seed, their kind or their hyperparameters.

    Networks that start from other weights err in other ways, and their mean errs less (Lakshminarayanan et al.
    2017, *NeurIPS*). Level and probability are plain means over the members. On the validation genes the ensemble
    then fits Platt's sigmoid for the probability (:attr:`calibrate`), and keeps the errors of the level, from which
    :meth:`predict_interval` makes intervals of stated coverage. Those genes have also chosen the best epoch of every
    network, so that their errors are slightly smaller than those of other genes.

    Parameters
    ----------
    mdata
        Gene-centric MuData; samples, marks, target, split and modalities of its setup are those of every member.
    model
        Name of a model, ``{"model": name, "setting": ..., hyperparameters}``, or a list of either.
    n_members
        Members of each model that is listed; the i-th of each has the seed `seed` + i, counted from 0.
    calibrate
        Calibrate the probability on the validation genes.
    setting
        ``default``.
    seed
        Of the first member.
    target
        ``label``, ``expression`` or ``both``; None for that of the setup.
    stranded, transform
        As for :class:`~genexp_scverse.model.DeepChrome`; what differs from the default here is passed to members
        that do not say their own.

    Attributes
    ----------
    members
        The models, in the order in which they were trained: all of the first seed, then those of the next.
    scores
        Sample -> absolute errors of the level of its validation genes, sorted.

    Examples
    --------
    >>> import numpy as np, genexp_scverse as gx
    >>> x = np.random.default_rng(0).random((90, 2, 20))
    >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(90)], marks=["H3K4me3", "H3K27me3"],
    ...                         expression=x[:, 0].mean(1), unit="log", sample="K562")
    >>> gx.pp.split_at_random(mdata, fractions=(0.5, 0.3, 0.2))
    >>> model = gx.model.Ensemble(mdata, model=["Linear", {"model": "RandomForest", "n_trees": 20}], n_members=1)
    >>> model.train()
    >>> [type(member).__name__ for member in model.members]
    ['Linear', 'RandomForest']
    >>> list(model.predict_interval(split="test", coverage=0.8))
    ['K562', 'K562:std', 'K562:low', 'K562:high']
    """

    name = "ensemble"
    reads: ClassVar[tuple[str, ...]] = (schema.CHROMATIN, schema.DNA)
    required: ClassVar[tuple[str, ...]] = ()
    needs_fitted: ClassVar[tuple[str, ...]] = ("n_members", "platt")
    limits: ClassVar[dict[str, Limit | Choice]] = {"n_members": Limit(1, 10_000)}
    members: list[GeneModel]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Names and default values of the hyperparameters."""
        return {**super().defaults(), "model": "DeepChrome", "n_members": 5, "calibrate": True}

    def _build(self) -> None:
        if not isinstance(self.hyperparameters_["calibrate"], bool):
            msg = f"calibrate={self.hyperparameters_['calibrate']!r} is neither True nor False"
            raise InputError(msg)
        recipes = self._recipes()
        self.hyperparameters_["model"] = [recipe.plain for recipe in recipes]
        self.members = [] if self._adata is None else self._make_members(self._adata)
        self.scores: dict[str, np.ndarray] = {}

    def train(  # type: ignore[override]
        self,
        *,
        members: Sequence[GeneModel] | None = None,
        seed: int | None = None,
        checkpoint: str | Path | None = None,
        **training: Any,
    ) -> None:
        """Train every member on the training genes, then calibrate on the validation genes.

        A further call begins anew. Ctrl-C and SIGTERM end the training: complete members are kept where there are
        at least two, otherwise the ensemble is as it was before.

        Parameters
        ----------
        members
            Models that are trained already, as many as the ensemble has and in its order, to be taken as they are.
            They have learned the same target of the same samples from the same training genes.
        seed
            Of the first member's training, the next ones count on from it; by default those of the members.
        checkpoint
            Directory to which the training is written, with one for every member that has epochs; one that was cut
            short goes on, see :meth:`genexp_scverse.model.DeepChrome.train`.
        training
            Arguments of the members' ``train``, such as ``max_epochs``; each goes to those that take it.

        Raises
        ------
        InputError
            When there is nothing to train on, no member takes one of the arguments, or `members` do not fit.

        Examples
        --------
        See :class:`Ensemble`.
        """
        mdata = self._data(None)
        unknown = [k for k in training if k not in taken_options(self, training)]
        if unknown:
            msg = f"train got {some(unknown)}, which none of the members takes: leave it out"
            raise InputError(msg)
        before = self.fitted_, self.members, self.scores
        self.stopped_by = None
        start = time.perf_counter()
        try:
            _, valid = self._fit_statistics(mdata)
            made = self._make_members(mdata)
            if members is not None:
                self._check_taken(members, made)
                self.members = list(members)
            else:
                self.members = self._trained(made, seed, training, checkpoint)
            self.fitted_["n_members"] = len(self.members)
            self._calibrate(mdata, valid)
        except BaseException:
            self.fitted_, self.members, self.scores = before
            raise
        taken = 0.0 if members is None else sum(m.fitted_["train_seconds"] for m in members)
        self.fitted_["train_seconds"] = taken + time.perf_counter() - start
        self.is_trained_ = True

    def predict_interval(
        self,
        mdata: MuData | None = None,
        *,
        coverage: float = 0.9,
        split: str | None = None,
        indices: Sequence[int] | Sequence[str] | int | None = None,
        samples: Sequence[str] | str | None = None,
    ) -> pd.DataFrame:
        r"""Predict levels with intervals that hold the measured level of a new gene with a stated probability.

        Split-conformal prediction: with :math:`q` the :math:`\lceil (n + 1)\,c \rceil`-th smallest absolute error
        of the :math:`n` validation genes, the interval is prediction :math:`\pm q` and covers a share of at least
        :math:`c` of the genes that are like them, whatever the model and the noise. For a sample that was not
        trained on, the errors of all samples together are taken, and nothing is promised.

        Parameters
        ----------
        mdata, split, indices, samples
            As for :meth:`predict`.
        coverage
            Share of genes whose level is to lie in its interval.

        Returns
        -------
        Genes x columns ``<sample>`` (mean level over the members, natural log scale), ``<sample>:std`` (standard
        deviation over the members), ``<sample>:low`` and ``<sample>:high``; ``.attrs["coverage"]`` is the coverage.

        Raises
        ------
        InputError
            When the model has learned no level, or has too few validation genes for this coverage.

        Examples
        --------
        See :class:`Ensemble`.
        """
        self._need_trained()
        if not 0 < coverage < 1:
            msg = f"coverage={coverage!r} is no share of genes: give a number above 0 and below 1, such as 0.9"
            raise InputError(msg)
        if self.setup_["target"] == "label":
            msg = "the ensemble has learned labels alone, so there is no level to give an interval for"
            raise InputError(msg)
        if not self.scores:
            msg = "the ensemble was trained without measured validation genes, from whose errors intervals are made"
            raise InputError(msg)
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        rows = chosen_rows(mdata, self.setup_, split, indices)
        columns: dict[str, np.ndarray] = {}
        for sample in names:
            half = conformal_quantile(self._scores_of(sample), coverage)
            levels = self._say(mdata, rows, sample)["level"]
            mean = levels.mean(axis=0)
            columns[sample], columns[f"{sample}:std"] = mean, levels.std(axis=0)
            columns[f"{sample}:low"], columns[f"{sample}:high"] = mean - half, mean + half
        frame = pd.DataFrame(columns, index=pd.Index(mdata.obs_names[rows], name="gene_id"), dtype=np.float32)
        frame.attrs["coverage"] = coverage
        return frame

    @property
    def n_parameters(self) -> int:
        """Number of fitted numbers of all members, and of the calibration."""
        return sum(m.n_parameters for m in self.members) + len(self.fitted_.get("platt") or [])

    @property
    def summary(self) -> str:
        """What the ensemble is, reads and has learned, in a few lines."""
        kinds = [type(m).__name__ for m in self.members]
        lines = [super().summary, f"members    {', '.join(f'{kinds.count(k)} {k}' for k in dict.fromkeys(kinds))}"]
        if self.is_trained_:
            platt, scores = self.fitted_["platt"], {s: len(v) for s, v in self.scores.items()}
            lines.append(
                f"label      {'not calibrated' if platt is None else 'calibrated, slope {:.2f}'.format(*platt)}"
            )
            lines.append(f"intervals  {', '.join(f'{n} errors of {s}' for s, n in scores.items()) or 'none'}")
        return "\n".join(lines)

    def to_device(self, device: Any) -> None:
        """Move the members that are networks.

        Parameters
        ----------
        device
            What PyTorch takes.
        """
        for member in self.members:
            member.to_device(device)

    @property
    def device(self) -> Any:
        """Where the first member is."""
        return self.members[0].device

    def _recipes(self) -> list[Recipe]:
        given = self.hyperparameters_["model"]
        recipes = [read_recipe(g) for g in (given if isinstance(given, list | tuple) else [given])]
        if not recipes or any(issubclass(r.cls, Ensemble) for r in recipes):
            msg = f"model={given!r} names {'an ensemble' if recipes else 'no model'}: list the models themselves"
            raise InputError(msg)
        return recipes

    def _make_members(self, mdata: MuData) -> list[GeneModel]:
        """Untrained members with the setup of the ensemble."""
        setup = {
            **self._adata_manager.registry["setup_args"],
            "samples": self.setup_["samples"],
            "target": self.setup_["target"],
        }
        shared = {k: v for k, v in GeneModel.defaults().items() if k != "target" and self.hyperparameters_[k] != v}
        shared = {k: self.hyperparameters_[k] for k in shared}
        members = [
            new_model(r._replace(hyperparameters={**shared, **r.hyperparameters}), mdata, setup, seed=self.seed + i)
            for i in range(self.hyperparameters_["n_members"])
            for r in self._recipes()
        ]
        # what no member reads need not be there when predicting
        for key in ("features", "dna"):
            self.setup_[key] = next((m.setup_[key] for m in members if m.setup_["features"]), type(self.setup_[key])())
        # bases are read by members alone, and other data given to the ensemble are set up for them
        self.setup_["codes"] = next((m.setup_["codes"] for m in members if m.setup_["codes"]), None)
        return members

    def _check_taken(self, taken: Sequence[GeneModel], made: list[GeneModel]) -> None:
        """Raise unless the models that are given are what would be trained here."""
        if [type(m) for m in taken] != [type(m) for m in made]:
            names = [", ".join(type(m).__name__ for m in each) or "none" for each in (taken, made)]
            msg = f"members are {names[0]} and the ensemble is of {names[1]}: give those, in that order"
            raise InputError(msg)
        for member in taken:
            name = type(member).__name__
            if not member.is_trained_:
                msg = f"the member {name} is not trained: train it first, or leave members out"
                raise InputError(msg)
            if any(member.setup_[k] != self.setup_[k] for k in ("samples", "target")):
                msg = f"the member {name} learned another target or other samples than the ensemble: make it anew"
                raise InputError(msg)
            if set(member.fitted_["training_genes"]) != set(self.fitted_["training_genes"]):
                msg = f"the member {name} was trained on other genes than the training genes here: train it on these"
                raise InputError(msg)

    def _trained(
        self,
        members: list[GeneModel],
        seed: int | None,
        training: Mapping[str, Any],
        checkpoint: str | Path | None,
    ) -> list[GeneModel]:
        each = len(self._recipes())
        for i, member in enumerate(members):
            logger.info(
                "Training member %d of %d, %s with seed %d", i + 1, len(members), type(member).__name__, member.seed
            )
            own = {} if checkpoint is None else {"checkpoint": Path(checkpoint) / str(i)}
            try:
                train_whole(member, seed=member.seed if seed is None else int(seed) + i // each, **training, **own)
            except KeyboardInterrupt as error:
                if i < FEWEST:
                    raise
                self.stopped_by = signal_of(error)
                logger.warning("Interrupted: the %d complete members of %d are kept", i, len(members))
                return members[:i]
        return members

    def _calibrate(self, mdata: MuData, valid: np.ndarray) -> None:
        """Fit what is fitted on the validation pairs (gene, sample)."""
        self.scores = {}
        prob, label = [], []
        for j, sample in enumerate(self.setup_["samples"]):
            rows = valid[valid[:, 1] == j, 0]
            if not len(rows):
                continue
            level, known = targets(mdata, self.setup_["modalities"][schema.RNA], [sample], self.fitted_["thresholds"])
            said = self._say(mdata, rows, sample)
            if "prob" in said:
                prob.append(said["prob"].mean(axis=0))
                label.append(known[rows, 0])
            if "level" in said:
                errors = np.abs(said["level"].mean(axis=0) - level[rows, 0])
                if (measured := ~np.isnan(errors)).any():
                    self.scores[sample] = np.sort(errors[measured])
        fit = self.hyperparameters_["calibrate"] and len(prob) > 0
        self.fitted_["platt"] = fit_platt(np.concatenate(prob), np.concatenate(label)) if fit else None
        if (
            self.hyperparameters_["calibrate"]
            and self.setup_["target"] != "expression"
            and self.fitted_["platt"] is None
        ):
            logger.warning("Too few validation genes have a label: the probability is not calibrated")

    def _scores_of(self, sample: str) -> np.ndarray:
        if sample in self.scores:
            return self.scores[sample]
        logger.warning("sample %r has no validation errors of its own: its intervals promise no coverage", sample)
        return np.concatenate(list(self.scores.values()))

    def _say(self, mdata: MuData, rows: np.ndarray, sample: str) -> dict[str, np.ndarray]:
        """Ask every member: ``level`` and ``prob``, members x genes, as there are."""
        frames = [m.predict(mdata, indices=rows.tolist(), samples=[sample]) for m in self.members]
        columns = {"level": sample, "prob": f"{sample}:prob"}
        return {
            k: np.stack([f[column].to_numpy(np.float64) for f in frames])
            for k, column in columns.items()
            if column in frames[0]
        }

    def _tables(self, mdata: MuData, samples: list[str], **reading: Any) -> Any:
        # every member gathers from tables of its own
        return _Asked(mdata, samples, np.asarray(mdata.obs_names))

    def _predict_tables(self, tables: Any, pairs: np.ndarray) -> dict[str, np.ndarray]:
        out: dict[str, np.ndarray] = {}
        for j in np.unique(pairs[:, 1]):
            of, sample = pairs[:, 1] == j, tables.samples[j]
            for key, values in self._say(tables.mdata, pairs[of, 0], sample).items():
                out.setdefault(key, np.full(len(pairs), np.nan))[of] = values.mean(axis=0)
                if key == "level":
                    mean, std = level_scale(self.fitted_, sample)
                    out[key][of] = (out[key][of] - mean) / std
        if "prob" in out:
            out["prob"] = calibrated(out["prob"], self.fitted_["platt"])
        return out

    def _files(self) -> dict[str, Any]:
        files: dict[str, Any] = {f"{_save.MEMBERS}/{i}": m.save for i, m in enumerate(self.members)}
        scores = {str(j): self.scores[s] for j, s in enumerate(self.setup_["samples"]) if s in self.scores}
        return {**files, _save.SCORES: scores}

    def _restore(self, directory: Path) -> None:
        self.members = []
        for i in range(int(self.fitted_["n_members"])):
            where = directory / _save.MEMBERS / str(i)
            member = None
            if not where.resolve().is_relative_to(directory.resolve()):
                msg = f"{where} leads out of {directory}: copy the folder with what its links lead to (cp -rL)"
                raise InputError(msg)
            # asked before it is read: one that holds itself would be read for ever
            if _save.read_description(where).model != type(self).__name__:
                member = load(where)
            if member is None or any(member.setup_[k] != self.setup_[k] for k in ("samples", "target")):
                msg = f"member {i} in {directory} is of another model than its model.json describes: save it again"
                raise InputError(msg)
            self.members.append(member)
        samples = self.setup_["samples"]
        expected = {str(j): Expected((None,), np.dtype(np.float64), needed=False) for j in range(len(samples))}
        path = regular_file(directory / _save.SCORES, directory)
        scores = read_npz(path, expected, describes=_save.DESCRIPTION)
        self.scores = {samples[int(j)]: errors for j, errors in scores.items() if len(errors)}


class _Asked(NamedTuple):
    """What is to be predicted, in place of tables; members have tables of their own."""

    mdata: MuData
    samples: list[str]
    genes: np.ndarray
    known: None = None
