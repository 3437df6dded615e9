"""Finds what the serving vLLM accepts: asked once per installation and kept; or the snapshot that mixvllm ships."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.vllm import dump_release
from mixvllm.vllm.arguments import Release, read_release
from mixvllm.vllm.inside import run_inside
from mixvllm.vllm.installation import Installation

_SNAPSHOT = Path(__file__).parent / "data" / f"vllm-{SUPPORTED_RELEASE}.json"
_DUMP_TIMEOUT_S = 300.0  # an import of vLLM from a cold network file system


@cache
def snapshot() -> Release:
    """Return what the supported release accepts, as shipped."""
    return read_release(json.loads(_SNAPSHOT.read_text(encoding="utf-8")), is_snapshot=True)


def load_release(installation: Installation, cache_folder: Path, say: Callable[[str], None]) -> Release:
    """Return what the vLLM of `installation` accepts.

    It is asked in its own process, which takes as long as importing vLLM, and the answer is kept for this installation;
    one that cannot be read any more is asked for again. Where it cannot be asked, the snapshot is returned.

    Args:
        installation: the serving vLLM.
        cache_folder: where answers are kept.
        say: told what takes long, and what could not be done.
    """
    kept = cache_folder / "releases" / f"{installation.version}-{_fingerprint(installation)}.json"
    found = _read(kept)
    if found is not None:
        return found
    say(f"reading the arguments of vLLM {installation.version} in {installation.python}: once per installation")
    described = _describe(installation)
    if described is None:
        say(f"it cannot be asked; checked against the shipped list of vLLM {SUPPORTED_RELEASE} instead")
        return snapshot()
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_suffix(f".{os.getpid()}")
    temporary.write_text(described, encoding="utf-8")
    temporary.rename(kept)
    return _read(kept) or snapshot()


def _fingerprint(installation: Installation) -> str:
    """Return what changes when the installation does: its interpreter, place and version, and when it was installed."""
    metadata = Path(installation.location, "__init__.py")  # of an image there is none here: it is known as a whole
    changed = metadata.stat().st_mtime_ns if metadata.is_file() else 0
    parts = (
        *(installation.python, installation.distribution, installation.version, installation.location),
        *(installation.kept_as, str(changed)),
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _read(kept: Path) -> Release | None:
    try:
        return read_release(json.loads(kept.read_text(encoding="utf-8")), is_snapshot=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _describe(installation: Installation) -> str | None:
    try:
        printed = _dump(installation)
        described: dict[str, Any] = json.loads(printed)
        read_release(described, is_snapshot=False)
    except (OSError, subprocess.SubprocessError, ValueError, KeyError, TypeError):
        return None
    return printed


def _dump(installation: Installation) -> str:
    if installation.runtime is not None:
        return run_inside(installation.runtime, dump_release.__file__, _DUMP_TIMEOUT_S)
    command = [installation.python, dump_release.__file__]
    return subprocess.run(command, capture_output=True, text=True, timeout=_DUMP_TIMEOUT_S, check=True).stdout
