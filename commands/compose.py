"""Compose policies that were trained apart into one: the weighted sum of what they predict at every denoising step.

Parents may see different things and have different networks; the action, its normalisation, the chunk and the sampler must be
equal. The result is a bundle like any other, which sees what all parents see. Larger weight to the stronger parent.
Example: praxon compose bundles=[runs/a/bundle,runs/b/bundle] weights=[0.6,0.4] out=runs/both
"""

from pathlib import Path
from typing import Any

from praxon.commands._hydra import Config
from praxon.commands._run import ENGINE_EXAMPLE, Run, console, require, settings_of


def run(config: Config) -> dict[str, Any]:
    """Compose as configured; returns what is written to result.json."""
    folders = [Path(str(folder)) for folder in config.bundles]
    require(len(folders) >= 2, "A composition has at least two parents; bundles=[<folder>,<folder>] names them.")
    engine = settings_of(config, "engine", ENGINE_EXAMPLE)
    from praxon.policies.bundle import load_bundle, save_bundle
    from praxon.policies.composed import compose

    bundles = [load_bundle(folder) for folder in folders]
    for bundle in bundles:
        bundle.policy.configure_engine(engine)
    count = len(bundles)
    weights = [1.0 / count] * count if config.weights is None else list(config.weights)
    policy, described = compose(bundles, weights)
    work = Run("compose", config)
    work.start()
    out = work.path / "bundle" if config.out is None else Path(str(config.out))
    parents = [{"bundle": str(each.path), "digest": each.digest} for each in bundles]
    recipe = {"policy": described, "composed_of": parents}
    digest = save_bundle(out, policy, recipe, card=_card(bundles, policy.weights))
    seen = [feature.name for feature in policy.contract.observations]
    result = {
        "bundle": str(out),
        "digest": digest,
        "parents": parents,
        "weights": list(policy.weights),
        "observations": seen,
        "parameters": sum(parameter.numel() for parameter in policy.parameters()),
        "seconds": work.seconds,
    }
    work.finish(result)
    console.print(
        f"{count} policies that see {', '.join(seen)}; bundle in [bold]{out}[/bold]. praxon eval says whether it "
        "succeeds more often than its parents."
    )
    return result


def _card(bundles: list[Any], weights: tuple[float, ...]) -> str:
    """The weights, then the card of every parent."""
    contract = bundles[0].contract
    rows = "\n".join(
        f"| {weight:g} | {type(each.policy).__name__} | {each.digest} |"
        for each, weight in zip(bundles, weights, strict=True)
    )
    head = f"# {len(bundles)} composed policies for {contract.task} on {contract.robot}\n\n"
    table = f"| weight | policy | digest |\n| --- | --- | --- |\n{rows}\n"
    return "\n".join([head + table, *(f"#{each.card}" if each.card.startswith("#") else each.card for each in bundles)])
