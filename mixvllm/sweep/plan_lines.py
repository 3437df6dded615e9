"""A plan in words, for `dry_run=true` and before a sweep starts."""

from __future__ import annotations

from collections.abc import Iterator

from mixvllm.sweep.faults import shown_label, words_of
from mixvllm.sweep.plan import Group, Plan, PlannedPoint
from mixvllm.sweep.text_table import counted, short_names, table


def plan_lines(plan: Plan, width: int = 80) -> list[str]:
    """Return what `plan` starts, in which order, and what it leaves out."""
    return [*_summary(plan), *_servers(plan, width), *_left_out(plan)]


def _summary(plan: Plan) -> Iterator[str]:
    repeats = sum(point.num_repeats for point in plan.points)
    measured = f" ({counted(repeats, 'repeat')})" if repeats != len(plan.points) else ""
    saved = f", {counted(plan.num_starts_saved, 'start')} saved" if plan.num_starts_saved else ""
    sizes = sorted({group.shape.num_gpus for group in plan.groups})
    gpus = (
        f"{_place(sizes[0])}{' each' if sizes[0] else ''}" if len(sizes) == 1 else f"{', '.join(map(str, sizes))} GPUs"
    )
    yield f"{counted(len(plan.points), 'point')}{measured} on {counted(plan.num_servers, 'server')}{saved}; {gpus}"


def _place(num_gpus: int) -> str:
    return counted(num_gpus, "GPU") if num_gpus else "on the CPU"


def _servers(plan: Plan, width: int) -> Iterator[str]:
    header = ["point", *short_names(plan.swept)]
    rows = [_row(point, plan) for group in plan.groups for point in group.points]
    lines = table(header, rows, width - 2, right=_numbers(plan))
    yield f"  {lines[0]}"
    at = 1
    for number, group in enumerate(plan.groups, 1):
        yield _title(number, group, plan)
        yield from (f"  {line}" for line in lines[at : at + len(group.points)])
        at += len(group.points)


def _title(number: int, group: Group, plan: Plan) -> str:
    nodes = f" on {group.shape.num_nodes} nodes" if group.shape.num_nodes > 1 else ""
    shared = f"{counted(len(group.points), 'point')}, {_place(group.shape.num_gpus)}{nodes}"
    runtime = group.points[0].runtime
    shared += "" if runtime == "local" else f", started cold by {runtime}"
    return f"server {number} of {plan.num_servers}: {group.points[0].model}, {shared}  {group.server_key}"


def _row(point: PlannedPoint, plan: Plan) -> list[str]:
    return [str(point.index), *(shown_label(key, point.labels.get(key)) for key in plan.swept)]


def _numbers(plan: Plan) -> frozenset[int]:
    """Return the columns that hold numbers only."""
    are_numbers = [all(isinstance(point.labels.get(key), int | float) for point in plan.points) for key in plan.swept]
    return frozenset([0, *(at for at, is_number in enumerate(are_numbers, 1) if is_number)])


def _left_out(plan: Plan) -> Iterator[str]:
    if plan.num_left_out:
        yield f"left out: {counted(plan.num_left_out, 'point')} where {plan.settings.where} is not true"
    if plan.num_merged:
        yield f"merged: {counted(plan.num_merged, 'point')} that ask for the same as another one"
        yield from (f"  {words}" for words in plan.merged)
    if plan.num_invalid:
        yield f"not valid: {counted(plan.num_invalid, 'point')}"
        yield from (f"  {fault}" for fault in words_of(plan.faults, plan.num_candidates))
