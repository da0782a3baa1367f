"""LeRobot datasets, v3.0, v2.1 and v2.0, whoever wrote them."""

from dataclasses import replace
from pathlib import Path

from praxon.contract import PolicyContract
from praxon.datasets.lerobot_format import INFO
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import DatasetError


def recognises(path: Path) -> bool:
    """Whether ``path`` is a folder with an info.json of this layout."""
    return (path / INFO).is_file()


def open_source(
    path: Path, *, robot: str | None = None, task: str | None = None, contract: PolicyContract | None = None
) -> LeRobotDataset:
    """The dataset in ``path``.

    Args:
        robot: its name, where the dataset's own is missing or another.
        task: name of the task in the contract; instructions of episodes stay as they are.
        contract: says kinds, units, frames and joint names of the same features; what it does not name is left out.

    Raises:
        DatasetError: the dataset is not what it says, or the contract is of other features.
    """
    dataset = LeRobotDataset(path)
    if contract is not None:
        for feature in contract:
            there = dataset.contract.feature(feature.name)
            if (there.shape, there.dtype) != (feature.shape, feature.dtype):
                raise DatasetError(
                    f"Feature '{feature.name}' of the dataset '{path}' is {there.dtype}{there.shape}; "
                    f"the contract says {feature.dtype}{feature.shape}."
                )
        if abs(contract.chunk.control_period_s * dataset.fps - 1) > 1e-6:
            raise DatasetError(
                f"The dataset '{path}' has {dataset.fps:g} frames per second; the contract says "
                f"{1 / contract.chunk.control_period_s:g}."
            )
        dataset.contract = contract
    known = dataset.contract
    dataset.contract = replace(known, robot=robot or known.robot, task=task or known.task)
    dataset.robot_type = robot or dataset.robot_type
    return dataset
