"""The one trainer: any policy, from windows of a dataset to averaged weights, through crashes and full disks.

AdamW, warm-up and cosine, gradient clipping, EMA weights, mixed precision. Without a time limit a run is a function of
its seed alone, and one that was killed continues from its last checkpoint to the same losses, on CPUs to the bit.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from praxon.datasets.sampler import Sampler, ShuffledSampler
from praxon.errors import CheckpointError, ConfigError, DatasetError
from praxon.learning.checkpoint import Checkpoint, latest_checkpoint, require_same, save_checkpoint
from praxon.learning.ema import Ema
from praxon.learning.interrupt import deferred_interrupt
from praxon.learning.metrics import MetricsLog
from praxon.learning.prefetch import Prefetcher, Windows
from praxon.learning.schedule import learning_rate_factor
from praxon.learning.weighting import Uniform, Weighting
from praxon.policies.base import Policy

PRECISIONS = ("auto", "float32", "bfloat16")


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


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """How to train.

    Args:
        steps: stop after this many optimiser steps.
        minutes: or after this much time, whichever is first; the cosine then ends with the time [min].
        batch_size: samples per step.
        learning_rate: at the peak.
        warmup_steps: of the linear rise to it.
        weight_decay: of matrices; biases, norms and other vectors have none.
        betas: of AdamW.
        grad_clip: largest norm of the gradient.
        ema: serve averaged weights.
        ema_power, ema_max_decay: of the average.
        precision: ``float32``, ``bfloat16`` (autocast), or ``auto``: bfloat16 where the processor multiplies it.
        compile: run the loss through ``torch.compile``.
        checkpoint_every: steps between checkpoints; the last two are kept.
        tensorboard: write event files.
        seed: of the order of samples and of every random number in training.
        device: ``cpu``, ``cuda``, ...
    """

    steps: int = 20_000
    minutes: float | None = None
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)
    grad_clip: float = 1.0
    ema: bool = True
    ema_power: float = 0.75
    ema_max_decay: float = 0.999
    precision: str = "auto"
    compile: bool = False
    checkpoint_every: int = 1000
    tensorboard: bool = True
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "learning_rate", "grad_clip", "checkpoint_every"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"Training setting {name} is {getattr(self, name)}; it must be positive.")
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"Training setting minutes is {self.minutes}; it must be positive or null.")
        if len(tuple(self.betas)) != 2:
            raise ConfigError(f"Training setting betas is {self.betas}; two numbers are needed.")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ConfigError(f"Device '{self.device}' is not available here; device=cpu is.")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"Precision '{self.precision}' does not exist. Precisions: {', '.join(PRECISIONS)}.")

    def fit(
        self,
        policy: Policy,
        windows: Windows,
        directory: Path,
        *,
        config: Mapping[str, Any] | None = None,
        weighting: Weighting | None = None,
        sampler: Sampler | None = None,
        on_step: Callable[[StepReport], None] | None = None,
    ) -> TrainingResult:
        """Train ``policy`` in place, continuing from the newest checkpoint in ``directory`` if there is one.

        Args:
            policy: with a fitted normaliser. On return it holds the served weights, in evaluation mode.
            windows: training samples.
            directory: of the run: ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/``.
            config: what else identifies the run (policy, dataset digest, ...); a checkpoint of another one is refused.
            weighting: sample weights; uniform when ``None``.
            sampler: which samples form a batch, of this trainer's batch size; shuffled epochs when ``None``.
            on_step: called after every step.

        Raises:
            CheckpointError: a checkpoint is unreadable, belongs to another run, or cannot be written.
            DatasetError: there is nothing to train on, or a feature holds values that are not finite.
            ConfigError: training diverged, or the normaliser is not fitted.
            KeyboardInterrupt: Ctrl-C; the step was finished and a checkpoint saved.
        """
        if len(windows) == 0:
            raise DatasetError("There is nothing to train on: the dataset has no windows.")
        if not policy.normalizer.fitted:
            raise ConfigError("The policy's normaliser has no statistics; fit it to the dataset before training.")
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        with torch.random.fork_rng(devices=[self.device] if self.device.startswith("cuda") else []):
            torch.manual_seed(self.seed)
            run = _Run(
                self,
                policy.to(self.device).train(),
                windows,
                directory,
                dict(config or {}),
                weighting or Uniform(),
                sampler or ShuffledSampler(len(windows), self.batch_size, self.seed),
            )
            return run.fit(on_step)


class _Run:
    """The state of one training run, and what moves it forward."""

    def __init__(
        self,
        settings: Trainer,
        policy: Policy,
        windows: Windows,
        directory: Path,
        config: dict[str, Any],
        weighting: Weighting,
        sampler: Sampler,
    ) -> None:
        self.settings, self.policy, self.windows, self.weighting = settings, policy, windows, weighting
        self.directory = directory
        self.identity = {"run": config, "training": _identity(settings)}
        self.device = policy.device
        self.precision = _precision(settings.precision, self.device)
        self.generator = torch.Generator(self.device).manual_seed(settings.seed)
        self.sampler = sampler
        self.sampler_state = self.sampler.state_dict()
        self.optimizer = _optimizer(settings, policy)
        self.ema = Ema(policy, settings.ema_power, settings.ema_max_decay) if settings.ema else None
        self.loss_of = torch.compile(policy.loss) if settings.compile else policy.loss
        self.step, self.saved_step = 0, -1
        self.earlier_s, self.started = 0.0, time.monotonic()

    def fit(self, on_step: Callable[[StepReport], None] | None) -> TrainingResult:
        self._resume()
        log = MetricsLog(self.directory, self.step, self.settings.tensorboard)
        prefetcher = Prefetcher(self.windows, self.sampler, self.device)
        report = None
        self.started = time.monotonic()
        try:
            with deferred_interrupt() as interrupt:
                while not self._finished() and not interrupt.requested:
                    report = self._train_step(*prefetcher.next())
                    log.write(
                        report.step,
                        loss=report.loss,
                        learning_rate=report.learning_rate,
                        grad_norm=report.grad_norm,
                        elapsed_s=round(report.elapsed_s, 3),
                    )
                    if self.step % self.settings.checkpoint_every == 0:
                        self._save()
                    if on_step is not None:
                        on_step(report)
                if self.step != self.saved_step:
                    self._save()
                if interrupt.requested:
                    raise KeyboardInterrupt
        finally:
            prefetcher.close()
            log.close()
        if self.ema is not None:
            self.ema.copy_to(self.policy)
        self.policy.eval()
        return TrainingResult(self.step, self._elapsed_s(), report.loss if report is not None else None)

    # -- one step ---------------------------------------------------------------------------------

    def _train_step(self, batch: dict[str, Tensor], sampler_state: dict[str, Any]) -> StepReport:
        settings = self.settings
        learning_rate = settings.learning_rate * learning_rate_factor(
            self.step, self._progress(), settings.warmup_steps
        )
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"):
            losses = self.loss_of(batch, self.generator)
        loss = (self.weighting(batch, losses.detach()) * losses).mean()
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), settings.grad_clip)
        values = torch.stack([loss.detach(), grad_norm]).tolist()
        if not all(map(math.isfinite, values)):
            self._explain_divergence(batch)
        self.optimizer.step()
        self.policy.after_step()
        if self.ema is not None:
            self.ema.update(self.policy)
        self.step += 1
        self.sampler_state = sampler_state
        return StepReport(self.step, self._progress(), values[0], learning_rate, values[1], self._elapsed_s())

    def _explain_divergence(self, batch: Mapping[str, Tensor]) -> None:
        """Raise an error that names what went bad first: data, then weights, then gradients."""
        where = f"Training stopped at step {self.step + 1}"
        for name, tensor in batch.items():
            if not torch.isfinite(tensor).all():
                raise DatasetError(f"{where}: feature '{name}' of the dataset holds values that are not finite.")
        remedy = f"the learning rate is {self.settings.learning_rate}; a lower one, or float32 precision, may help"
        for kind in ("weights", "gradient"):
            for name, parameter in self.policy.named_parameters():
                values = parameter if kind == "weights" else parameter.grad
                if values is not None and not torch.isfinite(values).all():
                    raise ConfigError(f"{where}: the {kind} of '{name}' is not finite; {remedy}.")
        raise ConfigError(f"{where}: the loss is not finite although data and weights are; {remedy}.")

    # -- time -------------------------------------------------------------------------------------

    def _elapsed_s(self) -> float:
        return self.earlier_s + time.monotonic() - self.started

    def _progress(self) -> float:
        by_time = 0.0 if self.settings.minutes is None else self._elapsed_s() / (60.0 * self.settings.minutes)
        return min(max(self.step / self.settings.steps, by_time), 1.0)

    def _finished(self) -> bool:
        return self._progress() >= 1.0

    # -- checkpoints ------------------------------------------------------------------------------

    def _save(self) -> None:
        tensors = {f"model.{name}": tensor for name, tensor in self.policy.state_dict().items()}
        tensors |= {
            f"optimizer.{name}": tensor for name, tensor in _optimizer_tensors(self.optimizer, self.policy).items()
        }
        if self.ema is not None:
            tensors |= {f"ema.{name}": tensor for name, tensor in self.ema.tensors().items()}
        tensors["generator.training"] = self.generator.get_state()
        tensors["generator.global"] = torch.get_rng_state()
        state = {
            "elapsed_s": self._elapsed_s(),
            "ema_updates": self.ema.updates if self.ema is not None else 0,
            "sampler": self.sampler_state,
            "weighting": self.weighting.state_dict(),
            "identity": self.identity,
        }
        save_checkpoint(self.directory / "checkpoints", Checkpoint(self.step, tensors, state))
        self.saved_step = self.step

    def _resume(self) -> None:
        folder = self.directory / "checkpoints"
        checkpoint = latest_checkpoint(folder)
        if checkpoint is None:
            return
        require_same(self.identity, checkpoint.state["identity"], folder)
        groups: dict[str, dict[str, Tensor]] = {"model": {}, "optimizer": {}, "ema": {}, "generator": {}}
        for name, tensor in checkpoint.tensors.items():
            group, _, rest = name.partition(".")
            groups[group][rest] = tensor
        try:
            self.policy.load_state_dict(groups["model"])
            _load_optimizer(self.optimizer, self.policy, groups["optimizer"])
            if self.ema is not None:
                self.ema.load(groups["ema"], checkpoint.state["ema_updates"])
            self.generator.set_state(groups["generator"]["training"])
            torch.set_rng_state(groups["generator"]["global"])
        except (RuntimeError, KeyError) as error:
            message = " ".join(str(error).split())
            raise CheckpointError(f"The checkpoint in '{folder}' does not fit this policy: {message}.") from error
        self.sampler_state = checkpoint.state["sampler"]
        self.sampler.load_state_dict(self.sampler_state)
        self.weighting.load_state_dict(checkpoint.state["weighting"])
        self.step = self.saved_step = checkpoint.step
        self.earlier_s = checkpoint.state["elapsed_s"]


def _identity(settings: Trainer) -> dict[str, Any]:
    """The settings that change the numbers; a run may be prolonged, logged or saved otherwise when it continues."""
    free = {"steps", "minutes", "checkpoint_every", "tensorboard", "compile", "device"}
    return {name: value for name, value in vars(settings).items() if name not in free}


def _precision(asked: str, device: torch.device) -> str:
    if asked != "auto":
        return asked
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    return "bfloat16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "float32"


def _optimizer(settings: Trainer, policy: Policy) -> torch.optim.AdamW:
    parameters = list(policy.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def _optimizer_tensors(optimizer: torch.optim.Optimizer, policy: Policy) -> dict[str, Tensor]:
    """Step count and moments of every parameter that has been stepped, by name."""
    return {
        f"{name}/{key}": value
        for name, parameter in policy.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, policy: Policy, tensors: Mapping[str, Tensor]) -> None:
    parameters = dict(policy.named_parameters())
    for path, tensor in tensors.items():
        name, _, key = path.rpartition("/")
        parameter = parameters[name]
        optimizer.state[parameter][key] = tensor.to(parameter.device)
