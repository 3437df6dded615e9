"""What mixvllm costs over the same work without it.

1. Time to ready: `python launch.py model=demo inference=cpu`, until the `ready` event in its run folder, against the
   command that its `dry_run=true` prints, started by a shell, until the first token. Ready means the same in both: a
   completed one-token request, after `/health` was asked every 0.1 s.
2. `dry_run=true`: wall time against an application of ten lines that composes the same configuration with Hydra and
   prints it.
3. Peak memory of the launcher's own process while it serves.

Starts alternate (without, with, with, without) after a discarded one. The processor time until ready is shown beside
the wall time, since it suffers less from others on the same machine.

Run it from the root of a checkout with vLLM for CPUs: python -m benchmarks.overhead [--quick]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from benchmarks._peer import ROOT, write_application
from benchmarks._report import Pairs, Series, measure_pairs, progress, report
from benchmarks._session import BenchmarkFailed, Session, exit_at_sigterm, output_of
from tests.ports import find_port

LAUNCH = [sys.executable, str(ROOT / "launch.py"), "model=demo", "inference=cpu"]

MAX_READY_RATIO = 1.03
MAX_DRY_RUN_RATIO = 2.0
MAX_MEMORY_MIB = 120.0

_POLL_S = 0.1  # the launcher's own period
_START_TIMEOUT_S = 300.0
_SERVE_S = 1.0  # for what the launcher does just after `ready`: it shows the address, asks for the health


@dataclass(frozen=True)
class Start:
    """One start of vLLM.

    Args:
        ready_s: wall time from the command to ready.
        cpu_s: processor time until then, of all processes that were started.
    """

    ready_s: float
    cpu_s: float


@dataclass(frozen=True)
class LauncherStart(Start):
    """One start by the launcher.

    Args:
        spawned_s: wall time from the command to the start of vLLM's process, as the system has it; the `spawned` event
            is written a little later.
        memory_mib: peak of the launcher's own process.
    """

    spawned_s: float
    memory_mib: float


def main() -> int:
    """Measure, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few pairs: shows that it works, says little")
    is_quick = parser.parse_args().quick
    exit_at_sigterm()
    with tempfile.TemporaryDirectory(prefix="mixvllm-overhead-") as name:
        folder = Path(name)
        try:
            rows = [*time_dry_run(5 if is_quick else 12, folder), *time_starts(2 if is_quick else 8, folder)]
        except BenchmarkFailed as error:
            sys.exit(f"error: {error}")
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    return report("overhead", "mixvllm against the same work without it, in interleaved pairs", rows)


def time_dry_run(num_pairs: int, folder: Path) -> list[Pairs]:
    """Measure the wall time of `dry_run=true` against a bare Hydra application."""
    application = write_application(folder, "print(OmegaConf.to_yaml(config, resolve=True))")
    bare = [sys.executable, str(application), "model=demo", "inference=cpu", "dry_run=true"]
    ours = [*LAUNCH, "dry_run=true"]
    for command in (bare, ours):
        output_of(command, folder)
    bare_ms, ours_ms = measure_pairs(
        num_pairs,
        lambda: _wall_ms(bare, folder),
        lambda: _wall_ms(ours, folder),
        lambda pair, a, b: progress(f"dry run {pair}/{num_pairs}: bare Hydra {a:.0f} ms, mixvllm {b:.0f} ms"),
    )
    return [Pairs("dry run / bare Hydra, ms", bare_ms, ours_ms, MAX_DRY_RUN_RATIO)]


def time_starts(num_pairs: int, folder: Path) -> list[Pairs | Series]:
    """Measure starts by hand and by the launcher: time to ready, and the launcher's memory."""
    command = output_of([*LAUNCH, "dry_run=true"], ROOT).strip()
    progress("one discarded start")
    start_by_launcher(folder)
    by_hand, ours = measure_pairs(
        num_pairs,
        lambda: start_by_hand(command, folder),
        lambda: start_by_launcher(folder),
        lambda pair, a, b: progress(f"start {pair}/{num_pairs}: by hand {a.ready_s:.2f} s, mixvllm {b.ready_s:.2f} s"),
    )
    by_hand_s = [start.ready_s for start in by_hand]
    return [
        Pairs("time to ready, s", by_hand_s, [start.ready_s for start in ours], MAX_READY_RATIO),
        Pairs("  from the start of vLLM, s", by_hand_s, [start.ready_s - start.spawned_s for start in ours]),
        Series("  before it, ms", [1000 * start.spawned_s for start in ours]),
        Pairs("  processor time, s", [start.cpu_s for start in by_hand], [start.cpu_s for start in ours]),
        Series("launcher's peak memory, MiB", [start.memory_mib for start in ours], MAX_MEMORY_MIB),
    ]


def start_by_hand(command: str, folder: Path) -> Start:
    """Start vLLM with `command` as a shell would, and stop it when it has produced a token."""
    port = find_port()
    # exec: the shell becomes vLLM, which so leads its session and gets the signals.
    argv = ["/bin/sh", "-c", f"exec env {command} --port {port}"]
    with Session(argv, log=folder / "by_hand.log", cwd=ROOT) as session:
        _wait_first_token(session, f"http://127.0.0.1:{port}")
        return Start(time.time() - session.began_at, session.cpu_s)


def start_by_launcher(folder: Path) -> LauncherStart:
    """Start vLLM with the launcher, and stop both when the run folder says that it is ready."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as output_dir,
        Session([*LAUNCH, f"output_dir={output_dir}"], log=folder / "launcher.log", cwd=ROOT) as session,
    ):
        events = _wait_ready_event(session, Path(output_dir))
        cpu_s = session.cpu_s
        time.sleep(_SERVE_S)
        return LauncherStart(
            datetime.fromisoformat(events["ready"]["time"]).timestamp() - session.began_at,
            cpu_s,
            session.age_s(events["spawned"]["pid"]),
            session.peak_memory_mib,
        )


def _wait_first_token(session: Session, url: str) -> None:
    """Return when the server at `url` has produced a token; asks as the launcher does."""
    with httpx.Client(base_url=url, timeout=5.0, trust_env=False) as client:
        for _ in _ticks(session):
            if _is_healthy(client):
                break
        body = {"model": "demo", "prompt": "Hello", "max_tokens": 1, "temperature": 0}
        answer = client.post("/v1/completions", json=body, timeout=_START_TIMEOUT_S)
        if answer.status_code != 200 or answer.json()["usage"]["completion_tokens"] != 1:
            raise BenchmarkFailed(f"no token: HTTP {answer.status_code}: {answer.text[:300]}")


def _is_healthy(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.HTTPError:
        return False


def _wait_ready_event(session: Session, output_dir: Path) -> dict[str, dict[str, Any]]:
    """Wait until the run below `output_dir` is ready; return its events, by their names."""
    events: dict[str, dict[str, Any]] = {}
    for _ in _ticks(session):
        known, events = events, _events(output_dir)
        if len(events) > len(known):
            session.remember_children()
        if "ready" in events:
            break
    return events


def _events(output_dir: Path) -> dict[str, dict[str, Any]]:
    lines = [line for file in output_dir.glob("*/*/events.jsonl") for line in file.read_text("utf-8").splitlines(True)]
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return {event["event"]: event for event in events}


def _ticks(session: Session) -> Iterator[None]:
    """Yield every 0.1 s while the program runs.

    Raises:
        BenchmarkFailed: it has ended, or is not ready in `_START_TIMEOUT_S`.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        session.raise_if_ended()
        yield
        time.sleep(_POLL_S)
    raise BenchmarkFailed(session.with_log(f"not ready in {_START_TIMEOUT_S:g} s"))


def _wall_ms(command: list[str], cwd: Path) -> float:
    """Run `command` to its end and return its wall time in milliseconds."""
    began = time.perf_counter()
    output_of(command, cwd)
    return 1000 * (time.perf_counter() - began)


if __name__ == "__main__":
    sys.exit(main())
