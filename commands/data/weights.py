"""Write how much each frame of a dataset counts to a weighting, and show which episodes it doubts.

The weighting is that of a training: what it learned is in the training's last checkpoint.
Example: praxon data weights run=runs/ptr out=weights.parquet
Example: praxon data weights run=runs/ptr dataset=runs/new/dataset
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from praxon.commands._hydra import Config
from praxon.commands._run import progress_bar, require, require_numbers
from praxon.commands._windows import joined_windows, source_names
from praxon.commands.data._tables import console, keep_json, table
from praxon.errors import ConfigError

if TYPE_CHECKING:
    from praxon.datasets.joined import JoinedWindows
    from praxon.learning.weighting import Weighting
    from praxon.policies.base import Policy

BLOCK = 512
LITTLE = 0.5
"""A frame that weighs less is one that the weighting doubts."""


def run(config: Config) -> dict[str, Any]:
    """Weigh, write, show; returns the figures."""
    require(
        config.run is not None,
        "No training was given; run=<folder> names one, as praxon train weighting=ptr leaves it.",
    )
    require_numbers(config, show=0, draws=1)
    require(
        config.out is None or str(config.out).endswith(".parquet"),
        f"out is {config.out}; a .parquet file is written.",
    )
    from praxon.datasets.lerobot_reader import LeRobotDataset
    from praxon.learning.weighting import Sources

    folder = Path(str(config.run))
    policy, weighting, trained_on = _trained(folder)
    asked = config.dataset if config.dataset is not None else trained_on
    folders = [str(each) for each in ([asked] if isinstance(asked, str) else asked)]
    datasets = [LeRobotDataset(Path(each)) for each in folders]
    names = source_names(folders)
    windows = joined_windows(
        policy, datasets, [range(each.num_episodes) for each in datasets], weighting.future(policy)
    )
    _begin(weighting, policy, Sources(names, datasets), folder)
    weights, scores = _weighed(weighting, windows, config.draws)
    episodes = _by_episode(names, datasets, weights)
    result: dict[str, Any] = {
        "run": str(folder),
        "datasets": folders,
        "frames": len(weights),
        "mean": float(weights.mean()),
        "effective_share": float(weights.sum() ** 2 / (len(weights) * np.square(weights).sum())),
        "doubted_share": float((weights < LITTLE).mean()),
        "sources": {
            name: float(part.mean())
            for name, part in zip(
                names, np.split(weights, np.cumsum([each.num_frames for each in datasets])[:-1]), strict=True
            )
        },
        "episodes": episodes,
    }
    if config.out is not None:
        _write(Path(str(config.out)), names, datasets, weights, scores)
        result["out"] = str(config.out)
    _show(result, int(config.show))
    keep_json(config.json, result)
    return result


def _trained(folder: Path) -> tuple["Policy", "Weighting", Any]:
    """The policy of a training, its weighting before it has begun, and the datasets it was trained on."""
    import yaml

    from praxon.learning.weighting import Weighting
    from praxon.policies.build import build_part
    from praxon.policies.bundle import load_bundle

    bundle = load_bundle(folder / "bundle")
    described = bundle.config.get("weighting")
    if not isinstance(described, dict):
        raise ConfigError(
            f"The training in '{folder}' weighed every frame alike; praxon train weighting=ptr (or trajectory, quality) does not."
        )
    weighting: Weighting = build_part(described, Weighting)
    asked = yaml.safe_load((folder / "config.yaml").read_text())["dataset"]
    return bundle.policy, weighting, asked


def _begin(weighting: "Weighting", policy: "Policy", sources: Any, folder: Path) -> None:
    """Give the weighting what it learned, and the policy the weights beside which it did."""
    from praxon.learning.checkpoint import latest_checkpoint

    checkpoint = latest_checkpoint(folder / "checkpoints")
    if checkpoint is None:
        raise ConfigError(f"The training in '{folder}' has no checkpoint left, which holds what its weighting learned.")
    groups: dict[str, dict[str, Any]] = {"model": {}, "weighting": {}}
    for path, tensor in checkpoint.tensors.items():
        group, _, name = path.partition(".")
        groups.setdefault(group, {})[name] = tensor
    policy.load_state_dict(groups["model"])
    policy.eval()
    weighting.begin(policy, sources)
    weighting.load_state_dict(checkpoint.state["weighting"])
    if groups["weighting"]:
        weighting.load_tensors(groups["weighting"])


def _weighed(weighting: "Weighting", windows: "JoinedWindows", draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights and scores (N,) of all frames."""
    import torch

    weights, scores = [], []
    with progress_bar("data weights", len(windows)) as advance:
        for begin in range(0, len(windows), BLOCK):
            indices = np.arange(begin, min(begin + BLOCK, len(windows)))
            batch = {name: torch.from_numpy(value) for name, value in windows.batch(indices).items()}
            weight_B, score_B = weighting.judge(weighting.read(batch), draws)
            weights.append(weight_B.double().numpy())
            scores.append(score_B.double().numpy())
            advance(len(indices))
    return np.concatenate(weights), np.concatenate(scores)


def _by_episode(names: list[str], datasets: list[Any], weights: np.ndarray) -> list[dict[str, Any]]:
    """Mean weight and share of doubted frames of each episode."""
    found, start = [], 0
    for name, dataset in zip(names, datasets, strict=True):
        for episode in range(dataset.num_episodes):
            chosen = dataset.episode_slice(episode)
            values = weights[start + chosen.start : start + chosen.stop]
            found.append(
                {
                    "dataset": name,
                    "episode": episode,
                    "weight": float(values.mean()),
                    "doubted_share": float((values < LITTLE).mean()),
                }
            )
        start += dataset.num_frames
    return found


def _write(path: Path, names: list[str], datasets: list[Any], weights: np.ndarray, scores: np.ndarray) -> None:
    """One row for each frame."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "dataset": np.repeat(names, [each.num_frames for each in datasets]),
        "episode_index": np.concatenate([each.columns["episode_index"].reshape(-1) for each in datasets]),
        "frame_index": np.concatenate([each.columns["frame_index"].reshape(-1) for each in datasets]),
        "weight": weights.astype(np.float32),
        "score": scores.astype(np.float32),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    console.print(f"weights of {len(weights)} frames in [bold]{path}[/bold]")


def _show(result: dict[str, Any], count: int) -> None:
    console.print(
        f"{result['frames']} frames, mean weight {result['mean']:.2f} (in training 1), worth "
        f"{100 * result['effective_share']:.0f} % of as many alike; {100 * result['doubted_share']:.0f} % weigh less than {LITTLE}"
    )
    if len(result["sources"]) > 1:
        table(
            "mean weight of the frames of each dataset",
            ["dataset", "weight"],
            [[name, value] for name, value in result["sources"].items()],
        )
    lowest = sorted(result["episodes"], key=lambda each: each["weight"])[:count]
    rows = [
        [each["dataset"], each["episode"], each["weight"], f"{100 * each['doubted_share']:.0f} %"] for each in lowest
    ]
    if rows:
        table("episodes that count least", ["dataset", "episode", "mean weight", f"frames below {LITTLE}"], rows)
