"""Calibrate block-wise caching: find the denoising steps at which each block of the network need not be run.

Runs a few episodes, compares what every block gives at every step, and writes the schedule into the bundle. The same
bundle, settings and seed give the same schedule, to the bit. Many steps have much to reuse; ten or fewer have little.
Example: praxon calibrate bundle=runs/a/bundle 'engine={solver:ddpm,steps:100}' updates=10 out=runs/a/cached
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from praxon.commands._hydra import Config
from praxon.commands._run import (
    ENGINE_EXAMPLE,
    Run,
    console,
    plain,
    progress_bar,
    require,
    require_numbers,
    settings_of,
    task_of,
)
from praxon.sim.seeds import Purpose, episode_seeds

if TYPE_CHECKING:
    from praxon.policies.generative import GenerativePolicy


def run(config: Config) -> dict[str, Any]:
    """Calibrate as configured; returns what is written to result.json."""
    require(
        config.bundle is not None, "No bundle was given; bundle=<folder> names a policy, as praxon train leaves it."
    )
    require_numbers(config, episodes=1, chunks=1, updates=1, bubbling=0, seed=0)
    import torch

    from praxon.policies.agent import ChunkAgent
    from praxon.policies.bundle import load_bundle, save_engine
    from praxon.policies.denoising.block_cache import CacheSchedule
    from praxon.policies.denoising.calibration import Changes, make_updates
    from praxon.policies.generative import GenerativePolicy
    from praxon.sim.factory import make_world

    torch.set_num_threads(1)
    bundle = load_bundle(Path(str(config.bundle)))
    policy = bundle.policy
    blocks = policy.network.block_names if isinstance(policy, GenerativePolicy) else ()
    require(
        bool(blocks),
        f"{type(policy).__name__} has no blocks that could be cached; policies with a transformer or a U-Net have.",
    )
    assert isinstance(policy, GenerativePolicy)
    method = policy.engine.method
    policy.configure_engine(
        {"cache": None, "method": None}
    )  # a schedule is of the steps; how chunks continue is not in it
    policy.configure_engine(settings_of(config, "engine", ENGINE_EXAMPLE))
    changes = Changes()
    world = make_world(task_of(config), plain(config.robot), policy_contract=bundle.contract)
    recording = _recording(policy, changes, config.chunks)
    agent = ChunkAgent(recording, world.contract, seed=config.seed)
    work = Run("calibrate", config)
    work.start()
    with progress_bar(f"calibrate {type(policy).__name__}", config.episodes) as advance:
        for seed in episode_seeds(Purpose.COLLECT, config.seed, config.episodes):
            recording.left = config.chunks
            world.run(world.performer(agent), seed)
            advance(note=f"{changes.observations} chunks")
    evaluations = len(changes.similarity(blocks[0].name))
    require(
        config.updates < evaluations,
        f"updates is {config.updates}, and a chunk takes {evaluations} evaluations: nothing would be reused. Fewer updates, or "
        f"more steps, such as engine={{solver:ddpm,steps:100}}; the bundle is as it was.",
    )
    updates = make_updates(changes, blocks, config.updates, config.bubbling)
    schedule = CacheSchedule(updates, evaluations, policy.engine.sampler.settings(), bundle.weights)
    policy.configure_engine({"cache": schedule.to_dict(), "method": method})
    out = bundle.path if config.out is None else Path(str(config.out))
    rest = {key: bundle.engine[key] for key in ("serving",) if key in bundle.engine}
    save_engine(bundle, {**policy.engine_settings(), **rest}, out)
    similarity = np.mean([changes.similarity(block.name) for block in blocks], axis=0)
    result = {
        "bundle": str(out),
        "evaluations": evaluations,
        "chunks": changes.observations,
        "blocks_run": sum(map(len, updates.values())),
        "blocks": len(blocks) * evaluations,
        "share_run": round(schedule.share_run, 4),
        "neighbour_similarity": round(float(np.diag(similarity, 1).mean()), 4) if evaluations > 1 else None,
        "updates": {name: list(steps) for name, steps in updates.items()},
        "seconds": work.seconds,
    }
    work.finish(result)
    console.print(
        f"{result['blocks_run']} of {result['blocks']} blocks are run in {evaluations} evaluations "
        f"({100 * schedule.share_run:.0f} %); bundle in [bold]{out}[/bold]. praxon eval says what that costs in success."
    )
    return result


def _recording(policy: "GenerativePolicy", changes: Any, chunks: int) -> Any:
    """A runtime that adds what the blocks of each chunk give to ``changes``, while any are ``left``."""
    import torch

    from praxon.policies.denoising.calibration import BlockRecorder
    from praxon.policies.torch_runtime import TorchRuntime

    class Recording(TorchRuntime):
        left = chunks

        def call(self, arrays: list[torch.Tensor]) -> np.ndarray:
            if self.left <= 0:
                return super().call(arrays)
            self.left -= 1
            recorder = BlockRecorder()
            window = dict(zip(self.function.features, arrays[1:], strict=True))
            with torch.no_grad():
                drawn: np.ndarray = policy.sample(window, arrays[0], blocks=recorder).numpy()
            changes.add(recorder.outputs)
            return drawn

    return Recording(policy)
