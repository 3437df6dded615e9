"""What the servers that one warm engine can fork have in common."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from mixvllm.vllm.environment import API_KEY_VARIABLE
from mixvllm.vllm.installation import Installation

MAY_DIFFER = frozenset(
    {
        API_KEY_VARIABLE,
        "TMPDIR",
        "VLLM_CPU_KVCACHE_SPACE",
        "VLLM_CPU_OMP_THREADS_BIND",
        "VLLM_ENABLE_V1_MULTIPROCESSING",
        "VLLM_HOST_IP",
        "VLLM_PORT",
    }
)
"""Variables in which servers of one warm engine may differ: nothing reads them while vLLM is imported, and where the
temporary folder was written down is known. Every other one may be read by something, so it has to be the same."""


def warm_key(installation: Installation, environment: Mapping[str, str]) -> str:
    """Return what is equal for servers that one warm engine can fork: the vLLM, the environment, the cores.

    OpenMP counts its cores, as it reads its variables, when it is loaded. A digest, since environments hold secrets.
    """
    decisive = sorted((name, value) for name, value in environment.items() if name not in MAY_DIFFER)
    cores = sorted(os.sched_getaffinity(0))
    text = json.dumps([installation.python, installation.version, installation.location, decisive, cores])
    return hashlib.sha256(text.encode()).hexdigest()


def preload_environment(environment: Mapping[str, str], tmp_dir: Path) -> dict[str, str]:
    """Return the environment of a warm engine whose servers have `environment`."""
    decisive = {name: value for name, value in environment.items() if name not in MAY_DIFFER}
    return {"PATH": os.defpath, **decisive, "TMPDIR": str(tmp_dir)}
