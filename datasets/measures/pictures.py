"""How well pictures can be seen: brightness and sharpness of a few pictures of each episode."""

from typing import Protocol

import numpy as np

from praxon.datasets.measures.measured import Measure, Measured, Recorded


class Pictured(Recorded, Protocol):
    """A dataset that gives pictures by feature and frame index, (n, height, width, 3) uint8."""

    def frames(self, feature: str, indices: np.ndarray) -> np.ndarray: ...


def measure_pictures(dataset: Pictured, per_episode: int = 3) -> list[Measured]:
    """Brightness and sharpness for every camera, means over pictures spread evenly over the episode.

    Brightness is the mean intensity, 0 to 1. Sharpness is the variance of the Laplacian (Pech-Pacheco et al., "Diatom
    autofocusing in brightfield microscopy", ICPR 2000) by the variance of the intensity: 0 for one colour, higher for more
    fine detail, the same at half the light.

    Args:
        dataset: with video features.
        per_episode: pictures that are decoded for each episode and camera.
    """
    found = []
    for feature in dataset.contract.observations:
        if feature.kind != "image":
            continue
        brightness, sharpness = np.full((2, len(dataset.episode_lengths)), np.nan)
        for episode in range(len(brightness)):
            rows = dataset.episode_slice(episode)
            if rows.stop > rows.start:
                chosen = np.unique(
                    np.linspace(rows.start, rows.stop - 1, per_episode + 2)[1:-1].round().astype(np.int64)
                )
                looks = [_look(picture) for picture in dataset.frames(feature.name, chosen)]
                brightness[episode], sharpness[episode] = np.mean(looks, axis=0)
        camera = feature.name.removeprefix("observation.images.")
        found += [
            Measured(Measure(f"brightness.{camera}", "1", 0, "mean intensity of the pictures"), brightness),
            Measured(
                Measure(f"sharpness.{camera}", "1", 1, "fine detail of the pictures, by their contrast"), sharpness
            ),
        ]
    return found


def _look(picture: np.ndarray) -> tuple[float, float]:
    """Brightness and sharpness of one picture (height, width, 3) uint8."""
    grey = picture.astype(np.float64).mean(axis=-1) / 255
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    contrast = grey.var()
    return float(grey.mean()), float(laplacian.var() / contrast) if contrast > 0 else 0.0
