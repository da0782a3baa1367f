"""Every file in datasets/formats/ keeps to the page that a converter knows."""

import importlib
import inspect

import pytest

from praxon.datasets.conversion import find_format, formats, open_source
from praxon.errors import DatasetError


@pytest.mark.parametrize("name", formats())
def test_a_format_says_what_it_is_and_what_it_takes(name):
    module = importlib.import_module(f"praxon.datasets.formats.{name}")
    assert module.__doc__
    for key, parameter in list(inspect.signature(module.open_source).parameters.items())[1:]:
        assert parameter.default is not inspect.Parameter.empty, (
            f"{name} must be readable without {key}, or say it is needed"
        )
        assert key in (module.open_source.__doc__ or ""), f"{name}: setting {key} is not documented"


@pytest.mark.parametrize("name", formats())
def test_what_is_no_recording_is_not_taken_for_one(name, tmp_path):
    module = importlib.import_module(f"praxon.datasets.formats.{name}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "zeros").write_bytes(bytes(100))
    for path in (*tmp_path.iterdir(), tmp_path / "missing"):
        assert not module.recognises(path)
    for path in ("empty", "text.txt", "zeros"):
        with pytest.raises(DatasetError):
            open_source(tmp_path / path, name)


def test_a_path_that_nothing_recognises_is_answered_with_the_formats(tmp_path):
    with pytest.raises(DatasetError, match=r"choose one of|chooses one of diffusion_policy"):
        find_format(tmp_path)
    with pytest.raises(DatasetError, match="Did you mean 'minari'"):
        find_format(tmp_path, "minary")


@pytest.mark.parametrize(
    ("name", "settings", "answer"),
    [
        ("diffusion_policy", {"fps": "ten"}, "setting fps is 'ten'; the format 'diffusion_policy' needs a number"),
        ("diffusion_policy", {"max_bytes": "abc"}, "needs a whole number"),
        ("rosbag", {"tolerance_s": "abc"}, "setting tolerance_s is 'abc'"),
        ("rosbag", {"topics": ["a"]}, "needs names and values"),
        ("robomimic", {"observations": [1]}, "needs a list"),
        ("lerobot", {"fps": 10}, "no setting fps"),
    ],
)
def test_a_setting_of_another_type_is_answered(name, settings, answer, tmp_path):
    with pytest.raises(DatasetError, match=answer):
        open_source(tmp_path, name, settings)
