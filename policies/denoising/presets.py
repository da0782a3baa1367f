"""Named ways of drawing a chunk with the same weights, from slow and sure to fast.

A preset is engine settings of one kind of sampler; ``presets_of`` gives those that a policy takes.
"""

from typing import Any

from praxon.errors import ConfigError, nearest
from praxon.policies.denoising.diffusion_sampler import DiffusionSampler
from praxon.policies.denoising.karras import KarrasSampler
from praxon.policies.denoising.samplers import FlowSampler, Sampler
from praxon.policies.denoising.span_samplers import SpanSampler

Settings = dict[str, Any]

PRESETS: dict[type[Sampler], dict[str, Settings]] = {
    FlowSampler: {
        "euler_20": {"solver": "euler", "steps": 20},
        "euler_10": {"solver": "euler", "steps": 10},
        "euler_5": {"solver": "euler", "steps": 5},
        "euler_3": {"solver": "euler", "steps": 3},
        "euler_2": {"solver": "euler", "steps": 2},
        "euler_1": {"solver": "euler", "steps": 1},
        "heun_5": {"solver": "heun", "steps": 5},
        "midpoint_2": {"solver": "midpoint", "steps": 2},
    },
    DiffusionSampler: {
        "ddpm_100": {"solver": "ddpm", "steps": 100, "spacing": None, "eta": 0.0},
        "ddim_16": {"solver": "ddim", "steps": 16, "spacing": None, "eta": 0.0},
        "ddim_10": {"solver": "ddim", "steps": 10, "spacing": None, "eta": 0.0},
        "ddim_8": {"solver": "ddim", "steps": 8, "spacing": None, "eta": 0.0},
        "dpmpp_10": {"solver": "dpmpp_2m", "steps": 10, "spacing": None, "eta": 0.0},
        "dpmpp_8": {"solver": "dpmpp_2m", "steps": 8, "spacing": None, "eta": 0.0},
        "dpmpp_5": {"solver": "dpmpp_2m", "steps": 5, "spacing": None, "eta": 0.0},
        "dpmpp_3": {"solver": "dpmpp_2m", "steps": 3, "spacing": None, "eta": 0.0},
    },
    KarrasSampler: {
        "heun_5": {"solver": "heun", "steps": 5},
        "dpmpp_5": {"solver": "dpmpp_2m", "steps": 5},
        "dpmpp_3": {"solver": "dpmpp_2m", "steps": 3},
        "dpmpp_2": {"solver": "dpmpp_2m", "steps": 2},
    },
    SpanSampler: {
        "steps_8": {"steps": 8},
        "steps_4": {"steps": 4},
        "steps_2": {"steps": 2},
        "one_step": {"steps": 1},
    },
}


def presets_of(sampler: Sampler) -> dict[str, Settings]:
    """Presets of a sampler's kind; none where there is nothing to choose."""
    return PRESETS.get(type(sampler), {})


def preset(sampler: Sampler, name: str) -> Settings:
    """The settings of a preset.

    Raises:
        ConfigError: this sampler has none of that name.
    """
    known = presets_of(sampler)
    if name not in known:
        raise ConfigError(
            f"{type(sampler).__name__} has no preset '{name}'. Presets: {', '.join(known) or 'none'}.{nearest(name, known)}"
        )
    return known[name]
