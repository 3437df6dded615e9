"""The options of `vllm bench serve` are a pure function of the configuration, compared with recorded files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from mixvllm import ExperimentConfig, ModelConfig, compose
from mixvllm.config.schema import WorkloadConfig
from mixvllm.workload.bench.command import build_bench_command
from mixvllm.workload.bench.options import bench_options, check_bench_options, typed_options
from mixvllm.workload.bench.tokenizer import find_tokenizer
from tests.workload.conftest import configure

EXPECTED = Path(__file__).parent / "expected"
MODEL = ["model=default", "model.name=some/model"]

CASES = {
    "bench_smallest": ["workload=bench"],
    "bench_random": [
        "workload=bench",
        "workload.num_prompts=200",
        "workload.input_len=512",
        "workload.output_len=128",
        "workload.random_range_ratio=0.25",
        "workload.max_concurrency=16",
        "workload.num_warmups=4",
        "generation=creative",
    ],
    "bench_chat_at_a_rate": [
        "workload=bench",
        "workload.backend=openai-chat",
        "workload.dataset_name=sharegpt",
        "workload.dataset_path=/data/sharegpt.json",
        "workload.request_rate=2.5",
        "workload.burstiness=inf",
        "workload.goodput={ttft:200,tpot:50.5}",
        "workload.metric_percentiles=[50,99.9]",
        "workload.seed=7",
        "model.served_model_name=[a,b]",
        "model.tokenizer_mode=mistral",
    ],
    "bench_ramp": [
        "workload=bench",
        "workload.dataset_name=prefix_repetition",
        "workload.prefix_repetition_num_prefixes=4",
        "workload.ramp_up_strategy=linear",
        "workload.ramp_up_start_rps=1",
        "workload.ramp_up_end_rps=10",
        "workload.ignore_eos=true",
        "workload.disable_shuffle=false",
        "workload.random_range_ratio={input:0.1,output:0.2}",
        "workload.extra_body={chat_template_kwargs:{enable_thinking:false}}",
        "+workload.metadata=['a=1','b=2']",
        "+workload.timed_trace_sec_multiplier=0.5",
    ],
}


def options(config: ExperimentConfig, repeat: int = 0, **fields: Any) -> list[str]:
    where = {"url": "http://127.0.0.1:8000", "tokenizer": "some/model", **fields}
    return build_bench_command(config, repeat=repeat, result=Path("/run/measured/bench-0.json"), **where)


@pytest.mark.parametrize("case", CASES)
def test_options_read_as_recorded(case: str) -> None:
    text = "".join(f"{word}\n" for word in options(compose([*MODEL, *CASES[case]])))

    recorded = EXPECTED / f"{case}.txt"
    if os.environ.get("UPDATE_EXPECTED"):
        recorded.write_text(text, encoding="utf-8")
    assert text == recorded.read_text(encoding="utf-8")


def test_each_repeat_has_the_next_seed() -> None:
    config = configure(seed=40)

    assert [words[words.index("--seed") + 1] for words in (options(config, k) for k in range(3))] == ["40", "41", "42"]


def test_a_key_has_no_option() -> None:
    config = compose([*MODEL, "workload=bench", "server.api_key=env:MY_KEY"])

    assert "MY_KEY" not in " ".join(options(config))


def test_a_certificate_of_the_servers_own_is_accepted() -> None:
    assert "--insecure" in options(configure(), url="https://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("tokenizer", "accepts_any", "is_trusted"),
    [("some/model", False, False), ("some/model", True, True), ("/cache/snapshots/abc", False, True)],
)
def test_code_of_a_tokenizer_runs_only_as_it_was_accepted(tokenizer: str, accepts_any: bool, is_trusted: bool) -> None:
    model = {"name": "some/model", "trust_remote_code": True, "revision": "abc", "trust_unpinned_code": accepts_any}
    config = ExperimentConfig.model_validate({"model": model, "workload": {"kind": "bench"}})

    assert ("--trust-remote-code" in options(config, tokenizer=tokenizer)) is is_trusted


def test_every_typed_option_is_one_of_the_release() -> None:
    assert [name for name in typed_options() if name not in bench_options().arguments] == []


@pytest.mark.parametrize("name", ["backend", "dataset_name", "ramp_up_strategy"])
def test_the_choices_are_those_of_the_release(name: str) -> None:
    choices = bench_options().arguments[name].choices or ()

    for choice in choices:
        WorkloadConfig.model_validate({name: choice})
    with pytest.raises(ValueError, match=name):
        WorkloadConfig.model_validate({name: "another"})


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"num_promts": 5}, "is not an option of vllm bench serve 0.32.0; did you mean num_prompts?"),
        ({"logprobs": 5}, "has a key of its own: workload.logprobs"),
        ({"temperature": 0.5}, "has a key of its own: generation.temperature"),
        ({"model": "x"}, "has a key of its own: model.served_model_name"),
        ({"header": ["Authorization=secret"]}, "would be seen by everybody on this machine"),
        ({"save_result": True}, "is set by the launcher"),
        ({"spec_bench_output_len": "many"}, "must be an integer"),
        ({"lora_assignment": "robin"}, "must be one of random, round-robin"),
    ],
)
def test_an_option_that_would_not_be_taken_is_refused(extra: dict[str, Any], message: str) -> None:
    faults = [str(fault) for fault in check_bench_options(configure(extra_args=extra), "0.32.0")]

    assert (len(faults), message in faults[0], "secret" in faults[0]) == (1, True, False)


@pytest.mark.parametrize(
    ("context", "load", "is_refused"),
    [
        (1024, {}, True),  # vLLM's own 1024 of the prompt, and 128 of the answer
        (1152, {}, False),
        (1024, {"random_input_len": 900, "random_output_len": 64}, False),
        (1024, {"random_input_len": 900, "random_output_len": 64, "random_prefix_len": 64}, True),
        (1024, {"dataset_name": "sharegpt", "dataset_path": "/some/file"}, False),
        (None, {}, False),
    ],
)
def test_a_load_of_which_no_request_fits_is_refused(
    context: int | None, load: dict[str, Any], is_refused: bool
) -> None:
    config = configure(**load)
    declared = config.model.model_copy(update={"context_length": context})
    shorter = config.inference.model_copy(update={"max_model_len": context})

    of_model = check_bench_options(config.model_copy(update={"model": declared}), "0.32.0")
    of_server = check_bench_options(config.model_copy(update={"inference": shorter}), "0.32.0")

    assert [len(of_model), len(of_server)] == [is_refused, is_refused]


@pytest.mark.parametrize(("release", "num_faults"), [("0.32.0", 1), ("0.33.0", 0)])
def test_what_another_release_has_is_left_to_its_own_parser(release: str, num_faults: int) -> None:
    assert len(check_bench_options(configure(extra_args={"a_new_option": 1}), release)) == num_faults


def test_a_tokenizer_has_the_servers_revision(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--some--model"
    (repository / "snapshots" / "abc").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text("abc")

    found = [
        find_tokenizer(ModelConfig(name="some/model", revision=revision), {"HF_HOME": str(tmp_path)})
        for revision in ("v1", "abc", "unknown", None)
    ]

    snapshot = str(repository / "snapshots" / "abc")
    assert found == [snapshot, snapshot, "some/model", "some/model"]


def test_a_tokenizer_on_this_machine_is_its_folder(tmp_path: Path) -> None:
    assert find_tokenizer(ModelConfig(name="some/model", tokenizer=str(tmp_path)), {}) == str(tmp_path)
