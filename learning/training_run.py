"""The state of one training run, and what moves it forward, step by step, in every process alike.

A batch is computed in parts: ``micro_batches`` of them, as many in each process. With the weights w and per-sample losses l
of the whole batch of B samples, the gradient of a step is that of

    L = 1/B sum_i w_i l_i

however the samples are distributed. The random numbers of a part depend on the seed, the step and the number of the part,
and on nothing else.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from praxon.datasets.sampler import Sampler
from praxon.errors import CheckpointError, ConfigError, DatasetError, PraxonError
from praxon.learning.checkpoint import Checkpoint, flatten, latest_checkpoint, require_same, save_checkpoint
from praxon.learning.distributed import Processes, WholeBatch, accumulating
from praxon.learning.ema import Ema
from praxon.learning.interrupt import Interrupt, deferred_interrupt
from praxon.learning.metrics import MetricsLog
from praxon.learning.optimizer import load_optimizer, make_optimizer, optimizer_tensors
from praxon.learning.precision import Precision, chosen_precision
from praxon.learning.prefetch import Prefetcher, Windows
from praxon.learning.schedule import learning_rate_factor
from praxon.learning.weighting import Uniform, Weighting
from praxon.policies.base import Policy

if TYPE_CHECKING:
    from praxon.learning.trainer import Trainer


@dataclass(frozen=True)
class StepReport:
    """What happened in one step.

    Args:
        step: optimiser steps done, this one included.
        progress: fraction of the run that is over, by steps or by time, whichever is further.
        loss: weighted mean of the per-sample losses, before the step.
        grad_norm: of the gradient, before clipping.
        elapsed_s: time spent training, earlier sittings included [s].
    """

    step: int
    progress: float
    loss: float
    learning_rate: float
    grad_norm: float
    elapsed_s: float


@dataclass(frozen=True)
class TrainingResult:
    """Where training ended; ``loss`` is ``None`` when there was nothing left to do."""

    step: int
    elapsed_s: float
    loss: float | None


class Objective(nn.Module):
    """The loss as a module's forward pass: what is compiled, and what averages gradients over processes."""

    def __init__(self, policy: Policy, compiled: bool) -> None:
        super().__init__()
        self.policy = policy
        self.loss = torch.compile(policy.loss) if compiled and policy.compilable else policy.loss

    def forward(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """See ``Policy.loss``."""
        return self.loss(batch, generator)


class TrainingRun:
    """One run; see ``Trainer.fit`` for the arguments."""

    def __init__(
        self,
        settings: "Trainer",
        processes: Processes,
        policy: Policy,
        windows: Windows,
        directory: Path,
        config: dict[str, Any],
        weighting: Weighting,
        sampler: Sampler,
    ) -> None:
        self.settings, self.processes, self.policy, self.windows = settings, processes, policy, windows
        self.directory, self.weighting, self.sampler = directory, weighting, sampler
        self.identity = {"run": config, "training": _identity(settings)}
        self.precision = Precision(chosen_precision(settings.precision, policy.device), policy.device)
        self.generator = torch.Generator(policy.device)
        self.sampler_state = sampler.state_dict()
        self.optimizer = make_optimizer(policy, settings.learning_rate, settings.betas, settings.weight_decay)
        averaged = settings.ema and processes.is_main
        self.ema = Ema(policy, settings.ema_power, settings.ema_max_decay) if averaged else None
        assert settings.micro_batches is not None
        self.parts = np.array_split(np.arange(settings.batch_size), settings.micro_batches)
        self.parts_each = settings.micro_batches // processes.count
        self.objective = Objective(policy, settings.compile)
        self.loss_of: nn.Module | None = None
        self.step, self.saved_step = 0, -1
        self.earlier_s, self.started = 0.0, time.monotonic()
        self.agreed_s = 0.0

    def fit(self, on_step: Callable[[StepReport], None] | None) -> TrainingResult:
        """Train until the steps or the time are over."""
        self._resume()
        self._require_agreement()
        log = MetricsLog(self.directory, self.step, self.settings.tensorboard) if self.processes.is_main else None
        prefetcher = Prefetcher(self.windows, self.sampler, self.policy.device, self._share, self.step)
        report = None
        self.started, self.agreed_s = time.monotonic(), self.earlier_s
        try:
            with deferred_interrupt(patient=self.processes.count > 1) as interrupt:
                stopped = False
                while not self._finished() and not stopped:
                    report, stopped = self._train_step(*prefetcher.next(), interrupt)
                    if log is not None:
                        log.write(
                            report.step,
                            loss=report.loss,
                            learning_rate=report.learning_rate,
                            **({"grad_norm": report.grad_norm} if math.isfinite(report.grad_norm) else {}),
                            elapsed_s=round(report.elapsed_s, 3),
                            **self.weighting.metrics(),
                        )
                    if self.step % self.settings.checkpoint_every == 0:
                        self._save()
                    if on_step is not None and self.processes.is_main:
                        on_step(report)
                    stopped = stopped or (self.processes.count == 1 and interrupt.requested)
                if self.step != self.saved_step:
                    self._save()
                if stopped:
                    self.processes.from_main()  # so that nobody ends before the checkpoint is whole
                    raise KeyboardInterrupt
        except PraxonError as error:
            error.everywhere = self.processes.count == 1
            raise
        finally:
            prefetcher.close()
            if log is not None:
                log.close()
        if self.ema is not None:
            self.ema.copy_to(self.policy)
        self.processes.copy_from_main(self.policy)
        self.policy.eval()
        return TrainingResult(self.step, self._elapsed_s(), report.loss if report is not None else None)

    # -- one step ---------------------------------------------------------------------------------

    def _train_step(
        self, parts: Sequence[dict[str, Tensor]], sampler_state: dict[str, Any], interrupt: Interrupt
    ) -> tuple[StepReport, bool]:
        """What happened, and whether some process was asked to stop."""
        settings = self.settings
        learning_rate = settings.learning_rate * learning_rate_factor(
            self.step, self._progress(), settings.warmup_steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        loss = self._backward(parts)
        scaler = self.precision.scaler
        scaler.unscale_(self.optimizer)
        grad_norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), settings.grad_clip)
        loss_value, norm_value, stopped = self._agree(loss, grad_norm, interrupt)
        overflow = not math.isfinite(norm_value) and math.isfinite(loss_value) and self.precision.may_skip
        if not overflow and not (math.isfinite(loss_value) and math.isfinite(norm_value)):
            self._explain_divergence(parts)
        scaler.step(self.optimizer)
        scaler.update()
        if not overflow:
            self.policy.after_step()
            if self.ema is not None:
                self.ema.update(self.policy)
        self.step += 1
        self.sampler_state = sampler_state
        report = StepReport(self.step, self._progress(), loss_value, learning_rate, norm_value, self._elapsed_s())
        return report, stopped

    def _backward(self, parts: Sequence[dict[str, Tensor]]) -> Tensor:
        """Gradients of the step, averaged over the processes; returns this process's part of the loss."""
        if self.loss_of is None:
            self.loss_of = self.processes.averaging_gradients(self.objective, self._leaves_parameters_out(parts[0]))
        self.optimizer.zero_grad()
        weights = self._weights_beforehand(parts)
        total = torch.zeros((), device=self.policy.device)
        for number, part in enumerate(parts):
            with accumulating(self.loss_of, more=number < len(parts) - 1):
                losses = self._losses(self.loss_of, part, number)
                if weights is None:
                    weights = self._weigh(parts, losses.detach())
                # The mean over processes that the gradients go through is made a sum.
                loss = (weights[number] * losses).sum() / self.settings.batch_size
                self.precision.scaler.scale(loss * self.processes.count).backward()
            total += loss.detach()
        return total

    def _losses(self, objective: nn.Module, part: Mapping[str, Tensor], number: int) -> Tensor:
        """Per-sample losses of this process's part of that number."""
        place = self.processes.index * self.parts_each + number
        # Two seeds: the global generators serve layers that know no other, such as dropout.
        mine, others = np.random.SeedSequence([self.settings.seed, self.step, place]).generate_state(2).tolist()
        self.generator.manual_seed(mine)
        torch.default_generator.manual_seed(others)
        if self.policy.device.type == "cuda":
            torch.cuda.manual_seed(others)
        with self.precision.autocast():
            losses: Tensor = objective(part, self.generator)
        return losses

    def _weights_beforehand(self, parts: Sequence[Mapping[str, Tensor]]) -> list[Tensor] | None:
        """Weights that must be known before the first backward pass; None where one forward pass gives all losses.

        Of several parts each has its backward pass before the next begins, so that memory is needed for one alone; weights
        that depend on the whole batch then cost a forward pass without gradients.
        """
        if type(self.weighting) is Uniform:
            return [torch.ones((), device=self.policy.device)] * len(parts)
        if len(parts) == 1:
            return None
        with torch.no_grad():
            return self._weigh(parts, torch.cat([self._losses(self.objective, p, i) for i, p in enumerate(parts)]))

    def _weigh(self, parts: Sequence[Mapping[str, Tensor]], losses: Tensor) -> list[Tensor]:
        """Weights of each of this process's parts, decided from the batch of all."""
        sizes = [sum(len(part) for part in self._parts_of(p)) for p in range(self.processes.count)]
        seen = [self.weighting.read(part) for part in parts]
        batch = seen[0] if len(parts) == self.processes.count == 1 else WholeBatch(seen, self.processes, sizes)
        weights = self.weighting(batch, self.processes.gather(losses, sizes))
        mine = weights.split(sizes)[self.processes.index]
        return list(mine.split([len(indices) for indices in self._parts_of(self.processes.index)]))

    def _agree(self, loss: Tensor, grad_norm: Tensor, interrupt: Interrupt) -> tuple[float, float, bool]:
        """Loss of the whole batch, norm of the gradient, whether to stop; and the time that counts, for all processes."""
        if self.processes.count == 1:
            return *torch.stack([loss, grad_norm]).tolist(), False
        mine = torch.stack([loss, loss.new_tensor(float(interrupt.requested))])
        loss_value, requests = self.processes.sum(mine).tolist()
        if self.settings.minutes is not None:  # by the first one's clock
            self.agreed_s = self.processes.from_main(self._measured_s())
        return loss_value, float(grad_norm), requests > 0

    def _leaves_parameters_out(self, part: Mapping[str, Tensor]) -> bool:
        """Whether the loss has no use for some parameter, which whoever averages gradients has to know."""
        if self.processes.count == 1:
            return False
        self._losses(self.objective, part, 0).sum().backward()
        found = any(p.requires_grad and p.grad is None for p in self.policy.parameters())
        self.optimizer.zero_grad()
        return any(self.processes.say(found))

    def _explain_divergence(self, parts: Sequence[Mapping[str, Tensor]]) -> None:
        """Raise an error that names what went bad first, in whichever process: data, then weights, then gradients."""
        where = f"Training stopped at step {self.step + 1}"
        bad = [name for part in parts for name, tensor in part.items() if not torch.isfinite(tensor).all()]
        for name in self.processes.say(bad[0] if bad else None):
            if name is not None:
                raise DatasetError(f"{where}: feature '{name}' of the dataset holds values that are not finite.")
        remedy = f"the learning rate is {self.settings.learning_rate}; a lower one, or float32 precision, may help"
        for kind in ("value", "gradient"):
            for name, parameter in self.policy.named_parameters():
                values = parameter if kind == "value" else parameter.grad
                if values is not None and not torch.isfinite(values).all():
                    raise ConfigError(f"{where}: the {kind} of '{name}' is not finite; {remedy}.")
        raise ConfigError(f"{where}: the loss is not finite although data and weights are; {remedy}.")

    # -- who computes what ------------------------------------------------------------------------

    def _parts_of(self, process: int) -> list[np.ndarray]:
        """Places in a batch of the parts of a process."""
        return self.parts[process * self.parts_each : (process + 1) * self.parts_each]

    def _share(self, indices: np.ndarray) -> list[np.ndarray]:
        return [indices[places] for places in self._parts_of(self.processes.index)]

    def _require_agreement(self) -> None:
        """Refuse processes that would not train the same."""
        if self.processes.count == 1:
            return
        (step, identity), *others = self.processes.say([self.step, flatten(self.identity)])
        for number, (other_step, other) in enumerate(others, start=1):
            if other_step != step:
                raise CheckpointError(
                    f"Process {number} continues from step {other_step} and process 0 from step {step}; every process has to see "
                    f"the same run_dir '{self.directory}'."
                )
            for key in sorted(identity | other):
                if identity.get(key) != other.get(key):
                    raise ConfigError(
                        f"In process {number} {key} is {other.get(key)!r}, in process 0 {identity.get(key)!r}; all have to be "
                        "started with the same settings and data."
                    )

    # -- time -------------------------------------------------------------------------------------

    def _measured_s(self) -> float:
        return self.earlier_s + time.monotonic() - self.started

    def _elapsed_s(self) -> float:
        """Time spent training; where time ends the run, all processes must be of one opinion."""
        alone = self.processes.count == 1 or self.settings.minutes is None
        return self._measured_s() if alone else self.agreed_s

    def _progress(self) -> float:
        by_time = 0.0 if self.settings.minutes is None else self._elapsed_s() / (60.0 * self.settings.minutes)
        return min(max(self.step / self.settings.steps, by_time), 1.0)

    def _finished(self) -> bool:
        return self._progress() >= 1.0

    # -- checkpoints ------------------------------------------------------------------------------

    def _save(self) -> None:
        self.saved_step = self.step
        if not self.processes.is_main:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.policy.state_dict().items()}
        tensors |= {
            f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer, self.policy).items()
        }
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.tensors().items()}
        tensors |= {f"weighting.{name}": tensor for name, tensor in self.weighting.tensors().items()}
        state = {
            "elapsed_s": self._elapsed_s(),
            "ema_updates": self.ema.updates if self.ema is not None else 0,
            "precision": self.precision.state_dict(),
            "sampler": self.sampler_state,
            "weighting": self.weighting.state_dict(),
            "identity": self.identity,
        }
        save_checkpoint(self.directory / "checkpoints", Checkpoint(self.step, tensors, state))

    def _resume(self) -> None:
        folder = self.directory / "checkpoints"
        checkpoint = latest_checkpoint(folder)
        if checkpoint is None:
            return
        require_same(self.identity, checkpoint.state["identity"], folder)
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "ema": {}, "weighting": {}}
        for name, tensor in checkpoint.tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        try:
            self.policy.load_state_dict(groups["model"])
            load_optimizer(self.optimizer, self.policy, groups["optimizer"])
            if self.ema is not None:
                self.ema.load(groups["ema"], checkpoint.state["ema_updates"])
            self.weighting.load_state_dict(checkpoint.state["weighting"])
            if groups["weighting"]:
                self.weighting.load_tensors(groups["weighting"])
        except (RuntimeError, KeyError) as error:
            message = " ".join(str(error).split())
            raise CheckpointError(f"The checkpoint in '{folder}' does not fit this policy: {message}.") from error
        self.precision.load_state_dict(checkpoint.state["precision"])
        self.sampler_state = checkpoint.state["sampler"]
        self.sampler.load_state_dict(self.sampler_state)
        self.step = self.saved_step = checkpoint.step
        self.earlier_s = checkpoint.state["elapsed_s"]


def _identity(settings: "Trainer") -> dict[str, Any]:
    """The settings that change the numbers; a run may be prolonged, logged or saved otherwise when it continues."""
    free = {"steps", "minutes", "checkpoint_every", "tensorboard", "compile", "device"}
    return {name: value for name, value in vars(settings).items() if name not in free}
