"""Bounds, and rules over several values."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from mixvllm import ExperimentConfig, GenerationDefaultsConfig, ModelConfig, ServeConfig, ServerConfig
from mixvllm.config.faults import faults_of
from mixvllm.config.schema.fields import human_int_value


def faults(kind: type[ServeConfig] = ExperimentConfig, **sections: Any) -> list[str]:
    values = {"model": {"name": "some/model"}, **sections}
    values["model"] = {"name": "some/model", **values["model"]}
    try:
        kind.model_validate(values)
    except ValidationError as error:
        return [f"{fault.path}: {fault.message}" for fault in faults_of(error)]
    return []


def paths(**sections: Any) -> list[str]:
    return [fault.partition(": ")[0] for fault in faults(**sections)]


@pytest.mark.parametrize(
    ("section", "value", "path"),
    [
        ("inference", {"tensor_parallel_size": 0}, "inference.tensor_parallel_size"),
        ("inference", {"tensor_parallel_size": True}, "inference.tensor_parallel_size"),
        ("inference", {"tensor_parallel_size": "4"}, "inference.tensor_parallel_size"),
        ("inference", {"gpu_memory_utilization": 0.0}, "inference.gpu_memory_utilization"),
        ("inference", {"gpu_memory_utilization": 1.01}, "inference.gpu_memory_utilization"),
        ("inference", {"gpu_memory_utilization": float("nan")}, "inference.gpu_memory_utilization"),
        ("inference", {"max_model_len": 0}, "inference.max_model_len"),
        ("inference", {"max_model_len": "8 k"}, "inference.max_model_len"),
        ("inference", {"kv_cache_memory_bytes": "1.5G"}, "inference.kv_cache_memory_bytes"),
        ("inference", {"dtype": "fp8"}, "inference.dtype"),
        ("inference", {"hf_overrides": [1]}, "inference.hf_overrides"),
        ("server", {"port": 0}, "server.port"),
        ("server", {"port": 65536}, "server.port"),
        ("server", {"port": "any"}, "server.port"),
        ("server", {"port": True}, "server.port"),
        ("server", {"ready_timeout_s": 0}, "server.ready_timeout_s"),
        ("server", {"drain_timeout_s": -1}, "server.drain_timeout_s"),
        ("server", {"env": {"A": True}}, "server.env.A"),
        ("generation", {"temperature": -0.1}, "generation.temperature"),
        ("generation", {"temperature": 2.1}, "generation.temperature"),
        ("generation", {"top_p": 0}, "generation.top_p"),
        ("generation", {"repetition_penalty": 0}, "generation.repetition_penalty"),
        ("model", {"name": ""}, "model.name"),
        ("model", {"name": "--trust-remote-code"}, "model.name"),
        ("model", {"nmae": "x"}, "model.nmae"),
        ("workload", {"kind": "nothing"}, "workload.kind"),
        ("runtime", {"kind": "docker"}, "runtime.kind"),
        ("runtime", {"kind": "apptainer"}, "runtime.image"),
        ("runtime", {"kind": "modules"}, "runtime.modules"),
        ("runtime", {"image": "/i"}, "runtime.image"),
        ("runtime", {"python": "python3"}, "runtime.python"),
        ("runtime", {"kind": "apptainer", "image": "docker://vllm/vllm-openai"}, "runtime.image"),
        ("runtime", {"kind": "apptainer", "image": "/i", "modules": ["gcc"]}, "runtime.modules"),
        ("runtime", {"kind": "pyxis", "image": "/i", "program": "singularity"}, "runtime.program"),
    ],
)
def test_a_value_out_of_bounds_is_refused_at_its_key(section: str, value: dict[str, Any], path: str) -> None:
    assert paths(**{section: value}) == [path]


@pytest.mark.parametrize(
    "sections",
    [
        {"inference": {"max_model_len": -1}},
        {"inference": {"max_model_len": "auto"}},
        {"inference": {"max_model_len": "32K"}},
        {"inference": {"gpu_memory_utilization": 1}},
        {"server": {"env": {"OMP_NUM_THREADS": 4}}},
        {"server": {"port": 8000}},
        {"model": {"served_model_name": ["a", "b"]}},
        {"generation": {"temperature": 0}},
    ],
)
def test_a_value_within_bounds_is_accepted(sections: dict[str, Any]) -> None:
    assert faults(**sections) == []


@pytest.mark.parametrize("mount", ["data:/m", "/a:b", "/a:/b:rx", "/a,/b", ""])
def test_a_mount_is_two_whole_paths(mount: str) -> None:
    (path,) = paths(runtime={"kind": "apptainer", "image": "/i", "mounts": [mount]})

    assert path.startswith("runtime.mounts")


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        ({"server": {"python": "/opt/python"}}, "server.python"),
        ({"model": {"name": "./model"}}, "model.name"),
        (
            {"inference": {"nnodes": 2, "tensor_parallel_size": 2, "distributed_executor_backend": "ray"}},
            "inference.distributed_executor_backend",
        ),
    ],
)
def test_what_a_container_cannot_have_is_refused(sections: dict[str, Any], path: str) -> None:
    assert paths(runtime={"kind": "apptainer", "image": "/i"}, **sections) == [path]


def test_all_faults_are_reported_not_the_first() -> None:
    assert paths(inference={"dtype": "fp8", "max_num_seqs": 0}, server={"port": 0, "hots": "x"}) == [
        "inference.max_num_seqs",
        "inference.dtype",
        "server.port",
        "server.hots",
    ]


@pytest.mark.parametrize(
    ("sections", "path"),
    [
        (
            {"model": {"num_attention_heads": 24}, "inference": {"tensor_parallel_size": 5}},
            "inference.tensor_parallel_size",
        ),
        ({"model": {"context_length": 1024}, "inference": {"max_model_len": "2k"}}, "inference.max_model_len"),
        ({"inference": {"max_num_seqs": 64, "max_num_batched_tokens": 32}}, "inference.max_num_batched_tokens"),
        (
            {"inference": {"max_model_len": "8K", "max_num_batched_tokens": "2K", "enable_chunked_prefill": False}},
            "inference.max_num_batched_tokens",
        ),
        ({"model": {"name": "some/model", "recipe": "demo"}}, "model.name"),
        ({"model": {"trust_remote_code": True}}, "model.trust_remote_code"),
        ({"model": {"enable_auto_tool_choice": True}}, "model.enable_auto_tool_choice"),
        ({"server": {"host": "0.0.0.0", "api_key": "none"}}, "server.api_key"),
        ({"server": {"env": {"HF_TOKEN": "hf_x"}}}, "server.env.HF_TOKEN"),
        ({"server": {"env": {"1A": "x"}}}, "server.env.1A"),
        (
            {"inference": {"pipeline_parallel_size": 2}, "server": {"env": {"VLLM_ENABLE_V1_MULTIPROCESSING": "0"}}},
            "server.env.VLLM_ENABLE_V1_MULTIPROCESSING",
        ),
        ({"generation": {"max_tokens": 5}}, "generation.max_tokens"),
        ({"inference": {"tensor_parallel_size": 4, "nnodes": 3}}, "inference.nnodes"),
        ({"inference": {"tensor_parallel_size": 2, "data_parallel_size": 6, "nnodes": 4}}, "inference.nnodes"),
        ({"inference": {"nnodes": 2}}, "inference.nnodes"),
        ({"server": {"replicas": 2, "host": "0.0.0.0"}}, "server.host"),
        ({"server": {"replicas": 2}, "inference": {"tensor_parallel_size": 2, "nnodes": 2}}, "server.replicas"),
    ],
)
def test_values_that_do_not_go_together_are_refused(sections: dict[str, Any], path: str) -> None:
    assert paths(**sections) == [path]


@pytest.mark.parametrize(
    "sections",
    [
        {"model": {"num_attention_heads": 24}, "inference": {"tensor_parallel_size": 8}},
        {"model": {"context_length": 1024}, "inference": {"max_model_len": 2048, "hf_overrides": {"rope_scaling": {}}}},
        {
            "model": {"context_length": 1024},
            "inference": {"max_model_len": 2048},
            "server": {"env": {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}},
        },
        {"model": {"trust_remote_code": True, "revision": "abc"}},
        {"model": {"trust_remote_code": True, "trust_unpinned_code": True}},
        {"model": {"trust_remote_code": True, "name": "/models/x"}},
        {"server": {"host": "0.0.0.0"}},
        {"inference": {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "nnodes": 2}},
        {"inference": {"tensor_parallel_size": 2, "data_parallel_size": 8, "nnodes": 4}},
        {"inference": {"tensor_parallel_size": 8, "data_parallel_size": 2, "nnodes": 4}},
        {"generation": {"max_tokens": 5}, "workload": {"kind": "probe"}},
    ],
)
def test_values_that_go_together_are_accepted(sections: dict[str, Any]) -> None:
    assert faults(**sections) == []


def test_several_broken_rules_are_all_reported() -> None:
    assert paths(
        model={"num_attention_heads": 24, "context_length": 8},
        inference={"tensor_parallel_size": 5, "max_model_len": 9},
    ) == ["inference.tensor_parallel_size", "inference.max_model_len"]


def test_a_misplaced_secret_is_not_repeated_in_the_error() -> None:
    shown = faults(server={"api_key": "sk-very-secret"}) + faults(server={"env": {"MY_API_KEY": "sk-very-secret"}})

    assert (len(shown), "very-secret" in " ".join(shown)) == (2, False)


def test_a_configuration_cannot_be_changed() -> None:
    config = ServeConfig(model=ModelConfig(name="some/model"))

    with pytest.raises(ValidationError, match="frozen"):
        config.model.name = "other"  # type: ignore[misc]


def test_generation_defaults_is_another_name_for_generation() -> None:
    config = ServeConfig.model_validate({"model": {"name": "m"}, "generation_defaults": {"temperature": 0.5}})

    assert config.generation == GenerationDefaultsConfig(temperature=0.5)


@pytest.mark.parametrize(
    ("host", "key_source"),
    [("127.0.0.1", "none"), ("localhost", "none"), ("::1", "none"), ("0.0.0.0", "generate"), ("node7", "generate")],
)
def test_a_host_that_others_can_reach_gets_a_key(host: str, key_source: str) -> None:
    assert ServerConfig(host=host).key_source == key_source


@pytest.mark.parametrize(
    ("written", "tokens"), [(4096, 4096), ("8k", 8000), ("8K", 8192), ("1.5k", 1500), ("2M", 2 << 20)]
)
def test_a_suffix_means_what_vllm_reads(written: int | str, tokens: int) -> None:
    assert human_int_value(written) == tokens
