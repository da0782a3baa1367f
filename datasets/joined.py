"""One dataset made of several: windows of all under one index, and the statistics of their union."""

import hashlib
from collections.abc import Sequence

import numpy as np

from praxon.contract import observed_name
from praxon.datasets.lerobot_format import is_picture
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.statistics import PictureStatistics, Statistics, feature_statistics
from praxon.datasets.windows import Windows
from praxon.errors import ContractError


class JoinedWindows:
    """Windows of several datasets, one after another.

    Args:
        parts: windows of one contract, of datasets that fit each other (``require_alike``).

    Attributes:
        starts: (parts + 1,) index of each part's first sample, and the number of samples at the end.
    """

    def __init__(self, parts: Sequence[Windows]) -> None:
        self.parts = tuple(parts)
        self.starts = np.cumsum([0, *map(len, self.parts)])
        names: list[set[object]] = [set(part.batch(np.zeros(0, np.int64), pictures=False)) for part in self.parts]
        self._not_common = set.union(*names) - set.intersection(*names)
        self._frame_starts = np.cumsum([0, *(part.dataset.num_frames for part in self.parts)])

    def __len__(self) -> int:
        """Samples of all parts."""
        return int(self.starts[-1])

    @property
    def frames(self) -> np.ndarray:
        """(len,) the frame index of each sample in all datasets one after another."""
        starts = self._frame_starts[:-1]
        return np.concatenate([part.frames + start for part, start in zip(self.parts, starts, strict=True)])

    def batch(self, indices: np.ndarray, pictures: bool = True, draw: int = 0) -> dict[str, np.ndarray]:
        """As ``Windows.batch``; entries that not every part has are left out, ``index`` counts through all datasets."""
        owner = np.searchsorted(self.starts, indices, side="right") - 1
        found = []
        for number in np.unique(owner):
            chosen = np.flatnonzero(owner == number)
            part = self.parts[number].batch(indices[chosen] - self.starts[number], pictures, draw)
            part["index"] = part["index"] + self._frame_starts[number]
            found.append((chosen, part))
        common = set.intersection(*(set(part) for _, part in found)) - self._not_common if found else set()
        batch = {}
        for name in sorted(common):
            first = found[0][1][name]
            batch[name] = np.empty((len(indices), *first.shape[1:]), first.dtype)
            for chosen, part in found:
                batch[name][chosen] = part[name]
        return batch


def require_alike(datasets: Sequence[LeRobotDataset], observations: Sequence[str] | None = None) -> None:
    """``ContractError`` listing both sides unless every dataset offers what is needed of the first, at the same rate.

    Args:
        observations: names of those that are needed; all of the first dataset's where None.
    """
    first = datasets[0]
    needed = first.contract if observations is None else first.contract.with_observations(observations)
    for other in datasets[1:]:
        found = needed.mismatches(other.contract)
        if found:
            raise ContractError(
                f"The datasets '{first.root}' and '{other.root}' cannot be used as one: "
                f"{'; '.join(text.replace('policy', 'the first', 1).replace('here', 'the second', 1) for text in found)}."
            )


def joined_statistics(parts: Sequence[Windows]) -> Statistics:
    """Statistics of what windows hold over the chosen frames of all parts; of pictures, over an even sample of them."""
    first = parts[0]
    if len(parts) == 1 and len(first) == first.dataset.num_frames:
        return first.dataset.statistics
    found: Statistics = {}
    held = {observed_name(feature.name) for feature in first.contract}
    for feature in first.dataset.contract:
        if feature.name not in held:
            continue
        if not is_picture(feature):
            found[feature.name] = feature_statistics(*(_chosen(part, feature.name) for part in parts))
            continue
        pictures = PictureStatistics(feature.shape[-1])
        for part in parts:
            part.dataset.add_pictures(pictures, feature.name, part.episodes)
        found[feature.name] = pictures.result()
    return found


def _chosen(part: Windows, feature: str) -> np.ndarray:
    column = part.dataset.columns[feature]
    return column if len(part) == len(column) else column[part.frames]


def joined_digest(datasets: Sequence[LeRobotDataset]) -> str:
    """The identity of the data: a dataset's own digest, or SHA-256 over those of several in order."""
    digests = [dataset.digest() for dataset in datasets]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
