"""The pages tell the truth: links lead somewhere, every command line in them is accepted, every class they name exists."""

import importlib
import inspect
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from praxon.cli import find_verb, run
from praxon.commands._hydra import compose_config
from praxon.commands._sweep import check_sweep
from praxon.contract import PolicyContract
from praxon.datasets.conversion import formats
from praxon.sim.factory import make_simulation
from praxon.targets import load_target

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert [target for target in targets if "://" not in target and not (page.parent / target).exists()] == []


def block(page: str, language: str, holds: str) -> str:
    """The page's block of code that holds a text."""
    found = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return next(code for code in found if holds in code)


def command_lines():
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
            for line in block.replace("\\\n", "").splitlines():
                if line.startswith("praxon "):
                    yield pytest.param(line.split("  #")[0], id=f"{page.name}: {line[:50]}")


@pytest.mark.parametrize("line", list(command_lines()))
def test_every_command_line_is_accepted(line):
    path, verb, overrides = find_verb(shlex.split(line)[1:])
    assert path.is_file(), f"{verb} is a group of verbs"
    settings = [text for text in overrides if text not in ("--help", "-m")]
    (check_sweep if "-m" in overrides else compose_config)(verb, settings)


def test_the_examples_of_the_datasets_page_run_as_they_stand(tmp_path, monkeypatch):
    """In order, in an empty folder, after the collection that the page begins with."""
    monkeypatch.chdir(tmp_path)
    assert run(["collect", "task=lift", "episodes=3", "run_dir=runs/lift"]) == 0
    names: dict[str, object] = {}
    for code in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "datasets.md").read_text(), re.DOTALL):
        exec(compile(code, "docs/datasets.md", "exec"), names)
    assert (tmp_path / "data/mine/meta/stats.json").is_file()


@pytest.mark.parametrize("name", formats())
def test_every_setting_of_every_format_is_on_the_datasets_page(name):
    text = (ROOT / "docs" / "datasets.md").read_text()
    settings = inspect.signature(importlib.import_module(f"praxon.datasets.formats.{name}").open_source).parameters
    assert [setting for setting in settings if f"`{setting}`" not in text and setting != "path"] == []


def test_the_contract_for_bags_on_the_page_is_one(tmp_path):
    code = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "datasets.md").read_text(), re.DOTALL).group(1)
    (tmp_path / "contract.yaml").write_text(code)
    assert PolicyContract.load(tmp_path / "contract.yaml").action.names == ("shoulder", "elbow", "gripper")


def test_classes_that_are_named_exist():
    text = "".join(page.read_text() for page in PAGES)
    for path in set(re.findall(r"`(praxon(?:\.\w+)+\.[A-Z]\w+)`", text)):
        load_target(path)


def test_nothing_names_the_machine_it_was_written_on():
    for page in PAGES:
        assert str(ROOT) not in page.read_text()


def test_the_example_policy_is_held_to_the_contract(tmp_path):
    """The page's code as it stands, in a folder outside the project, through the contract tests of every policy."""
    page = (ROOT / "docs" / "extending.md").read_text()
    (tmp_path / "my_method.py").write_text(block(page, "python", "class MyPolicy"))
    config = tmp_path / "configs" / "policy" / "my_method.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(block(page, "yaml", "MyPolicy").replace("praxon.policies.my_method", "my_method"))
    contract = ROOT / "tests" / "policies" / "test_policy_contract.py"
    held = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", str(contract), "-k", "my_method", "-p", "no:cacheprovider"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PRAXON_PATH": str(tmp_path), "OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert held.returncode == 0, held.stdout
    assert re.search(r"^4 passed", held.stdout, re.MULTILINE), held.stdout


def test_the_example_task_is_solved_by_its_expert(tmp_path, monkeypatch):
    """The page's code as it stands, in a folder outside the project."""
    page = (ROOT / "docs" / "extending.md").read_text()
    (tmp_path / "hover.py").write_text(block(page, "python", "class Hover"))
    (tmp_path / "hover.xml").write_text(
        f'<mujoco><include file="{ROOT / "sim" / "tasks" / "world.xml"}"/><worldbody>'
        '<body name="goal" mocap="true"><geom name="goal" type="sphere" size="0.02" contype="0" conaffinity="0"/></body>'
        "</worldbody></mujoco>"
    )
    monkeypatch.syspath_prepend(tmp_path)
    simulation = make_simulation({"_target_": "hover.Hover"})
    expert = simulation.task.expert(simulation.scene, 0.05)
    assert all(simulation.run(expert, seed).success for seed in range(3))
