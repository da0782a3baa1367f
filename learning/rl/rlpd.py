"""RLPD: soft actor-critic that learns from given data and its own at once.

Ball, Smith, Kostrikov, Levine, "Efficient Online Reinforcement Learning with Offline Data", arXiv 2302.02948:

    y = r + gamma m (min over a random subset of Q'_e(s', a') [- alpha log pi(a' | s')]),    a' ~ pi(. | s')
    critics    mean_e (Q_e(s, a) - y)^2
    actor      alpha log pi(a | s) - mean_e Q_e(s, a)
    alpha      alpha (H - target entropy)

Batches are half given data, half its own; critics are many, with layer normalisation. ``CriticLearner`` is what all learners share,
whoever acts: RLIF (arXiv 2311.12996) and HIL-SERL (arXiv 2410.21845) are learners of ``refining`` with other rewards.

Shapes: E critics, B batch, S state, A action.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from praxon.errors import ConfigError
from praxon.policies.networks.value import CriticEnsemble, GaussianActor


@dataclass(frozen=True)
class RlpdSettings:
    """How to learn.

    Args:
        hidden: widths of all networks.
        critics: E.
        subset: critics whose smallest value is the target.
        learning_rate: of all.
        tau: share of the weights that targets take over in each step.
        updates: critic steps for each step of the actor (UTD).
        batch_size: of each.
        temperature: alpha to begin with.
        target_entropy: of the actor; minus half the size of an action where ``None``.
        entropy_backup: whether the target counts the entropy of what follows.
        lowest, highest: targets are clamped to these, where there are such bounds.

    Raises:
        ConfigError: a number out of range.
    """

    hidden: Sequence[int] = (256, 256)
    critics: int = 10
    subset: int = 2
    learning_rate: float = 3e-4
    tau: float = 0.005
    updates: int = 20
    batch_size: int = 256
    temperature: float = 1.0
    target_entropy: float | None = None
    entropy_backup: bool = False
    lowest: float | None = None
    highest: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.subset <= self.critics:
            raise ConfigError(f"A subset of {self.subset} critics was asked for; 1 to {self.critics} there are.")
        for name in ("learning_rate", "tau", "updates", "batch_size", "temperature"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"The learner's {name} is {getattr(self, name)}; it has to be positive.")


class CriticLearner(ABC):
    """Critics and their targets.

    Args:
        critics: E of them, trained in place.
        settings: how to learn.
        seed: of noise and subsets.
    """

    def __init__(self, critics: CriticEnsemble, settings: RlpdSettings, seed: int) -> None:
        self.settings, self.critics = settings, critics
        self.device = next(critics.parameters()).device
        self.targets = copy.deepcopy(critics).requires_grad_(False)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        self.optimizers = {"critic": torch.optim.Adam(critics.parameters(), settings.learning_rate)}

    @abstractmethod
    def following(self, batch: Mapping[str, Tensor]) -> Tensor:
        """What each target critic thinks of what will be done next (E, B)."""

    def update(self, draw: Callable[[], Mapping[str, Tensor]]) -> dict[str, float]:
        """Critic steps on fresh batches, and what else is learned of the last.

        Args:
            draw: a batch of ``batch_size`` transitions, as ``ReplayBuffer.sample`` gives it.
        """
        return self._critic_steps(draw)[1]

    def _critic_steps(self, draw: Callable[[], Mapping[str, Tensor]]) -> tuple[Mapping[str, Tensor], dict[str, float]]:
        """The last batch, and its figures."""
        batch: dict[str, Tensor] = {}
        figures: dict[str, float] = {}
        for _ in range(self.settings.updates):
            batch = {name: values.to(self.device) for name, values in draw().items()}
            figures = self.critic_step(batch)
        return batch, figures

    def target(self, batch: Mapping[str, Tensor]) -> Tensor:
        """y (B,), without gradients."""
        with torch.no_grad():
            value_EB = self.following(batch)
            chosen = torch.randperm(len(value_EB), generator=self.generator, device=self.device)
            value_B = value_EB[chosen[: self.settings.subset]].amin(dim=0)
            y_B = batch["reward"] + batch["discount"] * batch["mask"] * value_B
            if self.settings.lowest is not None or self.settings.highest is not None:
                y_B = y_B.clamp(self.settings.lowest, self.settings.highest)
            return y_B

    def critic_step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """One step of all critics, and of their targets towards them."""
        y_B = self.target(batch)
        value_EB = self.critics(batch["state"], batch["action"])
        loss = (value_EB - y_B).square().mean()
        _step(self.optimizers["critic"], loss)
        follow(self.targets, self.critics, self.settings.tau)
        return {"critic_loss": float(loss.detach()), "value": float(value_EB.detach().mean())}

    def state(self) -> dict[str, Tensor]:
        """What has to be kept beside the networks themselves to go on."""
        tensors = {f"targets.{name}": tensor for name, tensor in self.targets.state_dict().items()}
        for name, optimizer in self.optimizers.items():
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer.{name}.{index}.{key}": value for key, value in state.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from a ``state``; tensors of other names are let pass."""
        self.targets.load_state_dict(under(tensors, "targets."))
        for name, optimizer in self.optimizers.items():
            states: dict[int, dict[str, Tensor]] = {}
            for key, tensor in under(tensors, f"optimizer.{name}.").items():
                index, _, entry = key.partition(".")
                states.setdefault(int(index), {})[entry] = tensor
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


class ActorCriticLearner(CriticLearner):
    """Critics, an actor, and the temperature.

    Args:
        critics: E of them, trained in place.
        actor: what ``actor_value`` has gradients for.
        actor_size: components of what it draws.
        settings: how to learn.
        seed: of noise and subsets.
    """

    def __init__(
        self, critics: CriticEnsemble, actor: GaussianActor, actor_size: int, settings: RlpdSettings, seed: int
    ) -> None:
        super().__init__(critics, settings, seed)
        self.actor = actor
        self.log_alpha = torch.tensor(settings.temperature, device=self.device).log().requires_grad_(True)
        self.target_entropy = -actor_size / 2 if settings.target_entropy is None else settings.target_entropy
        self.optimizers["actor"] = torch.optim.Adam(actor.parameters(), settings.learning_rate)
        self.optimizers["alpha"] = torch.optim.Adam([self.log_alpha], settings.learning_rate)

    @property
    def alpha(self) -> Tensor:
        """The temperature."""
        return self.log_alpha.detach().exp()

    @abstractmethod
    def actor_value(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """What the actor is to make large (B,), and the logarithm of the density of what it drew (B,)."""

    def update(self, draw: Callable[[], Mapping[str, Tensor]]) -> dict[str, float]:
        """See ``CriticLearner.update``: one step of actor and temperature."""
        batch, figures = self._critic_steps(draw)
        return figures | self.actor_step(batch)

    def with_entropy(self, value_EB: Tensor, log_density_B: Tensor) -> Tensor:
        """Values (E, B) of what was drawn with that density, and of the entropy where the target counts it."""
        return value_EB - self.alpha * log_density_B if self.settings.entropy_backup else value_EB

    def actor_step(self, batch: Mapping[str, Tensor]) -> dict[str, float]:
        """One step of the actor and of the temperature."""
        value_B, log_density_B = self.actor_value(batch)
        loss = (self.alpha * log_density_B - value_B).mean()
        _step(self.optimizers["actor"], loss)
        entropy = -log_density_B.detach().mean()
        _step(self.optimizers["alpha"], self.log_alpha.exp() * (entropy - self.target_entropy))
        return {"actor_loss": float(loss.detach()), "entropy": float(entropy), "alpha": float(self.alpha)}

    def state(self) -> dict[str, Tensor]:
        """See ``CriticLearner.state``."""
        return {**super().state(), "log_alpha": self.log_alpha.detach()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See ``CriticLearner.restore``."""
        super().restore(tensors)
        with torch.no_grad():
            self.log_alpha.copy_(tensors["log_alpha"])


class Rlpd(ActorCriticLearner):
    """An actor of its own, a squashed Gaussian, with its critics.

    Args:
        state_size: S.
        action_size: A.
        settings: how to learn.
        seed: of weights and noise.
        device: where.
    """

    def __init__(
        self, state_size: int, action_size: int, settings: RlpdSettings, seed: int = 0, device: str = "cpu"
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            actor = GaussianActor(state_size, action_size, settings.hidden).to(device)
            critics = CriticEnsemble(state_size, action_size, settings.hidden, settings.critics).to(device)
        super().__init__(critics, actor, action_size, settings, seed)

    def following(self, batch: Mapping[str, Tensor]) -> Tensor:
        """See ``CriticLearner.following``: of an action that the actor draws."""
        action_BA, log_density_B = self.actor.sample(batch["next_state"], self.generator)
        return self.with_entropy(self.targets(batch["next_state"], action_BA), log_density_B)

    def actor_value(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """See ``ActorCriticLearner.actor_value``: the mean over the critics."""
        action_BA, log_density_B = self.actor.sample(batch["state"], self.generator)
        return self.critics(batch["state"], action_BA).mean(dim=0), log_density_B


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose names begin so, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def follow(targets: nn.Module, source: nn.Module, tau: float) -> None:
    """Move targets by a share tau towards what they follow."""
    mine: list[Tensor] = list(targets.parameters())
    with torch.no_grad():
        torch._foreach_lerp_(mine, list(source.parameters()), tau)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
