"""`ensure_demo_model`, with small shell scripts in the place of the serving interpreter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixvllm import compose, demo
from mixvllm.demo import ensure_demo_model, is_made
from mixvllm.errors import DemoModelFailed

FILES = ("config.json", "model.safetensors", "tokenizer.json")
MAKES_THE_MODEL = 'mkdir -p "$2"; cd "$2"; touch config.json model.safetensors tokenizer.json'


def write_python(tmp_path: Path, body: str) -> str:
    """Return the path of a program that is called as `python train.py DIRECTORY` and runs `body` in sh."""
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def write_model(directory: Path, files: tuple[str, ...] = FILES) -> Path:
    directory.mkdir()
    for name in files:
        (directory / name).touch()
    return directory


def fail_to_make(tmp_path: Path, body: str) -> str:
    """Return the message of the failure that a program with `body` leads to."""
    with pytest.raises(DemoModelFailed) as caught:
        ensure_demo_model(tmp_path / "demo", write_python(tmp_path, body), lambda line: None)
    return str(caught.value)


def test_model_with_its_three_files_is_made(tmp_path: Path) -> None:
    assert is_made(write_model(tmp_path / "demo"))


@pytest.mark.parametrize("missing", FILES)
def test_model_without_one_of_its_files_is_not_made(tmp_path: Path, missing: str) -> None:
    directory = write_model(tmp_path / "demo", tuple(name for name in FILES if name != missing))

    assert not is_made(directory)


def test_made_model_is_left_alone_in_silence(tmp_path: Path) -> None:
    said: list[str] = []

    ensure_demo_model(write_model(tmp_path / "demo"), "/no/such/python", said.append)

    assert said == []


def test_absent_model_is_made_and_announced_in_one_line(tmp_path: Path) -> None:
    directory, said = tmp_path / "a path with spaces" / "demo", list[str]()

    ensure_demo_model(directory, write_python(tmp_path, MAKES_THE_MODEL), said.append)

    assert is_made(directory)
    assert said == [f"Making the demo model in {directory}: once, about 20 s on one CPU core."]


def test_interpreter_runs_the_train_script_of_the_package(tmp_path: Path) -> None:
    python = write_python(tmp_path, f'echo "$1" > "{tmp_path}/script"; {MAKES_THE_MODEL}')

    ensure_demo_model(tmp_path / "demo", python, lambda line: None)

    script = Path((tmp_path / "script").read_text(encoding="utf-8").strip())
    assert script.name == "train.py"
    assert script.is_file()


def test_training_cannot_read_the_terminal(tmp_path: Path) -> None:
    python = write_python(tmp_path, f'cat > "{tmp_path}/typed"; {MAKES_THE_MODEL}')

    ensure_demo_model(tmp_path / "demo", python, lambda line: None)

    assert (tmp_path / "typed").read_text(encoding="utf-8") == ""


def test_training_prints_nothing_of_its_own(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    python = write_python(tmp_path, f"echo out; echo err >&2; {MAKES_THE_MODEL}")

    ensure_demo_model(tmp_path / "demo", python, lambda line: None)

    assert capfd.readouterr() == ("", "")


def test_failed_training_is_reported_with_its_last_lines_and_what_next(tmp_path: Path) -> None:
    message = fail_to_make(tmp_path, "seq 1 40; echo 'No module named torch' >&2; exit 3")

    lines = message.splitlines()
    assert lines[0] == f"the demo model was not made: {tmp_path}/python exited with 3"
    assert lines[1] == "  its last lines:"
    assert lines[2:-1] == [*(f"    {number}" for number in range(30, 41)), "    No module named torch"]
    assert lines[-1].startswith(f"  next: {tmp_path}/python ")


def test_training_that_ends_well_and_leaves_no_model_is_a_failure(tmp_path: Path) -> None:
    message = fail_to_make(tmp_path, "exit 0")

    assert message.splitlines()[0] == f"the demo model was not made: {tmp_path}/python exited with 0"


def test_model_that_another_maker_finished_is_taken(tmp_path: Path) -> None:
    ensure_demo_model(tmp_path / "demo", write_python(tmp_path, f"{MAKES_THE_MODEL}; exit 1"), lambda line: None)

    assert is_made(tmp_path / "demo")


def test_interpreter_that_is_not_there_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DemoModelFailed, match=r"/no/such/python cannot be run \(No such file or directory\)"):
        ensure_demo_model(tmp_path / "demo", "/no/such/python", lambda line: None)


def test_interrupt_ends_the_training_before_it_is_passed_on(tmp_path: Path) -> None:
    # The interrupt is sent once we sleep, which is where we wait for the training.
    body = f"""
        echo $$ > "{tmp_path}/pid"
        until grep -q '^State:.*S' "/proc/$PPID/status"; do :; done
        kill -INT $PPID
        exec sleep 600"""

    with pytest.raises(KeyboardInterrupt):
        ensure_demo_model(tmp_path / "demo", write_python(tmp_path, body), lambda line: None)

    pid = int((tmp_path / "pid").read_text(encoding="utf-8"))
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_the_option_of_that_name_looks_where_the_model_is_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MIXVLLM_CACHE", str(tmp_path))

    model = compose(["model=demo"]).model

    assert model.name == str(tmp_path / demo.FOLDER)
    assert f"MAX_MODEL_LEN = {model.context_length}\n" in Path(demo.__file__).with_name("train.py").read_text()
