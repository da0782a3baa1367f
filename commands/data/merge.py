"""Make one dataset of several with the same features: episodes follow one another, pictures keep their compression.

With one source and pack=true, gathers its episodes into few large files, as LeRobot writes them.
Example: praxon data merge runs/a/dataset runs/b/dataset out=data/both
"""

from dataclasses import replace
from typing import Any

from praxon.commands._hydra import Config
from praxon.commands._run import console, progress_bar, require
from praxon.commands.data._tables import new_folder, open_dataset
from praxon.commands.data._writing import write_dataset
from praxon.commands.data.convert import stored_codec
from praxon.datasets.conversion import copy_episodes
from praxon.datasets.infer import SEVERAL_TASKS
from praxon.datasets.joined import require_alike
from praxon.errors import DatasetError


def run(config: Config) -> dict[str, Any]:
    """Merge as configured; returns what was written."""
    require(
        len(config.sources) > 0, "Nothing was given; praxon data merge <folder> <folder> out=<folder> names datasets."
    )
    out = new_folder(config.out, "out=<folder>")
    datasets = [open_dataset(folder, "merge") for folder in config.sources]
    require_alike(datasets)
    first = datasets[0]
    for other in datasets[1:]:
        mine, theirs = ({f"{e.name} {e.dtype}{list(e.shape)}" for e in each.extra_features} for each in (first, other))
        if not mine <= theirs:
            raise DatasetError(
                f"'{first.root}' has the columns {', '.join(sorted(mine - theirs))}, which '{other.root}' has not; "
                f"it has {', '.join(sorted(theirs)) or 'none beyond its contract'}."
            )
    if len({dataset.contract.task for dataset in datasets}) > 1:
        first.contract = replace(first.contract, task=SEVERAL_TASKS)
    codecs = list(dict.fromkeys(stored_codec(dataset) for dataset in datasets))
    codec = config.codec or (codecs[0] if len(codecs) == 1 else "h264")
    if config.codec is None and len(codecs) > 1:
        console.print(f"The pictures are stored as {', '.join(codecs)}; they are compressed again as {codec}.")
    metadata = {
        "merged": [
            {"name": each.root.name, "sha256": each.digest(), "episodes": each.num_episodes, "metadata": each.metadata}
            for each in datasets
        ]
    }
    total = sum(dataset.num_episodes for dataset in datasets)
    with write_dataset(out, first, metadata, codec, config.pack) as writer, progress_bar("merge", total) as advance:
        for dataset in datasets:
            copy_episodes(dataset, writer, range(len(dataset)), advance)
    console.print(f"{writer.num_episodes} episodes, {writer.num_frames} frames in [bold]{out}[/bold].")
    return {"dataset": str(out), "episodes": writer.num_episodes, "frames": writer.num_frames}
