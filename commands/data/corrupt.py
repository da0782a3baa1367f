"""Make a dataset worse on purpose: noise on the actions of some episodes, the ends of others cut off.

To see whether a way of training notices. The column `corruption` is 0 for sound episodes, 1 for noise, 2 for a cut, 3 for both.
Example: praxon data corrupt runs/lift/dataset out=data/worse noisy_share=0.3 cut_share=0.25
"""

from typing import Any

from praxon.commands._hydra import Config
from praxon.commands._run import console, progress_bar, require, require_numbers
from praxon.commands.data._tables import new_folder, open_dataset
from praxon.commands.data._writing import write_dataset
from praxon.commands.data.convert import stored_codec
from praxon.datasets.conversion import copy_episodes
from praxon.datasets.corruption import Corrupted


def run(config: Config) -> dict[str, Any]:
    """Corrupt as configured; returns which episodes were."""
    dataset = open_dataset(config.dataset, "corrupt")
    out = new_folder(config.out, "out=<folder>")
    for name in ("noisy_share", "noise", "cut_share", "seed"):
        require(config[name] is not None, f"{name} is null; a number is needed.")
    require_numbers(config, noisy_share=0, noise=0, cut_share=0, seed=0)
    shares = list(config.cut_to)
    require(
        len(shares) == 2 and all(isinstance(share, (int, float)) for share in shares),
        f"cut_to is {shares}; two shares are needed, as in cut_to=[0.4,0.7].",
    )
    worse = Corrupted(
        dataset, config.noisy_share, config.noise, config.cut_share, (shares[0], shares[1]), seed=config.seed
    )
    settings = {name: config[name] for name in ("noisy_share", "noise", "cut_share", "seed")}
    source = {"name": dataset.root.name, "sha256": dataset.digest(), "metadata": dataset.metadata}
    with (
        write_dataset(
            out, worse, {"corrupt": {**settings, "cut_to": shares, **source}}, stored_codec(dataset), False
        ) as writer,
        progress_bar("corrupt", len(worse)) as advance,
    ):
        copy_episodes(worse, writer, range(len(worse)), advance)
    result = {"dataset": str(out), "noisy": sorted(worse.noisy), "cut": sorted(worse.cut), "frames": writer.num_frames}
    console.print(
        f"{writer.num_episodes} episodes, {writer.num_frames} frames in [bold]{out}[/bold]: {len(worse.noisy)} with noise, "
        f"{len(worse.cut)} cut short, {len(worse.noisy & worse.cut)} of these both."
    )
    for what, which in (("noise", worse.noisy), ("cut short", worse.cut)):
        console.print(f"{what}: {', '.join(map(str, sorted(which))) or 'none'}")
    return result
