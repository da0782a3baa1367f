"""The one trainer: any policy, from windows of a dataset to averaged weights, through crashes and full disks.

AdamW, warm-up and cosine, gradient clipping, EMA weights, mixed precision; in one process or in several, with the same
numbers. Without a time limit a run is a function of its seed alone, and one that was killed continues from its last
checkpoint to the same losses, on CPUs to the bit.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from praxon.datasets.sampler import Sampler, ShuffledSampler
from praxon.errors import ConfigError, DatasetError
from praxon.learning.distributed import Processes, require_device
from praxon.learning.precision import PRECISIONS
from praxon.learning.prefetch import Windows
from praxon.learning.training_run import StepReport, TrainingResult, TrainingRun
from praxon.learning.weighting import Sources, Uniform, Weighting
from praxon.policies.base import Policy

__all__ = ["StepReport", "Trainer", "TrainingResult"]


@dataclass(frozen=True, kw_only=True)
class Trainer:
    """How to train.

    Args:
        steps: stop after this many optimiser steps.
        minutes: or after this much time, whichever is first; the cosine then ends with the time [min].
        batch_size: samples per step, of all processes together.
        micro_batches: parts in which the loss of a batch is computed, one after the other or in several processes. Each
            part has random numbers of its own, so that equal parts give equal results, however many processes share them;
            ``None``: one for each process.
        learning_rate: at the peak.
        warmup_steps: of the linear rise to it.
        weight_decay: of matrices; biases, norms and other vectors have none.
        betas: of AdamW.
        grad_clip: largest norm of the gradient.
        ema: serve averaged weights.
        ema_power, ema_max_decay: of the average.
        precision: ``float32``, ``bfloat16`` or ``float16`` (autocast; the last scales the loss), or ``auto``: bfloat16
            where the processor multiplies it.
        compile: run the loss through ``torch.compile``, where the policy is ``compilable``.
        checkpoint_every: steps between checkpoints; the last two are kept.
        tensorboard: write event files.
        seed: of the order of samples and of every random number in training.
        device: ``cpu``, ``cuda``, ...; of several processes each takes the GPU of its own.
    """

    steps: int = 20_000
    minutes: float | None = None
    batch_size: int = 64
    micro_batches: int | None = None
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
            if not (getattr(self, name) or 0) > 0:
                raise ConfigError(f"Training setting {name} is {getattr(self, name)}; it must be positive.")
        if self.micro_batches is not None and not 1 <= self.micro_batches <= self.batch_size:
            raise ConfigError(
                f"Training setting micro_batches is {self.micro_batches}; a batch of {self.batch_size} has from 1 to "
                f"{self.batch_size} parts."
            )
        if self.minutes is not None and not self.minutes > 0:
            raise ConfigError(f"Training setting minutes is {self.minutes}; it must be positive or null.")
        if len(tuple(self.betas)) != 2:
            raise ConfigError(f"Training setting betas is {self.betas}; two numbers are needed.")
        require_device(self.device)
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
        sources: Sources | None = None,
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
            sources: the datasets that ``windows`` come from, for weightings that look at them.
            on_step: called after every step, in the first of several processes.

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
        processes = Processes.join(self.device)
        settings = replace(self, micro_batches=self._parts(processes))
        weighting = weighting or Uniform()
        policy.to(processes.device)
        weighting.begin(policy, sources or Sources())
        with torch.random.fork_rng(devices=[processes.device] if processes.device.type == "cuda" else []):
            run = TrainingRun(
                settings,
                processes,
                policy.train(),
                windows,
                directory,
                dict(config or {}),
                weighting,
                sampler or ShuffledSampler(len(windows), self.batch_size, self.seed),
            )
            return run.fit(on_step)

    def _parts(self, processes: Processes) -> int:
        """The number of parts of a batch: as many for every process."""
        parts = processes.count if self.micro_batches is None else self.micro_batches
        if parts % processes.count:
            raise ConfigError(
                f"A batch of {parts} parts cannot be shared among {processes.count} processes; training.micro_batches must be "
                f"a multiple of {processes.count}."
            )
        if parts > self.batch_size:
            raise ConfigError(
                f"A batch of {self.batch_size} samples has no {parts} parts; training.batch_size is too small."
            )
        return parts
