"""What is asked of Slurm, before anything is."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

import mixvllm
from mixvllm import compose
from mixvllm.cluster.array_folder import ArrayFolder, Element
from mixvllm.cluster.script import script_text
from mixvllm.cluster.shape import JobShape, shape_of
from mixvllm.cluster.submit import batches_of
from mixvllm.config.schema.launcher import SlurmLauncherConfig
from mixvllm.errors import ConfigError

EXPECTED = Path(__file__).parent / "expected"
SHAPE = JobShape(1, 4, 12, 64.0, 120)


def script(options: SlurmLauncherConfig, shape: JobShape = SHAPE) -> str:
    text = script_text(ArrayFolder(Path("/sweeps/s/slurm/a")), shape, 3, options, "s")
    return text.replace(sys.executable, "PYTHON").replace(str(Path(mixvllm.__file__).parents[1]), "PACKAGE")


def flags(options: SlurmLauncherConfig, shape: JobShape = SHAPE) -> list[str]:
    return re.findall(r"^#SBATCH (.*)$", script(options, shape), re.MULTILINE)


def srun_arguments(shape: JobShape) -> list[str]:
    (line,) = re.findall(r"^srun (.*)$", script(SlurmLauncherConfig(), shape), re.MULTILINE)
    return str(line).split()


ALL = SlurmLauncherConfig(
    partition="gpu",
    account="me",
    qos="high",
    reservation="weekend",
    wckey="key",
    constraint="a100&nvlink",
    nodelist="n[1-4]",
    exclude="n9",
    exclusive=True,
    dependency="afterok:12",
    job_name="bench it",
    comment="why",
    mail_user="a@b.c",
    mail_type="END",
    gpu_type="a100",
    array_parallelism=2,
    signal_delay_s=300,
    modules=["cuda/12.8", "odd name"],
    setup=["export A=1"],
    teardown=["echo over"],
    srun_args=["--mpi=none"],
    additional_parameters={"nice": 100, "licenses": "a:1", "spread_job": True, "requeue": False},
)


@pytest.mark.parametrize(("name", "options"), [("plain", SlurmLauncherConfig()), ("all", ALL)])
def test_a_script_says_what_was_asked_for(name: str, options: SlurmLauncherConfig) -> None:
    recorded = EXPECTED / f"script_{name}.txt"
    if os.environ.get("UPDATE_EXPECTED"):
        recorded.parent.mkdir(exist_ok=True)
        recorded.write_text(script(options))

    assert script(options) == recorded.read_text()


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, ["--gpus-per-node=4"]),
        ({"gpu_type": "a100"}, ["--gpus-per-node=a100:4"]),
        ({"gres": "gpu"}, ["--gres=gpu:4"]),
        ({"gres": "gpu:a100"}, ["--gres=gpu:a100:4"]),
        ({"gres": "gpu:a100:8,lscratch:100"}, ["--gres=gpu:a100:8,lscratch:100"]),
        ({"gres": "lscratch:100"}, ["--gpus-per-node=4", "--gres=lscratch:100"]),
    ],
)
def test_gpus_are_asked_for_in_the_form_that_a_cluster_wants(given: dict[str, str], asked: list[str]) -> None:
    found = flags(SlurmLauncherConfig.model_validate(given))

    assert [flag for flag in found if flag.startswith(("--gpus", "--gres"))] == asked


def test_a_server_on_the_cpu_asks_for_no_gpu() -> None:
    assert [flag for flag in flags(SlurmLauncherConfig(), JobShape(1, 0, 6, None, 30)) if "gpu" in flag] == []


def shape(*overrides: str, num_repeats: int = 3, is_cpu: bool = False, **options: object) -> JobShape:
    config = compose(["model=default", "model.name=some/model", "workload=probe", *overrides])
    given = SlurmLauncherConfig.model_validate(options)
    return shape_of(config, given, {"HF_HOME": "/nowhere"}, num_repeats=num_repeats, is_cpu=is_cpu)


def test_a_job_takes_what_its_server_takes() -> None:
    parallel = ["inference.tensor_parallel_size=2", "inference.pipeline_parallel_size=2"]

    assert shape(*parallel) == JobShape(1, 4, 12, None, 60)
    assert shape(*parallel, is_cpu=True).gpus_per_node == 0
    assert shape("model.weights_gib=140", num_repeats=12) == JobShape(1, 1, 6, 192.0, 240)
    assert shape("workload=serve").timeout_min == 480


def test_each_part_of_a_shape_can_be_given() -> None:
    options = {"gpus_per_node": 0, "cpus_per_task": 3, "mem_gb": 7.5, "timeout_min": 99}

    assert shape(**options) == JobShape(1, 0, 3, 7.5, 99)


def test_a_server_on_several_nodes_takes_its_share_of_each() -> None:
    sizes = ["inference.tensor_parallel_size=4", "inference.pipeline_parallel_size=2", "inference.nnodes=2"]

    found = shape(*sizes, "model.weights_gib=140")
    assert (found.num_nodes, found.gpus_per_node, found.cpus_per_task, found.mem_gb) == (2, 4, 12, 112.0)
    assert shape(*sizes, is_cpu=True).gpus_per_node == 0


@pytest.mark.parametrize(
    ("gpus_per_node", "words"),
    [(8, "would leave 4 GPUs of each node idle"), (2, "is too few: a server of 8 GPUs on 2 nodes")],
)
def test_no_gpu_of_a_node_is_left_idle(gpus_per_node: int, words: str) -> None:
    sizes = ["inference.tensor_parallel_size=8", "inference.nnodes=2"]

    with pytest.raises(ConfigError, match=words):
        shape(*sizes, gpus_per_node=gpus_per_node)


def test_replicas_are_on_as_many_nodes_as_their_gpus_fill() -> None:
    sizes = ["inference.tensor_parallel_size=4", "server.replicas=4"]

    assert shape(*sizes).num_nodes == 1
    assert shape(*sizes).gpus_per_node == 16
    assert (shape(*sizes, gpus_per_node=8).num_nodes, shape(*sizes, gpus_per_node=8).gpus_per_node) == (2, 8)
    with pytest.raises(ConfigError, match="is too few"):
        shape("server.replicas=3", gpus_per_node=2)


def test_the_program_of_a_job_runs_on_its_first_node_alone() -> None:
    arguments = srun_arguments(JobShape(2, 4, 12, None, 30))

    assert {"--nodes=1", "--ntasks=1"} <= set(arguments)
    assert not {"--nodes=1", "--ntasks=1"} & set(srun_arguments(JobShape(1, 4, 12, None, 30)))


def test_jobs_of_a_shape_are_one_array_up_to_the_limit_of_the_cluster() -> None:
    small, large = JobShape(1, 1, 6, None, 30), JobShape(1, 8, 20, None, 30)
    jobs = [(large if at % 3 == 0 else small, Element(str(at))) for at in range(8)]

    batches = batches_of(jobs, max_array_size=3)

    found = [(batch.shape.gpus_per_node, [element.server_key for element in batch.elements]) for batch in batches]
    assert found == [(8, ["0", "3", "6"]), (1, ["1", "2", "4"]), (1, ["5", "7"])]
