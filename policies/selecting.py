"""How the best of several chunks is chosen in serving: ``serving={candidates:16,selection:{coherence:1,density:0.5}}``.

A selection names selectors, each with its weight or with its settings, ``weight`` among them. Candidates are drawn in one batch by
the backend that would draw a single chunk.

    coherence   decay                        nearest to what was planned before (see ``selection.Coherence``)
    density     path                         looks most familiar (see ``density.Density``); path: of what praxon density wrote,
                                             <bundle>.density where it is not given
    contrast    bundle, mode, decay, seed    far from what a weaker bundle draws (see ``selection.Contrast``)

Imports no torch before a selector is made that needs it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Any

from praxon.errors import ConfigError, nearest
from praxon.policies.runtime import Runtime
from praxon.policies.selection import Coherence, Contrast, SelectingRuntime, Selector, Sum

if TYPE_CHECKING:
    from praxon.policies.bundle import Bundle
    from praxon.policies.denoising.backends.registry import Serving

SETTINGS = {
    "coherence": ("decay",),
    "density": ("path",),
    "contrast": ("bundle", "mode", "decay", "seed"),
}
"""Of each selector, besides its weight."""
TYPES: dict[str, tuple[type | UnionType, float, str]] = {
    "decay": (int | float, 0, "a number of at most 1 above 0"),
    "path": (str | None, 0, "a folder"),
    "bundle": (str, 0, "a folder"),
    "mode": (int, 1, "a whole number of at least 1"),
    "seed": (int, 0, "a whole number of at least 0"),
}
"""Of each setting: its type, the least number, and both in words."""


def require_selection(candidates: int, selection: Mapping[str, Any] | None) -> None:
    """Refuse a selection that cannot be.

    Raises:
        ConfigError: an unknown name or setting, a weight that is no number above 0, a selection among one candidate, or several
            candidates and nothing to choose by.
    """
    if isinstance(candidates, bool) or not isinstance(candidates, int) or candidates < 1:
        raise ConfigError(f"The setting candidates is a whole number of at least 1; got {candidates!r}.")
    if not isinstance(selection, Mapping | None):
        raise ConfigError(f"A selection gives selectors their weights, such as {{coherence:1}}; got {selection!r}.")
    if not selection:
        if candidates > 1:
            raise ConfigError(
                f"Of {candidates} candidates one must be chosen, and there is no selection; selection={{coherence:1}} chooses the "
                f"nearest to what was planned. Selectors: {', '.join(SETTINGS)}."
            )
        return
    for name, chosen in selection.items():
        if name not in SETTINGS:
            raise ConfigError(
                f"Selector '{name}' does not exist. Selectors: {', '.join(SETTINGS)}.{nearest(str(name), SETTINGS)}"
            )
        known = ("weight", *SETTINGS[name])
        for setting in _settings(chosen):
            if setting not in known:
                raise ConfigError(
                    f"Selector '{name}' has no setting '{setting}'. Settings: {', '.join(known)}.{nearest(setting, known)}"
                )
        for setting, value in _settings(chosen).items():
            if setting in TYPES and not _is(value, *TYPES[setting][:2]):
                raise ConfigError(f"The setting {setting} of selector '{name}' is {TYPES[setting][2]}; got {value!r}.")
        weight = _settings(chosen).get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < math.inf:
            raise ConfigError(f"The weight of selector '{name}' is a number above 0; got {weight!r}.")
    if candidates == 1:
        raise ConfigError(
            f"The selection by {', '.join(selection)} needs several candidates, and there is 1; candidates=16 draws sixteen."
        )


def selecting_runtime(source: "Bundle | Path", serving: "Serving") -> SelectingRuntime:
    """The runtime that draws the candidates of a bundle or portable policy and keeps the best.

    Raises:
        BundleError: a density or weak bundle is not there, damaged, or another's.
        ConfigError: a selector's settings cannot be, or a batch that is not that of the candidates.
    """
    from praxon.policies.denoising.backends.registry import make_runtime

    if serving.batch not in (1, serving.candidates):
        raise ConfigError(
            f"The batch is {serving.batch}, and {serving.candidates} candidates are drawn at once; leave the batch out."
        )
    drawing = replace(serving, batch=serving.candidates, candidates=1, selection=None)
    runtime = make_runtime(source, drawing)
    parts = []
    for name, chosen in (serving.selection or {}).items():
        settings = _settings(chosen)
        weight = float(settings.pop("weight", 1.0))
        parts.append((MAKERS[name](settings, source, drawing, runtime), weight))
    return SelectingRuntime(runtime, serving.candidates, Sum(parts))


def _is(value: Any, wanted: type | UnionType, least: float) -> bool:
    """Whether a setting has the wanted type and is not below the least number; true and false are no numbers."""
    if isinstance(value, bool) or not isinstance(value, wanted):
        return False
    return not isinstance(value, int | float) or value >= least


def _settings(chosen: Any) -> dict[str, Any]:
    """A weight alone is settings that hold nothing else."""
    return dict(chosen) if isinstance(chosen, Mapping) else {"weight": chosen}


# -- one function for each selector: settings, what is served, how, and by what -> selector ------------------------------


def _coherence(settings: dict[str, Any], source: "Bundle | Path", drawing: "Serving", runtime: Runtime) -> Selector:
    return Coherence(**settings)


def _density(settings: dict[str, Any], source: "Bundle | Path", drawing: "Serving", runtime: Runtime) -> Selector:
    if isinstance(source, Path):
        raise ConfigError(
            f"'{source}' is a portable policy, and density looks inside the network; it needs the bundle that it was made from."
        )
    from praxon.policies.density import Density, default_path, load_density

    path = Path(str(settings["path"])) if settings.get("path") else default_path(source.path)
    return Density(load_density(path, source))


def _contrast(settings: dict[str, Any], source: "Bundle | Path", drawing: "Serving", runtime: Runtime) -> Selector:
    from praxon.policies.denoising.backends.registry import open_runtime

    path = settings.pop("bundle", None)
    if not path:
        raise ConfigError(
            "Contrast compares with a weaker policy; contrast={bundle:<folder>} names one, such as an early checkpoint's."
        )
    weak = open_runtime(Path(str(path)), serving=asdict(drawing))
    mine, theirs = runtime.contract, weak.contract
    found = theirs.mismatches(mine)
    for name in ("horizon", "num_obs_steps"):
        here, there = getattr(mine.chunk, name), getattr(theirs.chunk, name)
        if here != there:
            found.append(f"{name}: policy {there}, here {here}")
    if found:
        raise ConfigError(f"The weak policy '{path}' does not fit the policy that is served: {'; '.join(found)}.")
    return Contrast(weak, drawing.batch, **settings)


MAKERS: dict[str, Callable[[dict[str, Any], "Bundle | Path", "Serving", Runtime], Selector]] = {
    "coherence": _coherence,
    "density": _density,
    "contrast": _contrast,
}
