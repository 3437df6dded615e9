"""vLLM's own parser reads back what the configuration says, for every option, experiment and typed key."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mixvllm import ExperimentConfig, ServeConfig, build_vllm_command, compose
from mixvllm.config import keys
from mixvllm.config.schema.fields import LAUNCHER_ONLY, OUR_DEFAULT, human_int_value
from mixvllm.vllm.installation import Installation
from mixvllm.vllm.release import load_release, snapshot
from tests.config import test_options
from tests.vllm.values import SETTABLE, value_for

OVERRIDES = [
    *test_options.OVERRIDES,
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
    return compose([*overrides, "model.recipe=null", "model.name=some/model"])


def parse(installation: Installation, commands: list[list[str]]) -> dict[str, Any]:
    """Return what vLLM's parser reads for each of `commands`, and its defaults."""
    script = str(Path(__file__).with_name("parse_arguments.py"))
    done = subprocess.run([installation.python, script], input=json.dumps(commands), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def parsed(installation: Installation) -> dict[str, Any]:
    """What vLLM's parser reads for each of OVERRIDES."""
    commands = [build_vllm_command(configuration(overrides), port=8123, identity="me@1") for overrides in OVERRIDES]
    return parse(installation, [command[4:] for command in commands])


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


@pytest.fixture(scope="module")
def extras(installation: Installation) -> dict[str, Any]:
    """What vLLM's parser reads for each of SETTABLE, given alone."""
    commands = []
    for argument in SETTABLE:
        extra = {"model": {"name": "m"}, "inference": {"extra_args": {argument.name: value_for(argument)}}}
        commands.append(build_vllm_command(ServeConfig.model_validate(extra), release=snapshot())[4:])
    return parse(installation, commands)


@pytest.mark.parametrize("number", range(len(SETTABLE)), ids=lambda number: SETTABLE[number].name)
def test_vllm_reads_back_every_argument(extras: dict[str, Any], number: int) -> None:
    argument = SETTABLE[number]
    value, namespace = value_for(argument), extras["parsed"][number]

    assert "refused" not in namespace, namespace
    read = namespace[argument.name]
    if argument.name == "device_ids":
        assert read == [value]  # vLLM splits the text at commas
    elif argument.kind == "human_int":
        assert read == human_int_value(value)
    elif argument.kind.startswith("json") and read != value:  # read into an object of vLLM's own, shown as text
        assert all(f"{key}" in str(read) and f"{part}" in str(read) for key, part in dict(value).items())
    else:
        assert read == value


def test_the_shipped_list_is_what_the_installed_release_says(installation: Installation, tmp_path: Path) -> None:
    """Where this fails for a new release: write the new list to mixvllm/vllm/data, and raise SUPPORTED_RELEASE."""
    release = load_release(installation, tmp_path, print)

    assert (release.is_snapshot, release.arguments, release.environment) == (
        False,
        snapshot().arguments,
        snapshot().environment,
    )


def test_a_kept_list_that_is_broken_is_read_anew(installation: Installation, tmp_path: Path) -> None:
    said: list[str] = []
    load_release(installation, tmp_path, said.append)
    load_release(installation, tmp_path, said.append)
    kept = next((tmp_path / "releases").iterdir())
    kept.write_text("{", encoding="utf-8")

    release = load_release(installation, tmp_path, said.append)

    assert (len(said), release.is_snapshot, len(release.arguments) >= 300) == (2, False, True)
