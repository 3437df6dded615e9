"""The key that clients send: where it comes from, and how a client finds it without its being printed."""

from __future__ import annotations

import os
import secrets
import shlex
from dataclasses import dataclass
from pathlib import Path

from mixvllm.config.schema import ServerConfig
from mixvllm.errors import SecretUnavailable
from mixvllm.runs.files import write_text
from mixvllm.runs.folder import RunFolder


@dataclass(frozen=True)
class KeyPointer:
    """Where a key is, without the key.

    Args:
        shell: an expression that a shell expands to the key inside double quotes.
        python: an expression that Python evaluates to it; it may need `os`.
        reference: the source, for records (`file:PATH`, `env:NAME`).
    """

    shell: str
    python: str
    reference: str


@dataclass(frozen=True)
class ApiKey:
    """A key and where to read it again. Its representation never shows it.

    Args:
        value: the secret.
        pointer: where it is.
    """

    value: str
    pointer: KeyPointer

    def __repr__(self) -> str:
        return f"ApiKey({self.pointer.reference})"


def point_to(reference: str) -> KeyPointer:
    """Return how to read the key of a `reference` as the records have it."""
    source, _, where = reference.partition(":")
    if source == "env":
        return KeyPointer(f"${where}", f"os.environ[{where!r}]", reference)
    return KeyPointer(f"$(cat {shlex.quote(where)})", f"open({where!r}).read().strip()", reference)


def resolve_key(server: ServerConfig, folder: RunFolder) -> ApiKey | None:
    """Return the key of `server`, generated into `folder` where it says so; None where it needs none.

    Raises:
        SecretUnavailable: the variable or the file is not there, or empty, or holds what cannot be a key.
    """
    source, _, where = server.key_source.partition(":")
    if source == "none":
        return None
    if source == "generate":
        write_text(folder.api_key, secrets.token_urlsafe(32))
        return _from_file(folder.api_key)
    if source == "env":
        value = os.environ.get(where, "")
        if not value:
            raise SecretUnavailable(f"server.api_key=env:{where}: the variable is not set\n  next: export {where}=…")
        return _checked(value, f"env:{where}")
    return _from_file(Path(where).expanduser().absolute())


def shell_expression(server: ServerConfig) -> str | None:
    """Return what a shell expands to the key before a run has made one; None where there is none. For `dry_run`."""
    source, _, where = server.key_source.partition(":")
    if source == "none":
        return None
    if source == "generate":
        return "${VLLM_API_KEY:?the key that clients send}"
    return f"${where}" if source == "env" else f"$(cat {shlex.quote(str(Path(where).expanduser()))})"


def _from_file(path: Path) -> ApiKey:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SecretUnavailable(f"server.api_key=file:{path}: {error.strerror}\n  next: write the key there") from error
    except UnicodeDecodeError:
        value = "no text"
    if not value:
        raise SecretUnavailable(f"server.api_key=file:{path}: the file is empty\n  next: write the key there")
    return _checked(value, f"file:{path}")


def _checked(value: str, reference: str) -> ApiKey:
    """Return the key; refuse one that no header can carry, before an HTTP library repeats it in its complaint."""
    if not (value.isascii() and value.isprintable()) or " " in value:
        raise SecretUnavailable(
            f"server.api_key={reference}: the key has a blank, a line end, or what else no HTTP header has\n"
            "  next: take one of letters, digits and -._~+/="
        )
    return ApiKey(value, point_to(reference))
