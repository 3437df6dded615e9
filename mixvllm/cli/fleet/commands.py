"""The commands on runs, as the `mixvllm` program has them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixvllm.cli.exits import exit_code_of

_RUN = "Name of a run or an unambiguous part of it, its folder, the model it serves, or last."

Run = Annotated[str, typer.Argument(metavar="[RUN]", help=_RUN)]
Runs = Annotated[list[str] | None, typer.Argument(metavar="[RUN…]", help=_RUN)]
Timeout = Annotated[float | None, typer.Option("--timeout", metavar="SECONDS", help="Give up waiting after this.")]


def ps(
    everything: Annotated[bool, typer.Option("--all", "-a", help="Also those that ended over a day ago.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the runs of this user: state, model, URL, uptime, GPUs, requests, tokens per second, errors."""
    from mixvllm.cli.fleet.ps import show_runs

    raise typer.Exit(exit_code_of(lambda: show_runs(everything=everything, as_json=as_json)))


def logs(
    run: Run = "last",
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the run has ended.")] = False,
    num_lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines to begin with.")] = 50,
    events: Annotated[bool, typer.Option("--events", help="What happened, instead of what vLLM printed.")] = False,
) -> None:
    """Show what the server of a run has printed."""
    from mixvllm.cli.fleet.logs import show_log

    raise typer.Exit(exit_code_of(lambda: show_log(run, follow=follow, num_lines=num_lines, events=events)))


def wait(
    run: Run = "last",
    stopped: Annotated[bool, typer.Option("--stopped/--ready", help="What to wait for.")] = False,
    timeout: Timeout = None,
) -> None:
    """Wait until a run is ready, or has stopped; exit code 1 where it fails."""
    from mixvllm.cli.fleet.wait import wait_for

    raise typer.Exit(exit_code_of(lambda: wait_for(run, "stopped" if stopped else "ready", timeout)))


def url(run: Run = "last") -> None:
    """Print what a shell needs to reach a run: eval "$(mixvllm url)"."""
    from mixvllm.cli.fleet.url import show_url

    raise typer.Exit(exit_code_of(lambda: show_url(run)))


def stop(
    runs: Runs = None,
    everything: Annotated[bool, typer.Option("--all", help="Every run of this machine.")] = False,
    timeout: Timeout = None,
    is_forced: Annotated[bool, typer.Option("--now", help="Give up requests in flight.")] = False,
) -> None:
    """Stop runs: requests in flight finish, nothing is left running."""
    from mixvllm.cli.fleet.stop import stop as stop_runs

    raise typer.Exit(
        exit_code_of(lambda: stop_runs(runs or [], everything=everything, timeout_s=timeout, is_forced=is_forced))
    )


def reload(
    run: Run,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[OVERRIDE…]")] = None,
) -> None:
    """Have a run serve what its files and further overrides say now; a bad configuration changes nothing."""
    from mixvllm.cli.reload import reload_run

    raise typer.Exit(exit_code_of(lambda: reload_run(run, overrides or [])))


def doctor(
    end: Annotated[bool, typer.Option("--end", help="End and clean what is left.")] = False,
) -> None:
    """Find what dead launchers left: processes, records, temporary files. Touches nothing that is not ours."""
    from mixvllm.cli.fleet.doctor import examine

    raise typer.Exit(exit_code_of(lambda: examine(end=end)))


def top(
    runs: Runs = None,
    once: Annotated[bool, typer.Option("--once", help="Show it once and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, once.")] = False,
    period: Annotated[float, typer.Option("--period", min=0.1, help="Seconds between two looks.")] = 2.0,
) -> None:
    """Show live what runs do: requests, tokens per second, latency, KV cache, GPUs, processes."""
    from mixvllm.cli.fleet.serving import servers_of
    from mixvllm.cli.top import show_top

    raise typer.Exit(
        exit_code_of(lambda: show_top(servers_of(runs or []), once=once, period_s=period, as_json=as_json))
    )


def exporter(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 = any.")] = 9400,
) -> None:
    """Serve /metrics (for Prometheus) and /health of all runs of this user, until Ctrl-C."""
    from mixvllm.cli.exporter import run_exporter
    from mixvllm.machine.folders import runs_folder
    from mixvllm.runs.registry import find_runs

    def find() -> list[Path]:
        return [folder.path for folder in find_runs(runs_folder())]

    raise typer.Exit(exit_code_of(lambda: run_exporter(find, host=host, port=port)))


def resume(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="Folder of the sweep: outputs/sweeps/NAME.")],
    overrides: Annotated[list[str] | None, typer.Argument(metavar="[OVERRIDE…]")] = None,
) -> None:
    """Go on with a sweep that was stopped: mixvllm resume outputs/sweeps/NAME [sweep.rerun=failed]."""
    from mixvllm.cli.resume import resume as resume_sweep

    raise typer.Exit(exit_code_of(lambda: resume_sweep(folder, overrides or [])))


COMMANDS = (ps, logs, wait, url, stop, reload, resume, doctor, top, exporter)
"""In the order that help shows them."""
