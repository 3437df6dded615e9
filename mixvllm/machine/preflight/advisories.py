"""The published vulnerabilities of the vLLM that will serve."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.config.schema import ServeConfig
from mixvllm.machine.preflight.check import Check, error, warning
from mixvllm.machine.preflight.engine import OLDEST_SAFE_TO_OPEN, release_numbers

_DATA = Path(__file__).parent / "advisories.json"
_COMMIT = re.compile(r"[0-9a-f]{40}")

EFFECTS = {
    "key": "the API key does not keep others out",
    "code": "code of others is run",
    "network": "others reach the internal network, or what servers tell each other",
    "others": "a request changes the answers to others",
    "outage": "one request ends or blocks the server",
}
"""What an advisory warns of, worst first."""


@dataclass(frozen=True)
class Advisory:
    """One published vulnerability.

    Args:
        id: as its record has it.
        effect: a key of `EFFECTS`.
        affected_from: the first release that has it; empty = as far back as is known.
        fixed: the first release without it; empty where the record names none.
        what: what it is, in a few words.
    """

    id: str
    effect: str
    affected_from: tuple[int, ...]
    fixed: tuple[int, ...]
    what: str

    def applies_to(self, release: tuple[int, ...]) -> bool:
        """Whether `release` has it. One without a known fix counts for releases that are not safe to open anyway."""
        return self.affected_from <= release < (self.fixed or OLDEST_SAFE_TO_OPEN)


@cache
def advisories() -> tuple[Advisory, ...]:
    """Return those that are known here, worst effect first; there may be more.

    Source: the records of CVE, OSV and the Python advisory database, November 2026.
    """
    entries = json.loads(_DATA.read_text(encoding="utf-8"))
    known = (
        Advisory(one["id"], one["effect"], release_numbers(one["from"]), release_numbers(one["fixed"]), one["what"])
        for one in entries
    )
    return tuple(sorted(known, key=lambda one: list(EFFECTS).index(one.effect)))


def check_advisories(config: ServeConfig, version: str) -> Iterator[Check]:
    """Yield what is published of vLLM `version`, and whether code that it would run can change.

    An error only where others can reach a release with known ways past the key, or to run code.
    """
    release = release_numbers(version)
    is_old = () < release < release_numbers(SUPPORTED_RELEASE)
    found = [one for one in advisories() if one.applies_to(release)] if is_old else []
    if found:
        is_open = release < OLDEST_SAFE_TO_OPEN and not config.server.is_loopback
        mend = "pip install -U vllm" + (", or server.host=127.0.0.1" if is_open else "")
        yield (error if is_open else warning)("advisories", _summary(version, found), mend)
    yield from _check_remote_code(config)


def _check_remote_code(config: ServeConfig) -> Iterator[Check]:
    """A branch or a tag passes for a pinned revision; what stands behind it can change all the same."""
    model = config.model
    if not model.trust_remote_code or model.trust_unpinned_code or model.is_local:
        return
    movable = [
        name for name in ("revision", "code_revision") if not _COMMIT.fullmatch(getattr(model, name) or "0" * 40)
    ]
    if movable:
        named = ", ".join(f"model.{name}={getattr(model, name)}" for name in movable)
        yield warning("remote code", f"{named} can be moved to other code", f"model.{movable[0]}=COMMIT, 40 digits")


def _summary(version: str, found: Sequence[Advisory]) -> str:
    fixed = [one for one in found if one.fixed]
    of_effects = ((words, [one for one in fixed if one.effect == effect]) for effect, words in EFFECTS.items())
    parts = [f"{words} ({_ids(known)})" for words, known in of_effects if known]
    unfixed = [one for one in found if not one.fixed]
    parts += [f"not known to be fixed in it ({_ids(unfixed)})"] if unfixed else []
    return f"vLLM {version} has {len(fixed)} published vulnerabilities: {'; '.join(parts)}"


def _ids(found: Iterable[Advisory]) -> str:
    return ", ".join(one.id for one in found)
