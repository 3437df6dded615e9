"""What sweeps and searches have in common: their folder, their groups, and where those run on this machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mixvllm.cli.sweep_preflight import look_at_groups, refusal
from mixvllm.cli.terminal import remark
from mixvllm.config.schema.launcher import LocalLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.machine.gpu_memory import gpu_use
from mixvllm.runs.records import read_json
from mixvllm.sweep.placement import clashes, make_slots, too_large, with_warm_starts
from mixvllm.sweep.plan import Plan
from mixvllm.sweep.plan_record import Repeat
from mixvllm.sweep.repeat_record import failed_record, write_repeat
from mixvllm.sweep.slots import Slots, gpu_names
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.work import Work


def sweep_folder(plan: Plan, goes_on_in: Path | None) -> SweepFolder:
    """Return the folder of `plan`, made where it is new.

    Raises:
        ConfigError: it is not `goes_on_in`, which it must be.
    """
    name = plan.settings.name
    path = Path(plan.output_dir).absolute() / "sweeps" / (name or "")
    if goes_on_in is not None and path.resolve() != goes_on_in.resolve():
        words = f"the sweep in {goes_on_in} was in {path} when it was started: move it back to go on with it"
        raise ConfigError([Fault("", words)])
    return SweepFolder.create(plan.output_dir, name)


def works_of(plan: Plan, repeats: Sequence[Repeat]) -> list[Work]:
    """Return what is left of each group, in the order of the plan."""
    left: dict[str, list[tuple[str, int]]] = {}
    for repeat in repeats:
        left.setdefault(repeat.point.content_hash, []).append((repeat.point.content_hash, repeat.number))
    works = []
    for group in plan.groups:
        of_group = tuple(one for point in group.points for one in left.get(point.content_hash, ()))
        if of_group:
            number = next(point.index for point in group.points if point.content_hash == of_group[0][0])
            shape = group.shape
            works.append(Work(group.server_key, shape.num_gpus, of_group, number, num_nodes=shape.num_nodes))
    return works


def place(
    plan: Plan, works: Sequence[Work], folder: SweepFolder, options: LocalLauncherConfig
) -> tuple[list[Work], Slots]:
    """Return what can be run here, and where; what cannot is recorded as failed, or stops all.

    Raises:
        ConfigError: a server never gets what it needs, or several get in each other's way.
        PreflightFailed: this machine lacks something for one of them.
    """
    records = {work.server_key: read_json(folder.point(work.repeats[0][0])) or {} for work in works}
    slots = make_slots(records, options, visible_gpus)
    large = {work.server_key: reason for work in works if (reason := too_large(work, slots))}
    if large and not plan.settings.skip_infeasible:
        raise ConfigError(_too_large_faults(works, large, slots))
    fitting = [work for work in works if work.server_key not in large]
    faults = list(clashes(fitting, records, slots))
    if faults:
        raise ConfigError(faults)
    refused = look_at_groups(fitting, folder, slots)
    if refused and not plan.settings.skip_infeasible:
        raise refusal(fitting, refused)
    reasons = large | {key: f"{errors[0].subject}: {errors[0].finding}" for key, errors in refused.items()}
    for work in works:
        if work.server_key in reasons:
            _record_infeasible(folder, work, reasons[work.server_key])
    possible = [work for work in fitting if work.server_key not in refused]
    return with_warm_starts(possible, records, slots, plan.settings.warm_start), slots


def visible_gpus() -> list[str]:
    """Return the GPUs that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    return gpu_names(os.environ.get("CUDA_VISIBLE_DEVICES"), lambda: len(gpu_use()))


def _too_large_faults(works: Sequence[Work], large: dict[str, str], slots: Slots) -> list[Fault]:
    first = next(work for work in works if work.server_key in large)
    words = f"point {first.number}: {large[first.server_key]}; sweep.skip_infeasible=true goes on with the others"
    if first.num_nodes > 1:
        return [Fault("inference.nnodes", words, str(first.num_nodes))]
    return [Fault("hydra.launcher.gpus", words, ",".join(slots.gpus))]


def _record_infeasible(folder: SweepFolder, work: Work, reason: str) -> None:
    remark(f"point {work.number}: infeasible: {reason}")
    for content_hash, number in work.repeats:
        write_repeat(folder, work.server_key, content_hash, number, failed_record(f"infeasible: {reason}"))
