"""Checks the arguments and variables that have no key of their own against the release that will run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from mixvllm.config import keys
from mixvllm.config.faults import show_value, shown_value
from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.fields import LAUNCHER_ONLY
from mixvllm.errors import Fault
from mixvllm.vllm.arguments import Argument, Release

EXTRA_SECTIONS = ("model", "inference", "server")
"""Sections that take arguments without a key of their own, in `extra_args`."""

TAKEN = {
    "served_model_name": "model.served_model_name",
    "model": "model.name",
    "model_tag": "model.name",
    "port": "server.port",
    "shutdown_timeout": "server.drain_timeout_s",
    "api_key": "server.api_key",
    "override_generation_config": "the keys of generation",
}
"""Arguments that the launcher sets itself, and the key that decides them."""

_OF_EACH_NODE = "is given to each node by the launcher: inference.nnodes says how many there are"
_REFUSED = {
    "node_rank": _OF_EACH_NODE,
    "master_addr": f"{_OF_EACH_NODE}, server.interface by which they meet",
    "master_port": _OF_EACH_NODE,
    "hf_token": "is a secret: export HF_TOKEN in your shell, the engine inherits it",
    "config": "names a second configuration: write its values here instead",
    "headless": "starts no HTTP server, so there would be nothing to watch",
    "grpc": "starts no HTTP server, so there would be nothing to watch",
    "uds": "listens on no port, which is where the launcher watches the server",
}
"""Arguments that a watched server cannot have."""

_INSTEAD = {
    "swap_space": "vLLM has no CPU swap any more; kv_offloading_size may serve",
    "task": "use runner and convert",
    "guided_decoding_backend": "use structured_outputs_config.backend",
    "disable_log_requests": "requests are not logged by default; enable_log_requests turns that on",
    "num_scheduler_steps": "use async_scheduling",
    "max_seq_len_to_capture": "use max_cudagraph_capture_size",
    "rope_scaling": "use inference.hf_overrides.rope_scaling",
    "rope_theta": "use inference.hf_overrides.rope_theta",
    "enable_reasoning": "model.reasoning_parser is enough",
    "speculative_model": "use inference.speculative_config.model",
    "num_speculative_tokens": "use inference.speculative_config.num_speculative_tokens",
    "worker_use_ray": "use inference.distributed_executor_backend=ray",
    "use_v2_block_manager": "there is only one block manager now",
    "device": "vLLM finds the device by itself",
}
"""What to do instead of arguments that vLLM no longer has."""

_OTHER_RELEASES = Path(__file__).parent / "data" / "other_releases.json"


def extra_arguments(config: ServeConfig) -> dict[str, Any]:
    """Return the arguments without a key of their own, by dotted path (`inference.extra_args.kv_events_config`)."""
    return {
        f"{section}.extra_args.{name}": value
        for section in EXTRA_SECTIONS
        for name, value in getattr(config, section).extra_args.items()
    }


def check_release(config: ServeConfig, release: Release) -> list[Fault]:
    """Return a fault for every argument and `VLLM_*` variable of `config` that `release` would not take."""
    return [*_typed_faults(config, release), *_extra_faults(config, release), *_variable_faults(config, release)]


def _typed_faults(config: ServeConfig, release: Release) -> Iterator[Fault]:
    """Check the keys of the schema: another release than the supported one may not have them, or not this choice."""
    for path, field in keys.fields().items():
        section, _, name = path.partition(".")
        if LAUNCHER_ONLY in field.metadata or section not in ServeConfig.model_fields:
            continue
        value = getattr(getattr(config, section), name)
        argument = release.arguments.get(name)
        if value is None or value == field.default:
            continue
        if argument is None:
            yield Fault(path, f"is not an argument of vLLM {release.version}; null leaves it out", show_value(value))
        elif problem := argument.problem_with(value):
            yield Fault(path, problem, show_value(value))


def _extra_faults(config: ServeConfig, release: Release) -> Iterator[Fault]:
    seen: dict[str, str] = {}
    for path, value in extra_arguments(config).items():
        section, _, name = path.split(".", 2)
        argument = release.find(name)
        problem = _problem(name, argument, value, release)
        if problem is None and argument is not None:
            earlier = seen.setdefault(argument.name, path)
            problem = None if earlier == path else f"is given twice, as {earlier.replace('.extra_args', '')} too"
        if problem is not None:
            yield Fault(f"{section}.{name}", problem, shown_value(f"{section}.{name}", value))


def _problem(name: str, argument: Argument | None, value: Any, release: Release) -> str | None:
    if argument is None:
        return _unknown(name, release)
    if argument.name in _REFUSED:
        return _REFUSED[argument.name]
    key = TAKEN.get(argument.name) or typed_key(argument.name)
    if key is not None:
        return f"has a key of its own: {key}"
    return argument.problem_with(value)


def typed_key(name: str) -> str | None:
    """Return the key of the schema that sets vLLM's argument `name`, or None."""
    own = (path for path, field in keys.fields().items() if LAUNCHER_ONLY not in field.metadata)
    return next((path for path in own if "." in path and path.partition(".")[2] == name), None)


def _unknown(name: str, release: Release) -> str:
    what = f"is not an argument of vLLM {release.version}"
    spelt = name.replace("-", "_")
    other = other_releases().get(spelt)
    if other is not None:
        instead = _INSTEAD.get(spelt)
        return f"{what}, vLLM {other} has it" + (f": {instead}" if instead else "")
    near = keys.nearest(name, release.arguments)
    if near is None:
        return what
    return f"{what}; did you mean {TAKEN.get(near) or typed_key(near) or near}?"


@cache
def other_releases() -> dict[str, str]:
    """Return arguments that the supported release does not have, each with the latest release that does.

    Source: the flags in the argument parsers of the last patch of every minor release from 0.4 to 0.33.
    """
    named: dict[str, str] = json.loads(_OTHER_RELEASES.read_text(encoding="utf-8"))
    return named


def problem_with_variable(name: str, release: Release) -> str | None:
    """Return what is wrong with setting the variable `name` for `release`; None where it reads it, or is not vLLM's."""
    if not name.startswith("VLLM_") or name in release.environment:
        return None
    near = keys.nearest(name, release.environment)
    return f"is not a variable of vLLM {release.version}" + (f"; did you mean {near}?" if near else "")


def _variable_faults(config: ServeConfig, release: Release) -> Iterator[Fault]:
    for name, value in config.server.env.items():
        if problem := problem_with_variable(name, release):
            path = f"server.env.{name}"
            yield Fault(path, problem, shown_value(path, value))
