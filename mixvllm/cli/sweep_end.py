"""The begin and the end of a sweep in words, wherever it runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from mixvllm.cli.exits import EXIT_FAILED, EXIT_OK
from mixvllm.cli.terminal import remark, short
from mixvllm.report.track_process import track_aside
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.plan import Plan
from mixvllm.sweep.plan_lines import plan_lines
from mixvllm.sweep.plan_record import Repeat
from mixvllm.sweep.result_files import Written
from mixvllm.sweep.result_lines import table_lines
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.sweep.text_table import counted


def show_plan(plan: Plan) -> None:
    """Print what would be done.

    Raises:
        ConfigError: points are wrong.
    """
    sys.stdout.write("\n".join(plan_lines(plan, shutil.get_terminal_size().columns)) + "\n")
    plan.check()


def remarks(plan: Plan, num_left: int) -> list[str]:
    """Return what a user should know before the start, in a few lines."""
    num_repeats = sum(point.num_repeats for point in plan.points)
    skipped = [f"left out, not valid: {plan.num_invalid} points; dry_run=true shows why"] if plan.num_invalid else []
    done = [f"{num_repeats - num_left} repeats are done already; {num_left} are left"]
    return [
        f"{counted(len(plan.points), 'point')} on {counted(plan.num_servers, 'server')} "
        f"({counted(plan.num_starts_saved, 'start')} saved)",
        *skipped,
        *(done if num_left < num_repeats else []),
    ]


def done_before(plan: Plan, folder: SweepFolder, repeats: Sequence[Repeat]) -> list[dict[str, object]]:
    """Return the records that stay as they are."""
    again = {(repeat.point.content_hash, repeat.number) for repeat in repeats}
    records = [record for point in plan.points for record in folder.read_repeats(point.content_hash)]
    return [record for record in records if (record["point"], record["repeat"]) not in again]


def tell_trackers(folder: SweepFolder, names: Sequence[str], signals: StopSignals) -> None:
    """Tell trackers of the results; where one fails, say so and go on. A sweep that was stopped is not told of."""
    if names and signals.exit_code is None:
        for line in track_aside(folder.path, names):
            remark(line)


def show_results(written: Written, folder: SweepFolder, signals: StopSignals) -> int:
    """Print the results, and how to go on; return the exit code: 0 where all of them are ok."""
    if written.remark:
        remark(written.remark)
    results = written.results
    width = shutil.get_terminal_size().columns
    where = [f"results  {short(folder.results_csv)}", f"look     mixvllm report {short(folder.path)}"]
    sys.stdout.write("\n".join([*table_lines(results, width), "", *where]) + "\n")
    sys.stdout.flush()
    verdicts = {row["verdict"] for row in results.rows}
    is_whole = all(row["num_ok"] == row["num_repeats"] for row in results.summaries)
    resume = f"mixvllm resume {short(folder.path)}"
    if signals.exit_code is not None:
        remark(f"stopped; what is done is kept. To go on: {resume}")
        return signals.exit_code
    if verdicts & {"failed", "invalid"}:
        remark(f"to try again what failed: {resume} sweep.rerun=failed")
    elif not is_whole:
        remark(f"not all is measured. To go on: {resume}")
    return EXIT_OK if is_whole else EXIT_FAILED
