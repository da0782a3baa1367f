"""Checks of values, from summaries that are gathered episode by episode: constant, dead, saturated, beyond limits, statistics."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from praxon.datasets import lerobot_format as layout
from praxon.datasets.checks.finding import Finding
from praxon.datasets.checks.folder import Folder
from praxon.datasets.lerobot_index import Entry
from praxon.datasets.statistics import QUANTILES

Limits = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""Feature -> (lower, upper), one number for each component."""

LEAST_FRAMES = 10
"""Fewer frames say nothing about what moves and what does not."""
SATURATED_SHARE, SATURATED_FRAMES, MOVING_SHARE = 0.05, 10, 0.3
DEAD_MOTION, LIVE_MOTION = 1e-6, 1e-3
"""Relative to the largest value: what counts as standing still, and as moving."""
COMMAND_SHARE, STATE_SHARE, GRIPPER_SHARE = 0.002, 0.01, 0.25
"""Of the range between the limits: how far outside is still rounding, a servo's overshoot, a finger pressed against its stop."""
STATISTICS_SHARE, RANK_TOLERANCE = 2e-3, 0.02


@dataclass
class Summary:
    """What is kept of one feature while its frames go by; all arrays are (components,)."""

    count: int = 0
    low: np.ndarray = field(default_factory=lambda: np.zeros(0))
    high: np.ndarray = field(default_factory=lambda: np.zeros(0))
    mean: np.ndarray = field(default_factory=lambda: np.zeros(0))
    squares: np.ndarray = field(default_factory=lambda: np.zeros(0))
    at_low: np.ndarray = field(default_factory=lambda: np.zeros(0))
    at_high: np.ndarray = field(default_factory=lambda: np.zeros(0))
    changes: np.ndarray = field(default_factory=lambda: np.zeros(0))
    below: dict[str, np.ndarray] = field(default_factory=dict)
    up_to: dict[str, np.ndarray] = field(default_factory=dict)
    finite: bool = True

    def add(self, values: np.ndarray, quantiles: Mapping[str, np.ndarray]) -> None:
        """Frames of one episode (T, components), T >= 1; ranks are counted at the stored ``quantiles``."""
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            self.finite = False
            return
        exact = values
        values = values.astype(np.float64)
        count, mean = len(values), values.mean(0)
        squares = ((values - mean) ** 2).sum(0)
        low, high = values.min(0), values.max(0)
        at_low, at_high = mid_motion(values == low), mid_motion(values == high)
        changes = (exact[1:] != exact[:-1]).sum(0)
        if self.count == 0:
            self.low, self.high, self.mean, self.squares = low, high, mean, squares
            self.at_low, self.at_high, self.changes = at_low, at_high, changes
        else:
            # Chan et al.: two sets' squared deviations and that of their means.
            delta, whole = mean - self.mean, self.count + count
            self.squares = self.squares + squares + delta**2 * self.count * count / whole
            self.mean = self.mean + delta * count / whole
            self.at_low = np.where(low < self.low, 0, self.at_low) + np.where(low <= self.low, at_low, 0)
            self.at_high = np.where(high > self.high, 0, self.at_high) + np.where(high >= self.high, at_high, 0)
            self.low, self.high = np.minimum(self.low, low), np.maximum(self.high, high)
            self.changes = self.changes + changes
        self.count += count
        for name, value in quantiles.items():
            self.below[name] = self.below.get(name, 0) + (values < value).sum(0)
            self.up_to[name] = self.up_to.get(name, 0) + (values <= value).sum(0)

    @property
    def std(self) -> np.ndarray:
        """Standard deviation."""
        return np.sqrt(self.squares / max(self.count, 1))


def mid_motion(at: np.ndarray) -> np.ndarray:
    """How many frames (T, components) are set, less those in the runs with which the episode begins and ends.

    A robot that waits at home, or rests at its goal, is at an extreme without being held there by a limit.
    """
    leading = np.logical_and.accumulate(at).sum(0)
    trailing = np.logical_and.accumulate(at[::-1]).sum(0)
    return np.maximum(at.sum(0) - leading - trailing, 0)


def check_values(folder: Folder, summaries: Mapping[str, Summary], limits: Limits) -> Iterator[Finding]:
    """What the summaries of all features show."""
    constant = set()
    for name, summary in summaries.items():
        entry = folder.features[name]
        if summary.count < LEAST_FRAMES or np.dtype(entry.dtype).kind != "f" or not summary.finite:
            continue
        if not name.startswith(("observation", "action")):
            continue
        if (summary.low == summary.high).all():
            constant.add(name)
            yield Finding("constant_feature", name, f"'{name}' has the same value in all {summary.count} frames.")
        elif folder.is_joint(name):
            yield from _saturated(entry, summary)
    yield from _dead(folder, {name: s for name, s in summaries.items() if name not in constant and s.finite})
    for name, (lower, upper) in limits.items():
        if name in summaries and summaries[name].finite and summaries[name].count:
            yield from _beyond_limits(folder.features[name], summaries[name], np.asarray(lower), np.asarray(upper))


def check_statistics(
    folder: Folder,
    summaries: Mapping[str, Summary],
    stored: Mapping[str, Mapping[str, np.ndarray]],
    exact_quantiles: bool,
) -> Iterator[Finding]:
    """Stored statistics against those of the data; of quantiles, which others approximate, only ours are compared."""
    for name, summary in summaries.items():
        if not summary.finite or not summary.count:
            continue
        known = stored.get(name)
        if known is None:
            if name not in (*layout.INDEX_COLUMNS, layout.STAMP):
                yield Finding("statistics", name, f"There are no statistics of '{name}' in {layout.STATS}.")
            continue
        wrong = _differing(summary, known, exact_quantiles, folder.features[name].shape)
        if wrong:
            yield Finding("statistics", name, f"The stored statistics of '{name}' are not those of the data: {wrong}.")


def _differing(summary: Summary, known: Mapping[str, np.ndarray], exact_quantiles: bool, shape: tuple[int, ...]) -> str:
    """What is wrong with the stored statistics of a feature of this shape, or nothing."""
    # Sums in single precision and merged standard deviations are off by a little, most of all beside large values.
    lasts = known.get("min", np.zeros(0)).size
    if len(shape) > 1 and lasts == shape[-1] != summary.low.size:
        return _differing_by_last_axis(summary, known, lasts)
    span = np.abs(summary.high - summary.low)
    slack = STATISTICS_SHARE * span + 1e-5 * np.maximum(np.abs(summary.high), np.abs(summary.low)) + 1e-9
    for key, value in {"min": summary.low, "max": summary.high, "mean": summary.mean, "std": summary.std}.items():
        wrong = _unlike(key, known, value, slack if key in ("mean", "std") else slack / 10 + 1e-6)
        if wrong:
            return wrong
    told_count = known.get("count", np.array([summary.count])).reshape(-1)
    if told_count.size != 1 or told_count[0] != summary.count:
        return f"count is stored as {told_count[:1].tolist()} and is {summary.count}"
    for key, share in QUANTILES.items():
        if exact_quantiles and key in summary.below:
            # The share of values below a quantile, and up to it, must have the quantile's own share between them.
            below, up_to = summary.below[key] / summary.count, summary.up_to[key] / summary.count
            slack_rank = RANK_TOLERANCE + 1 / summary.count
            off = (below > share + slack_rank) | (up_to < share - slack_rank)
            if off.any():
                i = int(np.argmax(off))
                return (
                    f"{key} of component {i} has {100 * below[i]:.0f} to {100 * up_to[i]:.0f} % of the values below it"
                )
    return ""


def _differing_by_last_axis(summary: Summary, known: Mapping[str, np.ndarray], size: int) -> str:
    """LeRobot takes the statistics of a matrix over all its rows."""
    rows = [each.reshape(-1, size) for each in (summary.low, summary.high, summary.mean)]
    low, high, mean = rows[0].min(0), rows[1].max(0), rows[2].mean(0)
    slack = STATISTICS_SHARE * (high - low) + 1e-5 * np.maximum(np.abs(high), np.abs(low)) + 1e-6
    wrong = (_unlike(key, known, value, slack) for key, value in {"min": low, "max": high, "mean": mean}.items())
    return next(filter(None, wrong), "")


def _unlike(key: str, known: Mapping[str, np.ndarray], value: np.ndarray, slack: np.ndarray) -> str:
    if key not in known:
        return f"{key} is missing"
    told = known[key].reshape(-1)
    if told.shape != value.shape:
        return f"{key} has {told.size} components, not {value.size}"
    off = ~(np.abs(told - value) <= slack)
    if not off.any():
        return ""
    i = int(np.argmax(off))
    return f"{key} of component {i} is stored as {told[i]:.6g} and is {value[i]:.6g}"


def quantiles_of(known: Mapping[str, np.ndarray] | None, components: int) -> dict[str, np.ndarray]:
    """The stored quantiles that can be compared."""
    found = {name: known[name].reshape(-1) for name in QUANTILES if name in known} if known else {}
    return {name: value for name, value in found.items() if value.size == components}


def _saturated(entry: Entry, summary: Summary) -> Iterator[Finding]:
    for side, held, extreme in (("largest", summary.at_high, summary.high), ("smallest", summary.at_low, summary.low)):
        least = max(SATURATED_FRAMES, SATURATED_SHARE * summary.count)
        # What changes in few frames is a switch, such as a gripper, and belongs at its ends.
        stuck = (held >= least) & (summary.changes >= MOVING_SHARE * summary.count) & (summary.low < summary.high)
        for i in np.flatnonzero(stuck):
            if not is_gripper(component(entry, i)):
                yield Finding(
                    "saturated",
                    f"{entry.name}: {component(entry, i)}",
                    f"Component {component(entry, i)} of '{entry.name}' is exactly {extreme[i]:.6g}, its {side} value, "
                    f"in {int(held[i])} of {summary.count} frames in mid-motion.",
                )


def _dead(folder: Folder, summaries: Mapping[str, Summary]) -> Iterator[Finding]:
    action = folder.features.get("action")
    if action is None or "action" not in summaries or summaries["action"].count < LEAST_FRAMES:
        return
    commands = summaries["action"]
    for name, summary in summaries.items():
        entry = folder.features[name]
        if name == "action" or not folder.is_joint(name) or not summary.count or np.dtype(entry.dtype).kind != "f":
            continue
        for i in range(len(summary.low)):
            label = component(entry, i)
            if not entry.names or label not in action.names:
                continue
            j = action.names.index(label)
            still = _motion(summary, i) <= DEAD_MOTION
            if still and _motion(commands, j) > LIVE_MOTION:
                sentence = (
                    f"Component {label} of '{name}' is {summary.low[i]:.6g} in every frame; "
                    f"the action moves it between {commands.low[j]:.6g} and {commands.high[j]:.6g}."
                )
                yield Finding("dead_component", f"{name}: {label}", sentence)


def _motion(summary: Summary, i: int) -> float:
    largest = max(abs(float(summary.low[i])), abs(float(summary.high[i])), 1e-12)
    return float(summary.high[i] - summary.low[i]) / largest


def _beyond_limits(entry: Entry, summary: Summary, lower: np.ndarray, upper: np.ndarray) -> Iterator[Finding]:
    if lower.shape != summary.low.shape or upper.shape != summary.low.shape:
        return
    own = COMMAND_SHARE if entry.name.startswith("action") else STATE_SHARE
    shares = [GRIPPER_SHARE if is_gripper(component(entry, i)) else own for i in range(len(lower))]
    slack = np.array(shares) * (upper - lower)
    for i in np.flatnonzero((summary.low < lower - slack) | (summary.high > upper + slack)):
        sentence = (
            f"Component {component(entry, i)} of '{entry.name}' goes from {summary.low[i]:.6g} to {summary.high[i]:.6g}; "
            f"the robot's limits are {lower[i]:.6g} to {upper[i]:.6g}."
        )
        yield Finding("joint_limits", f"{entry.name}: {component(entry, i)}", sentence)


def component(entry: Entry, i: int | np.integer) -> str:
    """Name of a component, or its number."""
    return entry.names[i] if entry.names else str(i)


def is_gripper(name: str) -> bool:
    """Whether a component is a hand's opening, which rests at its ends by design."""
    return any(part in name.lower() for part in ("grip", "finger", "jaw"))
