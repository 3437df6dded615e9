"""The command is a pure function of the configuration; its text is compared with recorded files."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixvllm import ModelConfig, ServeConfig, build_vllm_command, compose
from mixvllm.vllm.command import render
from mixvllm.vllm.describe import API_SERVER_MODULE
from mixvllm.vllm.environment import build_environment

EXPECTED = Path(__file__).parent / "expected"

CASES = {
    "smallest": ["model=default", "model.name=some/model"],
    "llama3_8b_tp4": ["model=llama3_8b", "inference.tensor_parallel_size=4"],
    "llama3_70b_node": ["experiment=llama3_70b_node"],
    "qwen3_8b_latency": ["experiment=qwen3_8b_latency"],
    "demo_cpu": ["experiment=demo_cpu", "model.name=/models/demo"],
    "every_kind_of_value": [
        "model=default",
        "model.name=some/model",
        "model.served_model_name=[a,b]",
        "model.trust_remote_code=false",
        "inference.enforce_eager=true",
        "inference.enable_prefix_caching=false",
        "inference.max_model_len=-1",
        "inference.cudagraph_capture_sizes=[1,2,4]",
        "inference.compilation_config={mode:3,pass_config:{fuse_norm_quant:true}}",
        "inference.limit_mm_per_prompt={image:2}",
        "server.port=9000",
        "server.drain_timeout_s=5",
        "generation.temperature=0.0",
        "generation.top_k=20",
    ],
}


@pytest.mark.parametrize("case", CASES)
def test_a_command_reads_as_recorded(case: str) -> None:
    command = build_vllm_command(compose(CASES[case]))

    text = "".join(f"{argument}\n" for argument in command)
    recorded = EXPECTED / f"{case}.txt"
    if os.environ.get("UPDATE_EXPECTED"):
        recorded.write_text(text, encoding="utf-8")
    assert text == recorded.read_text(encoding="utf-8")


def test_only_what_is_set_reaches_the_command() -> None:
    command = build_vllm_command(ServeConfig(model=ModelConfig(name="some/model")), python="py")

    assert command == [
        *("py", "-m", "vllm.entrypoints.cli.main", "serve", "some/model"),
        *("--host", "127.0.0.1", "--disable-access-log-for-endpoints", "/health,/metrics", "--shutdown-timeout", "30"),
    ]


def test_the_older_entry_point_takes_the_model_as_an_option() -> None:
    command = build_vllm_command(ServeConfig(model=ModelConfig(name="some/model")), module=API_SERVER_MODULE)

    assert command[1:5] == ["-m", API_SERVER_MODULE, "--model", "some/model"]


def test_the_interpreter_of_another_environment_serves() -> None:
    config = compose(["model=demo", "server.python=/opt/vllm/bin/python"])

    assert build_vllm_command(config)[0] == "/opt/vllm/bin/python"


def test_the_chosen_port_and_the_identity_are_passed() -> None:
    command = build_vllm_command(compose(["model=demo"]), port=8007, identity="demo@1")

    assert ("--port 8007" in " ".join(command), "--served-model-name demo demo@1" in " ".join(command)) == (True, True)


def test_a_fixed_port_is_passed_as_it_is() -> None:
    assert "--port 9000" in " ".join(build_vllm_command(compose(["server.port=9000"])))


@pytest.mark.parametrize(("workload", "is_on_server"), [("serve", True), ("probe", False)])
def test_generation_defaults_are_the_servers_only_where_it_serves(workload: str, is_on_server: bool) -> None:
    command = build_vllm_command(compose(["generation=greedy", f"workload={workload}"]))

    assert ("--override-generation-config" in command) is is_on_server


def test_a_secret_source_never_reaches_the_command() -> None:
    assert "api" not in " ".join(build_vllm_command(compose(["server.api_key=env:SECRET"])))


@pytest.mark.parametrize(
    ("value", "arguments"),
    [
        (None, []),
        (True, ["--some-name"]),
        (False, ["--no-some-name"]),
        (3, ["--some-name", "3"]),
        (-1, ["--some-name=-1"]),
        (0.5, ["--some-name", "0.5"]),
        ("text", ["--some-name", "text"]),
        (["a", "b"], ["--some-name", "a", "b"]),
        ({"a": [1, None, True]}, ["--some-name", '{"a":[1,null,true]}']),
    ],
)
def test_a_value_is_rendered_as_vllm_reads_it(value: Any, arguments: list[str]) -> None:
    assert render("some_name", value) == arguments


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@pytest.mark.slow
@given(st.dictionaries(st.text(), JSON))
def test_a_mapping_comes_back_as_it_went(value: dict[str, Any]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--some-name", type=json.loads)

    assert parser.parse_args(render("some_name", value)).some_name == value


@given(st.text(min_size=1).filter(lambda text: "\x00" not in text))
def test_a_text_comes_back_as_it_went(value: str) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--some-name")

    assert parser.parse_args(render("some_name", value)).some_name == value


def test_a_loopback_server_keeps_its_inner_sockets_on_loopback() -> None:
    hosts = [
        build_environment(compose([f"server.host={host}"]), {}, None).get("VLLM_HOST_IP")
        for host in ("127.0.0.1", "0.0.0.0")
    ]

    assert hosts == ["127.0.0.1", None]


def test_the_users_environment_wins_and_null_leaves_an_entry_out() -> None:
    config = compose(["server.env={VLLM_HOST_IP: 10.0.0.1, A: null}"])

    assert build_environment(config, {}, None) == {"VLLM_HOST_IP": "10.0.0.1"}


def test_missing_metadata_goes_before_what_is_on_the_path() -> None:
    environment = build_environment(compose([]), {"PYTHONPATH": "/mine"}, "/metadata")

    assert environment["PYTHONPATH"] == "/metadata:/mine"
