"""Frames of a made-up robot with two cameras, as both sides write them: numbers that name their episode and frame."""

from typing import Any

import numpy as np

TASKS = ("lift the cube", "push it away", "put it into the box")
CAMERAS = ("observation.images.front", "observation.images.wrist")
JOINTS = [f"joint_{i}" for i in range(7)]


def task_of(episode: int, number: int) -> str:
    """The instruction; one episode changes it at every third frame."""
    return TASKS[(episode + (number % 3 == 2 and episode == 1)) % len(TASKS)]


def features(pictures: str, size: int) -> dict[str, dict[str, Any]]:
    """Vectors, scalars of several types, a matrix, and two cameras."""
    camera = {
        "dtype": "image" if pictures == "png" else "video",
        "shape": (size, size, 3),
        "names": ["height", "width", "channels"],
    }
    return {
        "observation.state": {"dtype": "float32", "shape": (7,), "names": JOINTS},
        "observation.force": {"dtype": "float64", "shape": (3,), "names": ["x", "y", "z"]},
        "observation.matrix": {"dtype": "float32", "shape": (2, 3), "names": None},
        **{name: dict(camera) for name in CAMERAS},
        "action": {"dtype": "float32", "shape": (7,), "names": JOINTS},
        "next.reward": {"dtype": "float32", "shape": (1,), "names": None},
        "next.done": {"dtype": "bool", "shape": (1,), "names": None},
        "is_intervention": {"dtype": "bool", "shape": (1,), "names": None},
        "phase": {"dtype": "int64", "shape": (1,), "names": None},
    }


def make_frame(rng: np.random.Generator, episode: int, number: int, size: int) -> dict[str, np.ndarray]:
    """Numbers that name the frame; pictures that a lossy codec keeps recognisable, plus some noise."""
    place = 1000 * episode + number
    rows, columns = np.mgrid[0:size, 0:size]
    pictures = {}
    for camera, name in enumerate(CAMERAS):
        shade = 128 + 100 * np.sin((rows + (2 + camera) * number) / 15 + episode) * np.cos((columns - number) / 20)
        whole = np.stack([shade, np.roll(shade, 20 * (camera + 1), 0), np.roll(shade, 11, 1)], -1)
        pictures[name] = np.clip(whole + rng.normal(0, 3, whole.shape), 0, 255).astype(np.uint8)
    return {
        "observation.state": (place + np.arange(7) / 8).astype(np.float32),
        "observation.force": place + rng.normal(0, 1, 3),
        "observation.matrix": (place + np.arange(6).reshape(2, 3)).astype(np.float32),
        **pictures,
        "action": (-place - np.arange(7) / 8).astype(np.float32),
        "next.reward": np.array([place / 7], np.float32),
        "next.done": np.array([number == 0]),
        "is_intervention": np.array([number % 4 == 1]),
        "phase": np.array([place], np.int64),
    }
