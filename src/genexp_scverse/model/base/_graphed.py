"""A training step on a GPU as one recorded graph of kernels: for small networks their launches take most of the time.

A CUDA graph is the list of kernels, with their addresses, that a step has launched once; a replay launches them all at
once. So whatever a step reads must lie where it lay, and no number of a step may be decided by Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import BaseFinetuning, GradientAccumulationScheduler, StochasticWeightAveraging
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch import nn

from genexp_scverse._logging import logger
from genexp_scverse.model.base._module import GeneModule

_WARM_UP = 3
"""Steps before the recording: libraries choose kernels and take memory when they are first used."""

_CHANGING = (BaseFinetuning, GradientAccumulationScheduler, StochasticWeightAveraging)
"""Callbacks that change what a step does."""

_BROKEN: list[torch.cuda.CUDAGraph] = []
"""Recordings that were broken off: torch's memory still knows them, so they must live on."""

_INSIDE = ("on_before_zero_grad", "on_before_backward", "on_after_backward", "on_before_optimizer_step")
"""What a callback may want to see in the middle of a step."""


class GraphedStep:
    """Loss and gradients of a batch; on a GPU by a graph that is recorded with the first batch.

    Batches of another shape than the first, and all where recording fails, run kernel by kernel, with the same numbers:
    random draws too are those that would be made without a recording.

    Parameters
    ----------
    loss_of
        From the tensors of a batch to its loss, a scalar.
    parameters
        What is learned; their ``grad`` holds the gradients after a call, and None where the loss does not reach them.
    clip_norm
        Norm to which all gradients together are clipped, if at all.
    recorded
        False to run every batch kernel by kernel.
    """

    def __init__(
        self,
        loss_of: Callable[..., torch.Tensor],
        parameters: Iterable[nn.Parameter],
        *,
        clip_norm: float | None = None,
        recorded: bool = True,
    ):
        self._loss_of, self._parameters, self._clip_norm = loss_of, list(parameters), clip_norm
        self._to_record = recorded
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: tuple[torch.Tensor, ...] = ()
        self._loss = torch.empty(())
        self._gradients: list[torch.Tensor | None] = []

    def __call__(self, *batch: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, detached, and leave the gradients with the parameters."""
        if self._to_record and batch[0].is_cuda:
            self._to_record = False
            self._record(batch)
        if self._graph is None or any(a.shape != b.shape for a, b in zip(self._inputs, batch, strict=True)):
            return self._run(batch)
        for place, each in zip(self._inputs, batch, strict=True):
            place.copy_(each)
        self._graph.replay()
        # batches of another shape, and the trainer, put others in their place
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._loss.clone()

    def _run(self, batch: tuple[torch.Tensor, ...]) -> torch.Tensor:
        self._forget()
        loss = self._loss_of(*batch)
        loss.backward()
        if self._clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        return loss.detach()

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def _record(self, batch: tuple[torch.Tensor, ...]) -> None:
        device = batch[0].device
        drawn, usual = torch.cuda.get_rng_state(device), torch.cuda.current_stream(device)
        inputs, graph, stream = tuple(each.clone() for each in batch), torch.cuda.CUDAGraph(), torch.cuda.Stream(device)
        stream.wait_stream(usual)
        try:
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UP):
                    self._run(inputs)
            # gradients that backward makes in the recording have their place in the memory of the graph
            self._forget()
            with torch.cuda.graph(graph, stream=stream):
                loss = self._run(inputs)
            gradients = [parameter.grad for parameter in self._parameters]
        except BaseException as error:
            # torch leaves the stream of a broken recording in use
            torch.cuda.set_stream(usual)
            self._forget()
            _BROKEN.append(graph)
            # a recording that was broken off leaves the generator in the state of one
            generator = torch.cuda.default_generators[device.index]
            generator.graphsafe_set_state(generator.clone_state())
            if not isinstance(error, Exception):
                raise
            reason = str(error.__context__ or error).partition("\n")[0]
            logger.warning("Training takes longer on this GPU, since its steps cannot be recorded: %s", reason)
        else:
            self._graph, self._inputs, self._loss, self._gradients = graph, inputs, loss, gradients
        finally:
            usual.wait_stream(stream)
        # the steps before the recording drew as well
        torch.cuda.set_rng_state(drawn, device)


def recordable(trainer: Any, module: GeneModule) -> bool:
    """Tell whether `trainer` may run recorded steps of `module`: on one GPU, in float32, with nothing between."""
    strategy = trainer.strategy
    return (
        isinstance(strategy, SingleDeviceStrategy)
        and strategy.root_device.type == "cuda"
        and trainer.precision == "32-true"
        and trainer.accumulate_grad_batches == 1
        and trainer.gradient_clip_algorithm in (None, "norm")
        and module.graphable
        and not any(isinstance(each, _CHANGING) or _looks_inside(each) for each in trainer.callbacks)
    )


def hooked(module: nn.Module) -> bool:
    """Tell whether functions hang on layers of `module`, which a replay would not call."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(layer, name) for layer in module.modules() for name in hooks)


def _looks_inside(callback: lightning.Callback) -> bool:
    # a callback may carry the function itself, not in its class
    methods = {name: getattr(getattr(callback, name), "__func__", None) for name in _INSIDE}
    return any(method is not getattr(lightning.Callback, name) for name, method in methods.items())
