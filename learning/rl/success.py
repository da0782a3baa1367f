"""Was it solved? A classifier of what is seen now, learned from episodes of which that is known: a reward without a simulator.

The reward of HIL-SERL (Luo, Xu, Wu, Levine, arXiv 2410.21845): encoder -> linear -> dropout -> layer normalisation -> ReLU -> one
logit, by binary cross-entropy on batches of which half are solved. A learner looks for what it is paid for, and finds
what is taken for solved by mistake. Hence the threshold is high, a state counts only after it has been called solved for ``hold``
steps in a row, and episodes that were not learned from say how often it is wrong.

Shapes: B batch, N samples, T steps of an episode, E episodes.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from praxon.contract import Chunk, PolicyContract
from praxon.datasets.joined import JoinedWindows, joined_statistics
from praxon.errors import BundleError, ConfigError, ContractError
from praxon.policies.build import build_part
from praxon.policies.manifest import read_manifested, write_manifested
from praxon.policies.networks.encoders import Encoder
from praxon.policies.normalizer import Normalizer
from praxon.sim.statistics import wilson_interval
from praxon.sim.world import Judgement

FORMAT_VERSION = 1
TENSORS, DESCRIPTION = "classifier.safetensors", "classifier.json"
BLOCK = 256
"""Samples whose probabilities are computed at once."""


def solved_now(solved_after: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Whether the task is solved in what each frame shows, (num_frames,) bool, of episodes one after another.

    ``next.success`` is of the state after a frame's action, which the following frame shows. That of an episode's last frame is
    of a state that nobody saw, and an episode begins unsolved.

    Args:
        solved_after: ``next.success`` of every frame, (num_frames,) or (num_frames, 1).
        lengths: frames of each episode.
    """
    starts = np.cumsum(lengths) - lengths
    solved = np.zeros(int(np.sum(lengths)), bool)
    solved[1:] = np.asarray(solved_after).reshape(-1)[:-1] != 0
    solved[starts] = False
    return solved


# -- the classifier ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClassifierSettings:
    """What a classifier is, apart from its weights.

    Args:
        encoder: config of an ``Encoder``.
        hidden: width of the layer behind it.
        dropout: of that layer in training.
        threshold: probability above which a state is called solved.
        hold: steps in a row for which it must have been, the present one included.

    Raises:
        ConfigError: a number out of range.
    """

    encoder: dict[str, Any]
    hidden: int = 256
    dropout: float = 0.1
    threshold: float = 0.85
    hold: int = 3

    def __post_init__(self) -> None:
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"The classifier's dropout is {self.dropout}; at least 0 and less than 1 is possible.")
        if not 0 < self.threshold < 1:
            raise ConfigError(
                f"The classifier's threshold is {self.threshold}; a probability between 0 and 1 is needed."
            )
        for name in ("hidden", "hold"):
            if getattr(self, name) < 1:
                raise ConfigError(f"The classifier's {name} is {getattr(self, name)}; at least 1 is needed.")


class SuccessClassifier(nn.Module):
    """One observation -> whether the task is solved.

    Args:
        contract: of the data; its observations are what is looked at.
        settings: what else it is.
    """

    def __init__(self, contract: PolicyContract, settings: ClassifierSettings) -> None:
        super().__init__()
        self.contract = replace(contract, chunk=Chunk(control_period_s=contract.chunk.control_period_s))
        self.settings = settings
        self.normalizer = Normalizer(self.contract)
        self.encoder = build_part(settings.encoder, Encoder, self.contract)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(self.encoder.num_tokens * self.encoder.width, settings.hidden),
            nn.Dropout(settings.dropout),
            nn.LayerNorm(settings.hidden),
            nn.ReLU(),
            nn.Linear(settings.hidden, 1),
        )

    def forward(self, window: Mapping[str, Tensor], generator: torch.Generator | None = None) -> Tensor:
        """Logits (B,) of observations (B, 1, *shape), physical units.

        Args:
            generator: what augmentation in training is drawn from.
        """
        logit_B1: Tensor = self.head(self.encoder(window, self.normalizer, generator))
        return logit_B1[:, 0]

    @torch.no_grad()
    def probability(self, window: Mapping[str, Tensor]) -> Tensor:
        """That the task is solved (B,), of observations (B, 1, *shape)."""
        return torch.sigmoid(self(window))

    def window(self, batch: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
        """What it looks at, of a batch of (B, 1, *shape)."""
        names = [feature.name for feature in self.contract.observations]
        return {name: torch.from_numpy(np.ascontiguousarray(batch[name])) for name in names}

    def require(self, offered: PolicyContract, where: str) -> None:
        """Refuse to judge another robot or task, or by observations that are not there or are others.

        Raises:
            ContractError: listing both sides.
        """
        # Who acts how is none of its business.
        found = replace(self.contract, action=offered.action).mismatches(offered)
        if self.contract.task != offered.task:
            found.insert(0, f"task: policy '{self.contract.task}', here '{offered.task}'")
        if found:
            listed = "; ".join(text.replace("policy", "classifier", 1) for text in found)
            raise ContractError(f"The success classifier's contract does not fit {where}: {listed}.")

    def save(self, path: Path, about: Mapping[str, Any]) -> str:
        """Write as a directory of tensors, description and manifest; returns its identity.

        Args:
            path: directory; one of the same kind is replaced.
            about: where it comes from, plain values.

        Raises:
            BundleError: the path holds something else, or the file system refused.
        """
        tensors = {name: value.detach().contiguous() for name, value in self.state_dict().items()}
        described = {"contract": self.contract.to_dict(), "settings": asdict(self.settings), "about": dict(about)}
        contents = {TENSORS: safetensors.torch.save(tensors), DESCRIPTION: json.dumps(described, indent=1).encode()}
        return write_manifested(Path(path), contents, FORMAT_VERSION, "classifier")


def load_classifier(path: Path) -> SuccessClassifier:
    """Read a classifier, ready to judge.

    Raises:
        BundleError: there is none, or it is damaged.
    """
    path = Path(path)
    if not path.is_dir():
        raise BundleError(
            f"There is no success classifier at '{path}'; 'praxon classifier dataset=<folder>' trains one."
        )
    _, contents = read_manifested(path, (TENSORS, DESCRIPTION), FORMAT_VERSION, "classifier")
    try:
        described = json.loads(contents[DESCRIPTION])
        contract = PolicyContract.from_dict(described["contract"])
        classifier = SuccessClassifier(contract, ClassifierSettings(**described["settings"]))
        classifier.load_state_dict(safetensors.torch.load(contents[TENSORS]))
    except (
        ConfigError,
        ContractError,
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        safetensors.SafetensorError,
    ) as error:
        raise BundleError(f"The classifier '{path}' cannot be used: {error}") from error
    return classifier.eval()


# -- training ---------------------------------------------------------------------------------------------------------


def train_classifier(
    classifier: SuccessClassifier,
    windows: JoinedWindows,
    solved_N: np.ndarray,
    steps: int,
    *,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> None:
    """Fit the normaliser, then the weights: AdamW, its rate falling to 0 along a cosine; in evaluation mode on return.

    Args:
        classifier: its weights as they were drawn.
        windows: of single observations, in the classifier's contract.
        solved_N: whether each of them is solved.
        steps: optimiser steps.
        batch_size: half of it solved.
        learning_rate: at the beginning.
        seed: of the order of samples, dropout and augmentation.
        on_step: called with the number of the step and its loss; ln 2 is that of one who knows nothing.

    Raises:
        ConfigError: samples of one kind only, or a number below its least.
    """
    for name, value, least in (("steps", steps, 1), ("batch_size", batch_size, 2)):
        if value < least:
            raise ConfigError(f"A classifier needs {name} of at least {least}; got {value}.")
    kinds = [np.flatnonzero(solved_N), np.flatnonzero(~solved_N)]
    if not all(map(len, kinds)):
        raise ConfigError(
            f"There are {len(kinds[0])} solved and {len(kinds[1])} unsolved observations to learn from; some of both are needed."
        )
    classifier.normalizer.fit(joined_statistics([part for part in windows.parts if len(part)]))
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    half = batch_size // 2
    target_B = torch.cat([torch.ones(half), torch.zeros(half)])
    optimizer = torch.optim.AdamW(classifier.parameters(), learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    classifier.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for step in range(1, steps + 1):
            chosen = np.concatenate([rng.choice(kind, half) for kind in kinds])
            logit_B = classifier(classifier.window(windows.batch(chosen)), generator)
            loss = F.binary_cross_entropy_with_logits(logit_B, target_B)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            if on_step is not None:
                on_step(step, loss.item())
    classifier.eval()


def probabilities(classifier: SuccessClassifier, windows: JoinedWindows) -> np.ndarray:
    """Of every sample in order, (N,) float32."""
    blocks = np.split(np.arange(len(windows)), range(BLOCK, len(windows), BLOCK))
    found = [classifier.probability(classifier.window(windows.batch(block))).numpy() for block in blocks if len(block)]
    return np.concatenate(found) if found else np.zeros(0, np.float32)


# -- judging ----------------------------------------------------------------------------------------------------------


class Hold:
    """A state is called solved once its probability has been above a threshold for some steps in a row.

    Args:
        threshold: of the probability, which must be above it.
        hold: steps, at least one.
    """

    def __init__(self, threshold: float, hold: int) -> None:
        self.threshold, self.hold = threshold, hold
        self.reset()

    def reset(self) -> None:
        """Begin an episode."""
        self._above = 0

    def __call__(self, probability: float) -> bool:
        """Whether the present state is called solved; what is not a number is not."""
        self._above = self._above + 1 if probability > self.threshold else 0
        return self._above >= self.hold


def held_out_episodes(kind_E: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Which episodes judge, (E,) bool: of each kind its share, one at least, and never all.

    Args:
        kind_E: a number for each episode, such as whether it was solved.
        share: of the episodes.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    chosen_E = np.zeros(len(kind_E), bool)
    for kind in np.unique(kind_E):
        order = rng.permutation(np.flatnonzero(kind_E == kind))
        chosen_E[order[: min(max(1, round(share * len(order))), len(order) - 1)]] = True
    return chosen_E


def figures(
    probability_N: np.ndarray,
    solved_N: np.ndarray,
    succeeded_E: np.ndarray,
    lengths: np.ndarray,
    threshold: float,
    hold: int,
) -> dict[str, Any]:
    """Precision and recall of frames above the threshold; of episodes, with ``hold``, how many are called solved rightly or not.

    Frames of one episode look alike, so that the intervals of precision and recall, which take them for independent, are too
    narrow; those of episodes are not. ``solved_episodes_called_too_early`` are called solved at a frame in which they were not;
    ``solved_episodes_found`` are of those that show what they look like when they are solved.

    Args:
        probability_N: of every frame, episodes one after another.
        solved_N: whether it shows the task solved.
        succeeded_E: whether each episode was solved at any time, be it by its last step, which no frame shows.
        lengths: frames of each episode.
        threshold, hold: of ``Hold``.
    """
    called_N = np.zeros(len(solved_N), bool)
    starts = np.cumsum(lengths) - lengths
    for start, length in zip(starts, lengths, strict=True):
        rule = Hold(threshold, hold)
        called_N[start : start + length] = [rule(float(each)) for each in probability_N[start : start + length]]

    def anywhere(frames_N: np.ndarray) -> np.ndarray:
        return np.logical_or.reduceat(frames_N, starts)

    above_N, shown_E = probability_N > threshold, anywhere(solved_N)
    return {
        "threshold": threshold,
        "precision": _share(solved_N[above_N]),
        "recall": _share(above_N[solved_N]),
        "unsolved_episodes_called_solved": _share(anywhere(called_N)[~succeeded_E]),
        "solved_episodes_found": _share(anywhere(called_N & solved_N)[shown_E]),
        "solved_episodes_called_too_early": _share(anywhere(called_N & ~solved_N)[succeeded_E]),
    }


def _share(true: np.ndarray) -> dict[str, Any]:
    """How many are true, with Wilson's interval; no rate where there is nothing it could be of."""
    count, total = int(true.sum()), len(true)
    low, high = wilson_interval(count, total)
    rate = round(count / total, 4) if total else None
    return {"count": count, "of": total, "rate": rate, "interval_95": [round(low, 4), round(high, 4)]}


# -- the reward -------------------------------------------------------------------------------------------------------


class LearnedReward:
    """The reward of an actor that nobody tells whether it succeeded; asked once at every control step, in order.

    On the CPU, in one thread: the process that makes one computes in one thread from then on.

    Args:
        classifier: trained.
        contract: of the world it is to judge.

    Raises:
        ContractError: the classifier is for another; both sides are listed.
    """

    def __init__(self, classifier: SuccessClassifier, contract: PolicyContract) -> None:
        classifier.require(contract, "what is to be judged")
        torch.set_num_threads(1)
        self.classifier = classifier.eval()
        self._hold = Hold(classifier.settings.threshold, classifier.settings.hold)

    def reset(self) -> None:
        """Begin an episode."""
        self._hold.reset()

    def __call__(self, features: Mapping[str, np.ndarray]) -> Judgement:
        """Judge the observation that followed an action: a reward of 1 where it is called solved, else 0, and its probability.

        Args:
            features: of one observation, unbatched, physical units; more than it looks at may be there.
        """
        names = [feature.name for feature in self.classifier.contract.observations]
        window = self.classifier.window({name: features[name][None, None] for name in names})
        probability = self.classifier.probability(window).item()
        solved = self._hold(probability)
        return Judgement(float(solved), solved, {"probability": probability})
