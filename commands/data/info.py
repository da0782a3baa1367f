"""Print what a dataset holds: features, episodes, timing, quality.

Example: praxon data info runs/lift/dataset
"""

from pathlib import Path
from typing import Any

import numpy as np

from praxon.commands._hydra import Config
from praxon.commands.data._tables import console, keep_json, open_dataset, table
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.timing import GAP_PERIODS, measure_timing

SHOWN = 10
"""Sentences about episodes that stand out, before the rest is counted."""


def run(config: Config) -> dict[str, Any]:
    """Print the dataset; returns the figures."""
    dataset = open_dataset(config.dataset, "info")
    lengths, fps = dataset.episode_lengths, dataset.fps
    result: dict[str, Any] = {
        "dataset": str(dataset.root),
        "version": dataset.index.version,
        "robot": dataset.contract.robot,
        "task": dataset.contract.task,
        "instructions": list(dataset.tasks),
        "episodes": dataset.num_episodes,
        "frames": dataset.num_frames,
        "hours": dataset.num_frames / fps / 3600,
        "fps": fps,
        "shortest_s": float(lengths.min() / fps),
        "median_s": float(np.median(lengths) / fps),
        "longest_s": float(lengths.max() / fps),
        "bytes": sum(path.stat().st_size for path in dataset.root.rglob("[!.]*") if path.is_file()),
        "splits": {name: len(episodes) for name, episodes in dataset.splits.items()},
        "timing": _timing(dataset),
    }
    _show(dataset, result)
    if config.quality:
        result["quality"] = _quality(dataset, config.plot)
    keep_json(config.json, result)
    return result


def _timing(dataset: LeRobotDataset) -> dict[str, Any] | None:
    stamps = dataset.stamps_ns
    if stamps is None:
        return None
    found = [measure_timing(stamps[dataset.episode_slice(e)], dataset.fps) for e in range(dataset.num_episodes)]
    nominal = dataset.columns["frame_index"] * round(1e9 / dataset.fps)
    return {
        "nominal": bool(np.array_equal(stamps, nominal)),
        "rate_hz": float(np.median([timing.rate_hz for timing in found])),
        "gaps": sum(timing.gaps for timing in found),
        "duplicates": sum(timing.duplicates for timing in found),
        "longest_interval_s": max(timing.longest_s for timing in found),
    }


def _show(dataset: LeRobotDataset, result: dict[str, Any]) -> None:
    console.print(
        f"[bold]{dataset.root}[/bold]: LeRobot {result['version']}, {result['bytes'] / 1e6:.1f} MB", highlight=False
    )
    console.print(f"robot {result['robot']}, task {result['task']}: {'; '.join(dataset.tasks[:5])}", markup=False)
    console.print(
        f"{result['episodes']} episodes, {result['frames']} frames, {result['hours']:.2f} h at {result['fps']:g} per second; "
        f"episodes of {result['shortest_s']:.1f} to {result['longest_s']:.1f} s, median {result['median_s']:.1f} s"
    )
    timing = result["timing"]
    if timing is None:
        console.print("timing: the recording keeps no true stamps")
    elif timing["nominal"]:
        console.print("timing: the stamps are the nominal ones; the recording gave none, or was simulated")
    else:
        console.print(
            f"timing by true stamps: {timing['rate_hz']:.2f} frames per second, {timing['gaps']} gaps over {GAP_PERIODS} periods, "
            f"{timing['duplicates']} duplicates, longest interval {timing['longest_interval_s']:.3f} s"
        )
    if dataset.splits:
        console.print("splits: " + ", ".join(f"{name} {count}" for name, count in result["splits"].items()))
    stored = dataset.index.features
    rows = [
        [each.name, each.kind, stored[each.name].dtype, _shape(each.shape), each.unit, _names(each)]
        for each in (*dataset.contract, *dataset.extra_features)
    ]
    table("", ["feature", "kind", "stored as", "shape", "unit", "components"], rows)
    for name, reason in dataset.left_out.items():
        console.print(f"left out: {name} ({reason})", markup=False)


def _quality(dataset: LeRobotDataset, plot: str | None) -> dict[str, Any]:
    from praxon.datasets.quality import describe, measure

    quality = measure(dataset)
    rows = [
        [row.measure, row.unit, row.lowest, row.median, row.highest, len(row.outliers), row.meaning]
        for row in describe(quality)
    ]
    table("quality of episodes", ["measure", "unit", "lowest", "median", "highest", "stand out", "meaning"], rows)
    sentences = quality.outliers()
    for sentence in sentences[:SHOWN]:
        console.print(sentence, markup=False)
    if len(sentences) > SHOWN:
        console.print(f"... and {len(sentences) - SHOWN} more; json=<file> keeps all.")
    if plot is not None:
        from praxon.commands.data._quality_plot import plot_quality

        plot_quality(quality, Path(plot))
        console.print(f"measures drawn in {plot}")
    return {"episodes": {name: values.tolist() for name, values in quality.episodes.items()}, "outliers": sentences}


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _names(feature: Any) -> str:
    return (
        ", ".join(feature.names)
        if len(feature.names) <= 10
        else f"{', '.join(feature.names[:9])}, ... ({len(feature.names)})"
    )
