"""Bundles: complete or absent, verified to the last byte, and refused in one sentence."""

import errno
import hashlib
import json
import subprocess
import sys

import pytest
import torch
import yaml

from praxon.errors import BundleError
from praxon.policies import durable
from praxon.policies.bundle import FILES, load_bundle, save_bundle
from praxon.policies.flow_matching import FlowMatchingPolicy

ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
NETWORK = {
    "_target_": "praxon.policies.networks.transformer.TransformerDenoiser",
    "width": 16,
    "depth": 1,
    "num_heads": 2,
    "mlp_ratio": 1,
}
SMALL = {"encoder": ENCODER, "network": NETWORK, "steps": 2}
CONFIG = {"policy": {"_target_": "praxon.policies.flow_matching.FlowMatchingPolicy", "chunk": {"horizon": 8}, **SMALL}}


@pytest.fixture
def policy(contract, statistics_of):
    torch.manual_seed(0)
    policy = FlowMatchingPolicy(contract, **SMALL)
    policy.normalizer.fit(statistics_of(contract))
    return policy


@pytest.fixture
def bundle(policy, tmp_path):
    save_bundle(tmp_path / "bundle", policy, CONFIG, card="# Toy")
    return tmp_path / "bundle"


def rewrite(bundle, name: str, content: bytes) -> None:
    """Change a file together with its hash, as only a deliberate edit would."""
    (bundle / name).write_bytes(content)
    manifest = json.loads((bundle / "manifest.json").read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (bundle / "manifest.json").write_text(json.dumps(manifest))


def test_round_trip(policy, bundle, contract):
    loaded = load_bundle(bundle)
    assert loaded.contract == contract
    assert loaded.config == CONFIG
    chosen = {"solver": "euler", "steps": 2, "noise_scale": 1.0}
    assert loaded.engine == {**chosen, "cache": None, "method": None, "guidance_limit": 5.0, "start": 0.3}
    assert loaded.card == "# Toy"
    assert not loaded.policy.training
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, loaded.policy.state_dict()[name])
    assert loaded.digest == hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()


def test_same_policy_same_digest(policy, tmp_path):
    assert save_bundle(tmp_path / "a", policy, CONFIG) == save_bundle(tmp_path / "b", policy, CONFIG)


def test_engine_file_decides_how_samples_are_drawn(policy, tmp_path):
    save_bundle(
        tmp_path / "b",
        policy,
        CONFIG,
        {"solver": "heun", "steps": 5, "noise_scale": 0.5, "measured": {"latency_ms": 3.0}},
    )
    loaded = load_bundle(tmp_path / "b")
    chosen = {"solver": "heun", "steps": 5, "noise_scale": 0.5}
    assert loaded.policy.engine_settings() == {
        **chosen,
        "cache": None,
        "method": None,
        "guidance_limit": 5.0,
        "start": 0.3,
    }


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_a_missing_file_is_named(bundle, name):
    (bundle / name).unlink()
    with pytest.raises(BundleError, match=f"lacks {name}"):
        load_bundle(bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_byte_is_found(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"file {name} .* SHA-256 has changed"):
        load_bundle(bundle)


def test_truncated_weights_are_found(bundle):
    weights = (bundle / "model.safetensors").read_bytes()
    (bundle / "model.safetensors").write_bytes(weights[:-100])
    with pytest.raises(BundleError, match=r"model\.safetensors"):
        load_bundle(bundle)
    rewrite(bundle, "model.safetensors", weights[:-100])
    with pytest.raises(BundleError, match=r"weights of bundle .* unreadable"):
        load_bundle(bundle)


def test_another_version_and_no_bundle_at_all(bundle):
    with pytest.raises(BundleError, match="There is no bundle at"):
        load_bundle(bundle / "nowhere")
    manifest = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps(manifest | {"format_version": 99}))
    with pytest.raises(BundleError, match="format version 99; this Praxon reads version 1"):
        load_bundle(bundle)
    (bundle / "manifest.json").write_text("{")
    with pytest.raises(BundleError, match=r"manifest .* cannot be read"):
        load_bundle(bundle)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("praxon.policies.nowhere.Policy", "cannot be imported"),
        ("praxon.policies.flow_matching.Nobody", "has no 'Nobody'"),
        ("nodots", "cannot be imported"),
        ("..", "cannot be built"),
        ("os.system", "is not a Policy"),
        ("torch.nn.Linear", "is not a Policy"),
    ],
)
def test_nothing_but_a_policy_is_called(bundle, target, sentence):
    rewrite(bundle, "config.yaml", yaml.safe_dump({"policy": {"_target_": target}}).encode())
    with pytest.raises(BundleError, match=sentence):
        load_bundle(bundle)


def test_what_does_not_fit_the_policy_is_named(bundle):
    wider = {"policy": {**CONFIG["policy"], "network": {**NETWORK, "width": 32}}}
    rewrite(bundle, "config.yaml", yaml.safe_dump(wider).encode())
    with pytest.raises(BundleError, match="do not fit its policy: 'network"):
        load_bundle(bundle)
    unknown = {"policy": {**CONFIG["policy"], "colour": "red"}}
    rewrite(bundle, "config.yaml", yaml.safe_dump(unknown).encode())
    with pytest.raises(BundleError, match=r"cannot be built: .*colour"):
        load_bundle(bundle)
    rewrite(bundle, "config.yaml", b"- no\n- mapping\n")
    with pytest.raises(BundleError, match="holds no mapping"):
        load_bundle(bundle)
    rewrite(bundle, "config.yaml", yaml.safe_dump(CONFIG).encode())
    rewrite(bundle, "engine.yaml", b"turbo: true\n")
    with pytest.raises(BundleError, match="'turbo' does not exist"):
        load_bundle(bundle)
    rewrite(bundle, "contract.yaml", b"robot: toy\n")
    with pytest.raises(BundleError, match="contract that cannot be used"):
        load_bundle(bundle)


def test_python_objects_in_yaml_are_refused(bundle):
    rewrite(bundle, "config.yaml", b"policy: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(BundleError, match="is no YAML"):
        load_bundle(bundle)


def test_a_full_disk_leaves_the_old_bundle_intact(policy, bundle, monkeypatch):
    before = load_bundle(bundle).digest
    writes = []

    def full(path, content):
        writes.append(path.name)
        if len(writes) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(durable, "_write_synced", full)
    with pytest.raises(BundleError, match=r"could not be written: No space left on device; .* unchanged"):
        save_bundle(bundle, policy, CONFIG)
    assert load_bundle(bundle).digest == before
    assert [path.name for path in bundle.parent.iterdir()] == ["bundle"]


def test_a_file_limit_of_the_system_is_met_in_one_sentence(bundle):
    program = f"""
import resource, torch
from pathlib import Path
from praxon.errors import BundleError
from praxon.policies.bundle import load_bundle, save_bundle
loaded = load_bundle(Path({str(bundle)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    save_bundle(loaded.path, loaded.policy, loaded.config)
except BundleError as error:
    print("refused:", error)
print("digest kept:", load_bundle(loaded.path).digest == loaded.digest)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "refused: The bundle" in done.stdout
    assert "digest kept: True" in done.stdout


def test_replacing_is_complete_and_other_directories_are_left_alone(policy, bundle, tmp_path):
    save_bundle(bundle, policy, CONFIG, card="# Newer")
    assert load_bundle(bundle).card == "# Newer"
    assert sorted(path.name for path in bundle.iterdir()) == sorted([*FILES, "manifest.json"])
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.tex").write_text("years of work")
    with pytest.raises(BundleError, match="is no bundle"):
        save_bundle(precious, policy, CONFIG)
    assert (precious / "thesis.tex").read_text() == "years of work"


def test_only_plain_values_enter_a_bundle(policy, tmp_path):
    with pytest.raises(BundleError, match="plain values only"):
        save_bundle(tmp_path / "b", policy, {"policy": object()})
