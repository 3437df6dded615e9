"""What the nodes of one server are told to run."""

from __future__ import annotations

import pytest

from mixvllm import ServeConfig
from mixvllm.errors import PreflightFailed
from mixvllm.server.nodes import Span, spanning_argv
from mixvllm.server.nodes.step import main

_SPAN = Span(("vllm", "serve", "m", "--api-server-count", "2", "--nnodes", "2"), 2, 1, None, "/tmp")


def test_the_first_node_alone_has_a_front_end() -> None:
    first, second = (_SPAN.argv_of(rank, ["--master-port", "1"]) for rank in (0, 1))

    assert first == [*_SPAN.argv, "--master-port", "1", "--node-rank", "0"]
    assert second == ["vllm", "serve", "m", "--nnodes", "2", "--master-port", "1", "--node-rank", "1", "--headless"]


def test_a_span_is_passed_on_as_text() -> None:
    assert Span.parse(_SPAN.text) == _SPAN


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "this is no job of a cluster"),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "1"}, "a job on 1 is here"),
    ],
)
def test_a_server_on_two_nodes_is_not_started_on_one(environment: dict[str, str], words: str) -> None:
    config = ServeConfig.model_validate({"model": {"name": "m"}, "inference": {"tensor_parallel_size": 2, "nnodes": 2}})

    with pytest.raises(PreflightFailed, match=words):
        spanning_argv(["vllm"], config, environment)


def test_an_interface_that_is_not_there_ends_the_leader(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(Span(("vllm",), 2, 1, "ib7", "/tmp").text)

    assert ended.value.code == 1
    assert "server.interface=ib7: no such interface here" in capsys.readouterr().err
