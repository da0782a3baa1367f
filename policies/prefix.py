"""Training a policy to continue a chunk that is being executed: its first actions given, the rest to be drawn.

Black et al., "Training-time action conditioning for efficient real-time chunking", arXiv 2512.05964. Of every sample the first d
actions are clean and have the time of clean data; the others share one flow time, and only they count in the loss. At
inference the same is done with the actions to which the robot is committed, at no cost.

Shapes: B batch, T action tokens.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from praxon.errors import ConfigError


class PrefixTraining:
    """Draws how many actions of each sample are given.

    Args:
        delays: weight of each number of given actions, from 0 on; [1, 1, 1] is none, one or two, equally often.
        horizon: T.
        lead: rows of a chunk before the newest observation, which are never given.

    Raises:
        ConfigError: weights that are no distribution, or more given actions than the chunk has.
    """

    def __init__(self, delays: Sequence[float], horizon: int, lead: int = 0) -> None:
        try:
            weights = [float(weight) for weight in delays]
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"prefix_delays is {delays!r}; the weight of each number of given actions is needed, from 0 on: [1,1,1,1] gives "
                "none to three, equally often."
            ) from error
        if not weights or min(weights) < 0 or not 0 < sum(weights) < math.inf:
            raise ConfigError(
                f"Delays are given as the weight of each, from 0 control steps on, none below 0; got {weights}."
            )
        if len(weights) > horizon:
            raise ConfigError(
                f"Delays of up to {len(weights) - 1} control steps leave nothing to draw of a chunk of {horizon} actions."
            )
        self.delays, self.lead = tuple(weights), lead

    def draw(self, action_BTA: Tensor, generator: torch.Generator) -> Tensor:
        """Which actions of these chunks are given (B, T)."""
        batch_size, horizon = action_BTA.shape[0], action_BTA.shape[1]
        weights = torch.tensor(self.delays, device=generator.device)
        delay_B = torch.multinomial(weights, batch_size, replacement=True, generator=generator)
        row_T = torch.arange(horizon, device=generator.device) - self.lead
        return (row_T >= 0) & (row_T < delay_B[:, None])

    @staticmethod
    def count(given_BT: Tensor) -> Tensor:
        """What each action's error is multiplied with, so that the mean over the chunk is that over what was drawn (B, T)."""
        drawn_BT = (~given_BT).float()
        return drawn_BT / drawn_BT.mean(dim=1, keepdim=True)


def delay_weights(path: Path, period_s: float) -> list[float]:
    """How often each delay occurred in a log: the shares of 0, 1, 2, ... control steps.

    Args:
        path: JSON with ``delays`` (a list of control steps, as ``praxon serve episodes=...`` leaves it in its result.json) or
            ``inference_ms`` (a list, as a policy node's status carries it).
        period_s: control period [s].

    Raises:
        ConfigError: the file is missing, or holds neither.
    """
    try:
        log = json.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"The log of delays '{path}' cannot be read: {error.strerror or error}.") from error
    except ValueError as error:
        raise ConfigError(f"The log of delays '{path}' is no JSON: {error}.") from error
    entries = log if isinstance(log, Mapping) else {}
    lists = {name: entries.get(name) for name in ("delays", "inference_ms")}
    kind, values = next(((name, found) for name, found in lists.items() if isinstance(found, list) and found), ("", []))
    if not kind or any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise ConfigError(
            f"The log of delays '{path}' holds neither delays, a list of control steps, as the result.json of praxon serve does, "
            "nor inference_ms, a list of milliseconds."
        )
    steps = [int(value) if kind == "delays" else math.ceil(float(value) / 1e3 / period_s) for value in values]
    if min(steps) < 0:
        raise ConfigError(f"The log of delays '{path}' holds a negative one.")
    return [steps.count(delay) / len(steps) for delay in range(max(steps) + 1)]
