"""vLLM's own parser reads back what the configuration says, for every option, experiment and typed key."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mixvllm import ExperimentConfig, build_vllm_command, compose
from mixvllm.config import keys
from mixvllm.config.schema.fields import LAUNCHER_ONLY, OUR_DEFAULT, human_int_value
from mixvllm.vllm.installation import Installation, complete_metadata
from tests.config.test_options import EXPERIMENTS, VARIANTS

OVERRIDES = [
    *[[f"{group}={option}"] for group, option in VARIANTS],
    *[[f"experiment={name}"] for name in EXPERIMENTS],
    [
        "model.tokenizer=a/tokenizer",
        "model.trust_remote_code=false",
        "model.served_model_name=[a,b]",
        "model.enable_auto_tool_choice=true",
        "model.tool_call_parser=hermes",
        "inference.max_model_len=-1",
        "inference.kv_cache_memory_bytes=1.5g",
        "inference.enforce_eager=false",
        "inference.enable_prefix_caching=true",
        "inference.cudagraph_capture_sizes=[1,2,4]",
        "inference.limit_mm_per_prompt={image:2,video:0}",
        "inference.hf_overrides={rope_scaling:{factor:2.0,type:yarn}}",
        "inference.speculative_config={method:ngram,num_speculative_tokens:4}",
        "inference.compilation_config={mode:3}",
        "inference.cpu_offload_gb=1.5",
        "generation.temperature=0.0",
        "generation.top_k=20",
        "generation.generation_config=vllm",
        "server.api_server_count=2",
        "server.uvicorn_log_level=warning",
        "server.enable_log_requests=true",
    ],
]


def configuration(overrides: list[str]) -> ExperimentConfig:
    """Compose `overrides`, of a model whose name does not depend on the machine."""
    return compose([*overrides, "model.name=some/model"])


@pytest.fixture(scope="module")
def parsed(installation: Installation, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What vLLM's parser reads for each of OVERRIDES, and its defaults."""
    commands = [build_vllm_command(configuration(overrides), port=8123, identity="me@1")[4:] for overrides in OVERRIDES]
    metadata = complete_metadata(installation, tmp_path_factory.mktemp("cache"))
    done = subprocess.run(
        [installation.python, str(Path(__file__).with_name("parse_arguments.py"))],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(metadata or "")},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def expected(config: ExperimentConfig) -> dict[str, Any]:
    """Return what vLLM must read: every argument that is set, by vLLM's name."""
    values: dict[str, Any] = {
        "model_tag": config.model.name,
        "served_model_name": [*config.model.served_names, "me@1"],
        "port": 8123 if config.server.port == "auto" else config.server.port,
        "shutdown_timeout": config.server.drain_timeout_s,
    }
    if config.generation_on_server:
        values["override_generation_config"] = config.generation_on_server
    for path, field in keys.fields().items():
        section, _, name = path.rpartition(".")
        if section in ("model", "inference", "server", "generation") and LAUNCHER_ONLY not in field.metadata:
            value = getattr(getattr(config, section), name)
            if value is not None:
                values[name] = value
    for name in ("max_model_len", "max_num_batched_tokens", "kv_cache_memory_bytes"):
        if name in values and values[name] != -1:
            values[name] = human_int_value(values[name])
    return values


@pytest.mark.parametrize("number", range(len(OVERRIDES)), ids=lambda number: " ".join(OVERRIDES[number])[:40])
def test_vllm_reads_back_what_was_set(parsed: dict[str, Any], number: int) -> None:
    wanted = expected(configuration(OVERRIDES[number]))
    read = parsed["parsed"][number]

    found = {name: read[name] for name in wanted if name != "compilation_config"}
    assert found == {name: value for name, value in wanted.items() if name != "compilation_config"}


def test_vllm_reads_a_compilation_config(parsed: dict[str, Any]) -> None:
    assert "'mode': <CompilationMode.VLLM_COMPILE: 3>" in str(parsed["parsed"][-1]["compilation_config"])


@pytest.mark.parametrize("path", [path for path in keys.fields() if path.partition(".")[0] in ("model", "inference")])
def test_every_key_is_an_argument_of_the_release_or_the_launchers_own(parsed: dict[str, Any], path: str) -> None:
    is_own = LAUNCHER_ONLY in keys.fields()[path].metadata

    assert is_own or path.rpartition(".")[2] in parsed["defaults"]


def test_a_default_that_is_left_out_of_the_command_is_vllms_own(parsed: dict[str, Any]) -> None:
    silent = {
        path.rpartition(".")[2]: field.get_default(call_default_factory=True)
        for path, field in keys.fields().items()
        if LAUNCHER_ONLY not in field.metadata and OUR_DEFAULT not in field.metadata and "." in path
    }
    set_here = {name: value for name, value in silent.items() if value is not None and name in parsed["defaults"]}

    assert set_here == {name: parsed["defaults"][name] for name in set_here}
    assert len(set_here) >= 3
