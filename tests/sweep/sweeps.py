"""Sweeps of the fake vLLM, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mixvllm.runs.folder import RunFolder
from mixvllm.server.processes import ProcessId, identify, is_alive, send_signal
from mixvllm.sweep.sweep_folder import SweepFolder
from tests.fakes.interpreter import make_interpreter
from tests.faults.nothing_left import Witness, left_at_last
from tests.launches import Launch

MEASURE = 'echo "{\\"answer\\": 42}" > $MIXVLLM_RUN_DIR/metrics.json'
"""A load that costs next to nothing."""


def command(text: str = "") -> str:
    """Return the override of a workload that runs `text` in a shell, then leaves a number."""
    whole = f"{text}; {MEASURE}" if text else MEASURE
    return f"workload.command='{whole}'"


def hang(marks: Path, count: int = 1, condition: str = "true", how: str = "sleep 60") -> str:
    """Return a text for `command` that hangs the first `count` times at which `condition` holds; `how` is a command.

    Each time it makes a mark before: a folder `hung-<number>` in `marks`.
    """
    once_more = " || ".join(f"mkdir {marks}/hung-{number}" for number in range(count))
    return f"if {condition} && ({once_more}) 2>/dev/null; then {how}; fi"


def held(gate: Path) -> str:
    """Return a text for `command` that waits until there is a file."""
    return f"until [ -e {gate} ]; do sleep 0.05; done"


SECOND = "[ $MIXVLLM_REPEAT = 1 ]"
"""Holds in the second repeat of a point."""


def fake_overrides(folder: Path, script: Mapping[str, object]) -> list[str]:
    """Return what every sweep of the fake has; its interpreter is made in `folder`."""
    python = make_interpreter(folder / "fake", **{"phase_s": 0.005, **script})
    server = [f"server.python={python}", "server.drain_timeout_s=1", "server.restart=never"]
    workload = ["workload=command", "workload.repeats=1"]
    return ["model=default", "model.name=some/model", *server, "preflight=off", *workload]


class Sweep:
    """A launcher of a sweep in a process of its own, in `folder`, where the next one may go on."""

    def __init__(self, folder: Path, overrides: Sequence[str], script: Mapping[str, object], number: int) -> None:
        folder.mkdir(exist_ok=True)
        self.pids_file = folder / "pids"
        shared = fake_overrides(folder, {"pids_file": str(self.pids_file), **script})
        streams = folder / f"launch-{number}"
        streams.mkdir()
        given = [] if any(text.startswith(("workload.command", "workload=")) for text in overrides) else [command()]
        own = ["--multirun", f"output_dir={folder / 'outputs'}", *shared, *given, *overrides]
        self.launch = Launch(streams, own, deadline_s=120)
        self._outputs = folder / "outputs"
        self._seen: set[ProcessId] = set()

    @property
    def folder(self) -> SweepFolder:
        """The folder of the sweep; the only one."""
        self.launch.wait_for(lambda: list(self._outputs.glob("sweeps/*")))
        return SweepFolder(next(self._outputs.glob("sweeps/*")))

    def records(self) -> list[dict[str, Any]]:
        """Return the repeats that are recorded."""
        files = sorted(self._outputs.glob("sweeps/*/points/*/repeat-*.json"))
        return [json.loads(file.read_text()) for file in files]

    def wait_records(self, count: int) -> None:
        """Wait until so many repeats are recorded."""
        self.launch.wait_for(lambda: len(self.records()) >= count or self.launch.process.poll() is not None)

    def wait_began(self) -> None:
        """Wait until the first server is ready."""
        self.launch.wait_for(lambda: list(self._outputs.glob("sweeps/*/points/*/command-*")))

    def exit_code(self) -> int:
        return self.launch.exit_code()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.launch.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """Kill the launcher, after a note of what it has started."""
        self.note()
        self.launch.process.kill()
        self.launch.process.wait()

    def note(self) -> None:
        """Note the processes of this moment."""
        self.launch.note_processes()
        for witness in self._witnesses():
            witness.note()
            self._seen |= witness.processes

    def workers(self) -> list[int]:
        """Return the numbers of the workers."""
        children = Path(f"/proc/{self.launch.process.pid}/task/{self.launch.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"mixvllm.sweep.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def left(self) -> list[str]:
        """Return in words what is left of the sweep at last."""
        return left_at_last(
            lambda: [*self.launch.living(), *(line for witness in self._witnesses() for line in witness.left())]
        )

    def states(self) -> list[str]:
        """Return the states of the servers, as they are recorded."""
        files = self._outputs.glob("sweeps/*/servers/*/*/*/status.json")
        return [json.loads(file.read_text())["state"] for file in files]

    def end(self) -> None:
        """End everything."""
        self.note()
        self.launch.end()
        for process in self._seen:
            if is_alive(process) and process.pid != os.getpid():
                send_signal(process, signal.SIGKILL)

    def _witnesses(self) -> list[Witness]:
        runs = self._outputs.glob("sweeps/*/servers/*/*/*")
        return [Witness(RunFolder(path), self.pids_file) for path in runs]


StartSweep = Callable[..., Sweep]
"""Starts a sweep of the fake; see the fixture `start_sweep`."""


def kill_when_alive(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process that is there."""
    process = identify(pid)
    assert process is not None
    send_signal(process, number)
