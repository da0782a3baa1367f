"""How far a success classifier is to be trusted: figures of episodes that it has not seen.

Frames of one episode look alike, so that intervals of precision and recall, which take them for independent, are too narrow;
those of episodes are not. The figure that matters to a learner is how many episodes that were never solved are called solved.

Shapes: N frames of all episodes one after another, E episodes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from praxon.learning.rl.success import Hold
from praxon.sim.statistics import wilson_interval

THRESHOLDS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98, 0.99)
BINS = 10


@dataclass(frozen=True)
class Unseen:
    """Whole episodes, judged.

    Args:
        probability: (N,).
        solved: (N,) bool, what is true of what each frame shows.
        lengths: (E,) frames of each episode.
        succeeded: (E,) bool, whether each was solved at any time, be it by its last step, which no frame shows.
    """

    probability: np.ndarray
    solved: np.ndarray
    lengths: np.ndarray
    succeeded: np.ndarray

    def episodes(self) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
        """Probabilities and truth of each, and whether it succeeded."""
        ends = np.cumsum(self.lengths)[:-1]
        parts = zip(np.split(self.probability, ends), np.split(self.solved, ends), self.succeeded, strict=True)
        yield from ((probability_T, solved_T, bool(each)) for probability_T, solved_T, each in parts)


def split_episodes(
    kind_E: np.ndarray, held_out: float, calibration: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which episodes are learned from, which the temperature is set by, and which judge; those of each kind dealt alike.

    Of two or more of a kind one judges at least, and of three or more one calibrates.

    Args:
        kind_E: a number for each episode, such as whether it was solved.
        held_out, calibration: shares.
        seed: of the draw.
    """
    rng = np.random.default_rng(seed)
    parts: list[list[int]] = [[], [], []]
    for kind in np.unique(kind_E):
        order = rng.permutation(np.flatnonzero(kind_E == kind))
        judging = min(max(1, round(held_out * len(order))), len(order) - 1) if len(order) > 1 else 0
        rest = len(order) - judging
        calibrating = min(max(1, round(calibration * len(order))), rest - 1) if rest > 1 and calibration else 0
        for part, chosen in zip(parts, np.split(order, [rest - calibrating, rest]), strict=True):
            part.extend(chosen)
    known, calibrating_E, judging_E = (np.sort(np.array(part, np.int64)) for part in parts)
    return known, calibrating_E, judging_E


def figures(unseen: Unseen, threshold: float, hold: int) -> dict[str, Any]:
    """Precision and recall of frames above the threshold; of episodes, with ``hold``, how many are called solved rightly or not.

    ``solved_episodes_called_too_early`` are called solved at a frame in which they were not; ``solved_episodes_found`` are of those
    alone that show what they look like when they are solved.
    """
    above = unseen.probability > threshold
    right = int((above & unseen.solved).sum())
    failed = called = succeeded = early = shown = found = 0
    for probability_T, solved_T, success in unseen.episodes():
        rule = Hold(threshold, hold)
        called_T = np.array([rule(float(each)) for each in probability_T])
        if success:
            succeeded += 1
            early += bool((called_T & ~solved_T).any())
            shown += bool(solved_T.any())
            found += bool((called_T & solved_T).any())
        else:
            failed += 1
            called += bool(called_T.any())
    return {
        "threshold": threshold,
        "precision": _share(right, int(above.sum())),
        "recall": _share(right, int(unseen.solved.sum())),
        "false_positive_frames": _share(int((above & ~unseen.solved).sum()), int((~unseen.solved).sum())),
        "unsolved_episodes_called_solved": _share(called, failed),
        "solved_episodes_found": _share(found, shown),
        "solved_episodes_called_too_early": _share(early, succeeded),
    }


def curve(unseen: Unseen, hold: int) -> list[dict[str, Any]]:
    """The figures at each of ``THRESHOLDS``."""
    return [figures(unseen, threshold, hold) for threshold in THRESHOLDS]


def balanced_accuracy(unseen: Unseen) -> float:
    """Mean of the shares of solved and of unsolved frames that are told right at a probability of one half; nan without either."""
    told = unseen.probability > 0.5
    kinds = [told[unseen.solved], ~told[~unseen.solved]]
    return float(np.mean([kind.mean() for kind in kinds])) if all(map(len, kinds)) else float("nan")


def reliability(unseen: Unseen) -> list[dict[str, float]]:
    """For frames of similar probability, its mean and the share that is solved, were both kinds equally frequent."""
    weight = np.where(unseen.solved, 1 / max(unseen.solved.sum(), 1), 1 / max((~unseen.solved).sum(), 1))
    place = np.minimum((unseen.probability * BINS).astype(np.int64), BINS - 1)
    rows = []
    for number in np.unique(place):
        here = place == number
        total = weight[here].sum()
        rows.append(
            {
                "probability": round(float((weight * unseen.probability)[here].sum() / total), 4),
                "solved": round(float(weight[here & unseen.solved].sum() / total), 4),
                "frames": int(here.sum()),
            }
        )
    return rows


def _share(count: int, total: int) -> dict[str, Any]:
    """A proportion with Wilson's interval; no rate where there is nothing it could be of."""
    low, high = wilson_interval(count, total)
    rate = round(count / total, 4) if total else None
    return {"count": count, "of": total, "rate": rate, "interval_95": [round(low, 4), round(high, 4)]}
