"""What is started for each kind of runtime: the whole command, as a dry run shows it."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from mixvllm import ModelConfig, ServeConfig
from mixvllm.config.schema import RuntimeConfig
from mixvllm.runtime.mounts import Mount, host_path, needed_mounts
from mixvllm.runtime.variables import engine_variables, srun_environment
from mixvllm.runtime.wrapper import Wrapper
from mixvllm.server.command import ServerCommand

CACHES = Path("/caches")
ENVIRONMENT = {"PATH": "/usr/bin", "HF_HOME": "/hub", "VLLM_HOST_IP": "127.0.0.1"}


def wrapper(kind: str, *, name: str = "some/model", **runtime: object) -> Wrapper:
    section = RuntimeConfig(kind=kind, **runtime)  # type: ignore[arg-type]
    return Wrapper.of(ServeConfig(model=ModelConfig(name=name), runtime=section), CACHES)


def test_a_local_command_is_what_it_was() -> None:
    wrapped = wrapper("local").server(["python", "-m", "vllm"], ENVIRONMENT)

    assert (wrapped.argv, wrapped.environment) == (("python", "-m", "vllm"), ENVIRONMENT)


def test_apptainer_gets_mounts_and_variables_under_names_of_its_own() -> None:
    one = wrapper("apptainer", image="/i/vllm.sif", mounts=["/data:/models:ro"], gpu="nvidia", options=["--ipc"])

    wrapped = one.server(["python3", "-m", "vllm"], ENVIRONMENT)

    assert shlex.join(wrapped.argv) == (
        "apptainer exec --cleanenv --home /caches/runtime/home:/mixvllm/home --nv --bind /data:/models:ro "
        "--bind /hub:/hub --bind /caches/runtime/vllm:/caches/runtime/vllm --ipc /i/vllm.sif python3 -m vllm"
    )
    assert {name: value for name, value in wrapped.environment.items() if name.startswith("APPTAINERENV_")} == {
        "APPTAINERENV_HF_HOME": "/hub",
        "APPTAINERENV_VLLM_CACHE_ROOT": "/caches/runtime/vllm",
        "APPTAINERENV_VLLM_HOST_IP": "127.0.0.1",
        "APPTAINERENV_PYTHONNOUSERSITE": "1",
    }


def test_singularity_has_other_names_for_variables() -> None:
    one = wrapper("apptainer", image="/i/vllm.sif", program="/opt/bin/singularity", gpu="none")

    wrapped = one.server(["python3"], ENVIRONMENT)

    assert (wrapped.argv[0], wrapped.environment["SINGULARITYENV_HF_HOME"]) == ("/opt/bin/singularity", "/hub")


def test_pyxis_is_an_srun_that_lets_requests_finish() -> None:
    one = wrapper("pyxis", image="org/image:1", mount_home=True)
    environment = {**ENVIRONMENT, "SLURMD_NODENAME": "n1", "SLURM_CPUS_PER_TASK": "8", "SLURM_STEP_ID": "0"}

    wrapped = one.server(["python3", "-m", "vllm"], environment)

    step = wrapped.argv.index("srun")
    assert Path(wrapped.argv[step - 1]).name == "step.py"
    words = [word for word in wrapped.argv[step:] if not word.startswith("--container-mounts")]
    assert shlex.join(words) == (
        "srun --overlap --nodes=1 --ntasks=1 --mem=0 --export=ALL --nodelist=n1 --cpus-per-task=8 "
        "--container-image=org/image:1 --container-mount-home "
        "--container-env=HF_HOME,PYTHONNOUSERSITE,VLLM_CACHE_ROOT,VLLM_HOST_IP "
        "python3 /mixvllm/inside.py python3 -m vllm"
    )
    assert "SLURM_STEP_ID" not in wrapped.environment


def test_modules_are_loaded_by_a_shell_that_becomes_the_command(tmp_path: Path) -> None:
    init = tmp_path / "in it.sh"
    init.write_text('module() { export LOADED="$LOADED $2"; }\n')
    one = wrapper("modules", modules=["gcc/13", "it's"], module_init=str(init))

    wrapped = one.server(["sh", "-c", 'echo "$LOADED" "$0" "$1" $$', "a b", "c"], {**os.environ, "LOADED": ""})

    process = subprocess.Popen(wrapped.argv, env=wrapped.environment, stdout=subprocess.PIPE, text=True)
    printed, _ = process.communicate()
    assert printed == f" gcc/13 it's a b c {process.pid}\n"


def test_a_module_that_cannot_be_loaded_starts_nothing(tmp_path: Path) -> None:
    init = tmp_path / "init.sh"
    init.write_text("module() { return 1; }\n")

    wrapped = wrapper("modules", modules=["x"], module_init=str(init)).server(["echo", "started"], os.environ)

    done = subprocess.run(wrapped.argv, env=wrapped.environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a", Mount("/a", "/a")),
        ("/a:ro", Mount("/a", "/a", True)),
        ("/a/:/b", Mount("/a", "/b")),
        ("/a:/b:ro", Mount("/a", "/b", True)),
        ("/a:/b:rw", Mount("/a", "/b")),
    ],
)
def test_a_mount_is_read_as_apptainer_reads_it(text: str, expected: Mount) -> None:
    assert Mount.parse(text) == expected


def test_a_path_of_the_container_is_found_on_the_host() -> None:
    runtime = RuntimeConfig(kind="apptainer", image="/i", mounts=["/data:/m:ro", "/fast:/m/big"])

    assert [host_path(runtime, path) for path in ("/m/x", "/m/big/y", "/mm", "org/name")] == [
        "/data/x",
        "/fast/y",
        "/mm",
        "org/name",
    ]


def test_a_local_runtime_maps_no_path() -> None:
    assert host_path(RuntimeConfig(), "/m/x") == "/m/x"


def needed(name: str, **runtime: object) -> list[Mount]:
    section = RuntimeConfig(kind="apptainer", image="/i", **runtime)  # type: ignore[arg-type]
    return list(needed_mounts(ServeConfig(model=ModelConfig(name=name), runtime=section)))


def test_a_snapshot_of_the_hub_is_mounted_with_the_files_that_it_links_to(tmp_path: Path) -> None:
    repository = tmp_path / "models--org--name"
    (repository / "blobs").mkdir(parents=True)
    (repository / "snapshots" / "abc").mkdir(parents=True)

    assert needed(str(repository / "snapshots" / "abc")) == [Mount(str(repository), str(repository), True)]


def test_what_a_mount_holds_is_not_mounted_again(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()

    assert needed(str(tmp_path / "model"), mounts=[f"{tmp_path}:ro"]) == []
    assert needed(str(tmp_path / "model")) != []


def test_secrets_that_are_not_for_the_engine_stay_outside() -> None:
    environment = dict.fromkeys(("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "UCX_TLS", "PYTHONPATH", "VLLM_API_KEY"), "x")

    assert set(engine_variables(environment, ["UCX_*"])) == {"HF_TOKEN", "UCX_TLS", "VLLM_API_KEY"}
    assert set(srun_environment(environment, {})) == set()


def test_the_shown_command_names_secrets_and_does_not_hold_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    command = ServerCommand(("python3",), {"VLLM_HOST_IP": "1.2.3.4"}, wrapper("apptainer", image="/i", gpu="none"))

    shown = command.shell("$(cat key)")

    assert "hf_secret" not in shown
    for words in ('APPTAINERENV_HF_TOKEN="$HF_TOKEN"', 'APPTAINERENV_VLLM_API_KEY="$(cat key)"', "_HOST_IP=1.2.3.4 "):
        assert words in shown
