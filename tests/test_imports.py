"""The direction of imports (docs/design.md, Folders), and that `import praxon` is light. Read from the source, not run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CODE = ("policies", "learning", "robots", "sim", "ros_nodes", "datasets", "commands")
SHARED = {"contract", "errors", "gl", "targets"}
MAY_IMPORT = {
    "policies": set(),
    "robots": set(),
    "datasets": set(),
    "sim": {"robots"},
    "learning": {"policies", "datasets", "sim", "robots"},
    "ros_nodes": {"policies", "datasets", "sim", "robots"},
    "commands": set(CODE),
}
"""Folders of ours that each folder may import besides itself and what everyone shares."""
MAY_NOT_IMPORT = {
    "policies": {"mujoco", "rclpy"},
    "robots": {"torch", "rclpy"},
    "datasets": {"mujoco", "rclpy"},
    "sim": {"torch", "rclpy"},
    "learning": {"rclpy"},
}
CONFIGURATION = {"hydra", "omegaconf"}
"""Only entry points know the configuration system."""


def imports(path: Path) -> Iterator[str]:
    """Dotted names a file imports anywhere in it, with the names taken from a module appended."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively; write praxon.<folder>"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(folder: str) -> Iterator[tuple[Path, list[str]]]:
    """Every import in a folder as (file, parts of the dotted name)."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        yield from ((path.relative_to(ROOT), name.split(".")) for name in imports(path))


@pytest.mark.parametrize("folder", CODE)
def test_folders_import_only_what_they_may(folder):
    allowed = MAY_IMPORT[folder] | SHARED | {folder, "__version__"}
    wrong = [
        f"{path} imports {'.'.join(parts)}"
        for path, parts in imported(folder)
        if parts[0] == "praxon" and len(parts) > 1 and parts[1] not in allowed
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", sorted(MAY_NOT_IMPORT))
def test_folders_know_nothing_of_these_libraries(folder):
    wrong = [f"{path} imports {parts[0]}" for path, parts in imported(folder) if parts[0] in MAY_NOT_IMPORT[folder]]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("folder", [folder for folder in CODE if folder != "commands"])
def test_only_entry_points_import_the_configuration_system(folder):
    wrong = [f"{path} imports {parts[0]}" for path, parts in imported(folder) if parts[0] in CONFIGURATION]
    assert not wrong, "\n".join(wrong)


def test_the_package_itself_imports_no_folder_but_the_command_line():
    for path in sorted((ROOT / "src/praxon").glob("*.py")):
        for name in imports(path):
            parts = name.split(".")
            if path.name not in ("cli.py", "__main__.py"):
                assert parts[0] not in CONFIGURATION, f"{path.name} imports {name}"
                assert parts[0] != "praxon" or parts[1] in SHARED, f"{path.name} imports {name}"


def test_datasets_is_a_plain_folder():
    # With an __init__.py it would shadow Hugging Face's library of that name wherever the root is on the path.
    assert not (ROOT / "datasets/__init__.py").exists()


def test_importing_praxon_is_light():
    code = "import sys, praxon; print(*sorted({'torch', 'numpy', 'mujoco', 'hydra', 'rclpy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == ""
