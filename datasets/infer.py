"""A contract for datasets that carry none, from their feature table: what LeRobot's naming says, and no more.

Components keep their names; kinds are ``vector`` and units "1", because the format has neither. A contract that says
more (joints, frames, units) is given to ``praxon data convert contract=...``.
"""

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets import lerobot_format as layout
from praxon.datasets.lerobot_index import DatasetIndex, Entry
from praxon.errors import DatasetError

OBSERVATION, ACTION = "observation.", "action"
SEVERAL_TASKS = "several"


def infer_contract(index: DatasetIndex) -> tuple[PolicyContract, tuple[Feature, ...], dict[str, str]]:
    """Contract, features beyond it, and what is left out with the reason.

    Raises:
        DatasetError: there is no action, or nothing that is observed.
    """
    left_out: dict[str, str] = {}
    observations, extra = [], []
    for entry in index.features.values():
        if entry.name in layout.INDEX_COLUMNS or entry.name in (layout.STAMP, ACTION):
            continue
        reason = _why_not(entry)
        if reason:
            left_out[entry.name] = reason
        elif entry.name.startswith(OBSERVATION):
            observations.append(_feature(entry))
        elif entry.is_picture:
            left_out[entry.name] = "pictures that are no observation"
        else:
            extra.append(_feature(entry))
    action = index.features.get(ACTION)
    if action is None or action.is_picture or action.dtype == "string" or not observations:
        raise DatasetError(
            f"The dataset '{index.root}' has the features {', '.join(index.features)}; "
            "'action' and at least one 'observation.<name>' are needed."
        )
    task = index.tasks[0] if len(index.tasks) == 1 else SEVERAL_TASKS
    contract = PolicyContract(
        robot=str(index.info.get("robot_type") or "unknown"),
        task=task,
        observations=tuple(observations),
        action=_feature(action),
        chunk=Chunk(control_period_s=1 / index.fps),
    )
    return contract, tuple(extra), left_out


def _feature(entry: Entry) -> Feature:
    if entry.is_picture:
        source = entry.name.rpartition(".")[2]
        return Feature(entry.name, "image", entry.shape, dtype="uint8", source=source)
    return Feature(entry.name, "vector", entry.shape, entry.names, entry.dtype)


def _why_not(entry: Entry) -> str:
    if entry.dtype == "string":
        return "text"
    if entry.is_picture and entry.shape[2] != 3:
        return f"pictures of {entry.shape[2]} channels; three are read"
    if entry.is_picture and (entry.info.get("video.is_depth_map") or entry.info.get("is_depth_map")):
        return "depth pictures"
    return ""
