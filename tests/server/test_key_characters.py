"""A key that cannot be sent is refused before anything could repeat it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from mixvllm import ServerConfig
from mixvllm.config.schema.server import is_secret_name
from mixvllm.errors import SecretUnavailable
from mixvllm.runs.folder import RunFolder
from mixvllm.server.key import resolve_key, shell_expression
from mixvllm.vllm.release import snapshot

NO_KEYS = ["two words", "two\nlines", "t\tab", "schlüssel", "a\x00b", "line-end\r"]


@pytest.mark.parametrize("value", [value for value in NO_KEYS if "\x00" not in value])
def test_a_variable_that_no_header_can_carry_is_refused_without_being_shown(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", value)

    with pytest.raises(SecretUnavailable, match=r"server\.api_key=env:MY_KEY: the key has a blank") as raised:
        resolve_key(ServerConfig(api_key="env:MY_KEY"), RunFolder.create(tmp_path))

    assert value not in str(raised.value)


@pytest.mark.parametrize("value", [value for value in NO_KEYS if not value.endswith("\r")])
def test_a_file_that_no_header_can_carry_is_refused(value: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(value, encoding="utf-8")

    with pytest.raises(SecretUnavailable, match="the key has a blank"):
        resolve_key(ServerConfig(api_key=f"file:{tmp_path}/key"), RunFolder.create(tmp_path))


def test_every_character_of_a_token_may_be_in_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-Az09._~+/=!#")

    key = resolve_key(ServerConfig(api_key="env:MY_KEY"), RunFolder.create(tmp_path))

    assert key is not None
    assert key.value == "sk-Az09._~+/=!#"


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe")

    with pytest.raises(SecretUnavailable, match="the key has a blank"):
        resolve_key(ServerConfig(api_key=f"file:{tmp_path}/key"), RunFolder.create(tmp_path))


def test_a_shown_command_finds_a_file_in_the_users_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    assert shell_expression(ServerConfig(api_key="file:~/key")) == f"$(cat {tmp_path}/key)"


@pytest.mark.parametrize("name", ["A$(touch planted)", "A`id`", 'A"; id; "', "1A", ""])
def test_what_no_variable_is_called_is_no_source_of_a_key(name: str) -> None:
    with pytest.raises(ValidationError, match="env:NAME"):
        ServerConfig(api_key=f"env:{name}")


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [("HF_TOKEN", True), ("OPENAI_API_KEYS", True), ("DB_PASSWORD", True), ("VLLM_MAX_BAD_WORDS_TOTAL_TOKENS", False)],
)
def test_a_count_of_tokens_is_no_secret(name: str, is_secret: bool) -> None:
    assert is_secret_name(name) == is_secret


def test_no_variable_of_vllm_is_taken_for_a_secret_that_is_none() -> None:
    named = {name for name in snapshot().environment if is_secret_name(name)}

    assert named == {"S3_SECRET_ACCESS_KEY", "VLLM_API_KEY"} & snapshot().environment
