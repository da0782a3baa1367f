"""Labels by hand, what can be learned and what cannot, the rule of holding, and classifiers that belong to one contract alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from praxon.contract import Chunk, Feature, PolicyContract
from praxon.datasets.joined import JoinedWindows
from praxon.datasets.lerobot_reader import LeRobotDataset
from praxon.datasets.lerobot_writer import LeRobotWriter
from praxon.datasets.windows import Windows
from praxon.errors import BundleError, ConfigError, ContractError
from praxon.learning.rl.success import (
    ClassifierSettings,
    Hold,
    LearnedReward,
    SuccessClassifier,
    figures,
    held_out_episodes,
    load_classifier,
    probabilities,
    solved_now,
    train_classifier,
)
from praxon.sim.factory import make_world, task_config
from praxon.sim.world import Judgement
from praxon.targets import load_option

torch.set_num_threads(1)
ENCODER = {"_target_": "praxon.policies.networks.encoders.ObservationEncoder", "width": 16}
SETTINGS = ClassifierSettings(ENCODER, hidden=32, threshold=0.85, hold=2)
CONTRACT = PolicyContract(
    "arm",
    "slide",
    (Feature("observation.state", "vector", (2,), ("x", "y"), unit="m"),),
    Feature("action", "vector", (1,)),
)
CAMERA = Feature("observation.images.front", "image", (16, 16, 3), dtype="uint8", source="front")
EPISODES, LENGTH = 16, 20


def recorded(root, contract=CONTRACT):
    """Episodes in which x grows from 0 to 1, and the task is solved from 0.7 on in every second; in the others x stays below."""
    rng = np.random.default_rng(0)
    with LeRobotWriter(
        root, contract, "slide", extra_features=[Feature("next.success", "vector", (1,), dtype="int64")], codec="png"
    ) as writer:
        for episode in range(EPISODES):
            x = np.linspace(0, 1 if episode % 2 == 0 else 0.6, LENGTH + 1)
            frames = {
                "observation.state": np.stack([x[:-1], rng.normal(size=LENGTH)], axis=1).astype(np.float32),
                "action": np.zeros((LENGTH, 1), np.float32),
                "next.success": (x[1:] > 0.7).astype(np.int64)[:, None],
            }
            if CAMERA in contract.observations:
                bright = np.where(x[:-1] > 0.7, 200, 60)[:, None, None, None]
                frames[CAMERA.name] = (bright + rng.integers(-9, 10, (LENGTH, *CAMERA.shape))).astype(np.uint8)
            writer.add_episode(frames)
    return LeRobotDataset(root)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return recorded(tmp_path_factory.mktemp("success") / "data")


def windows_of(dataset, episodes, contract=CONTRACT):
    return JoinedWindows([Windows(dataset, Chunk(), list(episodes), contract=contract)])


def labels_of(dataset):
    return solved_now(dataset.columns["next.success"], dataset.episode_lengths)


def trained(dataset, solved, contract=CONTRACT, episodes=range(8), **settings):
    torch.manual_seed(0)
    classifier = SuccessClassifier(contract, replace(SETTINGS, **settings))
    windows = windows_of(dataset, episodes, contract)
    train_classifier(classifier, windows, solved[windows.frames], 150, batch_size=32, learning_rate=1e-2)
    return classifier


def judged(classifier, dataset, contract=CONTRACT):
    """Figures of the other half of the episodes, of which every second is solved."""
    windows = windows_of(dataset, range(8, EPISODES), contract)
    solved = labels_of(dataset)[windows.frames]
    return figures(
        probabilities(classifier, windows), solved, np.arange(8) % 2 == 0, dataset.episode_lengths[8:], 0.5, 2
    )


@pytest.fixture(scope="module")
def classifier(dataset):
    return trained(dataset, labels_of(dataset))


# -- labels -------------------------------------------------------------------------------------------------------------


def test_a_state_is_solved_if_the_step_before_it_solved_it():
    # Solved after its third step, lost again, solved by the last step, whose outcome nobody saw; then another episode.
    after = np.array([0, 0, 1, 1, 0, 1, 0, 0])
    assert solved_now(after[:, None], np.array([6, 2])).tolist() == [
        False,
        False,
        False,
        True,
        True,
        False,
        False,
        False,
    ]


def test_an_episode_that_ends_as_it_is_solved_shows_nothing_solved():
    assert not solved_now(np.array([0, 0, 1, 0, 0]), np.array([3, 2])).any()


# -- what is learned ----------------------------------------------------------------------------------------------------


def test_what_can_be_told_is_told_in_unseen_episodes(dataset, classifier):
    found = judged(classifier, dataset)
    assert found["precision"]["rate"] == found["recall"]["rate"] == 1.0
    assert found["unsolved_episodes_called_solved"]["count"] == 0
    assert found["solved_episodes_found"]["count"] == found["solved_episodes_found"]["of"] == 4
    assert found["solved_episodes_called_too_early"]["count"] == 0


def test_pictures_alone_will_do(tmp_path):
    contract = replace(CONTRACT, observations=(*CONTRACT.observations, CAMERA))
    dataset = recorded(tmp_path / "data", contract)
    seen = contract.with_observations([CAMERA.name])
    encoder = {**ENCODER, "image_tokens": "summary", "augmentation": {"crop": 0.9, "brightness": 0.1}}
    found = judged(trained(dataset, labels_of(dataset), seen, encoder=encoder), dataset, seen)
    assert found["precision"]["rate"] == found["recall"]["rate"] == 1.0


def test_samples_of_one_kind_are_refused(dataset):
    windows = windows_of(dataset, range(8))
    with pytest.raises(ConfigError, match="0 solved and 160 unsolved"):
        train_classifier(SuccessClassifier(CONTRACT, SETTINGS), windows, np.zeros(160, bool), 1)


# -- on disk ------------------------------------------------------------------------------------------------------------


def test_what_was_saved_gives_the_same_probabilities_to_the_bit(dataset, classifier, tmp_path):
    classifier.save(tmp_path / "c", {"seed": 0})
    again = load_classifier(tmp_path / "c")
    windows = windows_of(dataset, range(EPISODES))
    np.testing.assert_array_equal(probabilities(again, windows), probabilities(classifier, windows))
    assert again.settings == classifier.settings
    assert again.contract == classifier.contract


@pytest.mark.parametrize("name", ["classifier.safetensors", "classifier.json"])
def test_a_byte_that_changed_is_noticed(classifier, tmp_path, name):
    classifier.save(tmp_path / "c", {})
    content = bytearray((tmp_path / "c" / name).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "c" / name).write_bytes(content)
    with pytest.raises(BundleError, match=f"{name}.*SHA-256 has changed"):
        load_classifier(tmp_path / "c")


def test_nothing_there_is_said(tmp_path):
    with pytest.raises(BundleError, match="no success classifier at .*praxon classifier dataset="):
        load_classifier(tmp_path / "c")


def test_another_contract_is_refused_listing_both_sides(classifier):
    turned = Feature("observation.state", "vector", (2,), ("y", "x"), unit="m")
    with pytest.raises(ContractError, match=r"names of 'observation.state': classifier \[x, y\], here \[y, x\]"):
        LearnedReward(classifier, replace(CONTRACT, observations=(turned,)))
    with pytest.raises(ContractError, match="task: classifier 'slide', here 'lift'"):
        LearnedReward(classifier, replace(CONTRACT, task="lift"))
    # Who looks at more, or acts in another way, is judged all the same.
    other = Feature("action", "joint_position", (3,), ("a", "b", "c"), unit="rad")
    LearnedReward(classifier, replace(CONTRACT, observations=(*CONTRACT.observations, CAMERA), action=other))


# -- the reward ---------------------------------------------------------------------------------------------------------


def test_holding_by_hand():
    rule = Hold(0.85, 3)
    told = [0.9, 0.9, 0.5, 0.9, 0.85, 0.9, 0.9, 0.9, 0.9, float("nan"), 0.9]
    #        1    2    -    1    -     1    2    3!   4!   -             1      (0.85 is not above 0.85)
    assert [rule(each) for each in told] == [False] * 7 + [True, True] + [False] * 2
    rule(0.9)
    rule.reset()
    assert [rule(0.9) for _ in range(3)] == [False, False, True]
    assert Hold(0.5, 1)(0.51)


def test_an_actor_is_paid_while_the_state_holds(classifier):
    reward = LearnedReward(classifier, CONTRACT)

    def told(*places):
        return [reward({"observation.state": np.array([x, 0.0], np.float32), "more": np.zeros(1)}) for x in places]

    judgements = told(0.2, 0.95, 0.95, 0.95, 0.2)
    assert [each.reward for each in judgements] == [0, 0, 1, 1, 0]
    assert [each.success for each in judgements] == [False, False, True, True, False]
    assert judgements[0].metrics["probability"] < 0.15
    told(0.95)
    reward.reset()
    assert not told(0.95)[0].success


def test_settings_out_of_range_are_refused():
    for wrong in ({"threshold": 1.0}, {"hold": 0}, {"dropout": 1.0}, {"hidden": 0}):
        with pytest.raises(ConfigError, match=f"classifier's {next(iter(wrong))} is"):
            replace(SETTINGS, **wrong)


# -- figures ------------------------------------------------------------------------------------------------------------


def test_figures_by_hand():
    """Solved and found, but called too early; never solved but called; never solved, a flicker alone; solved by its last step."""
    unseen = (
        np.array([0.9, 0.9, 0.9, 0.2, 0.9, 0.9, 0.1, 0.9, 0.9, 0.1, 0.9, 0.1, 0.2, 0.2]),
        np.array([False, False, True, True, True, True, *[False] * 8]),
        np.array([True, False, False, True]),
        np.array([6, 3, 3, 2]),
    )
    found = figures(*unseen, 0.85, 2)
    counts = {name: (each["count"], each["of"]) for name, each in found.items() if name != "threshold"}
    assert counts == {
        "precision": (3, 8),
        "recall": (3, 4),
        "unsolved_episodes_called_solved": (1, 2),
        "solved_episodes_found": (1, 1),
        "solved_episodes_called_too_early": (1, 2),
    }
    # Wilson's interval of 3 in 4, computed by hand: (0.75 + 3.8415 / 8 -+ 1.96 sqrt(0.1875 / 4 + 3.8415 / 64)) / (1 + 3.8415 / 4).
    assert found["recall"]["interval_95"] == pytest.approx([0.3006, 0.9544], abs=2e-4)
    assert figures(*unseen, 0.85, 3)["unsolved_episodes_called_solved"]["count"] == 0
    assert figures(*unseen, 0.95, 1)["precision"] == {"count": 0, "of": 0, "rate": None, "interval_95": [0.0, 1.0]}


def test_of_each_kind_some_judge_and_never_all():
    solved = np.arange(40) % 4 == 0
    judging = held_out_episodes(solved, 0.25, seed=3)
    assert (int(judging[solved].sum()), int(judging[~solved].sum())) == (2, 8)
    assert np.array_equal(judging, held_out_episodes(solved, 0.25, seed=3))
    assert (
        held_out_episodes(np.array([1, 1]), 0.01, seed=0).sum()
        == held_out_episodes(np.array([1, 1]), 0.99, 0).sum()
        == 1
    )
    assert not held_out_episodes(np.array([1]), 0.5, seed=0).any()


def test_a_world_may_leave_it_to_somebody_else_whether_it_is_solved():
    world = make_world(task_config("reach"), load_option("robot", "panda"))
    own = world.run(world.idle(), 3)
    assert not own.success

    class AfterSeven:
        """Says so at the seventh observation; counts anew in every episode."""

        def reset(self):
            self.seen = []

        def __call__(self, features):
            self.seen.append(features["observation.state"].copy())
            return Judgement(0.0, len(self.seen) >= 7, {})

    world.verdict = AfterSeven()
    for _ in range(2):
        found = world.run(world.idle(), 3)
        assert found.success
        assert found.steps == 7
    solved = world.run(world.expert(), 3)
    assert solved.steps == 7  # whatever the world thinks
    assert solved.mean_reward > own.mean_reward  # rewards are the world's
    np.testing.assert_array_equal(world.verdict.seen[-1], world.observe().features["observation.state"])
