"""The vLLM that will serve: is it the release that mixvllm knows, and is it safe to open to others?"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.config.schema import ServeConfig
from mixvllm.machine.preflight.check import Check, error, ok, warning

OLDEST_SAFE_TO_OPEN = (0, 24, 0)
"""Releases before it have known ways past the API key, or to run code, for whoever can reach the port.

Source: CVE-2026-48746 (the key is bypassed), CVE-2026-22778 and CVE-2026-54236 (code by images), CVE-2026-47155.
"""


def check_engine(config: ServeConfig, version: str, python: str) -> Iterator[Check]:
    """Yield what is to be said of vLLM `version` in the interpreter `python`."""
    release, supported = release_numbers(version), release_numbers(SUPPORTED_RELEASE)
    found = f"vLLM {version} in {python}"
    if not release:
        yield warning("engine", f"{found}, a version that cannot be compared", "use a released version")
    elif release < OLDEST_SAFE_TO_OPEN and not config.server.is_loopback:
        yield error(
            "engine",
            f"{found} has known vulnerabilities, and server.host={config.server.host} opens it to others",
            "pip install -U vllm, or server.host=127.0.0.1",
        )
    elif release < supported:
        yield warning("engine", f"{found}, older than the supported {SUPPORTED_RELEASE}", "pip install -U vllm")
    else:
        yield ok("engine", found)


def release_numbers(version: str | None) -> tuple[int, ...]:
    """Return the numbers of the release `version` (`0.10.1.1`, `0.32.0+cpu`, `0.33.0rc1`), three at least.

    Empty where it has none.
    """
    found = re.match(r"\d+(\.\d+)+", version or "")
    numbers = [int(number) for number in found[0].split(".")] if found else []
    return (*numbers, 0) if len(numbers) == 2 else tuple(numbers)
