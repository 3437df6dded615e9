"""What is shown when something is wrong, or asked for, never holds a secret that was put in a wrong place."""

from __future__ import annotations

from typing import Any

import pytest

from mixvllm import ConfigError, ModelConfig, ServeConfig, ServerConfig, merge_configs
from mixvllm.cli import launch
from mixvllm.vllm.check import check_release
from mixvllm.vllm.release import snapshot

SECRET = "vErYsEcReTx"


@pytest.mark.parametrize(
    "arguments",
    [
        [f"server.api_key={SECRET}"],
        [f"server.api_key={SECRET},x"],
        [f"server.api_key=[{SECRET}"],
        [f"+server.api_key={SECRET}"],
        [f"server.apikey={SECRET}"],
        [f"api_key={SECRET}"],
        [f"HF_TOKEN={SECRET}"],
        [f"server.env.HF_TOKEN={SECRET}"],
        [f"server.env.HF_TOKEN={SECRET},x"],
        [f"server.env.HF_TOKEN=[{SECRET}"],
        [f"server.env=HF_TOKEN:{SECRET}"],
        [f"inference.nothing={{a:{{my_token:{SECRET}}}}}"],
        ["--api-key", SECRET],
        [f"--api-key={SECRET}"],
    ],
    ids=" ".join,
)
def test_a_refused_value_that_may_be_a_secret_is_not_repeated(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code = launch.main(["model=demo", *arguments])

    shown = capsys.readouterr()
    assert (exit_code, SECRET in shown.out + shown.err, shown.err.startswith("error: ")) == (2, False, True)


@pytest.mark.parametrize(
    "server",
    [
        {"extra_args": {"api_key": SECRET}},
        {"extra_args": {"hf-token": SECRET}},
        {"extra_args": {"apikey": SECRET}},
        {"extra_args": {"api_keyy": SECRET}},
        {"extra_args": {"nothing": {"api_key": SECRET}}},
        {"env": {"VLLM_API_KEYY": SECRET}},
    ],
)
def test_a_value_that_vllm_would_refuse_and_that_may_be_a_secret_is_not_repeated(server: dict[str, Any]) -> None:
    config = ServeConfig(model=ModelConfig(name="m"), server=ServerConfig(**server))

    assert [SECRET in str(fault) for fault in check_release(config, snapshot())] == [False]


@pytest.mark.parametrize(
    "argument", ["generation.max_tokens=abc", "inference.max_num_batched_tokens=abc", "inference.kv_cache_dtype=abc"]
)
def test_a_value_of_a_key_that_only_sounds_like_a_secret_is_shown(
    argument: str, capsys: pytest.CaptureFixture[str]
) -> None:
    launch.main(["model=demo", argument])

    assert argument in capsys.readouterr().err


def test_a_secret_of_the_environment_is_masked_wherever_it_was_put(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)

    launch.main(["model=default", "model.name=${oc.env:HF_TOKEN}", "--cfg"])
    launch.main(["model=default", f"model.name={SECRET}", f"inference.dtype={SECRET}"])

    shown = capsys.readouterr()
    assert ("name: '***'" in shown.out, "inference.dtype=***" in shown.err) == (True, True)
    assert SECRET not in shown.out + shown.err


def test_a_name_of_a_command_line_of_ones_own_is_as_careful() -> None:
    with pytest.raises(ConfigError) as raised:
        merge_configs(ServeConfig(model=ModelConfig(name="m")), {"apikey": SECRET})

    assert SECRET not in str(raised.value)
