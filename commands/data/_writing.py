"""A new dataset that appears whole: written beside its place, packed where asked, renamed at the end."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.packing import pack
from praxon.datasets.source import Source


@contextmanager
def write_dataset(
    out: Path, like: Source, metadata: Mapping[str, Any], codec: str, packed: bool
) -> Iterator[LeRobotWriter]:
    """Yields a writer for episodes like those of a source; where an exception leaves, nothing of ``out`` is there.

    Args:
        out: a new folder.
        like: whose contract, extra features and robot the dataset takes.
        metadata: where the data come from.
        codec: of pictures.
        packed: several episodes to a file.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.writing")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        # Not a context: its statistics of what was written so far would be for nothing where an exception leaves.
        writer = LeRobotWriter(
            partial,
            like.contract,
            None,  # every episode brings its own instruction
            like.robot_type,
            extra_features=like.extra_features,
            metadata=metadata,
            codec=codec,
        )
        yield writer
        writer.finalize()
        if out.exists():
            out.rmdir()  # empty, or it would have been refused
        if packed:
            pack(LeRobotDataset(partial), out)
        else:
            partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
