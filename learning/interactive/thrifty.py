"""A gate that asks for help where a state is new or the task at risk, no more often than it was told it may.

Hoque et al., "ThriftyDAgger: Budget-Aware Novelty and Risk Gating for Interactive Imitation Learning", arXiv 2109.08273:

    to the expert    u(s) > beta   or   Q(s, a) < eps_expert
    to the policy    |a - a_expert|^2 < its mean over what was shown   and   Q(s, a) > eps_policy

beta and eps_expert are quantiles of u and Q where the policy drove, so that a share ``target_rate`` of its steps lies beyond each;
eps_policy is the median of Q. Here a is what the policy would do, the differences are of normalised actions, and everything that
is learned is learned anew before each round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from praxon.contract import PolicyContract
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import ConfigError
from praxon.learning.interactive.experience import Experience
from praxon.learning.interactive.gates import Gate, Moment
from praxon.learning.interactive.novelty import Novelty
from praxon.learning.interactive.records import POLICY_ACTION, driven_by_expert
from praxon.learning.interactive.risk import Risk, Transitions, outcomes
from praxon.learning.interactive.states import States
from praxon.sim.world import World

ENOUGH = 25
"""Steps of the policy that a quantile has to be of more than."""
COMPARED = 256
"""Frames of what was shown at which the policy is asked what it would do, evenly spaced."""


@dataclass(frozen=True)
class Judges:
    """What a moment is judged by.

    Args:
        novelty: of features by name.
        chance: of success, of features by name and an action (A,); ``None`` where nothing was tried yet.
        distance: of two actions (A,), squared.
    """

    novelty: Callable[[Mapping[str, np.ndarray]], float]
    chance: Callable[[Mapping[str, np.ndarray], np.ndarray], float] | None
    distance: Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Thresholds:
    """When control changes hands.

    Args:
        novelty: beta, above which the expert takes over.
        agreement: distance of the two actions below which the policy may get control back.
        risk: eps_expert, the chance of success below which the expert takes over; nobody asks where ``None``.
        safe: eps_policy, the chance above which the policy may get control back.
    """

    novelty: float
    agreement: float
    risk: float | None = None
    safe: float | None = None

    def after(self, novelties: Sequence[float], chances: Sequence[float], rate: float) -> "Thresholds":
        """Those by which a share ``rate`` of these steps of the policy would have been too new, and the same too risky."""
        novelty = float(np.quantile(novelties, 1 - rate))
        if not len(chances):
            return Thresholds(novelty, self.agreement)
        risk, safe = (float(each) for each in np.quantile(chances, [rate, 0.5]))
        return Thresholds(novelty, self.agreement, risk, safe)


class Thrifty(Gate):
    """Novelty first, risk second, both within a budget.

    Before the first round, novelty has its threshold from a tenth of what was shown, which its networks did not see, and risk is
    not asked for, since nothing was tried yet; before the others, thresholds are of the steps that the policy drove in the round
    before. From then on they are of this round's, after every episode.

    Args:
        target_rate: share of the policy's steps at which novelty may ask for the expert, and risk again.
        risk: whether it is asked for at all; novelty alone is after EnsembleDAgger (arXiv 1807.08364), with a budget.
        heads: networks whose variance is novelty.
        hidden: width of all networks.
        novelty_steps: of training of those.
        risk_steps: of training of the critics of success.
        gamma: their discount.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self,
        target_rate: float = 0.01,
        risk: bool = True,
        heads: int = 5,
        hidden: int = 128,
        novelty_steps: int = 2000,
        risk_steps: int = 3000,
        gamma: float = 0.9999,
    ) -> None:
        if not 0 < target_rate < 1 or not 0 < gamma <= 1:
            raise ConfigError(
                f"A target rate of {target_rate} and a discount of {gamma}; a share between 0 and 1 and a number above 0, at "
                "most 1, are needed."
            )
        if heads < 2 or min(hidden, novelty_steps, risk_steps) < 1:
            raise ConfigError(
                f"{heads} heads of width {hidden}, trained for {novelty_steps} steps, and critics for {risk_steps}; at least two "
                "heads, and 1 of everything else, are needed."
            )
        self.target_rate, self.risk, self.heads, self.hidden = target_rate, risk, heads, hidden
        self.novelty_steps, self.risk_steps, self.gamma = novelty_steps, risk_steps, gamma
        self.reset(0)

    # -- before a round ---------------------------------------------------------------------------

    def require(self, contract: PolicyContract, demonstrations: Sequence[LeRobotDataset], world: World) -> None:
        """See ``Gate.require``."""
        States(contract)
        if not demonstrations:
            raise ConfigError(
                "This gate learns from demonstrations what is new, and none were given; dataset=<folder> names some, or another "
                "gate, such as gate=stalled, would do."
            )

    def prepare(self, experience: Experience) -> None:
        """See ``Gate.prepare``."""
        states, shown = States(experience.contract), experience.shown()
        action = experience.contract.action.name
        names = (*states.names, action)
        columns = {name: np.concatenate([dataset.columns[name][frames] for dataset, frames in shown]) for name in names}
        states.fit(columns)
        state_NS, action_NA = states.states(columns), states.actions(columns[action])
        order = torch.from_numpy(np.random.default_rng([experience.seed, 7]).permutation(len(state_NS)))
        held, seen = order[: max(1, len(order) // 10)], order[max(1, len(order) // 10) :]
        novelty = Novelty(states.size, states.action_size, self.heads, self.hidden, experience.seed)
        novelty.fit(state_NS[seen], action_NA[seen], self.novelty_steps)
        risk = self._learned_risk(experience, states, novelty) if self.risk and experience.rollouts else None

        thresholds = Thresholds(0.0, _disagreement(experience, states, shown))
        thresholds = thresholds.after(novelty.variance(state_NS[held]).tolist(), [], self.target_rate)
        if experience.rollouts:
            last = experience.rollouts[-1]
            alone = ~driven_by_expert(last.columns)
            if alone.sum() > ENOUGH:
                met_NS = states.states({name: last.columns[name][alone] for name in states.names})
                would_NA = states.actions(last.columns[POLICY_ACTION][alone])
                chances = [] if risk is None else risk.chance(met_NS, would_NA).tolist()
                thresholds = thresholds.after(novelty.variance(met_NS).tolist(), chances, self.target_rate)
        self.begin(_judges(states, novelty, risk), thresholds)

    def begin(self, judges: Judges, thresholds: Thresholds) -> None:
        """Begin a round with these."""
        self.judges, self.thresholds = judges, thresholds
        self._novelties: list[float] = []
        self._chances: list[float] = []
        self._asked = {"novelty": 0, "risk": 0}
        self.reset(0)

    def _learned_risk(self, experience: Experience, states: States, novelty: Novelty) -> Risk:
        """Critics of everything that was tried."""
        tried = [
            _transitions(dataset, states, novelty) for dataset in (*experience.demonstrations, *experience.rollouts)
        ]
        risk = Risk(states.size, states.action_size, self.gamma, self.hidden, experience.seed)
        risk.fit(Transitions.joined(tried), self.risk_steps)
        return risk

    # -- in an episode ----------------------------------------------------------------------------

    def reset(self, seed: int) -> None:
        """See ``Gate.reset``."""
        self._episode: dict[str, list[Any]] = {"novelties": [], "chances": [], "asked": []}

    def expert_drives(self, moment: Moment) -> bool:
        """By novelty, then by risk; back by agreement and safety."""
        judges, thresholds = self.judges, self.thresholds
        chance = None if judges.chance is None else judges.chance(moment.features, moment.policy_action)
        if moment.driving:
            agreed = judges.distance(moment.policy_action, moment.expert_action) < thresholds.agreement
            if (
                chance is None or thresholds.safe is None
            ):  # nothing else says that it is safe; else they would take turns
                return not (agreed and judges.novelty(moment.features) <= thresholds.novelty)
            return not (agreed and chance > thresholds.safe)
        novelty = judges.novelty(moment.features)
        self._episode["novelties"].append(novelty)
        if chance is not None:
            self._episode["chances"].append(chance)
        if novelty > thresholds.novelty:
            self._episode["asked"].append("novelty")
            return True
        if chance is not None and thresholds.risk is not None and chance < thresholds.risk:
            self._episode["asked"].append("risk")
            return True
        return False

    # -- between episodes -------------------------------------------------------------------------

    def notes(self) -> dict[str, Any]:
        """See ``Gate.notes``: novelty and chance of each step that the policy began, and why the expert took over each time."""
        return self._episode

    def remember(self, notes: Mapping[str, Any]) -> None:
        """See ``Gate.remember``: from enough steps on, new thresholds."""
        self._novelties += notes["novelties"]
        self._chances += notes["chances"]
        for reason in notes["asked"]:
            self._asked[reason] += 1
        if len(self._novelties) > ENOUGH:
            self.thresholds = self.thresholds.after(self._novelties, self._chances, self.target_rate)

    def report(self) -> dict[str, Any]:
        """See ``Gate.report``."""
        return {
            "asked_by_novelty": self._asked["novelty"],
            "asked_by_risk": self._asked["risk"],
            "thresholds": asdict(self.thresholds),
        }


def _judges(states: States, novelty: Novelty, risk: Risk | None) -> Judges:
    """Networks that judge one moment."""

    def state(features: Mapping[str, np.ndarray]) -> Tensor:
        return states.states({name: features[name][None] for name in states.names})

    def chance(features: Mapping[str, np.ndarray], action: np.ndarray) -> float:
        assert risk is not None
        return float(risk.chance(state(features), states.actions(action[None])))

    return Judges(
        lambda features: float(novelty.variance(state(features))),
        None if risk is None else chance,
        lambda one, other: float(_distance(states, one[None], other[None])),
    )


def _distance(states: States, one_NA: np.ndarray, other_NA: np.ndarray) -> Tensor:
    """Mean square over the components of normalised differences (N,)."""
    return (states.actions(one_NA) - states.actions(other_NA)).square().mean(dim=-1)


def _disagreement(experience: Experience, states: States, shown: Sequence[tuple[LeRobotDataset, np.ndarray]]) -> float:
    """Mean distance of what the policy would do from what was shown."""
    action, total = experience.contract.action.name, sum(len(frames) for _, frames in shown)
    found = []
    for dataset, frames in shown:
        count = -(-min(total, COMPARED) * len(frames) // total)
        places = frames[np.linspace(0, len(frames) - 1, count).astype(np.int64)] if count else frames
        found.append(_distance(states, experience.policy_actions(dataset, places), dataset.columns[action][places]))
    return float(torch.cat(found).mean())


def _transitions(dataset: LeRobotDataset, states: States, novelty: Novelty) -> Transitions:
    """A dataset's steps, normalised, with the ensemble for a policy."""
    state_NS = states.states({name: dataset.columns[name] for name in states.names})
    following = np.arange(1, dataset.num_frames + 1)
    following[dataset.episode_ends - 1] -= 1
    success, done = outcomes(dataset)
    next_state_NS = state_NS[torch.from_numpy(following)]
    action_NA = states.actions(dataset.columns[dataset.contract.action.name])
    return Transitions(
        state_NS, action_NA, next_state_NS, novelty.mean(next_state_NS), torch.tensor(success), torch.tensor(done)
    )
