"""Where the servers of a sweep run on this machine, and what speaks against it before any is started."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from mixvllm.config.schema.launcher import LocalLauncherConfig
from mixvllm.errors import Fault
from mixvllm.sweep.slots import Slots
from mixvllm.sweep.work import Work
from mixvllm.vllm.installation import is_cpu_build

Records = Mapping[str, Mapping[str, Any]]
"""The record of one point of each group, by its server key."""


def make_slots(records: Records, options: LocalLauncherConfig, visible: Callable[[], Sequence[str]]) -> Slots:
    """Return the slots of this machine for the servers of `records`.

    Args:
        options: of the launcher.
        visible: returns the GPUs that this process may use; asked only where a server needs one.
    """
    if options.gpus != "auto":
        return Slots([str(gpu) for gpu in options.gpus])
    needs_gpus = any(not is_cpu_build(record.get("versions") or {}) for record in records.values())
    return Slots(visible() if needs_gpus else [], options.slots)


def too_large(work: Work, slots: Slots) -> str | None:
    """Return why the server of `work` never gets a slot; None where it does."""
    if work.num_nodes > 1:
        return f"its server spans {work.num_nodes} nodes, and this launcher has one: hydra/launcher=slurm"
    if not slots.gpus or work.num_gpus <= slots.capacity:
        return None
    return f"its server takes {work.num_gpus} GPUs, and {slots.capacity} may be used"


def clashes(works: Sequence[Work], records: Records, slots: Slots) -> Iterator[Fault]:
    """Yield what keeps servers from running side by side."""
    sections = [(records[work.server_key].get("config") or {}).get("server") or {} for work in works]
    ports = [section.get("port") for section in sections]
    fixed = [port for port in ports if port != "auto"]
    several_at_once = len(works) > 1 and slots.num_at_once(min(work.num_gpus for work in works)) > 1
    if several_at_once and len(fixed) > len(set(fixed)):
        words = "is one port for servers that run at once: leave it to the launcher, server.port=auto"
        yield Fault("server.port", words, str(next(port for port in fixed if fixed.count(port) > 1)))
    named = [env["CUDA_VISIBLE_DEVICES"] for one in sections if "CUDA_VISIBLE_DEVICES" in (env := one.get("env") or {})]
    if slots.gpus and named:
        words = "the launcher gives each server its GPUs: hydra.launcher.gpus=[0,1] says which may be used"
        yield Fault("server.env.CUDA_VISIBLE_DEVICES", words, str(named[0]))


def with_warm_starts(
    works: Sequence[Work], records: Records, slots: Slots, mode: Literal["auto", "on", "off"]
) -> list[Work]:
    """Return `works`, those marked whose servers are to be forked from an interpreter that has imported vLLM.

    `auto` marks servers of one interpreter and environment where there are more of them than run at once: the import
    is then saved for each that follows in a slot, and costs nothing for the first.
    """
    kinds = {work.server_key: _interpreter(records[work.server_key]) for work in works}
    num_alike = Counter(kinds.values())

    def is_warm(work: Work) -> bool:
        is_worth_it = num_alike[kinds[work.server_key]] > max(1, slots.num_at_once(work.num_gpus))
        return _is_local(records[work.server_key]) and (mode == "on" or (mode == "auto" and is_worth_it))

    return [replace(work, is_warm=is_warm(work)) for work in works]


def _interpreter(record: Mapping[str, Any]) -> str:
    section = (record.get("config") or {}).get("server") or {}
    return json.dumps([section.get("python"), section.get("env")], sort_keys=True)


def _is_local(record: Mapping[str, Any]) -> bool:
    """Whether the server's interpreter can be forked: another runtime begins with a program that is no Python."""
    return bool(((record.get("config") or {}).get("runtime") or {}).get("kind", "local") == "local")
