"""What the parts of one server are told to run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mixvllm import ServeConfig
from mixvllm.errors import PreflightFailed
from mixvllm.server.command import ServerCommand
from mixvllm.server.nodes import leading_argv
from mixvllm.server.nodes.fleet import Fleet
from mixvllm.server.nodes.others import ADDRESS, RANK, NodeTask
from mixvllm.server.nodes.span import Span
from mixvllm.server.nodes.spanning import main

_SPAN = Span(("vllm", "serve", "m", "--api-server-count", "2", "--nnodes", "2"), 2, 1, None)
_FLEET = Fleet(("vllm", "serve", "m"), ("router",), "/run/replicas.json", 2, 1, 2, 30.0, None)
_JOB = {"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "2"}


def leader_of(environment: dict[str, str], **sections: dict[str, Any]) -> list[str]:
    config = ServeConfig.model_validate({"model": {"name": "m"}, **sections})
    return leading_argv(
        ServerCommand(("vllm",), {}), config, environment, port=8000, replicas=Path("/run/replicas.json"), is_cpu=False
    )


def test_the_first_node_alone_has_a_front_end() -> None:
    meeting = ["--master-port", "1"]

    assert _SPAN.front_end_argv(meeting) == [*_SPAN.argv, *meeting, "--node-rank", "0"]
    assert _SPAN.headless_argv(meeting) == (
        ["vllm", "serve", "m", "--nnodes", "2", "--master-port", "1", "--headless", "--node-rank", RANK]
    )


def test_what_parts_are_told_is_passed_on_as_text() -> None:
    task = NodeTask(("a", "b"), "ib0", drain_s=3)

    assert (Span.parse(_SPAN.text), Fleet.parse(_FLEET.text), NodeTask.parse(task.text)) == (_SPAN, _FLEET, task)


@pytest.mark.parametrize(
    ("environment", "sections", "words"),
    [
        ({}, {"inference": {"tensor_parallel_size": 2, "nnodes": 2}}, "this is no job of a cluster"),
        (
            {**_JOB, "SLURM_JOB_NUM_NODES": "1"},
            {"inference": {"tensor_parallel_size": 2, "nnodes": 2}},
            "a job on 1 is here",
        ),
        (_JOB, {"server": {"replicas": 2}}, "others can reach the replicas, so that they need a key"),
    ],
)
def test_what_cannot_run_here_is_not_started(environment: dict[str, str], sections: dict[str, Any], words: str) -> None:
    with pytest.raises(PreflightFailed, match=words):
        leader_of(environment, **sections)


def test_a_node_runs_what_it_is_told_with_its_rank_and_address() -> None:
    task = NodeTask(("ray", "--at", ADDRESS, "--rank", RANK, '{"rank": 1}'), None)

    assert task.argv_of(2, "10.0.0.2") == ["ray", "--at", "10.0.0.2", "--rank", "2", '{"rank": 1}']


def test_with_ray_vllm_is_not_told_the_number_of_nodes() -> None:
    span = Span(("python", "-m", "x", "--nnodes", "2", "-tp", "2"), 2, 1, None, uses_ray=True)

    assert span.argv_without_nodes == ["python", "-m", "x", "-tp", "2"]
    assert span.ray_argv("--head")[:5] == ["python", "-m", "ray.scripts.scripts", "start", "--head"]


def test_replicas_without_a_router_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixvllm.server.nodes.find_spec", lambda _name: None)

    with pytest.raises(PreflightFailed, match=r"pip install 'mixvllm\[router\]'"):
        leader_of({}, server={"replicas": 2})


def test_each_replica_has_gpus_ports_and_a_cache_of_its_own() -> None:
    given = {"CUDA_VISIBLE_DEVICES": "4,5,6,7", "VLLM_PORT": "20000", "VLLM_CACHE_ROOT": "/cache"}

    first, second = (_FLEET.environment_of(index, given) for index in (0, 1))
    assert first == {"CUDA_VISIBLE_DEVICES": "4,5", "VLLM_PORT": "20000"}
    assert second == {"CUDA_VISIBLE_DEVICES": "6,7", "VLLM_PORT": "20016", "VLLM_CACHE_ROOT": "/cache/replica-1"}
    assert _FLEET.environment_of(1, {})["CUDA_VISIBLE_DEVICES"] == "2,3"


def test_replicas_on_a_cpu_share_its_cores() -> None:
    fleet = Fleet(("vllm",), (), "", 2, 1, 0, 30.0, None)

    assert fleet.environment_of(0, {"OMP_NUM_THREADS": "8"}) == {"OMP_NUM_THREADS": "4"}


def test_an_interface_that_is_not_there_ends_the_leader(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(Span(("vllm",), 2, 1, "ib7").text)

    assert ended.value.code == 1
    assert "server.interface=ib7: no such interface here" in capsys.readouterr().err
