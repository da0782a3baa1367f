"""Actor and learner as processes that are killed again and again: nothing is lost, nothing is there twice, the run ends the same."""

import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.errors import ConfigError
from praxon.learning.rl.actor import DISCARDED, EPISODE, JOURNAL, STAMP, STEP, step_dtype
from praxon.learning.rl.decisions import TakeoverReward, decisions_of
from praxon.learning.rl.journal import read_journal
from praxon.learning.rl.learner import LIVE, Learner, Schedule
from praxon.learning.rl.process import START, Work, supervise, write_work
from praxon.learning.rl.rlpd import RlpdSettings
from praxon.learning.rl.rounds import learn_while_acting, tidy, write_rollouts
from praxon.learning.rl.transitions import transition_dtype
from praxon.policies.build import build_policy
from praxon.policies.bundle import load_bundle, save_bundle
from praxon.sim.factory import make_world, task_config
from praxon.targets import load_option

KILLS = 20
GAMMA = 0.97
POLICY = {
    "_target_": "praxon.policies.refined.RefinedPolicy",
    "chunk": {"horizon": 8, "num_execute": 4, "num_obs_steps": 1},
    "base": {
        "_target_": "praxon.policies.flow_matching.FlowMatchingPolicy",
        "encoder": {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16},
        "network": {"_target_": "praxon.policies.networks.transformer.TransformerDenoiser", "size": "tiny"},
        "steps": 1,
        "actions": "relative",
    },
    "refinement": {"_target_": "praxon.policies.refinement.Edit", "candidates": 2, "hidden": [16]},
    "critics": 2,
    "hidden": [16],
}


def children(folder):
    """Process ids of actor and learner of this folder."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                line = Path(f"/proc/{entry}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"praxon.learning.rl.process" in line and str(folder).encode() in line:
                found[line[line.index(b"praxon.learning.rl.process") + 1].decode()] = int(entry)
    return found


@pytest.fixture
def work(tmp_path):
    task, robot = task_config("reach"), load_option("robot", "panda")
    world = make_world(task, robot)
    torch.manual_seed(0)
    policy = build_policy(POLICY, world.contract)
    for normalizer in (policy.normalizer, policy.base.normalizer):
        for part in normalizer.features.values():
            part.center.zero_()
            part.spread.fill_(0.1)
            if hasattr(part, "hemisphere"):
                part.hemisphere.copy_(torch.tensor([1.0, 0, 0, 0]))
    save_bundle(tmp_path / START, policy.eval(), {"policy": POLICY})
    described = Work(
        task=task,
        robot=robot,
        skill=1.0,
        operator={"_target_": "praxon.learning.interactive.operators.Scripted"},
        gate={"_target_": "praxon.learning.interactive.gates.Random", "rate": 0.05, "steps": 6},
        seeds=list(range(2000)),
        labels=10**6,
        env_steps=4000,
        reward={"_target_": "praxon.learning.rl.decisions.TakeoverReward"},
        gamma=GAMMA,
        settings={"hidden": [16], "critics": 2, "batch_size": 16, "updates": 1, "lowest": -20.0, "highest": 0.0},
        schedule={"updates_per_decision": 0.5, "publish_every": 10, "checkpoint_every_s": 0.5},
        prefer_interventions=False,
        seed=0,
    )
    return world, described


def killer(folder, role, done, killed):
    """Kill a process whenever it has done something since it was started."""
    journal = {"actor": folder / JOURNAL, "learner": folder / LIVE}[role]
    seen, size = None, 0
    while not done.is_set() and len(killed) < KILLS // 2:
        pid, now = children(folder).get(role), journal.stat().st_size if journal.exists() else 0
        if pid != seen:
            seen, size = pid, now
        elif pid is not None and now > size:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
            seen = None
        time.sleep(0.02)


def test_killed_twenty_times_nothing_is_lost_and_nothing_is_there_twice(work, tmp_path):
    world, described = work
    write_work(tmp_path, described)
    done, killed = threading.Event(), {"actor": [], "learner": []}
    threads = [threading.Thread(target=killer, args=(tmp_path, role, done, killed[role])) for role in killed]
    for thread in threads:
        thread.start()
    try:
        result = supervise(tmp_path)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert result["deaths"] == sum(map(len, killed.values())) == KILLS
    policy = load_bundle(tmp_path / START).policy
    execute = policy.contract.chunk.num_execute
    steps = read_journal(tmp_path / JOURNAL, step_dtype(world.contract, execute))
    # Every step once, each episode without a gap, as many as were asked for and the rest of the last episode.
    assert 4000 <= len(steps) < 4000 + world.step_limit
    assert (tmp_path / JOURNAL).stat().st_size == len(steps) * steps.dtype.itemsize
    period_ns = round(world.contract.chunk.control_period_s * 1e9)
    for episode in np.unique(steps[EPISODE]):
        rows = steps[steps[EPISODE] == episode]
        assert rows[STEP].tolist() == list(range(len(rows)))
        assert set(np.diff(rows[STAMP])) <= {period_ns}
    assert np.unique(steps[EPISODE]).tolist() == list(range(steps[EPISODE].max() + 1))
    # Every decision of every episode is a transition, once, and had its updates.
    wanted = Counter()
    for episode in np.unique(steps[EPISODE]):
        rows = steps[steps[EPISODE] == episode]
        columns = {name: rows[name] for name in rows.dtype.names}
        wanted.update(
            (int(episode), each.start) for each in decisions_of(columns, "action", execute, GAMMA, TakeoverReward())
        )
    found = read_journal(tmp_path / LIVE, transition_dtype(policy))
    assert Counter(zip(found["episode"].tolist(), found["start"].tolist(), strict=True)) == wanted
    assert result["decisions"] == len(found)
    assert result["updates"] == int(0.5 * len(found))
    # And the same steps are the dataset.
    counts, versions = write_rollouts(tmp_path / "rollouts", tmp_path, world, policy.contract, {}, described.quota)
    dataset = LeRobotDataset(tmp_path / "rollouts")
    assert dataset.num_frames == counts.env_steps == len(steps)
    assert versions == len(np.unique(steps["version"]))
    np.testing.assert_array_equal(dataset.columns["action"], steps["action"])
    # What a person discarded is left out, and the next start is that episode's.
    (tmp_path / DISCARDED).write_text("1\n3")
    fewer, _ = write_rollouts(tmp_path / "fewer", tmp_path, world, policy.contract, {}, described.quota)
    left = ~np.isin(steps[EPISODE], [1, 3])
    assert fewer.env_steps == left.sum() < len(steps)
    np.testing.assert_array_equal(LeRobotDataset(tmp_path / "fewer").columns["action"], steps["action"][left])
    tidy(tmp_path)
    assert not list(tmp_path.glob("*.journal"))


def test_a_process_that_cannot_do_its_work_is_not_started_again(work, tmp_path):
    _, described = work
    write_work(tmp_path, described)
    (tmp_path / START / "config.yaml").write_text(yaml.safe_dump({"policy": {}}))
    with pytest.raises(ConfigError, match="ended with status 2: .*SHA-256 has changed"):
        supervise(tmp_path)


def test_what_was_learned_comes_back(work, tmp_path):
    world, described = work
    from dataclasses import replace

    told = []
    before = load_bundle(tmp_path / START).policy.state_dict()
    bundle, learned = learn_while_acting(
        tmp_path,
        replace(described, env_steps=300),
        world.contract,
        lambda now: told.append((now.steps, now.labels, now.episodes, now.updates)),
    )
    after = bundle.policy.state_dict()
    assert learned["updates"] == int(0.5 * learned["decisions"]) > 0
    assert told == sorted(told)
    assert told[-1][0] >= 300
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith(("critics.", "refinement.")) for name in changed)
    assert after["refinement.informed"] == 1


def test_a_learner_that_goes_on_is_the_one_that_stopped(work, tmp_path):
    """Weights, targets, temperature and what the optimisers know."""
    world, described = work
    settings = RlpdSettings(**{**described.settings, "updates": 2})

    def learner():
        policy = load_bundle(tmp_path / START).policy
        schedule = Schedule(updates_per_decision=1.0, first=3, publish_every=1)
        capacity = {"capacity": 500, "given": 100, "earlier": 1}
        return Learner(
            policy, world.contract, settings, schedule, TakeoverReward(), GAMMA, tmp_path, **capacity, seed=1
        )

    def state(found):
        kept = {name: tensor.clone() for name, tensor in found.learned().items()}
        kept |= {f"target.{name}": tensor.clone() for name, tensor in found.learner.targets.state_dict().items()}
        kept["alpha"] = found.learner.log_alpha.detach().clone()
        for name, optimizer in found.learner.optimizers.items():
            for index, each in optimizer.state_dict()["state"].items():
                kept |= {f"{name}.{index}.{key}": torch.as_tensor(value).clone() for key, value in each.items()}
        return kept

    first = learner()
    rng = np.random.default_rng(0)
    episode = {
        feature.name: np.tile([0.3, 0.1, 0.2, 1, 0, 0, 0], (30, 1)).astype(np.float32)
        if feature.kind == "pose"
        else rng.standard_normal((30, *feature.shape)).astype(np.float32)
        for feature in world.contract
    }
    first.given([episode])
    (tmp_path / "actor.done").write_text("")
    assert first.run()["updates"] == 3
    again = learner()
    assert again.updates == 3
    assert len(again.offline) == 0
    again.given([episode])
    assert len(again.offline) == len(first.offline) == 8  # seven of four steps, and what is left
    before, after = state(first), state(again)
    assert before.keys() == after.keys()
    assert {name.split(".")[0] for name in before} >= {"critics", "target", "alpha", "critic", "actor"}
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name
