"""From the settings of praxon improve to what actor and learner of rlif and hil_serl are made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from praxon.commands._hydra import Config
from praxon.commands._run import plain, require

if TYPE_CHECKING:
    from praxon.learning.interactive.lessons import Lessons
    from praxon.learning.interactive.methods import Method, Online
    from praxon.policies.bundle import Bundle


def lessons_of(config: Config, method: "Method", online: "Online") -> "Lessons | None":
    """What the policy below is trained on after each round; ``None``: nothing, what was learned while acting is all."""
    from praxon.learning.interactive.lessons import Lessons, everything, of_solved_episodes
    from praxon.learning.rl.decisions import Reward
    from praxon.learning.rl.returns import ReturnWeights
    from praxon.policies.build import build_part

    require(config.refit_beta is not None, "refit_beta is null; a number is needed.")
    reward = build_part(online.reward(plain(config.learner)), Reward)
    weighting = ReturnWeights(reward, online.refit_discount, config.refit_beta)
    found = {
        "solved": Lessons(of_solved_episodes),
        "returns": Lessons(everything, weighting=weighting),
        "expert": method.lessons,
        "False": None,
    }
    asked = str(config.refit)
    require(asked in found, f"refit is '{asked}'; solved, returns, expert or false is needed.")
    return found[asked]


def learner_of(config: Config, online: "Online") -> tuple[dict[str, Any], dict[str, Any], float]:
    """Settings of ``RlpdSettings`` and ``Schedule``, and the discount of a step, from those of the verb."""
    from praxon.learning.rl.decisions import Reward
    from praxon.learning.rl.learner import Schedule
    from praxon.learning.rl.rlpd import RlpdSettings
    from praxon.policies.build import build_part

    found = plain(config.learner)
    for name, value in found.items():
        require(value is not None, f"learner.{name} is null; {name} needs a value.")
    gamma = found["gamma"]
    require(
        isinstance(gamma, int | float) and 0 < gamma < 1,
        f"learner.gamma is {gamma}; a discount within 0 and 1 is needed.",
    )
    schedule = {name: found[name] for name in ("updates_per_decision", "first", "publish_every")}
    others = ("gamma", "blame_steps", *schedule)
    settings = {name: value for name, value in found.items() if name not in others}
    settings |= {"lowest": online.lowest(gamma), "highest": online.highest}
    RlpdSettings(**settings), Schedule(**schedule)
    build_part(online.reward(found), Reward)
    return settings, schedule, gamma


def save_start(config: Config, bundle: "Bundle", path: Path) -> None:
    """Write a bundle as the refined one that actor and learner begin with."""
    from praxon.learning.rl.rounds import save_refined

    sizes = {name: plain(config.learner)[name] for name in ("critics", "hidden")}
    save_refined(
        path, bundle, plain(config.refinement), sizes, config.seed, plain(config.engine) if config.engine else {}
    )
