"""MoE-ACT takes the phases that a collection recorded, without being told to, and says where its routing comes from."""

import yaml

from praxon.cli import run


def test_experts_learn_from_recorded_phases_and_from_actions_alone_without(tmp_path, capsys):
    answers = {}
    for recorded in ("true", "false"):
        data, trained = tmp_path / f"data-{recorded}", tmp_path / f"trained-{recorded}"
        assert run(["collect", "task=lift", "episodes=1", f"phases={recorded}", f"run_dir={data}"]) == 0
        capsys.readouterr()
        settings = ["policy=act_moe", "steps=2", "training.tensorboard=false", "policy.network.width=32"]
        assert run(["train", *settings, f"dataset={data / 'dataset'}", f"run_dir={trained}"]) == 0
        config = yaml.safe_load((trained / "bundle" / "config.yaml").read_text())
        answers[recorded] = (capsys.readouterr().out, config["policy"]["experts"])
    said, experts = answers["true"]
    assert "Experts learn from the column phase" in said
    assert experts["phases"] == "phase"
    assert experts["num_experts"] >= 2
    said, experts = answers["false"]
    assert "from the actions alone: there is no column phase" in said
    assert experts["phases"] is None
