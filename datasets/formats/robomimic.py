"""robomimic's HDF5 files: one group for each demonstration, observations taken before the action of the same row.

Layout (robomimic 0.3 to 0.5, robosuite, MimicGen, LIBERO):

    data              attributes: total (frames), env_args (JSON: env_name, env_kwargs with control_freq and robots)
    data/demo_<n>     attributes: num_samples, model_file; arrays: actions (T, A), rewards (T,), dones (T,), states (T, D)
    data/demo_<n>/obs/<key>   (T, ...)
    mask/<name>       names of demonstrations: train, valid, ...
"""

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from praxon.contract import Feature, PolicyContract
from praxon.datasets.formats import _features as features
from praxon.datasets.formats._hdf5_file import SIGNATURE, Hdf5File, is_installed
from praxon.datasets.formats._limits import Limits, reading
from praxon.datasets.source import Episode, Frames
from praxon.errors import DatasetError

SUFFIXES = (".hdf5", ".h5")
DEMONSTRATION = re.compile(r"demo_(\d+)")
TERMINAL, END = "terminal", "end"
DONES = (TERMINAL, END)


def recognises(path: Path) -> bool:
    """Whether it is an HDF5 file with demonstrations in ``data``."""
    try:
        if path.suffix not in SUFFIXES or not path.is_file():
            return False
        with path.open("rb") as file:
            if file.read(len(SIGNATURE)) != SIGNATURE:
                return False
        if not is_installed():
            return True  # open_source says what to install
        names = Hdf5File(path, Limits()).names("data")
        return any(DEMONSTRATION.fullmatch(name) for name in names)
    except (OSError, DatasetError):
        return False


def open_source(
    path: Path,
    *,
    fps: float | None = None,
    task: str | None = None,
    robot: str | None = None,
    contract: PolicyContract | None = None,
    action: str = "actions",
    observations: Sequence[str] | None = None,
    dones: str = TERMINAL,
    states: bool = False,
    max_bytes: int = Limits.max_bytes,
    max_expansion: float = Limits.max_expansion,
) -> "RobomimicSource":
    """The demonstrations of a file.

    Args:
        path: the HDF5 file.
        fps: frames per second; the file's own ``control_freq`` where None.
        task: the instruction in words; the file's own, or the environment's name, where None.
        robot: name of the robot; the file's own where None.
        contract: joints, units and frames, which the file does not say; must fit what is there.
        action: key of the actions, such as ``actions_abs``.
        observations: keys of ``obs`` to keep; all where None.
        dones: what the file's ``dones`` mean. ``terminal``: the task ended there; a demonstration whose last row has
            none was cut. ``end``: they only mark its last row, which becomes ``next.truncated``.
        states: keep the simulator's states as the extra feature ``states``, float64, and the model they belong to.
        max_bytes: most bytes held at once.
        max_expansion: largest believed ratio of declared to stored size.

    Raises:
        DatasetError: the file is damaged, is not of this layout, or does not say its rate.
    """
    if dones not in DONES:
        raise DatasetError(f"dones='{dones}' was asked; it is one of {', '.join(DONES)}.")
    return RobomimicSource(
        Hdf5File(Path(path), Limits(max_bytes, max_expansion)),
        fps=fps,
        task=task,
        robot=robot,
        contract=contract,
        action=action,
        observations=observations,
        dones=dones,
        states=states,
    )


class RobomimicSource:
    """Demonstrations in the order of their numbers; see ``open_source``."""

    def __init__(
        self,
        file: Hdf5File,
        *,
        fps: float | None,
        task: str | None,
        robot: str | None,
        contract: PolicyContract | None,
        action: str,
        observations: Sequence[str] | None,
        dones: str,
        states: bool,
    ) -> None:
        self._file, self._action_key, self._dones = file, action, dones
        self._demos = _numbered(file)
        env = _json_attribute(file, "env_args")
        kwargs = _mapping(env.get("env_kwargs"))
        problem = _json_attribute(file, "problem_info")  # LIBERO's
        self._task = str(task or problem.get("language_instruction") or env.get("env_name") or "unknown")
        robots = kwargs.get("robots")
        named = robots if isinstance(robots, str) else "+".join(map(str, robots)) if isinstance(robots, list) else None
        self.robot_type = robot or named or None
        period_s = features.control_period(f"'{file.path}'", fps, kwargs.get("control_freq"), contract)

        left_out: dict[str, str] = {}
        found = self._observations(observations, left_out)
        names = (self.robot_type or "unknown", self._task)
        self.contract = features.fitted_contract(
            f"'{file.path}'", found, self._action(), period_s, names, contract, left_out
        )
        self._kept = features.kept(found, self.contract)
        self.extra_features = self._extra(states)
        left_out |= self._beyond(states)
        self.metadata: dict[str, Any] = {
            "format": "robomimic",
            "file": file.path.name,
            "env_args": features.plain(env),
            "action_key": action,
            "dones": dones,
            "left_out": left_out,
        }
        if states:
            self.metadata["model_file"] = self._model()
        self.splits = self._masks()
        self._check_total()

    def __len__(self) -> int:
        return len(self._demos)

    def episode(self, index: int) -> Episode:
        """Demonstration ``index`` in the order of the numbers."""
        if not 0 <= index < len(self):
            raise DatasetError(f"Demonstration {index} was asked; '{self._file.path}' has 0 to {len(self) - 1}.")
        demo = self._demos[index]
        actions = self._numbers(demo, self._action_key)
        length = len(actions)
        told = self._file.attribute(demo, "num_samples")
        if not length or told not in (None, length):
            raise DatasetError(f"{self._where(demo, self._action_key)} has {length} rows; num_samples says {told}.")
        flat = actions.reshape(length, -1)
        frames: dict[str, Frames] = {
            "action": features.vector(flat, self._where(demo, self._action_key), self.contract.action.shape)
        }
        for place, feature in self._kept.items():
            frames[feature.name] = self._observation(demo, place, feature, length)
        for feature in self.extra_features:
            frames[feature.name] = self._beyond_contract(demo, feature, length)
        return Episode(frames, None, self._task)

    # -- what there is ----------------------------------------------------------------------------

    def _observations(self, wanted: Sequence[str] | None, left_out: dict[str, str]) -> dict[str, Feature]:
        """Observations of the first demonstration by their places in it; the others must have the same."""
        group = f"{self._demos[0]}/obs"
        there = self._file.names(group)
        missing = [key for key in wanted or () if key not in there]
        if missing:
            raise DatasetError(
                f"{self._file.where(group)} has the keys {', '.join(there)}; {', '.join(missing)} were asked."
            )
        found: dict[str, Feature] = {}
        for key in there:
            place = f"obs/{key}"
            if wanted is not None and key not in wanted:
                left_out[place] = "was not asked for"
                continue
            if wanted is None and not self._file.holds_numbers(f"{group}/{key}"):
                left_out[place] = "is a group or text, not an array of numbers"
                continue
            stored = self._file.array(f"{group}/{key}")
            made = features.observation(key, stored.shape[1:], stored.dtype.kind, f"'{self._file.path}'")
            if isinstance(made, str):
                left_out[place] = made
            else:
                found[place] = made
        return found

    def _action(self) -> Feature:
        first = self._demos[0]
        if not self._file.has(f"{first}/{self._action_key}"):
            raise DatasetError(
                f"'{first}' of '{self._file.path}' has no '{self._action_key}'; it has "
                f"{', '.join(self._file.names(first))}, one of which action= may name."
            )
        stored = self._file.array(f"{first}/{self._action_key}")
        return features.one_action(math.prod(stored.shape[1:]))

    def _extra(self, states: bool) -> tuple[Feature, ...]:
        first, there = self._demos[0], self._file.names(self._demos[0])
        extra = [features.REWARD] if "rewards" in there else []
        if "dones" in there:
            extra += [features.DONE, features.TRUNCATED]
        if states:
            width = math.prod(self._file.array(f"{first}/states").shape[1:])
            extra.append(Feature("states", "vector", (width,), dtype="float64"))
        return tuple(extra)

    def _beyond(self, states: bool) -> dict[str, str]:
        """What a demonstration has besides what is kept, and why it is not."""
        first = self._demos[0]
        used = {"obs", self._action_key, "rewards", "dones"} | ({"states"} if states else set())
        reasons = {
            "next_obs": "repeats the observations one row later",
            "states": "simulator states; options='{states: true}' keeps them",
        }
        beyond = {name: reasons.get(name, "is not read") for name in self._file.names(first) if name not in used}
        if not states and self._file.attribute(first, "model_file") is not None:
            beyond["model_file"] = "belongs to the states"
        return beyond

    def _model(self) -> str:
        """The model's text, which replaying ``states`` needs, where all demonstrations have the same."""
        models = {str(self._file.attribute(demo, "model_file") or "") for demo in self._demos}
        return models.pop() if len(models) == 1 else ""

    def _masks(self) -> dict[str, list[int]]:
        if "mask" not in self._file.names(""):
            return {}
        numbers = {demo.rpartition("/")[2]: index for index, demo in enumerate(self._demos)}
        splits = {}
        for name in self._file.names("mask"):
            listed = self._file.texts(f"mask/{name}")
            unknown = [demo for demo in listed if demo not in numbers]
            if unknown:
                raise DatasetError(
                    f"{self._file.where(f'mask/{name}')} names {', '.join(unknown[:5])}, which the file does not hold."
                )
            splits[name] = sorted(numbers[demo] for demo in listed)
        return splits

    def _check_total(self) -> None:
        """The frames of all demonstrations are as many as the file says: none was lost."""
        total = self._file.attribute("data", "total")
        told = [self._file.attribute(demo, "num_samples") for demo in self._demos]
        if total is not None and None not in told and total != sum(told):
            raise DatasetError(
                f"'{self._file.path}' says it holds {total} frames; its {len(told)} demonstrations have {sum(told)}."
            )

    # -- one demonstration ------------------------------------------------------------------------

    def _where(self, demo: str, key: str) -> str:
        return self._file.where(f"{demo}/{key}")

    def _numbers(self, demo: str, key: str, length: int | None = None) -> np.ndarray:
        values = self._file.numbers(f"{demo}/{key}")
        if length is not None:
            features.require_rows(len(values), length, self._where(demo, key))
        return values

    def _observation(self, demo: str, place: str, feature: Feature, length: int) -> Frames:
        if feature.kind != "image":
            return features.vector(self._numbers(demo, place, length), self._where(demo, place), feature.shape)
        stored = self._file.array(f"{demo}/{place}")
        features.require_rows(len(stored), length, self._where(demo, place))
        return features.stored_pictures(stored, feature, 0, length, self._where(demo, place))

    def _beyond_contract(self, demo: str, feature: Feature, length: int) -> np.ndarray:
        if feature.name == "states":
            states = self._numbers(demo, "states", length).astype(np.float64).reshape(length, -1)
            if states.shape[1:] != feature.shape or not np.isfinite(states).all():
                raise DatasetError(f"{self._where(demo, 'states')} is not {feature.shape} finite numbers per frame.")
            return states
        if feature.name == features.REWARD.name:
            return features.vector(
                self._numbers(demo, "rewards", length), self._where(demo, "rewards"), features.REWARD.shape
            )
        dones = features.flags(self._numbers(demo, "dones", length), self._where(demo, "dones"))
        last = np.arange(length)[:, None] == length - 1
        terminal = dones & ~last if self._dones == END else dones
        return terminal if feature.name == features.DONE.name else last & ~terminal


def _numbered(file: Hdf5File) -> list[str]:
    """Places of the demonstrations; their numbers have no leading zeros, so names do not sort."""
    names = file.names("data")
    wrong = [name for name in names if not DEMONSTRATION.fullmatch(name)]
    if wrong or not names:
        raise DatasetError(
            f"'{file.path}' has {', '.join(wrong[:5]) or 'nothing'} in 'data'; demo_0, demo_1, ... are expected."
        )
    return [f"data/{name}" for name in sorted(names, key=lambda name: int(name.removeprefix("demo_")))]


def _json_attribute(file: Hdf5File, name: str) -> dict[str, Any]:
    """An attribute of ``data`` that holds JSON; empty where there is none."""
    text = file.attribute("data", name)
    if text is None:
        return {}
    with reading(f"Attribute '{name}' of {file.where('data')}"):
        found = json.loads(text)
        if not isinstance(found, dict):
            raise DatasetError(f"Attribute '{name}' of {file.where('data')} holds no mapping of names to values.")
        return found


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
