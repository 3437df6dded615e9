"""YAML that somebody else may have written is refused in words, and soon."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from mixvllm import compose, load_yaml_config
from mixvllm.config.load.settings import option_values
from mixvllm.config.yaml_file import MAX_BYTES, load_yaml
from mixvllm.errors import ConfigError

LEVELS = "abcdefghi"


def multiplied(first: str, level: str) -> str:
    """Return YAML in which each level stands for nine of the one before."""
    lines = [f"a: &a {first}"]
    lines += [
        f"{name}: &{name} {level.format(', '.join([f'*{LEVELS[at]}'] * 9))}" for at, name in enumerate(LEVELS[1:])
    ]
    return "\n".join(lines)


REFUSED = {
    "code": ("model: !!python/object/apply:os.system ['touch planted']", "could not determine a constructor"),
    "a name of code": ("model: !!python/name:os.system", "could not determine a constructor"),
    "an object": (
        "model: !!python/object/new:subprocess.Popen [[touch, planted]]",
        "could not determine a constructor",
    ),
    "a key twice": ("model: {name: a}\nmodel: {name: b}", "twice|duplicate key"),
    "a key that is a list": ("? [a, b]\n: c", "unhashable key"),
    "lists that multiply": (multiplied("[x, x, x]", "[{}]"), "its aliases stand for more than 100000 values"),
    "mappings that multiply": (multiplied("{x: 1}", "{{<<: [{}]}}"), "its aliases stand for more than 100000 values"),
    "itself": ("a: &a [*a]", "its aliases stand for more than 100000 values"),
    "deep": ("[" * 100_000, "nested too deeply"),
    "huge": ("#" * MAX_BYTES + "\n", "larger than 1048576 bytes"),
    "a number of 5000 digits": ("model: " + "9" * 5000, "integer string conversion"),
    "two documents": ("a: 1\n---\nb: 2", "found another document"),
    "bytes": ("a: \x00", "special characters are not allowed"),
}


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as raised:
        read()
    return str(raised.value)


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_a_profile_that_is_more_than_it_looks_is_refused(tmp_path: Path, text: str, words: str) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text(text, encoding="utf-8")

    told = refusal(lambda: load_yaml_config(profile))

    assert told.startswith(f"{profile}: ")
    assert any(part in told for part in words.split("|"))
    assert os.listdir(tmp_path) == ["profile.yaml"]


@pytest.mark.parametrize(("text", "words"), REFUSED.values(), ids=REFUSED)
def test_an_option_that_is_more_than_it_looks_is_refused(tmp_path: Path, text: str, words: str) -> None:
    option = tmp_path / "mine" / "inference" / "mine.yaml"
    option.parent.mkdir(parents=True)
    option.write_text(text, encoding="utf-8")

    told = refusal(lambda: compose(["model=demo", "inference=mine"], config_dirs=[tmp_path / "mine"]))

    assert any(part in told for part in words.split("|"))
    assert os.listdir(tmp_path) == ["mine"]


def test_the_options_of_a_group_are_read_as_carefully(tmp_path: Path) -> None:
    option = tmp_path / "model" / "mine.yaml"
    option.parent.mkdir()
    option.write_text("name: a\nname: b\n", encoding="utf-8")

    told = refusal(lambda: option_values("model", [tmp_path]))

    assert told == f"{option}: not valid YAML: key 'name' is given twice, line 2"


def test_an_option_without_a_line_sets_nothing(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("# nothing yet\n", encoding="utf-8")

    assert option_values("model", [tmp_path])["mine"]["name"] == "???"


def test_a_file_without_an_end_is_refused() -> None:
    assert "larger than" in refusal(lambda: load_yaml_config("/dev/zero"))


def test_aliases_may_be_used(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: &a {x: 1}\nb: {<<: *a, y: '*'}\nc: [*a, *a]\n", encoding="utf-8")

    assert load_yaml(file) == yaml.safe_load(file.read_text(encoding="utf-8"))


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("", encoding="utf-8")

    assert load_yaml(tmp_path / "a.yaml") is None
