"""Where the clients' key comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm import ServerConfig
from mixvllm.errors import SecretUnavailable
from mixvllm.runs.folder import RunFolder
from mixvllm.server.key import resolve_key, shell_expression


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path)


def test_a_local_server_needs_no_key(folder: RunFolder) -> None:
    assert resolve_key(ServerConfig(), folder) is None


def test_a_generated_key_is_in_the_run_folder_for_its_owner_alone(folder: RunFolder) -> None:
    key = resolve_key(ServerConfig(host="0.0.0.0"), folder)

    assert key is not None
    assert (folder.api_key.read_text(), folder.api_key.stat().st_mode & 0o777) == (key.value, 0o600)


def test_two_runs_have_two_keys(tmp_path: Path) -> None:
    keys = [resolve_key(ServerConfig(api_key="generate"), RunFolder.create(tmp_path)) for _ in range(2)]

    assert len({key.value for key in keys if key}) == 2


def test_a_key_of_the_environment_is_named_not_shown(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "s3cret")

    key = resolve_key(ServerConfig(api_key="env:MY_KEY"), folder)

    assert key is not None
    assert (key.value, key.pointer.shell, "s3cret" in f"{key}{key.pointer.python}{key.pointer.reference}") == (
        "s3cret",
        "$MY_KEY",
        False,
    )


def test_a_key_of_a_file_is_read_without_its_line_end(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "key file").write_text("s3cret\n")

    key = resolve_key(ServerConfig(api_key="file:key file"), folder)

    assert key is not None
    assert (key.value, key.pointer.shell) == ("s3cret", f"$(cat '{tmp_path}/key file')")


@pytest.mark.parametrize("source", ["env:NOT_SET", "file:no/such/file"])
def test_a_key_that_is_not_there_is_an_error_that_says_what_to_do(folder: RunFolder, source: str) -> None:
    with pytest.raises(SecretUnavailable, match=r"server\.api_key=.*\n  next: "):
        resolve_key(ServerConfig(api_key=source), folder)


@pytest.mark.parametrize(
    ("source", "expression"),
    [
        ("none", None),
        ("generate", "${VLLM_API_KEY:?the key that clients send}"),
        ("env:MY_KEY", "$MY_KEY"),
        ("file:/a b", "$(cat '/a b')"),
    ],
)
def test_a_shown_command_expands_the_key_and_never_holds_it(source: str, expression: str | None) -> None:
    assert shell_expression(ServerConfig(api_key=source)) == expression
