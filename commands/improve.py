"""Make a bundle better with an expert's help: watch it work, learn from where the expert took over, and again.

In simulation the task's scripted expert plays the operator, and the gate says when it takes over. Each round leaves its episodes
as a dataset (what was executed, what policy and expert would have done, who was in control), a bundle, and an evaluation on the
same unseen starts. The last bundle is <run_dir>/bundle.
Example: praxon improve method=hg_dagger bundle=runs/b/bundle dataset=runs/a/dataset rounds=5 run_dir=runs/hg
"""

import shutil
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import open_dict
from rich.table import Table

from praxon.commands._hydra import Config, compose_config
from praxon.commands._improver import Improver
from praxon.commands._run import Run, console, log, plain, require, require_numbers
from praxon.targets import load_option

if TYPE_CHECKING:
    from praxon.learning.interactive.gates import Gate
    from praxon.learning.interactive.methods import Method
    from praxon.learning.interactive.operators import Operator


def run(config: Config) -> dict[str, Any]:
    """Improve as configured; returns what is written to result.json."""
    require(
        config.bundle is not None, "No bundle was given; bundle=<folder> names a policy, as praxon train leaves it."
    )
    least = {"rounds": 1, "labels": 1, "beta": 0, "steps": 1, "eval_episodes": 1}
    least |= {"seed": 0, "workers": 1, "threads": 1, "skill": 0}
    for name in least:
        require(config[name] is not None, f"{name} is null; a number is needed.")
    require_numbers(config, **least)
    require(config.beta <= 1, f"beta is {config.beta}; a probability is needed.")
    from praxon.learning.interactive.methods import method_of
    from praxon.learning.interactive.operators import Operator
    from praxon.policies.build import build_part

    method = method_of(str(config.method))
    operator = build_part(plain(config.operator), Operator)
    _require_of_method(config, method)
    gate = _gate(config, method, operator)
    run_dir = Path(str(config.run_dir)) if config.run_dir else None
    begun = run_dir is not None and (run_dir / "rounds").exists()
    require(
        begun or not config.resume,
        f"There is nothing to go on with in run_dir '{run_dir}'; without resume=true a run begins.",
    )
    if begun and config.resume and run_dir is not None:
        _require_same(config, run_dir / "config.yaml")
        finished = len(list((run_dir / "rounds").glob("*/round.json"))) - 1
        require(
            config.rounds >= finished,
            f"The run in '{run_dir}' has finished {finished} rounds, and rounds={config.rounds} was asked for; at least "
            f"rounds={finished} is needed.",
        )
    improver = Improver(config, method, gate, operator)
    require(
        not begun or config.resume,
        f"run_dir '{run_dir}' already holds rounds; resume=true goes on, another run_dir starts anew.",
    )
    work = Run("improve", config)
    work.start(replace=not begun)
    done: list[dict[str, Any]] = []
    try:
        for number in range(config.rounds + 1):
            done.append(improver.round(number, work.path / "rounds" / f"{number:02d}"))
            _say(done[-1], config.eval_episodes)
    except KeyboardInterrupt:
        hint = f"The same command with resume=true run_dir={work.path} goes on."
        raise KeyboardInterrupt(hint) from None
    final = work.path / "bundle"
    shutil.rmtree(final, ignore_errors=True)
    shutil.copytree(work.path / "rounds" / f"{config.rounds:02d}" / "bundle", final)
    result = {
        "method": method.name,
        "bundle": str(final),
        "from": str(config.bundle),
        "task": improver.world.contract.task,
        "skill": config.skill,
        "seed": config.seed,
        "labels": done[-1]["labels_so_far"],
        "takeovers": sum(each["interventions"] for each in done),
        "env_steps": done[-1]["env_steps_so_far"],
        "data": [str(path) for path in sorted((work.path / "rounds").glob("*/rollouts"))],
        "rounds": done,
        "seconds": round(sum(each["seconds"] for each in done), 2),
    }
    work.finish(result)
    _plot(done, f"{method.name} on {result['task']}, expert of skill {config.skill}", work.path / "progress.png")
    _print(done)
    console.print(f"bundle in [bold]{final}[/bold], curves in {work.path / 'progress.png'}")
    return result


OF_ONLINE = ("practice", "refit", "refit_beta", "env_steps", "engine", "classifier", "learner", "refinement")
OF_MIXING = ("beta", "mixing")


def _require_of_method(config: Config, method: "Method") -> None:
    """Refuse what was chosen and would be ignored."""
    usual = plain(compose_config("improve", []))
    ignored = dict.fromkeys(() if method.online is not None else OF_ONLINE, "rlif and hil_serl")
    ignored |= dict.fromkeys(() if method.name == "dagger" else OF_MIXING, "dagger")
    for name, those in ignored.items():
        require(
            plain(config)[name] == usual[name],
            f"The setting {name} is of {those}, and method={method.name} would ignore it.",
        )


def _gate(config: Config, method: "Method", operator: "Operator") -> "Gate | None":
    """The gate that was chosen, or that the method usually has; ``None`` where method or operator say who drives."""
    from praxon.learning.interactive.gates import Gate
    from praxon.policies.build import build_part

    chosen = config.get("gate") is not None
    require(
        operator.gated or not method.not_by_hand,
        f"method={method.name} {method.not_by_hand}; method=hg_dagger learns from what a person does.",
    )
    require(
        not chosen or method.own_gate is None,
        f"A gate was chosen, and method={method.name} says itself who drives; method=hg_dagger asks the gate.",
    )
    require(
        not chosen or operator.gated,
        "A gate was chosen, and by hand the device says who drives; operator=expert asks the gate.",
    )
    usual = not chosen and method.own_gate is None and operator.gated
    with open_dict(config):
        config.gate = load_option("gate", method.usual_gate) if usual else config.get("gate")
    return build_part(plain(config.gate), Gate) if chosen or usual else None


def _require_same(config: Config, path: Path) -> None:
    """Refuse to go on with other settings than a run began with."""
    import yaml

    from praxon.learning.checkpoint import flatten

    if not path.exists():
        return
    free = {"rounds", "resume", "workers", "threads", "run_dir"}
    before, now = (
        {name: value for name, value in flatten(each).items() if name not in free}
        for each in (yaml.safe_load(path.read_text()), plain(config))
    )
    for name in sorted(before.keys() | now.keys()):
        require(
            before.get(name) == now.get(name),
            f"The run in '{path.parent}' has {name}={before.get(name)}, and {name}={now.get(name)} was asked for; another run_dir "
            "starts anew.",
        )


def _say(done: dict[str, Any], episodes: int) -> None:
    said = (
        f"round {done['round']}: {done['successes']} of {episodes} solved; {done['labels_so_far']} labels so far, "
        f"the expert drove {100 * done['intervention_rate']:.0f} % of {done['env_steps'] - done['practice_steps']} steps"
    )
    if done["practice_episodes"]:
        said += f"; {done['practice_episodes']} episodes of practice"
    console.print(said)
    log.info(said)


def _print(done: list[dict[str, Any]]) -> None:
    table = Table(title="rounds")
    for column in (
        "round",
        "labels so far",
        "episodes",
        "takeovers",
        "expert drove",
        "solved unaided",
        "95 % interval",
    ):
        table.add_column(column, justify="right")
    for each in done:
        low, high = each["interval_95"]
        table.add_row(
            str(each["round"]),
            str(each["labels_so_far"]),
            str(each["episodes"]),
            str(each["interventions"]),
            f"{100 * each['intervention_rate']:.0f} %",
            f"{100 * each['success_rate']:.0f} %",
            f"{100 * low:.0f} to {100 * high:.0f} %",
        )
    console.print(table)


def _plot(done: list[dict[str, Any]], title: str, path: Path) -> None:
    """Success over labels, takeovers and steps, with its interval, and how often the expert drove."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.5), layout="constrained")
    panels = figure.subplots(1, 4)
    over = {
        "labels of the expert": [each["labels_so_far"] for each in done],
        "takeovers": list(accumulate(each["interventions"] for each in done)),
        "control steps": [each["env_steps_so_far"] for each in done],
    }
    low, high = ([100 * each["interval_95"][side] for each in done] for side in (0, 1))
    rate = [100 * each["success_rate"] for each in done]
    for panel, (name, places) in zip(panels, over.items(), strict=False):
        panel.fill_between(places, low, high, alpha=0.2)
        panel.plot(places, rate, marker="o")
        panel.set(xlabel=name, ylabel="solved unaided [%]", ylim=(0, 102))
    driven = [100 * each["intervention_rate"] for each in done[1:]]
    panels[3].plot([each["round"] for each in done[1:]], driven, marker="o")
    panels[3].set(xlabel="round", ylabel="steps the expert drove [%]", ylim=(0, 102))
    panels[3].xaxis.get_major_locator().set_params(integer=True)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
