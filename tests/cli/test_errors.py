"""The error front door, case by case, against recorded text. `UPDATE_EXPECTED=1` records it anew."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixvllm.cli import launch
from mixvllm.config.load.session import shipped_conf

EXPECTED = Path(__file__).parent / "expected"

CASES = {
    "misspelt_key": ["inference.tensor_paralel_size=4"],
    "misspelt_group": ["infernce=cpu"],
    "unknown_option": ["model=llama3"],
    "model_of_the_hub": ["model=Qwen/Qwen3-8B"],
    "wrong_type": ["inference.max_num_seqs=many"],
    "out_of_range": ["inference.gpu_memory_utilization=1.5"],
    "two_faults": ["inference.dtype=fp8", "server.prot=80"],
    "faults_of_every_stage": ["model=llama3", "inference.dtype=fp8", "server.port=${nope}", "seed=1", "x"],
    "cross_field": ["model=phi4_mini", "inference.tensor_parallel_size=5"],
    "missing_mandatory": ["model=default"],
    "group_null": ["inference=null"],
    "bad_syntax": ["inference.limit_mm_per_prompt={image:2"],
    "not_an_override": ["model"],
    "bad_interpolation": ["inference.seed=${inference.sed}"],
    "append_of_unknown": ["+workload.foo=1"],
    "sweep_without_multirun": ["inference.max_num_seqs=64,256"],
    "key_without_section": ["max_model_len=4096"],
    "unknown_flag": ["--gpus", "4"],
    "removed_key": ["~inference.dtype"],
    "help_with_broken_config": ["--help", "model=llama3"],
    "missing_config_dir": ["--config-dir", "no/such/folder"],
    "value_in_users_file": ["--config-dir", "mine", "inference=mine"],
    "broken_users_file": ["--config-dir", "mine", "inference=broken"],
    "users_file_names_no_option": ["--config-dir", "mine", "experiment=lost"],
}


@pytest.fixture
def users_folder(tmp_path: Path) -> Path:
    """A user's own options, with a fault in each."""
    files = {
        "inference/mine.yaml": "defaults: [default]\n\nmax_num_seqs: 0\nmax_num_sequences: 3\n",
        "inference/broken.yaml": "defaults: [default]\nmax_num_seqs: [1\n",
        "experiment/lost.yaml": "# @package _global_\ndefaults:\n  - override /model: llama3_8\n",
    }
    for name, text in files.items():
        file = tmp_path / "mine" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return tmp_path


@pytest.mark.usefixtures("users_folder")
@pytest.mark.parametrize("case", CASES)
def test_an_error_reads_as_recorded(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    exit_code = launch.main(CASES[case])

    text = capsys.readouterr().err.replace(f"{shipped_conf()}", "conf")
    recorded = EXPECTED / f"{case}.txt"
    if os.environ.get("UPDATE_EXPECTED"):
        recorded.write_text(text, encoding="utf-8")
    assert (exit_code, text) == (2, recorded.read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CASES)
def test_an_error_is_one_line_per_fault_and_never_advises_to_append(case: str) -> None:
    lines = (EXPECTED / f"{case}.txt").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if not line.startswith("error: ") or "use +" in line] == []
    assert lines


def test_help_is_shown_also_with_a_broken_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    launch.main(["--help", "model=llama3"])

    assert capsys.readouterr().out.startswith("Launch one vLLM server")


def test_a_refused_configuration_leaves_no_folder(tmp_path: Path) -> None:
    launch.main(["inference.tensor_paralel_size=4"])

    assert list(tmp_path.iterdir()) == []


def test_the_program_itself_exits_with_2_and_no_traceback() -> None:
    command = [sys.executable, "-m", "mixvllm.cli.app", "launch", "inference.tensor_paralel_size=4"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60)

    recorded = (EXPECTED / "misspelt_key.txt").read_text(encoding="utf-8")
    assert (done.returncode, done.stdout, done.stderr) == (2, "", recorded)


def test_a_fault_of_our_own_shows_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixvllm.config.load.load_experiment", lambda *_: 1 / 0)

    with pytest.raises(ZeroDivisionError):
        launch.main(["model=demo"])
