"""Print the statistics of every component of a dataset, recomputed from the data.

With write=true they are also stored as meta/stats.json, where they were missing or old.
Example: praxon data stats runs/lift/dataset
"""

import json
from typing import Any

import numpy as np

from praxon.commands._hydra import Config
from praxon.commands.data._tables import console, keep_json, open_dataset, table
from praxon.datasets.durable import write_durably
from praxon.datasets.lerobot_format import INDEX_COLUMNS, STAMP, STATS, is_picture
from praxon.datasets.metadata_files import read_json
from praxon.datasets.statistics import feature_statistics, to_json

SHOWN = ("mean", "std", "min", "q01", "q50", "q99", "max")


def run(config: Config) -> dict[str, Any]:
    """Print the statistics; returns them as they are stored."""
    dataset = open_dataset(config.dataset, "stats")
    features = [*dataset.contract, *dataset.extra_features]
    found = {
        feature.name: dataset.picture_statistics(feature.name)
        if is_picture(feature)
        else feature_statistics(dataset.columns[feature.name])
        for feature in features
    }
    for feature in features:
        names = ("red", "green", "blue") if is_picture(feature) else feature.names
        values = {key: np.reshape(found[feature.name][key], -1) for key in SHOWN}
        if feature.kind == "point_cloud":  # points have no order: their coordinates together say more than one by one
            names, values = ("x", "y", "z"), _per_axis(dataset.columns[feature.name])
        size = len(values["mean"])
        rows = [
            [names[i] if len(names) == size else str(i), *(float(values[key][i]) for key in SHOWN)] for i in range(size)
        ]
        unit = "of 1" if is_picture(feature) else feature.unit
        table(f"{feature.name} [{unit}], {int(found[feature.name]['count'][0])} samples", ["component", *SHOWN], rows)
    stored = [name for name in (STAMP, *INDEX_COLUMNS) if name in dataset.columns]
    result = to_json(found | {name: feature_statistics(dataset.columns[name][:, None]) for name in stored})
    if config.write:
        old = read_json(dataset.root / STATS) if (dataset.root / STATS).is_file() else {}
        kept = {name: old[name] for name in dataset.left_out if name in old}  # others may be able to read them
        text = json.dumps(kept | result, indent=1)
        write_durably(dataset.root / STATS, lambda path: path.write_text(text))
        console.print(f"written to {dataset.root / STATS}")
    keep_json(config.json, result)
    return result


def _per_axis(clouds: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics of the coordinates of all points of clouds (T, N, 3)."""
    return {key: value for key, value in feature_statistics(clouds.reshape(-1, 3)).items() if key in SHOWN}
