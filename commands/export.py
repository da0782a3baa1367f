"""Export a policy for computers without torch: one ONNX graph from observation and noise to the chunk.

What is written is served like a bundle: praxon serve bundle=<out>, where onnxruntime or openvino is installed.
Example: praxon export bundle=runs/a/bundle out=runs/a/portable
"""

from pathlib import Path
from typing import Any

from praxon.commands._hydra import Config
from praxon.commands._run import ENGINE_EXAMPLE, Run, console, require, require_numbers, settings_of


def run(config: Config) -> dict[str, Any]:
    """Export as configured; returns what is written to result.json."""
    require(
        config.bundle is not None, "No bundle was given; bundle=<folder> names a policy, as praxon train leaves it."
    )
    require_numbers(config, batch=1)
    engine = settings_of(config, "engine", ENGINE_EXAMPLE)
    from praxon.policies.bundle import load_bundle
    from praxon.policies.denoising.export import export

    bundle = load_bundle(Path(str(config.bundle)))
    bundle.policy.configure_engine(engine)
    work = Run("export", config)
    work.start()
    out = work.path / "portable" if config.out is None else Path(str(config.out))
    export(bundle, out, config.batch)
    size = (out / "chunk.onnx").stat().st_size
    result = {
        "portable": str(out),
        "bundle": bundle.digest,
        "batch": config.batch,
        "continues": bundle.policy.continues,
        "bytes": size,
        "seconds": work.seconds,
    }
    work.finish(result)
    console.print(f"{size / 1e6:.1f} MB in [bold]{out}[/bold]; praxon serve and praxon eval take it as bundle=.")
    return result
