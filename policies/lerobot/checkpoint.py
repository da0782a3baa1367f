"""A LeRobot checkpoint as it lies on disk: settings, weights, and how each feature is normalised.

    config.json                              type, features, settings of the policy
    model.safetensors                        weights
    policy_preprocessor.json, policy_postprocessor.json, and the safetensors they name      since 0.4

Older ones (before 0.4) keep the statistics among the weights, as ``normalize_inputs.buffer_<feature>.<statistic>``.
What would change the actions and is not understood is refused: a bundle acts as its checkpoint did, or it is not made.
Nothing is unpickled.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from praxon.errors import BundleError, nearest

ACTION = "action"
EPSILON = 1e-8
STEPS = ("rename_observations", "rename", "to_batch", "device", "normalizer", "unnormalizer")
"""Steps of the processors that change nothing here, or what is read below; LeRobot adds ``_processor`` to their names."""
REQUIRED = object()
STATISTICS = {  # mode -> the two statistics it reads
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}


@dataclass(frozen=True)
class Affine:
    """``(x - center) / spread`` turns a feature into what the network sees; the other way round for actions."""

    center: Tensor
    spread: Tensor


@dataclass(frozen=True)
class LeRobotCheckpoint:
    """What was found.

    Args:
        path: folder.
        kind: of policy, ``diffusion`` or ``act``.
        settings: config.json.
        weights: of the model alone, float32.
        shapes: feature name -> shape as LeRobot has it, images (channels, height, width); the action last.
        types: feature name -> ``STATE``, ``ENV``, ``VISUAL`` or ``ACTION``.
        scales: feature name -> its normalisation, of LeRobot's shapes; images after division by 255.
    """

    path: Path
    kind: str
    settings: dict[str, Any]
    weights: dict[str, Tensor]
    shapes: dict[str, tuple[int, ...]]
    types: dict[str, str]
    scales: dict[str, Affine]

    @property
    def cameras(self) -> list[str]:
        """Names of the image features, in LeRobot's order."""
        return [name for name, kind in self.types.items() if kind == "VISUAL"]

    def setting(self, name: str, default: Any = REQUIRED) -> Any:
        """A setting of config.json, or what LeRobot took where an older version does not write it.

        Raises:
            BundleError: every version writes it, and it is not there.
        """
        value = self.settings.get(name, default)
        if value is REQUIRED:
            raise BundleError(f"The config.json of '{self.path}' has no setting '{name}'; LeRobot writes it.")
        return value


def read_checkpoint(path: Path, kinds: Mapping[str, Any]) -> LeRobotCheckpoint:
    """Read the folder that LeRobot calls ``pretrained_model``, or one that holds it.

    Args:
        path: the folder; ``checkpoints/last`` and ``checkpoints/020000`` are understood too.
        kinds: policies that can be imported.

    Raises:
        BundleError: a file is missing or unreadable, or it is a policy of another kind.
    """
    path = path / "pretrained_model" if (path / "pretrained_model" / "config.json").is_file() else path
    settings = _json(path / "config.json")
    kind = settings.get("type")
    if kind not in kinds:
        raise BundleError(
            f"'{path}' is a LeRobot policy of type '{kind}'; {', '.join(kinds)} can be imported.{nearest(str(kind), kinds)}"
        )
    try:
        features = {**settings["input_features"], **settings["output_features"]}
        shapes = {name: tuple(int(n) for n in feature["shape"]) for name, feature in features.items()}
        types = {name: str(feature["type"]) for name, feature in features.items()}
        modes = {str(name): str(mode) for name, mode in settings["normalization_mapping"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BundleError(f"The config.json of '{path}' does not describe its features: {error!r}.") from error
    if ACTION not in shapes:
        raise BundleError(f"The config.json of '{path}' has no feature 'action' among its outputs.")
    tensors = _tensors(path / "model.safetensors")
    weights = {name: value.float() for name, value in tensors.items() if not _is_statistic(name)}
    statistics = _statistics(path, tensors, list(shapes))
    if not statistics and any(modes.get(kind_of, "IDENTITY") != "IDENTITY" for kind_of in types.values()):
        raise BundleError(
            f"'{path}' holds no statistics to normalise with; since 0.4 they are in policy_preprocessor.json, "
            "policy_postprocessor.json and the files that these name."
        )
    scales = {
        name: _affine(name, shapes[name], modes.get(kind_of, "IDENTITY"), statistics.get(name, {}), path)
        for name, kind_of in types.items()
    }
    return LeRobotCheckpoint(path, str(kind), settings, weights, shapes, types, scales)


def _statistics(path: Path, weights: Mapping[str, Tensor], names: list[str]) -> dict[str, dict[str, Tensor]]:
    """Feature -> statistic -> values, from the processors where there are any, else from among the weights."""
    found: dict[str, dict[str, Tensor]] = {}
    if (path / "policy_preprocessor.json").is_file():
        for pipeline in ("policy_preprocessor.json", "policy_postprocessor.json"):
            for step in _steps(path / pipeline):
                if step.get("state_file"):
                    # Named by a file that was downloaded: never outside its folder.
                    for key, value in _tensors(path / Path(str(step["state_file"])).name).items():
                        name, _, statistic = key.rpartition(".")
                        found.setdefault(name, {})[statistic] = value.float()
        return found
    for key, value in weights.items():
        if _is_statistic(key):
            buffer, _, statistic = key.partition(".buffer_")[2].rpartition(".")
            # Module names hold no dots: observation.images.top was written observation_images_top.
            found.setdefault(buffer, {})[statistic] = value.float()
    return {name: found[name.replace(".", "_")] for name in names if name.replace(".", "_") in found}


def _steps(path: Path) -> list[dict[str, Any]]:
    """The steps of a processor, each of a kind that is understood or switched off."""
    steps = _json(path).get("steps", [])
    if not (isinstance(steps, list) and all(isinstance(step, dict) for step in steps)):
        raise BundleError(f"'{path}' does not list its steps.")
    for step in steps:
        name = str(step.get("registry_name") or step.get("class"))
        if name.removesuffix("_processor") not in STEPS and (step.get("config") or {}).get("enabled") is not False:
            raise BundleError(
                f"'{path}' has a step '{name}'; {', '.join(STEPS)} can be imported, and steps that are not enabled."
            )
    return steps


def _is_statistic(name: str) -> bool:
    return name.startswith(("normalize_inputs.", "normalize_targets.", "unnormalize_outputs."))


def _affine(name: str, shape: tuple[int, ...], mode: str, statistics: Mapping[str, Tensor], path: Path) -> Affine:
    """LeRobot's normalisation of one feature as an affine map.

    A component whose range is empty is mapped to -1 by LeRobot where it equals its minimum, and actions to the minimum;
    with a centre one above the minimum and a spread of one, so it is here.
    """
    wanted = (shape[0], 1, 1) if len(shape) == 3 else shape
    if mode == "IDENTITY" or not statistics:
        return Affine(torch.zeros(wanted), torch.ones(wanted))
    if mode not in STATISTICS:
        raise BundleError(
            f"'{path}' normalises '{name}' by {mode}; {', '.join(STATISTICS)} and IDENTITY can be imported."
        )
    missing = [statistic for statistic in STATISTICS[mode] if statistic not in statistics]
    if missing:
        raise BundleError(f"'{path}' normalises '{name}' by {mode} but holds no {missing[0]} of it.")
    first, second = (statistics[statistic].reshape(wanted) for statistic in STATISTICS[mode])
    if mode == "MEAN_STD":
        return Affine(first, second if name == ACTION else second + EPSILON)
    empty = first == second
    spread = torch.where(empty, torch.ones(()) if name != ACTION else torch.tensor(EPSILON / 2), (second - first) / 2)
    return Affine(first + spread, spread)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise BundleError(
            f"'{path.parent}' has no {path.name}; a LeRobot checkpoint's folder pretrained_model has config.json, "
            "model.safetensors and, since 0.4, the processors."
        ) from error
    except (OSError, ValueError) as error:
        raise BundleError(f"'{path}' cannot be read: {error}.") from error
    if not isinstance(content, dict):
        raise BundleError(f"'{path}' holds no mapping.")
    return content


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except FileNotFoundError as error:
        raise BundleError(f"'{path.parent}' has no {path.name}.") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise BundleError(f"'{path}' cannot be read: {error}.") from error
