"""What is missing is said before anything starts, each thing with the change that mends it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm import ModelConfig, ServeConfig
from mixvllm.config.schema import RuntimeConfig
from mixvllm.machine.preflight.runtime import check_runtime
from mixvllm.machine.preflight.weights import model_folder
from mixvllm.runtime.lacks import find_lacks, identity


def findings(environment: dict[str, str], **runtime: object) -> list[str]:
    return [lack.finding for lack in find_lacks(RuntimeConfig(**runtime), environment)]  # type: ignore[arg-type]


def test_all_that_apptainer_lacks_is_told_at_once(tmp_path: Path) -> None:
    found = findings({"PATH": str(tmp_path)}, kind="apptainer", image="/no/image.sif", mounts=["/no/folder:/m"])

    assert found == [
        "apptainer is not on the PATH",
        "runtime.image=/no/image.sif: no such file",
        "runtime.mounts: /no/folder is not here",
    ]


def test_nothing_is_lacking_where_all_is_there(programs: Path, tmp_path: Path) -> None:
    found = findings({"PATH": str(programs)}, kind="apptainer", image=str(tmp_path), mounts=[f"{tmp_path}:/m"])

    assert found == []


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "this is none"),
        ({"SLURM_JOB_ID": "7"}, "this is not a node of job 7"),
        ({"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "PATH": "/no"}, "srun is not on the PATH"),
    ],
)
def test_pyxis_needs_a_job_on_this_node(environment: dict[str, str], words: str) -> None:
    (found,) = findings(environment, kind="pyxis", image="org/image:1")

    assert words in found


def test_an_image_of_pyxis_that_is_a_file_must_be_there() -> None:
    environment = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1", "PATH": "/usr/bin:/bin"}

    assert "runtime.image=/no/vllm.sqsh: no such file" in findings(environment, kind="pyxis", image="/no/vllm.sqsh")


def test_a_module_init_that_is_not_there_is_named() -> None:
    assert findings({}, kind="modules", modules=["x"], module_init="/no/init") == [
        "runtime.module_init=/no/init: no such file"
    ]


def test_an_image_is_another_one_when_it_was_written_anew(tmp_path: Path) -> None:
    image = tmp_path / "vllm.sif"
    image.write_text("a")
    runtime = RuntimeConfig(kind="apptainer", image=str(image))
    before = identity(runtime)
    image.write_text("ab")

    assert identity(runtime) != before


def test_the_preflight_says_what_is_missing_and_what_is_mounted(programs: Path, tmp_path: Path) -> None:
    model = ModelConfig(name=str(tmp_path))
    verdicts = []
    for image in ("/no/image", str(tmp_path)):
        runtime = RuntimeConfig(kind="apptainer", image=image)
        verdicts += [(one.verdict, one.finding) for one in check_runtime(ServeConfig(model=model, runtime=runtime))]

    assert verdicts == [
        ("error", "runtime.image=/no/image: no such file"),
        ("ok", f"apptainer: {tmp_path}; of this machine it sees {tmp_path}:{tmp_path}:ro, and caches"),
    ]


def test_the_preflight_reads_a_mounted_model_where_it_is_on_the_host(tmp_path: Path) -> None:
    (tmp_path / "llama").mkdir()
    runtime = RuntimeConfig(kind="apptainer", image="/i", mounts=[f"{tmp_path}:/models:ro"])

    assert model_folder(ServeConfig(model=ModelConfig(name="/models/llama"), runtime=runtime), {}) == tmp_path / "llama"
