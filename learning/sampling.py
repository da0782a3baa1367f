"""Which samples form a batch: the choices of the config group ``sampling``. Each makes a sampler for given windows."""

from collections.abc import Sequence

import numpy as np

from praxon.datasets.joined import JoinedWindows
from praxon.datasets.quality import measure
from praxon.datasets.quality_weights import weights
from praxon.datasets.sampler import Sampler, ShuffledSampler
from praxon.datasets.samplers.episodes import EpisodeSampler
from praxon.datasets.samplers.mixture import MixtureSampler
from praxon.datasets.samplers.weighted import WeightedSampler
from praxon.errors import ConfigError


def shuffled(windows: JoinedWindows, batch_size: int, seed: int) -> Sampler:
    """Every sample once an epoch, in an order that is new each epoch."""
    return ShuffledSampler(len(windows), batch_size, seed)


def by_episode(
    windows: JoinedWindows, batch_size: int, seed: int, drop_last: int = 0, distinct: bool = False
) -> Sampler:
    """Every episode as often, however long it is.

    Args:
        drop_last: frames at an episode's end that are left out.
        distinct: no batch holds two samples of one episode.
    """
    lengths = np.concatenate([part.episode_lengths for part in windows.parts])
    return EpisodeSampler(lengths, batch_size, seed, drop_last=drop_last, distinct=distinct)


def by_quality(
    windows: JoinedWindows,
    batch_size: int,
    seed: int,
    measures: Sequence[str] = ("action_deviation", "smoothness"),
    temperature: float = 0.5,
    scale: str = "episode",
) -> Sampler:
    """In proportion to measures of quality, each dataset measured by itself.

    Args:
        measures: their names, as ``praxon data info`` prints them.
        temperature: of the softmax over frames; the lower, the more the best are preferred.
        scale: ``episode`` or ``frame``.
    """
    found = []
    for part in windows.parts:
        of_frames = weights(measure(part.dataset), list(measures), temperature, scale)
        chosen = of_frames[part.frames]
        found.append(chosen / chosen.sum() * len(part))
    return WeightedSampler(np.concatenate(found), batch_size, seed)


def mixture(windows: JoinedWindows, batch_size: int, seed: int, shares: Sequence[float] | None = None) -> Sampler:
    """A fixed share of every batch from each dataset, however large it is (symmetric sampling: two datasets, half each).

    Args:
        shares: one for each dataset; equal where None.

    Raises:
        ConfigError: not one share for each dataset.
    """
    shares = [1.0] * len(windows.parts) if shares is None else shares
    if not isinstance(shares, Sequence) or not all(isinstance(share, (int, float)) for share in shares):
        raise ConfigError(f"sampling.shares is {shares}; a number for each dataset is expected, as in [0.5,0.5].")
    if len(shares) != len(windows.parts):
        raise ConfigError(f"sampling.shares has {len(shares)} numbers for {len(windows.parts)} datasets.")
    # Seeds of their own: equal ones would draw the same places from datasets of equal size.
    samplers = [ShuffledSampler(len(part), batch_size, seed + 7919 * i) for i, part in enumerate(windows.parts)]
    return MixtureSampler(samplers, shares, batch_size, offsets=[int(start) for start in windows.starts[:-1]])
