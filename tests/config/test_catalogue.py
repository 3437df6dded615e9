"""The model catalogue: what every model option and every experiment over it must hold."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from mixvllm import ModelConfig, compose
from tests.config.test_options import EXPERIMENTS, VARIANTS

PARSERS: dict[str, list[str]] = json.loads(Path(__file__).with_name("parsers.json").read_text(encoding="utf-8"))
"""Names of the supported release, by argument; tests/engine compares them with vLLM's own."""

MODELS = [option for group, option in VARIANTS if group == "model"]
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@cache
def model(option: str) -> ModelConfig:
    return compose([f"model={option}"]).model


def test_the_catalogue_is_not_small() -> None:
    assert len([option for option in MODELS if option != "demo"]) >= 25


@pytest.mark.parametrize("option", MODELS)
def test_a_model_names_a_repository_of_the_hub_or_is_made_here(option: str) -> None:
    config = model(option)

    assert HUB_ID.fullmatch(config.name) or (config.recipe == "demo" and config.is_local)


@pytest.mark.parametrize("option", MODELS)
def test_a_model_declares_its_context_and_its_heads(option: str) -> None:
    config = model(option)

    assert None not in (config.context_length, config.num_attention_heads)


def test_no_two_options_name_one_model() -> None:
    names = Counter(model(option).name for option in MODELS)

    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("argument", PARSERS)
@pytest.mark.parametrize("option", MODELS)
def test_a_models_parser_is_one_of_the_release(option: str, argument: str) -> None:
    assert getattr(model(option), argument) in (None, *PARSERS[argument])


@pytest.mark.parametrize("option", MODELS)
def test_a_model_with_a_tool_parser_may_call_tools(option: str) -> None:
    config = model(option)

    assert bool(config.enable_auto_tool_choice) == (config.tool_call_parser is not None)


@pytest.mark.parametrize("option", MODELS)
def test_a_model_runs_no_code_of_its_repository_unless_it_is_asked_to(option: str) -> None:
    config = model(option)

    assert not (config.trust_remote_code or config.trust_unpinned_code)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiments_gpus_divide_the_heads_of_its_model(name: str) -> None:
    config = compose([f"experiment={name}"])

    assert config.model.num_attention_heads is not None
    assert config.model.num_attention_heads % config.inference.tensor_parallel_size == 0
