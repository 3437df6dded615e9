"""Every argument of the release can be set; nothing that is not one can."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixvllm import ModelConfig, ServeConfig, build_vllm_command, compose
from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.vllm.arguments import Argument
from mixvllm.vllm.check import check_release, other_releases, typed_key
from mixvllm.vllm.release import snapshot
from tests.config.test_options import OVERRIDES
from tests.vllm.values import LAUNCHERS_OWN, SETTABLE, value_for

RELEASE = snapshot()


def with_extra(name: str, value: Any, section: str = "inference") -> ServeConfig:
    return ServeConfig.model_validate({"model": {"name": "m"}, section: {"extra_args": {name: value}}})


def problems(config: ServeConfig) -> list[str]:
    return [f"{fault.path}: {fault.message}" for fault in check_release(config, RELEASE)]


def test_the_shipped_list_is_that_of_the_supported_release() -> None:
    assert (RELEASE.version, len(RELEASE.arguments) >= 300) == (SUPPORTED_RELEASE, True)


@pytest.mark.parametrize("name", sorted(RELEASE.arguments))
def test_an_argument_has_a_key_is_accepted_or_is_the_launchers_own(name: str) -> None:
    found = problems(with_extra(name, value_for(RELEASE.arguments[name])))

    if typed_key(name) or name in LAUNCHERS_OWN:
        assert len(found) == 1
    else:
        assert found == []


@pytest.mark.parametrize("argument", SETTABLE, ids=lambda argument: argument.name)
def test_a_value_of_another_kind_is_refused(argument: Argument) -> None:
    wrong: Any = {"str": {"a": 1}, "json": 1, "json_or_str": 1}.get(argument.kind, "no such value")

    assert argument.problem_with(wrong) is not None


@pytest.mark.parametrize("argument", [one for one in SETTABLE if one.choices], ids=lambda argument: argument.name)
def test_a_value_that_is_no_choice_is_refused_with_the_choices(argument: Argument) -> None:
    assert "must be one of" in (argument.problem_with("nothing-like-it" if argument.kind == "str" else -1) or "")


def misspell(word: str, seed: int) -> str:
    """Return `word` with one letter dropped, doubled, swapped or changed."""
    rng = random.Random(f"{word}{seed}")  # noqa: S311 - the same misspellings in every run
    at = rng.randrange(len(word) - 1)
    return rng.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + rng.choice(string.ascii_lowercase) + word[at + 1 :],
        ]
    )


def test_a_thousand_misspellings_are_all_refused() -> None:
    misspelt = {misspell(name, seed) for name in RELEASE.arguments for seed in range(5)} - set(RELEASE.arguments)
    misspelt = {name for name in misspelt if RELEASE.find(name) is None}

    accepted = [name for name in misspelt if not problems(with_extra(name, 1))]

    assert (len(misspelt) > 1000, accepted) == (True, [])


@given(st.text(string.ascii_lowercase + "_", min_size=1, max_size=30))
def test_any_word_that_is_no_argument_is_refused(word: str) -> None:
    assert RELEASE.find(word) is not None or problems(with_extra(word, True))


@pytest.mark.parametrize(
    ("section", "name", "value", "words"),
    [
        ("inference", "max_num_sqes", 4, "did you mean inference.max_num_seqs?"),
        ("inference", "scheduling_polcy", "fcfs", "did you mean scheduling_policy?"),
        ("inference", "device_memory_utilization", 0.5, "has a key of its own: inference.gpu_memory_utilization"),
        ("server", "port", 80, "has a key of its own: server.port"),
        ("server", "api_key", "x", "has a key of its own: server.api_key"),
        ("server", "hf_token", "x", "is a secret: export HF_TOKEN"),
        ("server", "headless", True, "nothing to watch"),
        ("inference", "swap_space", 4, "is not an argument of vLLM 0.32.0, vLLM 0.17.1 has it: "),
        ("inference", "watchdog_config", {}, "vLLM 0.33.0 has it"),
        ("inference", "logits_processors", [], "must have at least one entry"),
    ],
)
def test_a_refusal_says_what_to_do(section: str, name: str, value: Any, words: str) -> None:
    assert words in " ".join(problems(with_extra(name, value, section)))


def test_an_argument_of_another_release_alone_is_not_one_of_this() -> None:
    assert [name for name in other_releases() if RELEASE.find(name)] == []


def test_a_secret_is_not_repeated() -> None:
    faults = check_release(with_extra("hf_token", "hf_verysecret"), RELEASE)

    assert [fault.value for fault in faults] == [None]


def test_an_argument_given_in_two_sections_is_refused() -> None:
    config = ServeConfig(model=ModelConfig(name="m", extra_args={"max_loras": 2}))
    config = config.model_copy(
        update={"inference": config.inference.model_copy(update={"extra_args": {"max-loras": 3}})}
    )

    assert problems(config) == ["inference.max-loras: is given twice, as model.max_loras too"]


@pytest.mark.parametrize("overrides", OVERRIDES, ids=" ".join)
def test_every_option_is_taken_by_the_supported_release(overrides: list[str]) -> None:
    assert problems(compose(overrides)) == []


def test_a_key_of_the_schema_takes_only_the_choices_of_the_release() -> None:
    config = ServeConfig.model_validate({"model": {"name": "m"}, "inference": {"kv_cache_dtype": "fp9"}})

    assert [fault.partition(": must be one of ")[0] for fault in problems(config)] == ["inference.kv_cache_dtype"]


def test_a_misspelt_variable_of_vllm_is_refused_others_are_not() -> None:
    config = ServeConfig.model_validate(
        {"model": {"name": "m"}, "server": {"env": {"VLLM_LOGING_LEVEL": "INFO", "NCCL_DEBUG": "INFO"}}}
    )

    assert problems(config) == [
        "server.env.VLLM_LOGING_LEVEL: is not a variable of vLLM 0.32.0; did you mean VLLM_LOGGING_LEVEL?"
    ]


@pytest.mark.parametrize(
    ("name", "value", "rendered"),
    [
        ("disable_log_stats", True, ["--disable-log-stats"]),
        ("disable_log_stats", False, []),
        ("numa_bind", False, ["--no-numa-bind"]),
        ("allowed_origins", ["*"], ["--allowed-origins", '["*"]']),
        ("middleware", ["a.b", "c.d"], ["--middleware", "a.b", "--middleware", "c.d"]),
        ("lora_modules", [{"name": "a", "path": "/x"}, "b=/y"], ["--lora-modules", '{"name":"a","path":"/x"}', "b=/y"]),
        ("kv_transfer_config", {"kv_role": "kv_both"}, ["--kv-transfer-config", '{"kv_role":"kv_both"}']),
        ("additional_config", "text", ["--additional-config", "text"]),
        ("max_logprobs", -1, ["--max-logprobs=-1"]),
        ("collect_detailed_traces", "all", ["--collect-detailed-traces", "all"]),
    ],
)
def test_a_value_is_written_as_its_argument_wants(name: str, value: Any, rendered: list[str]) -> None:
    config = with_extra(name, value)

    assert problems(config) == []
    assert build_vllm_command(config, release=RELEASE)[-len(rendered) or None :] == (
        rendered or build_vllm_command(config, release=RELEASE)
    )
