"""What each method takes from a rollout: which steps are samples, and whose actions are their labels.

bc              the expert drives; every step, as it was done                     demonstrations, for comparison
dagger          both drive, by chance; every step, with what the expert would do  Ross, Gordon, Bagnell, AISTATS 2011
hg_dagger       the gate decides; the expert's steps, as they were done           Kelly et al., arXiv 1810.02890
thrifty_dagger  the same, with a gate that learned what is new and what is risky  Hoque et al., arXiv 2109.08273
rlif            as hg_dagger, and that it took over: -1 before each takeover      Luo et al., arXiv 2311.12996
hil_serl        as hg_dagger, and the task's reward                               Luo et al., arXiv 2410.21845
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from praxon.errors import ConfigError, nearest
from praxon.learning.interactive.counts import Counts
from praxon.learning.interactive.gates import Always, Gate, mixture
from praxon.learning.interactive.lessons import Lessons, everything, of_the_expert
from praxon.learning.interactive.records import EXPERT_ACTION


@dataclass(frozen=True)
class Online:
    """What reinforcement learning is told, beside what imitation is.

    Args:
        reward: settings of the learner -> config of the ``Reward``.
        lowest: discount of a step -> no value is smaller.
        highest: no value is larger.
        refit_discount: of a step, where what was done is weighed by what came of it.
        prefer_interventions: whether what the expert did counts as given data.
    """

    reward: Callable[[Mapping[str, Any]], dict[str, Any]]
    lowest: Callable[[float], float]
    highest: float
    refit_discount: float
    prefer_interventions: bool = False


@dataclass(frozen=True)
class Method:
    """One way of learning from an expert.

    Args:
        name: of it.
        own_gate: (round, from 1 on; settings of ``mixture``) -> who drives in that round; the gate that was chosen where ``None``.
        labels: the column that actions are taken from; what was executed where ``None``.
        only_interventions: whether steps that the policy drove are left out.
        usual_gate: name of the gate where none was chosen and one decides.
        not_by_hand: why the operator cannot be a person; one can where empty.
        online: how it learns while it acts; nothing is learned before the end of a round where ``None``.
    """

    name: str
    own_gate: Callable[[int, Mapping[str, Any]], Gate] | None = None
    labels: str | None = None
    only_interventions: bool = False
    usual_gate: str = "stalled"
    not_by_hand: str = ""
    online: "Online | None" = None

    @property
    def lessons(self) -> Lessons:
        """What a round's training learns from; of methods that learn while they act, if that alone is learned again."""
        return Lessons(of_the_expert, cut=True) if self.only_interventions else Lessons(everything)

    def counted(self, counts: Counts) -> Counts:
        """Of episodes, with the labels that they took the expert: every step, or those under its control."""
        return replace(counts, labels=counts.intervened if self.only_interventions else counts.env_steps)


def _of_takeovers(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"_target_": "praxon.learning.rl.decisions.TakeoverReward", "blame_steps": settings["blame_steps"]}


def _of_the_task(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {"_target_": "praxon.learning.rl.decisions.TaskReward"}


METHODS = {
    method.name: method
    for method in (
        Method("bc", lambda number, mixing: Always()),
        Method(
            "dagger",
            lambda number, mixing: mixture(number=number, **mixing),
            EXPERT_ACTION,
            not_by_hand="asks at every step what would be done, which a person says while driving only",
        ),
        Method("hg_dagger", only_interventions=True),
        Method(
            "thrifty_dagger",
            only_interventions=True,
            usual_gate="thrifty",
            not_by_hand="has a gate that asks for help, and a person takes over unasked",
        ),
        Method(
            "rlif",
            only_interventions=True,
            usual_gate="value",
            # Two takeovers are a step of the policy and one of the expert apart at least.
            online=Online(_of_takeovers, lowest=lambda gamma: -1 / (1 - gamma**2), highest=0.0, refit_discount=0.95),
        ),
        Method(
            "hil_serl",
            only_interventions=True,
            usual_gate="value",
            online=Online(
                _of_the_task, lowest=lambda gamma: 0.0, highest=1.0, refit_discount=1.0, prefer_interventions=True
            ),
        ),
    )
}


def method_of(name: str) -> Method:
    """The method of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in METHODS:
        raise ConfigError(f"There is no method '{name}'.{nearest(name, METHODS)} Methods: {', '.join(METHODS)}.")
    return METHODS[name]
