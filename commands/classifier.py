"""Learn to tell from an observation whether the task is solved: a reward where no simulator gives one.

Learns from episodes of which that is known (the column next.success), of which some are kept apart to judge by. Leaves
<run_dir>/classifier, and figures of those episodes at several thresholds in result.json.
Solved states have to be among what was recorded: praxon collect goes on for linger_s after success. Unsolved ones should be of
all kinds, above all those that nearly are.
Example: praxon collect task=pick_place episodes=30 rewards=true run_dir=runs/good
         praxon collect task=pick_place episodes=100 rewards=true skill=0.5 keep_failures=true seed=1 run_dir=runs/poor
         praxon classifier dataset=[runs/good/dataset,runs/poor/dataset] run_dir=runs/judge
"""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import ListConfig
from rich.table import Table

from praxon.commands._hydra import Config
from praxon.commands._run import Run, console, plain, progress_bar, require, require_numbers

if TYPE_CHECKING:
    from praxon.datasets.joined import JoinedWindows
    from praxon.datasets.lerobot_reader import LeRobotDataset

THRESHOLDS = (0.5, 0.85, 0.95, 0.99, 0.999)
"""At which figures are given besides the one that was asked for."""
SHOWN = {
    "precision": "precision of frames",
    "recall": "recall of frames",
    "unsolved_episodes_called_solved": "unsolved episodes called solved",
    "solved_episodes_found": "solved episodes found",
    "solved_episodes_called_too_early": "solved episodes called too early",
}
WRONG = ("unsolved_episodes_called_solved", "solved_episodes_called_too_early")
"""Figures of what a learner would be paid for wrongly."""


def run(config: Config) -> dict[str, Any]:
    """Train and judge as configured; returns what is written to result.json."""
    require(
        config.dataset is not None,
        "No dataset was given; dataset=<folder> names episodes that praxon collect rewards=true recorded.",
    )
    numbers = {"hold": 1, "steps": 1, "batch_size": 2, "learning_rate": 1e-9, "hidden": 1, "seed": 0, "threads": 1}
    shares = ("threshold", "held_out", "dropout")
    for name in (*numbers, *shares):
        require(config[name] is not None, f"{name} is null; a number is needed.")
    require_numbers(config, **numbers, **dict.fromkeys(shares, 0))
    require(0 < config.held_out < 1, f"held_out is {config.held_out}; a share above 0 and below 1 is needed.")
    import torch

    from praxon.datasets.joined import joined_digest, require_alike
    from praxon.datasets.lerobot_reader import LeRobotDataset
    from praxon.learning.rl.success import (
        ClassifierSettings,
        SuccessClassifier,
        figures,
        held_out_episodes,
        probabilities,
        solved_now,
        train_classifier,
    )

    torch.set_num_threads(config.threads)
    given = config.dataset if isinstance(config.dataset, ListConfig) else [config.dataset]
    datasets = [LeRobotDataset(Path(str(folder))) for folder in given]
    require(bool(datasets), "The list of datasets is empty; dataset=[<folder>,<folder>] names two.")
    contract = datasets[0].contract
    if config.observations is not None:
        contract = contract.with_observations(list(config.observations))
    require_alike(datasets, [feature.name for feature in contract.observations])
    settings = ClassifierSettings(
        plain(config.encoder), config.hidden, config.dropout, float(config.threshold), config.hold
    )
    torch.manual_seed(config.seed)
    classifier = SuccessClassifier(contract, settings)
    for each in datasets:
        classifier.require(each.contract, f"the dataset '{each.root}'")

    lengths = np.concatenate([each.episode_lengths for each in datasets])
    after = np.concatenate([_success(each) for each in datasets])
    solved = solved_now(after, lengths)
    starts = np.cumsum(lengths) - lengths
    succeeded_E, shown_E = (np.logical_or.reduceat(each, starts) for each in (after, solved))
    _require_shown(shown_E, datasets)
    judging_E = held_out_episodes(2 * shown_E + succeeded_E, config.held_out, config.seed)
    known, judging = (_windows(datasets, classifier, np.flatnonzero(part)) for part in (~judging_E, judging_E))
    work = Run("classifier", config)
    work.start()
    losses: list[float] = []
    with progress_bar("classifier", config.steps) as advance:

        def show(step: int, loss: float) -> None:
            losses.append(loss)
            if step % 10 == 0 or step == config.steps:
                advance(completed=step, note=f"loss {np.mean(losses[-100:]):.4f}")

        train_classifier(
            classifier,
            known,
            solved[known.frames],
            config.steps,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seed=config.seed,
            on_step=show,
        )
    probability = probabilities(classifier, judging)
    found, *others = (
        figures(
            probability, solved[judging.frames], succeeded_E[judging_E], lengths[judging_E], threshold, settings.hold
        )
        for threshold in (settings.threshold, *THRESHOLDS)
    )
    digest = joined_digest(datasets)
    out = work.path / "classifier"
    about = {"dataset": digest, "steps": config.steps, "seed": config.seed, "held_out": found}
    result = {
        "classifier": str(out),
        "identity": classifier.save(out, about),
        "task": contract.task,
        "dataset": [str(each.root) for each in datasets],
        "dataset_digest": digest,
        "observations": [feature.name for feature in contract.observations],
        "episodes": len(lengths),
        "held_out_episodes": np.flatnonzero(judging_E).tolist(),
        "threshold": settings.threshold,
        "hold": settings.hold,
        "loss": round(float(np.mean(losses[-100:])), 4),
        "held_out": found,
        "other_thresholds": others,
        "seed": config.seed,
        "seconds": work.seconds,
    }
    work.finish(result)
    _print(result)
    console.print(f"classifier in [bold]{out}[/bold]")
    return result


def _success(dataset: "LeRobotDataset") -> np.ndarray:
    """Whether the task was solved after each frame of a dataset, (num_frames,) bool."""
    from praxon.learning.interactive.records import SUCCESS

    require(
        SUCCESS in dataset.columns,
        f"'{dataset.root}' has no column {SUCCESS}, which says when the task was solved; praxon collect rewards=true records it, "
        "and so does praxon improve in its rollouts.",
    )
    return np.asarray(dataset.columns[SUCCESS]).reshape(-1) != 0


def _require_shown(shown_E: np.ndarray, datasets: "list[LeRobotDataset]") -> None:
    """There must be solved states to learn from and to judge by. Unsolved ones are in every episode."""
    where = ", ".join(f"'{each.root}'" for each in datasets)
    require(
        int(shown_E.sum()) >= 2,
        f"A solved state is seen in {int(shown_E.sum())} of {len(shown_E)} episodes of {where}; at least 2 are needed. "
        "An episode that ends with the step that solves it shows none: praxon collect rewards=true linger_s=0.5 goes on recording.",
    )


def _windows(datasets: "list[LeRobotDataset]", classifier: Any, episodes: np.ndarray) -> "JoinedWindows":
    """Single observations of these episodes, counted through all datasets."""
    from praxon.datasets.joined import JoinedWindows
    from praxon.datasets.windows import Windows

    starts = np.cumsum([0, *map(len, datasets)])
    chosen = [episodes[(episodes >= low) & (episodes < high)] - low for low, high in pairwise(starts)]
    contract = classifier.contract
    return JoinedWindows(
        [
            Windows(each, contract.chunk, [int(number) for number in numbers], contract=contract)
            for each, numbers in zip(datasets, chosen, strict=True)
        ]
    )


def _print(result: dict[str, Any]) -> None:
    table = Table(title=f"unseen episodes, threshold {result['threshold']}, held for {result['hold']} steps")
    for column in ("", "", "", "95 % interval"):
        table.add_column(column, justify="right" if column else "left")
    for name, text in SHOWN.items():
        figure = result["held_out"][name]
        low, high = figure["interval_95"]
        rate = "" if figure["rate"] is None else f"{100 * figure['rate']:.1f} %"
        interval = f"{100 * low:.0f} to {100 * high:.0f} %" if figure["of"] else ""
        table.add_row(text, f"{figure['count']} of {figure['of']}", rate, interval)
    console.print(table)
    wrong = [result["held_out"][name]["count"] for name in WRONG]
    if any(wrong):
        console.print(
            f"It calls solved what is not, in {sum(wrong)} of the episodes that judge: a learner that is paid by it learns that. "
            "A higher threshold=, more steps= and more failures to learn from would help."
        )
    if not result["held_out"]["unsolved_episodes_called_solved"]["of"]:
        console.print(
            "No episode is unsolved to the end, so that nobody knows what the classifier makes of failures; praxon collect "
            "keep_failures=true skill=0.5 records some."
        )
