"""Windows of datasets as a policy, and a weighting, need them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from praxon.datasets.joined import JoinedWindows
    from praxon.policies.base import Policy


def joined_windows(
    policy: "Policy",
    datasets: Sequence[Any],
    episodes: Sequence[Sequence[int]],
    future: int | tuple[int, ...] | None,
    hindsight: str = "final",
    seed: int = 0,
    labels: str | None = None,
    keep: Sequence[Any] | None = None,
) -> "JoinedWindows":
    """One after another.

    Args:
        datasets: opened.
        episodes: of each.
        future: steps to the later observations that come along; none where ``None``.
        labels: the column that actions are taken from, where it is another than the action.
        keep: of each, which frames are samples; all where ``None``.
    """
    from praxon.datasets.joined import JoinedWindows
    from praxon.datasets.windows import Windows

    needs = policy.needs()
    return JoinedWindows(
        [
            Windows(
                each,
                policy.contract.chunk,
                chosen,
                extras=needs.extras,
                future=future,
                contract=policy.contract,
                lead=needs.lead,
                hindsight=hindsight,
                seed=seed,
                labels=labels,
                keep=kept,
            )
            for each, chosen, kept in zip(datasets, episodes, keep or [None] * len(datasets), strict=True)
        ]
    )


def source_names(folders: Sequence[str]) -> list[str]:
    """Short names of datasets: the last parts of their paths that tell them apart."""
    from pathlib import Path

    parts = [Path(folder).parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-length:]) for each in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{number}: {folder}" for number, folder in enumerate(folders)]
