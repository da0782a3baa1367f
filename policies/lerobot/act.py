"""LeRobot's ACT: its settings and weights as those of our ``ActPolicy``."""

import re
from typing import Any

from torch import Tensor

from praxon.errors import BundleError
from praxon.policies.lerobot.checkpoint import LeRobotCheckpoint
from praxon.policies.lerobot.encoders import ENVIRONMENT, STATE

LAYER = (  # names within a transformer layer
    (r"\.self_attn\.in_proj_(weight|bias)", r".{own}.projections.\1"),
    (r"\.self_attn\.out_proj\.", ".{own}.out."),
    (r"\.multihead_attn\.in_proj_(weight|bias)", r".cross_attention.projections.\1"),
    (r"\.multihead_attn\.out_proj\.", ".cross_attention.out."),
    (r"\.linear1\.", ".mlp.inner."),
    (r"\.linear2\.", ".mlp.outer."),
)
STACKS = {"model.encoder.": "network.context.encoder.", "model.vae_encoder.": "network.posterior_encoder."}
NORMS = {
    "encoder": ("attention_norm", "mlp_norm"),
    "decoder": ("self_norm", "cross_norm", "mlp_norm"),
}
PLAIN = {
    "model.encoder_latent_input_proj.": "network.context.latent_in.",
    "model.vae_encoder_robot_state_input_proj.": "network.posterior_state_in.",
    "model.vae_encoder_action_input_proj.": "network.posterior_action_in.",
    "model.vae_encoder_latent_output_proj.": "network.posterior_out.",
    "model.action_head.": "head.",
    "model.backbone.": "encoder.image.backbone.",
    "model.encoder_img_feat_input_proj.": "encoder.image.out.",
}


def policy_config(checkpoint: LeRobotCheckpoint) -> dict[str, Any]:
    """Our config of the same policy.

    Raises:
        BundleError: a setting that is not supported here.
    """
    setting = checkpoint.setting
    for name, supported in (
        ("feedforward_activation", "relu"),
        ("replace_final_stride_with_dilation", False),
        ("n_obs_steps", 1),
    ):
        # LeRobot writes the dilation as a number.
        if setting(name, supported) != supported:
            raise BundleError(f"'{checkpoint.path}' has {name}={setting(name)}; {supported} can be imported.")
    ensemble = setting("temporal_ensemble_coeff", None)
    return {
        "_target_": "praxon.policies.act.ActPolicy",
        "chunk": {
            "horizon": setting("chunk_size"),
            "num_execute": setting("n_action_steps"),
            "num_obs_steps": 1,
            **({} if ensemble is None else {"ensemble": float(ensemble)}),
        },
        "encoder": {
            "_target_": "praxon.policies.lerobot.encoders.TokenEncoder",
            "width": setting("dim_model"),
            "backbone": setting("vision_backbone", "resnet18"),
        },
        "network": {
            "width": setting("dim_model"),
            "hidden": setting("dim_feedforward"),
            "num_heads": setting("n_heads"),
            "depth": setting("n_encoder_layers"),
            "decoder_depth": setting("n_decoder_layers"),
            "posterior_depth": setting("n_vae_encoder_layers"),
            "pre_norm": setting("pre_norm", False),
            "latent_size": setting("latent_dim"),
        },
        "variational": setting("use_vae", True),
        "kl_weight": setting("kl_weight", 10.0),
        "dropout": setting("dropout", 0.1),
        "actions": "absolute",
    }


def weights(checkpoint: LeRobotCheckpoint) -> dict[str, Tensor]:
    """Our names for LeRobot's parameters, normaliser and picture statistics left out."""
    found: dict[str, Tensor] = {}
    for name, value in checkpoint.weights.items():
        new = _name(name)
        if new is not None:
            found[new] = value.flatten(1) if new == "encoder.image.out.weight" else value
    positions = checkpoint.weights["model.encoder_1d_feature_pos_embed.weight"]
    found["network.context.latent_position_D"] = positions[0]
    found["encoder.positions_ND"] = positions[1:]
    found["network.decoder.queries_QD"] = checkpoint.weights["model.decoder_pos_embed.weight"]
    if "model.vae_encoder_cls_embed.weight" in checkpoint.weights:
        found["network.class_D"] = checkpoint.weights["model.vae_encoder_cls_embed.weight"][0]
    states = [name for name in (STATE, ENVIRONMENT) if name in checkpoint.shapes]
    for number, name in enumerate(states):
        part = "robot_state" if name == STATE else "env_state"
        for kind in ("weight", "bias"):
            found[f"encoder.states.{number}.{kind}"] = checkpoint.weights[f"model.encoder_{part}_input_proj.{kind}"]
    return found


def _name(name: str) -> str | None:
    """Our name, or None for what is set apart or not used."""
    if name.endswith("num_batches_tracked") or name.startswith("model.backbone.fc."):
        return None
    for there, here in PLAIN.items():
        if name.startswith(there):
            return here + name.removeprefix(there)
    for there, here in STACKS.items():
        if name.startswith(there):
            return _in_layer(here + name.removeprefix(there), "attention", NORMS["encoder"])
    if name.startswith("model.decoder."):
        return _in_layer(name.replace("model.decoder.", "network.decoder."), "self_attention", NORMS["decoder"])
    return None


def _in_layer(name: str, own: str, norms: tuple[str, ...]) -> str:
    for pattern, replacement in LAYER:
        name = re.sub(pattern, replacement.format(own=own), name)
    return re.sub(r"\.norm(\d)\.", lambda match: f".{norms[int(match[1]) - 1]}.", name)
