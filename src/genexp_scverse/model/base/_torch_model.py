"""Models whose estimator is a network, trained by scvi-tools' runner on Lightning."""

from __future__ import annotations

import contextlib
import copy
import inspect
import logging
import time
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import pandas as pd
import torch
from anndata import AnnData
from mudata import MuData
from scvi.train import Trainer, TrainRunner

from genexp_scverse._errors import InputError, no_such, option
from genexp_scverse._logging import logger
from genexp_scverse._signals import interruption, signal_of
from genexp_scverse.model.base import _save
from genexp_scverse.model.base._checkpoint import Checkpoint, digest, digest_of_weights
from genexp_scverse.model.base._data import PairBatches, PairData, ReadAhead
from genexp_scverse.model.base._fitting import Interruptible, KeepBest, StopEarly
from genexp_scverse.model.base._model import GeneModel
from genexp_scverse.model.base._module import GeneModule
from genexp_scverse.model.base._plain_arrays import Expected, read_npz, regular_file
from genexp_scverse.model.base._plan import SupervisedPlan
from genexp_scverse.model.base._saved import as_history
from genexp_scverse.model.base._selection import chosen_samples
from genexp_scverse.model.base._statistics import standardised
from genexp_scverse.model.base._tables import GeneTables

TRAINING = {
    "max_epochs": 30,
    "batch_size": 128,
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 1e-2,
    "schedule": "one_cycle",
    "patience": 20,
}
"""Defaults of :meth:`TorchGeneModel.train`; a setting may change them under its key ``train``, and there under
``trainer`` the arguments of the trainer."""


class TorchGeneModel(GeneModel):
    """A :class:`GeneModel` around a :class:`GeneModule`; a subclass gives `_network`."""

    starts_anew = False
    module: GeneModule

    @abstractmethod
    def _network(self) -> GeneModule: ...

    def _build(self) -> None:
        # the network is made on the CPU; no device is touched before training
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed)
            self.module = self._network()
        self.module.eval()

    def train(
        self,
        max_epochs: int | None = None,
        *,
        early_stopping: bool = True,
        patience: int | None = None,
        batch_size: int | None = None,
        optimizer: str | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        schedule: str | None = None,
        accelerator: str = "auto",
        devices: int | list[int] | str = "auto",
        seed: int | None = None,
        checkpoint: str | Path | None = None,
        **trainer_kwargs,
    ) -> None:
        """Train on the genes of the split ``train`` and keep the best epoch by the genes of ``valid``.

        Scaling of the signal, label thresholds and the scale of the levels are fitted on the training genes of
        the first call. Ctrl-C and SIGTERM end the training and keep the best epoch so far (see :attr:`stopped_by`);
        a second signal ends it at once. A further call goes on from the present weights. Arguments that are None
        take the value of the model's setting.

        Parameters
        ----------
        max_epochs
            Passes over the training genes at most.
        early_stopping
            End when the validation score (mean of AUROC and Pearson, of those learned) has not risen for
            `patience` epochs.
        patience
            Epochs to wait for a rise.
        batch_size
            (gene, sample) pairs in a step.
        optimizer
            ``adamw``, ``adam`` or ``sgd``.
        lr, weight_decay
            Learning rate and weight decay.
        schedule
            Of the learning rate: ``one_cycle`` (up in the first tenth of all steps, then down to nearly 0),
            ``constant``, or ``inverse`` (lr / (1 + 1e-7 * step)).
        accelerator, devices
            As for Lightning: ``auto`` takes a GPU when there is one.
        seed
            Of shuffling and dropout; by default the model's.
        checkpoint
            Directory to which the training is written after every epoch. Where it holds one that was cut short, by a
            signal or a crash, this one goes on after its last epoch, and on a CPU ends with the same figures as one
            that was never stopped. It has to be the same training: model, data and arguments are compared. The
            directory stays: delete it when the model is saved.
        trainer_kwargs
            Passed to :class:`scvi.train.Trainer`, for example ``enable_progress_bar=False``.

        Raises
        ------
        InputError
            When there is nothing to train on, or `checkpoint` holds another training or something else.

        Examples
        --------
        >>> import numpy as np, genexp_scverse as gx
        >>> x = np.random.default_rng(0).random((60, 2, 20))
        >>> mdata = gx.io.from_bins(x, genes=[f"g{i}" for i in range(60)], marks=["H3K4me3", "H3K27me3"],
        ...                         expression=x[:, 0].mean(1), unit="log")
        >>> gx.pp.split_at_random(mdata)
        >>> model = gx.model.DeepChrome(mdata)
        >>> model.train(2, enable_progress_bar=False)
        >>> len(model.history)
        2
        """
        given = {
            "max_epochs": max_epochs,
            "batch_size": batch_size,
            "optimizer": optimizer,
            "lr": lr,
            "weight_decay": weight_decay,
            "schedule": schedule,
            "patience": patience,
        }
        of_setting = dict(self.settings[self.setting].get("train", {}))
        trainer_kwargs = {**of_setting.pop("trainer", {}), **trainer_kwargs}
        options = {
            **TRAINING,
            **of_setting,
            **{k: v for k, v in given.items() if v is not None},
        }
        self._check_training(trainer_kwargs)
        check_devices(accelerator, devices)
        if optimizer in ("adam", "sgd") and weight_decay is None:
            # the decay of AdamW's default is decoupled from the gradient and far too strong here
            options["weight_decay"] = 0.0
        mdata = self._data(None)
        fitted = self.fitted_.copy()
        train, valid = self._fit_statistics(mdata)
        if not len(valid):
            logger.warning("No validation gene has a measurement: the last epoch is kept, not the best")
        seed = self.seed if seed is None else int(seed)
        # a further training must not repeat the order of the first
        seed += 0 if self.history is None else len(self.history)
        with torch.random.fork_rng(devices=[] if accelerator == "cpu" else None):
            torch.manual_seed(seed)
            weights, history = copy.deepcopy(self.module.state_dict()), self.history_
            start, self.stopped_by = time.perf_counter(), None
            try:
                if checkpoint is not None:
                    about = options | {"early_stopping": early_stopping} | trainer_kwargs
                    trainer_kwargs["checkpoint"] = Checkpoint(checkpoint, self._identity(train, valid, seed, about))
                self._run(
                    train,
                    valid,
                    options,
                    seed,
                    early_stopping=early_stopping and len(valid) > 0,
                    accelerator=accelerator,
                    devices=devices,
                    **trainer_kwargs,
                )
            except BaseException:
                # a training that failed leaves no trace
                self.module.load_state_dict(weights)
                self.module.eval()
                self.history_, self.fitted_ = history, fitted
                self.is_trained_ = history is not None
                raise
            self.fitted_["train_seconds"] = fitted.get("train_seconds", 0.0) + time.perf_counter() - start

    def get_latent_representation(
        self,
        mdata: Any = None,
        *,
        samples: list[str] | str | None = None,
        key_added: str | None = None,
    ) -> np.ndarray:
        """Return the network's last hidden layer for one sample.

        Parameters
        ----------
        mdata
            Another MuData; by default the model's own.
        samples
            The sample; needed when there are several.
        key_added
            Also write it to ``obsm[key_added]`` of the modality chromatin, or of dna where that is not there.

        Returns
        -------
        Genes x units, float32.

        Raises
        ------
        InputError
            When several samples are possible and none is named, or the network has no such layer.
        """
        self._need_trained()
        mdata = self._data(mdata)
        names = chosen_samples(mdata, self.setup_, samples)
        if len(names) != 1:
            msg = f"there are several samples, {', '.join(names)}: name one, {option('samples', names[0])}"
            raise InputError(msg)
        tables = self._tables(mdata, names)
        pairs = np.stack([np.arange(mdata.n_obs), np.zeros(mdata.n_obs, int)], axis=1)
        latent = self._forward(tables, pairs, ("latent",)).get("latent")
        if latent is None:
            msg = f"the network of {type(self).__name__} gives no hidden layer as a latent: take another model"
            raise InputError(msg)
        if key_added is not None:
            self._holder(mdata).obsm[key_added] = latent
        return latent

    def _check_training(self, given: Mapping[str, Any]) -> None:
        """Raise for an argument of ``train`` that neither this model nor the trainer has."""
        if unwanted := [k for k in given if k.startswith("early_stopping_")]:
            msg = f"train takes no {unwanted[0]}: the score is that of the validation genes; see patience"
            raise InputError(msg)
        own = {k for k, p in inspect.signature(self._run).parameters.items() if p.kind is p.KEYWORD_ONLY}
        trainer = [inspect.signature(each).parameters for each in (Trainer, lightning.Trainer)]
        ours = [k for k in inspect.signature(self.train).parameters if not k.endswith("kwargs")]
        unknown = [k for k in given if k not in own.union(*trainer)]
        if unknown:
            raise InputError(no_such("argument", unknown[0], ours, where=f"of {type(self).__name__}.train"))

    def _holder(self, mdata: MuData) -> AnnData:
        """Return what arrays of all genes are written to: chromatin, or dna where that is not there or not read."""
        modalities = self.setup_["modalities"]
        for name in (modalities["chromatin"], modalities["dna"]):
            if name in mdata.mod:
                return mdata.mod[name]
        msg = "the MuData has neither tracks nor DNA to write to: pass key_added=None"
        raise InputError(msg)

    def _run(self, train, valid, options: dict, seed: int, *, early_stopping: bool, **trainer: Any) -> None:
        """Train the network; a model of several stages calls `_fit` for each."""
        tables = standardised(self._tables(self._data(None), self.setup_["samples"]), self.fitted_)
        self._fit(tables, train, valid, options, seed, early_stopping=early_stopping, **trainer)

    def _fit(
        self,
        tables: GeneTables,
        train: np.ndarray,
        valid: np.ndarray,
        options: dict,
        seed: int,
        *,
        early_stopping: bool,
        stage: str | None = None,
        checkpoint: Checkpoint | None = None,
        **trainer: Any,
    ) -> None:
        """Train the network on pairs of `tables` and put back its best epoch; `stage` is noted in the history."""
        plan = SupervisedPlan(
            self.module, tables, **{k: options[k] for k in ("optimizer", "lr", "weight_decay", "schedule")}
        )
        # scvi-tools' runner replaces the history, so what was there is put back in front of the new epochs
        before, self.history_ = self.history, {}
        data = PairData(
            torch.as_tensor(train), torch.as_tensor(valid), options["batch_size"], seed, self.module.eval_batch, tables
        )
        keep = KeepBest(0 if before is None else len(before))
        if before is not None and len(valid) and (stage is None or stage in before["stage"].to_numpy()):
            # what follows may not lose what an earlier training, of this stage, has reached
            best = self.fitted_["best_epoch"] if stage is None else self.fitted_["best_epochs"][stage]
            keep.start_from(self.module, plan.score(data.val_dataloader()), best)
        if self.stopped_by is not None:
            # what follows on a stage that was cut short is not what would have followed
            checkpoint = None
        if checkpoint is not None:
            done = checkpoint.next_fit(self.module, tables, train)
            if done is None and checkpoint.state is not None and checkpoint.state["training"]["last"]:
                # it died between its last epoch and its end
                done = _outcome_of(checkpoint.state, keep)
                checkpoint.finish_fit(done)
            if done is not None:
                self._take_up(done, before, keep, stage)
                return
        stop = Interruptible()
        callbacks = [keep, stop, *trainer.pop("callbacks", [])]
        if early_stopping:
            callbacks.append(StopEarly(options["patience"]))
        # cudnn's benchmark mode would choose kernels by their time, and numbers with them
        trainer = {"logger": False, "benchmark": False, "check_val_every_n_epoch": 1, **trainer}
        if checkpoint is not None:
            plugins = trainer.get("plugins") or []
            trainer["plugins"] = [checkpoint, *(plugins if isinstance(plugins, list) else [plugins])]
            if checkpoint.state is not None:
                epochs = len(checkpoint.state["training"]["records"])
                logger.info("Going on after epoch %d%s", epochs, f" of the stage {stage}" if stage else "")
                trainer["ckpt_path"] = str(checkpoint.directory)
        with _quiet():
            runner = TrainRunner(
                self,
                training_plan=plan,
                data_splitter=data,
                max_epochs=options["max_epochs"],
                callbacks=callbacks,
                **trainer,
            )
        plan.record(runner.trainer)
        if checkpoint is not None:
            # an epoch that a signal cuts short is none
            plan.checkpoint = lambda: None if stop.pressed else runner.trainer.save_checkpoint(checkpoint.directory)
        # Lightning keeps the mode that it finds: without this, dropout would stay off
        self.module.train()
        try:
            with _quiet(), stop.watching(runner.trainer) as pressed:
                runner()
            if pressed and (runner.trainer.global_step == 0 or (len(valid) and not plan.validated)):
                plan.records.clear()
                raise interruption(pressed[-1])
            self.stopped_by = pressed[-1] if pressed else self.stopped_by
        except BaseException as error:
            # Lightning turns Ctrl-C raised inside a step into SystemExit
            of = (error, error.__context__)
            if not (stop.pressed or any(isinstance(e, KeyboardInterrupt) for e in of)):
                raise
            self.stopped_by = stop.pressed[-1] if stop.pressed else signal_of(error)
            if not plan.records:
                raise interruption(self.stopped_by) from None
            logger.warning("Interrupted: the %s is kept", "best epoch so far" if keep.best_epoch else "last step")
            self.is_trained_ = True
        # the trainer lives on with the plan; the tables and a recording need not
        del plan.tables, plan.step
        keep.restore(self.module)
        _as_the_first_process(self.module)
        self.module.eval()
        if not all(bool(torch.isfinite(p).all()) for p in self.module.parameters()):
            msg = f"training diverged (the weights are no numbers) with lr={options['lr']:g}: train with a lower lr"
            raise InputError(msg)
        if checkpoint is not None and self.stopped_by is None:
            checkpoint.finish_fit(
                {
                    "weights": self.module.state_dict(),
                    "records": plan.records,
                    "score": keep.best_score,
                    "epoch": keep.best_epoch,
                    "rng": torch.get_rng_state(),
                }
            )
        if len(plan.records) < (plan.trainer.max_epochs or 0):
            logger.info("Training ended after %d of %d epochs", len(plan.records), plan.trainer.max_epochs)
        self._record(before, plan.records, keep, stage)

    def _identity(self, train: np.ndarray, valid: np.ndarray, seed: int, arguments: dict[str, Any]) -> dict[str, Any]:
        """Tell what a training is, for a checkpoint of it."""
        left_out = ("callbacks", "plugins", "enable_progress_bar", "accelerator", "devices")
        fitted = {k: v for k, v in self.fitted_.items() if k != "train_seconds"}
        mdata = self._data(None)
        return {
            "model": type(self).__name__,
            "hyperparameters": {"setting": self.setting, **self.hyperparameters_},
            "setup": self.setup_,
            "arguments": {k: v for k, v in arguments.items() if k not in left_out} | {"seed": seed},
            "data": digest(list(map(str, mdata.obs_names)), train, valid, fitted),
            "weights": digest_of_weights(self.module),
        }

    def _take_up(
        self, done: dict[str, Any], before: pd.DataFrame | None, keep: KeepBest, stage: str | None = None
    ) -> None:
        """Take the outcome of a fit that was over before the training was cut short."""
        self.module.load_state_dict(done["weights"])
        self.module.eval()
        torch.set_rng_state(done["rng"])
        keep.best_score, keep.best_epoch = done["score"], done["epoch"]
        self.is_trained_ = True
        self._record(before, done["records"], keep, stage)

    def _record(
        self,
        before: pd.DataFrame | None,
        records: list[dict[str, float]],
        keep: KeepBest,
        stage: str | None = None,
    ) -> None:
        new = pd.DataFrame(records)
        if stage is not None:
            new.insert(0, "stage", stage)
        if not np.isfinite(new["train_loss"].iloc[-1]):
            logger.warning("Training diverged (the loss is no number): train again with a lower lr")
        frame = new if before is None else pd.concat([before, new], ignore_index=True)
        self.history_ = as_history(frame.to_dict(orient="list"))
        self.fitted_["epochs"] = len(frame)
        self.fitted_["best_epoch"] = keep.best_epoch or len(frame)
        if stage is not None:
            self.fitted_["best_epochs"] = {**self.fitted_.get("best_epochs", {}), stage: self.fitted_["best_epoch"]}

    def _forward(self, tables: GeneTables, pairs: np.ndarray, names: tuple[str, ...]) -> dict[str, np.ndarray]:
        device = self.module.device
        tables.to(device)
        out: dict[str, list[np.ndarray]] = {}
        training = self.module.training
        self.module.eval()
        with torch.inference_mode():
            for genes, samples, *read in ReadAhead(PairBatches(torch.as_tensor(pairs), self.module.eval_batch), tables):
                outputs = self.module(tables.gather(genes.to(device), samples.to(device), *read))
                for name in names:
                    if name in outputs:
                        out.setdefault(name, []).append(outputs[name].float().cpu().numpy())
        self.module.train(training)
        return {name: np.concatenate(parts) for name, parts in out.items()}

    def _predict_tables(self, tables: GeneTables, pairs: np.ndarray) -> dict[str, np.ndarray]:
        out = self._forward(tables, pairs, ("logit", "level"))
        if "logit" in out:
            out["prob"] = 1 / (1 + np.exp(-out.pop("logit").astype(np.float64)))
        return out

    def _files(self) -> dict[str, Any]:
        return {_save.WEIGHTS: {k: v.detach().cpu().numpy() for k, v in self.module.state_dict().items()}}

    def _check_files(self, directory: Path) -> None:
        self._stored(directory, read=False)

    def _restore(self, directory: Path) -> None:
        arrays = self._stored(directory)
        self.module.load_state_dict({k: torch.from_numpy(v) for k, v in arrays.items()})
        self.module.eval()

    def _stored(self, directory: Path, *, read: bool = True) -> dict[str, np.ndarray]:
        """Read the arrays that the network needs, or check alone that they are there."""
        expected = {
            k: Expected(tuple(v.shape), np.dtype(str(v.dtype).removeprefix("torch.")))
            for k, v in self.module.state_dict().items()
        }
        path = regular_file(directory / _save.WEIGHTS, directory)
        return read_npz(path, expected, describes=_save.DESCRIPTION, read=read)

    @property
    def n_parameters(self) -> int:
        """Number of trained parameters."""
        return sum(p.numel() for p in self.module.parameters())


def _outcome_of(state: dict[str, Any], keep: KeepBest) -> dict[str, Any]:
    """Make the outcome of a fit of its state after the last epoch."""
    keep.load_state_dict(state["callbacks"]["KeepBest"])
    weights = state["callbacks"]["KeepBest"]["weights"]
    if weights is None:
        weights = {k.removeprefix("module."): v for k, v in state["state_dict"].items()}
    training = state["training"]
    return {
        "weights": weights,
        "records": training["records"],
        "score": keep.best_score,
        "epoch": keep.best_epoch,
        "rng": training["rng"],
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning from advertising and from repeating what the progress bar says."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.pytorch.utilities.rank_zero")]
    levels = [each.level for each in loggers]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        for each in loggers:
            each.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)


def check_devices(accelerator: str, devices: Any = "auto") -> None:
    """Raise when PyTorch does not find what a training is to run on."""
    gpus = torch.cuda.device_count()
    mps = int(torch.backends.mps.is_available())
    there = {"auto": gpus or mps or 1, "cpu": 1, "gpu": gpus or mps, "cuda": gpus, "mps": mps}
    if not there[accelerator]:
        msg = f"{option('accelerator', accelerator)}: PyTorch finds none on this machine, take auto or cpu"
        raise InputError(msg)
    if isinstance(devices, str) and devices != "auto":
        parts = [p.strip() for p in devices.split(",")]
        if not all(p.lstrip("-").isdigit() for p in parts):
            msg = f"devices={devices!r} is not possible: give a number of devices, a list of their numbers, or 'auto'"
            raise InputError(msg)
        devices = int(parts[0]) if len(parts) == 1 else [int(p) for p in parts]
    if isinstance(devices, str):
        return
    if not isinstance(devices, int):
        devices = [int(d) for d in devices]
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not gpus and not mps)
    if isinstance(devices, list):
        fits = not on_cpu and len(devices) > 0 and all(0 <= d < there[accelerator] for d in devices)
    else:
        fits = (devices == -1 and not on_cpu) or (devices >= 1 and (on_cpu or devices <= there[accelerator]))
    if not fits:
        found = "a CPU takes a number of processes, 1 or more" if on_cpu else f"there are {there[accelerator]}"
        msg = f"devices={devices!r} is not possible: {found}; give 'auto' for what is there"
        raise InputError(msg)


def _as_the_first_process(module: torch.nn.Module) -> None:
    """Give all processes of a distributed training one network: running means are of what each has seen."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        state = [{k: v.cpu() for k, v in module.state_dict().items()}]
        torch.distributed.broadcast_object_list(state, src=0)
        module.load_state_dict(state[0])
