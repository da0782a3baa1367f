"""A bundle as one ONNX graph: observation and noise in, chunk out, every step unrolled and everything constant folded."""

import io
import logging
import re
import shutil
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from praxon.errors import BundleError, ConfigError
from praxon.policies.bundle import Bundle
from praxon.policies.denoising.backends.seal import seal, sealed
from praxon.policies.denoising.tracing import differentiates, require_fixed, straight_line
from praxon.policies.durable import locked
from praxon.policies.portable import Inputs, Portable, load_portable, save_portable
from praxon.policies.torch_runtime import ChunkFunction

log = logging.getLogger(__name__)


def exported(bundle: Bundle, folder: Path | None, batch: int = 1) -> Portable:
    """The portable policy in ``folder``, exported there first unless this user did so already.

    Args:
        bundle: to be exported.
        folder: of a cache; ``None`` keeps nothing.
        batch: chunks that are drawn at once.

    Raises:
        ConfigError: the policy cannot be written as a fixed graph.
        BundleError: the folder cannot be written.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="praxon-") as private:
            export(bundle, Path(private) / "portable", batch, bundle.weights)
            return load_portable(Path(private) / "portable")
    with locked(folder):
        try:
            portable = load_portable(folder)
            if sealed(folder, portable.digest) and portable.inputs.bundle == bundle.weights:
                return portable
        except BundleError:
            pass
        shutil.rmtree(folder, ignore_errors=True)
        digest = export(bundle, folder, batch, bundle.weights)
        portable = load_portable(folder)
        if portable.digest != digest:
            raise BundleError(f"'{folder}' was changed by another program while it was written.")
        with suppress(OSError):  # what has no seal is made again
            seal(folder, digest)
        return portable


def export(bundle: Bundle, folder: Path, batch: int = 1, identity: str | None = None) -> str:
    """Write a bundle as a portable policy; returns its identity.

    Args:
        bundle: to be exported.
        folder: to write.
        batch: chunks that are drawn at once.
        identity: of what is exported; the bundle's digest where ``None``.

    Raises:
        ConfigError: the packages for exporting are not installed, or the policy cannot be written as a fixed graph.
        BundleError: the folder holds something else.
    """
    policy = bundle.policy
    require_fixed(policy)
    log.info("Exporting every denoising step of %s, once; it takes up to minutes.", type(policy).__name__)
    policy.freeze()
    function = ChunkFunction(policy).eval()
    inputs = Inputs(
        batch,
        policy.noise_shape,
        function.features,
        policy.continues,
        policy.engine_settings(),
        bundle.digest if identity is None else identity,
    )
    graph = _graph(function, function.examples(batch), inputs.names)
    return save_portable(folder, bundle.contract, inputs, graph)


def reason(error: Exception) -> str:
    """What an exporter or a compiler says, in one plain line: the first of a report that goes on for pages, in colours."""
    lines = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", str(error)).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip().rstrip('.')}" if lines else type(error).__name__


def _graph(function: ChunkFunction, examples: tuple[Tensor, ...], names: list[str]) -> bytes:
    try:
        import onnxscript  # noqa: F401  (what the exporter writes with)
    except ImportError as error:
        raise ConfigError("Exporting needs the packages onnx and onnxscript (pip install 'praxon[engine]').") from error
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = straight_line(function, examples) if differentiates(function.policy) else function
            program = torch.onnx.export(
                written,
                examples,
                dynamo=True,
                verbose=False,
                input_names=names,
                output_names=["chunks"],
                optimize=False,
            )
            assert program is not None
            _simplify(program.model)
            buffer = io.BytesIO()
            program.save(buffer)  # type: ignore[arg-type]  # files that are open are taken too
    except Exception as error:  # torch's exporter, and what it calls, raise all kinds
        raise ConfigError(
            f"{type(function.policy).__name__} cannot be written as a fixed graph, so that it runs in torch only: "
            f"{reason(error)}."
        ) from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
    return buffer.getvalue()


def _simplify(model: Any) -> None:
    """Fold what is constant, drop what does nothing, compute once what stands twice.

    As the exporter's own optimizer would, for our graphs to the same result, without the rules of its that take minutes: their time
    goes with the square of the graph, and there is nothing for them to find in it.
    """
    import onnx_ir.passes.common as common
    from onnxscript import optimizer, rewriter
    from onnxscript.rewriter.rules import common as rules

    nothing = [*rules.mul_by_1_rule.commute(), *rules.add_0_rule.commute(), rules.sub_0_rule, rules.div_by_1_rule]
    common.InlinePass()(model)
    for _ in range(2):
        optimizer.fold_constants(model, onnx_shape_inference=True)
        rewriter.rewrite(model, pattern_rewrite_rules=nothing)
        optimizer.remove_unused_nodes(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    common.DeduplicateInitializersPass()(model)
    common.CommonSubexpressionEliminationPass()(model)
    common.RemoveUnusedFunctionsPass()(model)
    common.RemoveUnusedOpsetsPass()(model)
    common.OutputFixPass()(model)
    common.NameFixPass()(model)
