"""A launch with a runtime, as a user types it."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

from tests.fakes.containers import make_image
from tests.launches import Run
from tests.runtime.conftest import calls


def test_a_run_in_an_image_ends_with_an_answer(run: Run, programs: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", phase_s=0.005)

    launch = run("server.python=null", "runtime=apptainer", f"runtime.image={image}", "workload=probe")

    assert launch.exit_code() == 0, launch.stderr
    assert launch.record("point.json")["argv"][0] == "apptainer"
    assert launch.record("status.json")["state"] == "stopped"


def test_a_dry_run_shows_the_whole_command_and_starts_nothing(run: Run, programs: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")

    launch = run("server.python=null", "runtime=apptainer", f"runtime.image={image}", "dry_run=true")

    assert launch.exit_code() == 0, launch.stderr
    words = shlex.split(launch.stdout)
    assert words[words.index("apptainer") :][:3] == ["apptainer", "exec", "--cleanenv"]
    assert words[words.index(str(image)) :][1:5] == ["python3", "-m", "vllm.entrypoints.cli.main", "serve"]
    assert [call["command"][1] for call in calls(programs)] == ["-c"]


def test_a_program_that_is_missing_is_told_and_leaves_no_folder(run: Run, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")

    launch = run("server.python=null", "runtime=apptainer", f"runtime.image={image}", "runtime.program=no-such")

    assert launch.exit_code() == 1
    assert "no-such is not on the PATH" in launch.stderr
    assert not launch.run_folder().exists()


def test_the_frozen_command_runs_again_as_it_is(run: Run, programs: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image", phase_s=0.005)
    launch = run("server.python=null", "runtime=apptainer", f"runtime.image={image}", "workload=probe")
    launch.exit_code()

    (script,) = launch.folder.glob("outputs/*/*/command.sh")

    words = shlex.split(script.read_text().splitlines()[-1])
    program = next(word for word in words if "=" not in word)
    assert shutil.which(program, path=os.environ["PATH"]) == str(programs / "apptainer")
    assert f"APPTAINERENV_HF_HOME={tmp_path}/home/.cache/huggingface" in words
