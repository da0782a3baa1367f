"""Show an episode in a browser: cameras, curves of every component, and the robot moving; or write an MP4 of it.

Shows whatever praxon data convert reads, before it is converted. A robot that is not known here is left out.
Example: praxon data view runs/lift/dataset episode=3 open=true
Example: praxon data view runs/lift/dataset video=episode.mp4
Example: praxon data view pusht.zarr.zip fps=10
"""

import threading
import webbrowser
from pathlib import Path
from typing import Any

from praxon.commands._hydra import Config
from praxon.commands._run import console, plain, require, require_numbers
from praxon.commands.data._posing import make_stage
from praxon.commands.data._recording import SourceRecordings
from praxon.contract import PolicyContract
from praxon.datasets.conversion import open_source
from praxon.robots.model import SOURCES


def run(config: Config) -> dict[str, Any]:
    """Serve the page until Ctrl-C, or write the video."""
    require(config.dataset is not None, "No dataset was given; praxon data view <folder> shows one.")
    require_numbers(config, port=0, seconds=0)
    require(config.model in (None, *SOURCES), f"model is '{config.model}'. Models: {', '.join(SOURCES)}.")
    require(
        config.options is None or isinstance(config.options, Config),
        f'options is {config.options}; names and values are needed, as in options="{{fps: 10}}".',
    )
    path = Path(str(config.dataset))
    dataset = open_source(path, config.format, _settings(config))
    episodes = SourceRecordings(dataset)
    require(len(episodes) > 0, f"The dataset '{path}' holds no episode that could be shown.")
    require(
        config.episode is not None and 0 <= config.episode < len(episodes),
        f"episode is {config.episode}; the dataset '{path}' has 0 to {len(episodes) - 1}.",
    )
    features = [*dataset.contract, *dataset.extra_features]
    if config.video is not None:
        from praxon.commands.data._film import film

        video = Path(str(config.video))
        seconds, left_out = film(video, episodes[config.episode], features)
        console.print(f"episode {config.episode}, {seconds:.1f} s, in [bold]{video}[/bold]")
        if left_out:
            console.print(f"{left_out} further plots did not fit; the page in the browser has them all.")
        return {"dataset": str(path), "episode": config.episode, "video": str(video), "seconds": seconds}

    from praxon.commands.data._viewer import Viewer
    from praxon.sim.web_scene import open_server

    stage, note = make_stage(dataset.contract, config.model)
    title = "/".join(path.resolve().parts[-2:])
    server = open_server(str(config.host), config.port, title)
    url = f"http://{config.host}:{server.get_port()}"
    viewer = Viewer(server, episodes, features, stage, title, config.episode)
    try:
        if note:
            console.print(note, markup=False)
        console.print(f"{len(episodes)} episodes at [bold]{url}[/bold]; Ctrl-C ends.")
        if config.open:
            webbrowser.open(url)
        threading.Event().wait(config.seconds)
    except KeyboardInterrupt:
        console.print()
    finally:
        viewer.close()
    return {"dataset": str(path), "episodes": len(episodes), "url": url}


def _settings(config: Config) -> dict[str, Any]:
    """What a format does not say and must be told, as for ``praxon data convert``."""
    settings = {"fps": config.fps, "task": config.task} | (plain(config.options) if config.options else {})
    if config.contract is not None:
        settings["contract"] = PolicyContract.load(Path(str(config.contract)))
    return settings
