"""An imported command line means to vLLM's own parser what the original does."""

from __future__ import annotations

import re
from typing import Any

import pytest

from mixvllm import build_vllm_command, compose
from mixvllm.vllm.command_words import split_command
from mixvllm.vllm.import_command import import_command
from mixvllm.vllm.installation import Installation
from mixvllm.vllm.release import snapshot
from tests.engine.test_arguments import parse
from tests.vllm.command_lines import LINES

SECRETS = {"api_key", "hf_token"}
LAUNCHERS_OWN = {"host", "shutdown_timeout", "disable_access_log_for_endpoints"}
"""What the launcher passes where the line does not."""
ENGINE_ID = re.compile(r"engine_id='[0-9a-f-]{36}'")
"""Drawn anew by vLLM each time."""


@pytest.fixture(scope="module")
def parsed(installation: Installation) -> dict[str, Any]:
    """What vLLM reads for each line, and then for each imported one."""
    originals = [list(split_command(line).arguments) for line in LINES.values()]
    configs = [compose(import_command(line, snapshot()).overrides) for line in LINES.values()]
    return parse(installation, originals + [build_vllm_command(one, release=snapshot())[4:] for one in configs])


@pytest.mark.parametrize("name", LINES)
def test_vllm_reads_the_same_from_an_imported_command(parsed: dict[str, Any], name: str) -> None:
    number = list(LINES).index(name)
    original, read = (comparable(parsed["parsed"][at]) for at in (number, number + len(LINES)))

    assert "refused" not in original
    silent = {key for key in LAUNCHERS_OWN if original[key] == parsed["defaults"][key]} | SECRETS
    assert {key: value for key, value in read.items() if key not in silent} == {
        key: value for key, value in original.items() if key not in silent
    }


def comparable(namespace: dict[str, Any]) -> dict[str, Any]:
    """Return `namespace` with the model in one place (vLLM takes it with and without a flag), and no random part."""
    rest = {key: value for key, value in namespace.items() if key not in ("model", "model_tag", "kv_transfer_config")}
    rest["kv_transfer_config"] = ENGINE_ID.sub("engine_id", str(namespace.get("kv_transfer_config")))
    return {**rest, "model": namespace.get("model_tag") or namespace.get("model")}
