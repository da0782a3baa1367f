"""Composition, density and selection as a user meets them: a bundle of each, evaluated, and mistakes in one sentence."""

import json

import pytest

from praxon.cli import run


def praxon(*arguments, expect=0):
    assert run([str(argument) for argument in arguments]) == expect


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """data: demonstrations; a, b: policies that have not learned; c: one of another number of steps."""
    root = tmp_path_factory.mktemp("choosing")
    praxon("collect", "task=reach", "episodes=3", f"run_dir={root / 'data'}")
    for name, settings in (("a", ["seed=0"]), ("b", ["seed=1", "policy.network.width=32"]), ("c", ["policy.steps=3"])):
        quick = ["policy=debug", "steps=2", "training.tensorboard=false", *settings]
        praxon("train", *quick, f"dataset={root / 'data' / 'dataset'}", f"run_dir={root / name}")
    return root


def evaluated(folder, bundle, *settings):
    praxon("eval", f"bundle={bundle}", "episodes=1", "seed=7", *settings, f"run_dir={folder}")
    return json.loads((folder / "result.json").read_text())


def test_composed_bundles_are_evaluated_like_any_other(root, tmp_path, capsys):
    parents = f"bundles=[{root / 'a' / 'bundle'},{root / 'b' / 'bundle'}]"
    praxon("compose", parents, "weights=[0.25,0.75]", f"out={tmp_path / 'both'}", f"run_dir={tmp_path / 'run'}")
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["weights"] == [0.25, 0.75]
    both = evaluated(tmp_path / "both_run", tmp_path / "both")
    assert both["task"] == "reach"
    praxon("compose", parents, "weights=[1,0]", f"run_dir={tmp_path / 'one'}")
    one = evaluated(tmp_path / "one_run", tmp_path / "one" / "bundle")
    first = evaluated(tmp_path / "first_run", root / "a" / "bundle")
    assert one["episode_results"] == first["episode_results"] != both["episode_results"]
    capsys.readouterr()
    for arguments, answer in (
        ([], "at least two parents; bundles="),
        ([f"bundles=[{root / 'a' / 'bundle'},{root / 'c' / 'bundle'}]"], "they differ in engine.steps (4 and 3)"),
        ([parents, "weights=[0.5,0.6]"], "their sum is 1; got [0.5, 0.6]"),
        ([parents, "engine={stepz:3}"], "Did you mean 'steps'"),
    ):
        praxon("compose", *arguments, f"run_dir={tmp_path / 'refused'}", expect=1)
        assert answer in capsys.readouterr().err
    praxon(
        "compose",
        f"bundles=[{root / 'a' / 'bundle'},{root / 'c' / 'bundle'}]",
        "engine={steps:2}",
        f"run_dir={tmp_path / 'two'}",
    )
    assert evaluated(tmp_path / "two_run", tmp_path / "two" / "bundle")["episodes"] == 1


def test_the_best_of_several_candidates_is_executed(root, tmp_path, capsys):
    bundle, density = root / "a" / "bundle", tmp_path / "density"
    praxon(
        "density",
        f"bundle={bundle}",
        f"dataset={root / 'data' / 'dataset'}",
        "steps=20",
        "samples=40",
        f"out={density}",
        f"run_dir={tmp_path / 'run'}",
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["samples"] == 40
    assert "of the network" in result["features"]
    assert set(result["judged"]) == {"known", "held_out"}
    assert 0 <= result["judged"]["held_out"]["told_apart"] <= 1
    plain = evaluated(tmp_path / "plain", bundle)
    weak = root / "b" / "bundle"
    for index, selection in enumerate(("coherence:1", f"density:{{path:{density}}}", f"contrast:{{bundle:{weak}}}")):
        serving = f"serving={{candidates:4,selection:{{{selection}}}}}"
        chosen = evaluated(tmp_path / str(index), bundle, serving)
        assert chosen["serving"]["candidates"] == 4
        assert chosen["episode_results"][0]["metrics"] != plain["episode_results"][0]["metrics"]
    again = evaluated(tmp_path / "again", bundle, serving)
    assert again["episode_results"] == chosen["episode_results"]
    capsys.readouterr()
    for settings, answer in (
        ("candidates:4", "Of 4 candidates one must be chosen"),
        ("candidates:4,selection:{densty:1}", "Did you mean 'density'"),
        ("candidates:4,selection:{density:1}", "There is no density at"),
    ):
        praxon("eval", f"bundle={bundle}", f"serving={{{settings}}}", f"run_dir={tmp_path / 'refused'}", expect=1)
        error = capsys.readouterr().err
        assert answer in error
        assert error.count("\n") == 1
    praxon("eval", f"bundle={weak}", f"serving={{candidates:4,selection:{{density:{{path:{density}}}}}}}", expect=1)
    assert "was made for a bundle with the weights" in capsys.readouterr().err


def test_a_density_needs_a_bundle_and_the_data_of_its_task(root, tmp_path, capsys):
    bundle = f"bundle={root / 'a' / 'bundle'}"
    for arguments, answer in (
        ([], "No bundle was given"),
        ([bundle], "No dataset was given"),
        ([bundle, "dataset=nowhere"], "nowhere"),
        ([bundle, f"dataset={root / 'data' / 'dataset'}", "steps=0"], "steps is 0; at least 1 is needed"),
    ):
        praxon("density", *arguments, f"run_dir={tmp_path / 'refused'}", expect=1)
        assert answer in capsys.readouterr().err
