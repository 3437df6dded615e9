"""A sweep: planned whole, run group by group, resumed where it was left, shown as a table."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.stock_launcher import run_with_hydra
from mixvllm.cli.sweep_preflight import look_at_groups, refusal
from mixvllm.cli.sweep_screen import SweepScreen
from mixvllm.config.load.launcher import LOCAL, launcher_name, local_launcher
from mixvllm.config.schema.launcher import LocalLauncherConfig
from mixvllm.errors import ConfigError, Fault
from mixvllm.machine.gpu_memory import gpu_use
from mixvllm.runs.records import read_json
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.launched import write_launched
from mixvllm.sweep.local import LocalLauncher, Work
from mixvllm.sweep.placement import clashes, make_slots, too_large
from mixvllm.sweep.plan import Plan, make_plan
from mixvllm.sweep.plan_record import Repeat, missing, write_plan
from mixvllm.sweep.repeat_record import failed_record, write_repeat
from mixvllm.sweep.result_lines import table_lines
from mixvllm.sweep.results import Results, write_results
from mixvllm.sweep.search.space import asks_for_search
from mixvllm.sweep.slots import Slots, gpu_names
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.workers import await_earlier


def run_multirun(arguments: Arguments, goes_on_in: Path | None = None) -> int:
    """Run the sweep that was typed; return 0 where every repeat of every point is ok.

    1: some failed or are invalid. 128 + n where signal n stopped it.

    Args:
        goes_on_in: the folder of the sweep that this one must be.

    Raises:
        ConfigError: points are wrong; nothing was started.
        PreflightFailed: this machine lacks something for one of the servers; nothing was started.
    """
    if _is_true(arguments.overrides, "detach"):
        raise ConfigError([Fault("detach", "a sweep stays with its terminal; nohup leaves it alone", "true")])
    if asks_for_search(arguments.overrides):
        return _search(arguments, goes_on_in)
    is_dry_run = _is_true(arguments.overrides, "dry_run")
    if launcher_name(arguments.overrides) != LOCAL and not is_dry_run:
        return run_with_hydra(arguments)
    with Draft() as draft:
        plan = make_plan(arguments.overrides, arguments.config_dirs, draft=draft, say=_say)
        if plan.settings.search is not None:
            return _search(arguments, goes_on_in)
        if is_dry_run:
            return _show_plan(plan)
        options = local_launcher(plan.hydra)
        plan.check()
        folder = _folder(plan, goes_on_in)
        with folder.locked():
            await_earlier(folder, _say)
            write_plan(plan, draft, folder, sys.argv)
            write_launched(folder, arguments.overrides, arguments.config_dirs)
            return _run(plan, folder, options)


def _search(arguments: Arguments, goes_on_in: Path | None) -> int:
    from mixvllm.cli.search import run_search  # noqa: PLC0415 - which uses this module

    return run_search(arguments, goes_on_in)


def _is_true(overrides: Sequence[str], key: str) -> bool:
    """Whether `overrides` set `key`, which holds for all points, to true."""
    given = [text.partition("=")[2] for text in overrides if text.lstrip("+").startswith(f"{key}=")]
    return bool(given) and given[-1].strip("'\"").lower() in ("true", "yes", "on", "1")


def _show_plan(plan: Plan) -> int:
    sys.stdout.write("\n".join(plan.lines(shutil.get_terminal_size().columns)) + "\n")
    plan.check()
    return EXIT_OK


def _folder(plan: Plan, goes_on_in: Path | None) -> SweepFolder:
    name = plan.settings.name
    path = Path(plan.output_dir).absolute() / "sweeps" / (name or "")
    if goes_on_in is not None and path.resolve() != goes_on_in.resolve():
        words = f"the sweep in {goes_on_in} was in {path} when it was started: move it back to go on with it"
        raise ConfigError([Fault("", words)])
    return SweepFolder.create(plan.output_dir, name)


def _run(plan: Plan, folder: SweepFolder, options: LocalLauncherConfig) -> int:
    repeats = list(missing(plan.points, folder, plan.settings.rerun))
    works = _works(plan, repeats)
    for line in _remarks(plan, len(repeats)):
        _say(line)
    possible, slots = _place(plan, works, folder, options)
    done = _done(plan, folder, repeats)
    with StopSignals() as signals:
        screen = SweepScreen(plan.points, done, num_servers=len(works), num_slots=slots.capacity)
        launcher = LocalLauncher(
            folder,
            slots,
            signals,
            screen,
            fail_fast=plan.settings.fail_fast,
            skip_infeasible=plan.settings.skip_infeasible,
        )
        try:
            launcher.run(possible)
        finally:
            screen.close()
            written = write_results(folder)
        if written.remark:
            _say(written.remark)
        return _show_results(written.results, folder, signals)


def _remarks(plan: Plan, num_left: int) -> list[str]:
    """Return what a user should know before the start, in a few lines."""
    num_repeats = sum(point.num_repeats for point in plan.points)
    skipped = [f"left out, not valid: {plan.num_invalid} points; dry_run=true shows why"] if plan.num_invalid else []
    done = [f"{num_repeats - num_left} repeats are done already; {num_left} are left"]
    warm = (
        ["sweep.warm_start=on: servers of a sweep start cold in this release"]
        if plan.settings.warm_start == "on"
        else []
    )
    return [
        *warm,
        f"{len(plan.points)} points on {plan.num_servers} servers ({plan.num_starts_saved} starts saved)",
        *skipped,
        *(done if num_left < num_repeats else []),
    ]


def _works(plan: Plan, repeats: Sequence[Repeat]) -> list[Work]:
    """Return what is left of each group, in the order of the plan."""
    left: dict[str, list[tuple[str, int]]] = {}
    for repeat in repeats:
        left.setdefault(repeat.point.content_hash, []).append((repeat.point.content_hash, repeat.number))
    works = []
    for group in plan.groups:
        of_group = tuple(one for point in group.points for one in left.get(point.content_hash, ()))
        if of_group:
            number = next(point.index for point in group.points if point.content_hash == of_group[0][0])
            works.append(Work(group.server_key, group.shape.num_gpus, of_group, number))
    return works


def _place(
    plan: Plan, works: Sequence[Work], folder: SweepFolder, options: LocalLauncherConfig
) -> tuple[list[Work], Slots]:
    """Return what can be run here, and where; what cannot is recorded as failed, or stops all.

    Raises:
        ConfigError: a server never gets what it needs, or several get in each other's way.
        PreflightFailed: this machine lacks something for one of them.
    """
    records = {work.server_key: read_json(folder.point(work.repeats[0][0])) or {} for work in works}
    slots = make_slots(records, options, _visible_gpus)
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
    return [work for work in fitting if work.server_key not in refused], slots


def _visible_gpus() -> list[str]:
    return gpu_names(os.environ.get("CUDA_VISIBLE_DEVICES"), lambda: len(gpu_use()))


def _too_large_faults(works: Sequence[Work], large: dict[str, str], slots: Slots) -> list[Fault]:
    first = next(work for work in works if work.server_key in large)
    words = f"point {first.number}: {large[first.server_key]}; sweep.skip_infeasible=true goes on with the others"
    return [Fault("hydra.launcher.gpus", words, ",".join(slots.gpus))]


def _record_infeasible(folder: SweepFolder, work: Work, reason: str) -> None:
    _say(f"point {work.number}: infeasible: {reason}")
    for content_hash, number in work.repeats:
        write_repeat(folder, work.server_key, content_hash, number, failed_record(f"infeasible: {reason}"))


def _done(plan: Plan, folder: SweepFolder, repeats: Sequence[Repeat]) -> list[dict[str, object]]:
    """Return the records that stay as they are."""
    again = {(repeat.point.content_hash, repeat.number) for repeat in repeats}
    records = [record for point in plan.points for record in folder.read_repeats(point.content_hash)]
    return [record for record in records if (record["point"], record["repeat"]) not in again]


def _show_results(results: Results, folder: SweepFolder, signals: StopSignals) -> int:
    width = shutil.get_terminal_size().columns
    sys.stdout.write("\n".join([*table_lines(results, width), "", f"results  {_short(folder.results_csv)}"]) + "\n")
    sys.stdout.flush()
    verdicts = {row["verdict"] for row in results.rows}
    is_whole = all(row["num_ok"] == row["num_repeats"] for row in results.summaries)
    resume = f"mixvllm resume {_short(folder.path)}"
    if signals.exit_code is not None:
        _say(f"stopped; what is done is kept. To go on: {resume}")
        return signals.exit_code
    if verdicts & {"failed", "invalid"}:
        _say(f"to try again what failed: {resume} sweep.rerun=failed")
    elif not is_whole:
        _say(f"not all is measured. To go on: {resume}")
    return EXIT_OK if is_whole else EXIT_FAILED


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
