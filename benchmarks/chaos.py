"""Kills parts of runs at random moments, and looks at what is left of them.

A victim (the launcher, its guardian, vLLM's front end, its engine, a worker) gets SIGKILL at a random moment of a phase
of a server's life: while it is spawned, while it loads, when it serves, under load, while it drains. Then nothing of
the run may be left: no process, no port, no temporary folder, no shared memory, no published address; and its end must
be recorded with its cause. Most runs are of the fake vLLM of the tests, which starts in a fifth of a second; the last
ones are of the vLLM that is installed.

What is drawn follows from the seed alone; it is printed, and `--seed` draws it again.

Run it from the root of a checkout: python -m benchmarks.chaos [--kills 200] [--real 20] [--seed N] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Thread
from types import FrameType
from typing import Any, NoReturn

import httpx
import psutil

from benchmarks._report import describe_machine, progress
from mixvllm.errors import EngineNotFound, PortInUse
from mixvllm.machine.folders import cache_folder, private_tmp
from mixvllm.machine.ports import lease_port
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import ENDED
from mixvllm.runs.records import read_json
from mixvllm.vllm.installation import find_installation
from tests.fakes.fake_server import find_port
from tests.fakes.interpreter import make_interpreter
from tests.faults.nothing_left import Witness
from tests.launches import Launch

VICTIMS = ("launcher", "guardian", "front end", "engine", "worker")
PHASES = ("spawn", "loading", "ready", "under load", "draining")
EARLY = ("launcher", "guardian", "front end")
"""Victims that are there while the server is spawned."""

_EMPTY_S = 60.0  # what is still there then is left
_TICK_S = 0.01


@dataclass(frozen=True)
class Pace:
    """How long the phases of a server take, in seconds, so that a kill falls into the one that was drawn.

    Args:
        loading_s: from the first line of the log to the last phase.
        serving_s: that it serves before it is killed, at the most.
        request_s: of a request under load.
        draining_s: of a stop, with requests that have to finish.
        start_s: that a start may take.
    """

    loading_s: float
    serving_s: float
    request_s: float
    draining_s: float
    start_s: float


FAKE = Pace(loading_s=0.4, serving_s=0.3, request_s=0.6, draining_s=0.4, start_s=30)
REAL = Pace(loading_s=25, serving_s=2, request_s=5, draining_s=3, start_s=300)


@dataclass(frozen=True)
class Kill:
    """What is done to one run.

    Args:
        number: counted from 1.
        victim: one of `VICTIMS`.
        phase: one of `PHASES`.
        moment: of the phase, 0 to 1.
        is_real: whether the installed vLLM serves.
    """

    number: int
    victim: str
    phase: str
    moment: float
    is_real: bool


@dataclass(frozen=True)
class Aftermath:
    """What came of a kill.

    Args:
        kill: what was done.
        empty_s: from the kill until nothing was left.
        state: that was recorded, with its cause; `nothing was started` where the launcher died before it had begun.
        left: what was still there at the end of the patience, or is wrong with the record, shape (n,).
    """

    kill: Kill
    empty_s: float
    state: str
    left: tuple[str, ...]


class TooLate(Exception):
    """The run had ended, or the phase was over, before the victim was there."""


def main() -> int:
    """Kill, report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="runs of the fake vLLM")
    parser.add_argument("--real", type=int, default=20, help="runs of the installed vLLM, half a minute each")
    parser.add_argument("--seed", type=int, help="draws the same again")
    parser.add_argument("--quick", action="store_true", help="20 runs of the fake: shows that it works")
    arguments = parser.parse_args()
    num_fake, num_real = (20, 0) if arguments.quick else (arguments.kills, arguments.real)
    seed = secrets.randbelow(2**32) if arguments.seed is None else arguments.seed
    signal.signal(signal.SIGTERM, _exit)
    progress(f"chaos: seed {seed}")
    with tempfile.TemporaryDirectory(prefix="mixvllm-chaos-") as name:
        demo_model = cache_folder() / "demo-model"
        os.environ["MIXVLLM_CACHE"] = f"{name}/cache"
        scene = Scene(Path(name), demo_model)
        try:
            aftermaths = [scene.play(kill) for kill in draw(seed, num_fake, _real(num_real))]
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    return report(seed, aftermaths)


def draw(seed: int, num_fake: int, num_real: int) -> Iterator[Kill]:
    """Yield what is done, fake runs first; every pair of victim and phase comes equally often, in random order."""
    chance = random.Random(seed)
    for is_real, count, first in ((False, num_fake, 1), (True, num_real, num_fake + 1)):
        pairs = [(victim, phase) for phase in PHASES for victim in (EARLY if phase == "spawn" else VICTIMS)]
        drawn = (pairs * (count // len(pairs) + 1))[: len(pairs) * (count // len(pairs))]
        drawn += chance.sample(pairs, count % len(pairs))
        chance.shuffle(drawn)
        for number, (victim, phase) in enumerate(drawn, start=first):
            yield Kill(number, victim, phase, chance.random(), is_real)


class Scene:
    """Starts runs and kills parts of them.

    Args:
        folder: for all that they write.
        demo_model: that the real ones serve.
    """

    def __init__(self, folder: Path, demo_model: Path) -> None:
        self._folder = folder
        self._demo_model = demo_model

    def play(self, kill: Kill) -> Aftermath:
        """Do `kill` to a run of its own, again where the victim was gone before its moment came."""
        for attempt in range(10):
            with suppress(TooLate), self._run(kill, attempt) as run:
                done = run.kill(kill)
                what = f"{kill.victim}, {kill.phase} {kill.moment:.2f}{', real' if kill.is_real else ''}"
                left = f"; LEFT: {', '.join(done.left)}" if done.left else ""
                progress(f"{kill.number}: {what}: empty in {done.empty_s:.2f} s, {done.state}{left}")
                return done
        return Aftermath(kill, 0.0, "never killed", ("the victim was never there at its moment",))

    @contextmanager
    def _run(self, kill: Kill, attempt: int) -> Iterator[Run]:
        folder = self._folder / f"{kill.number}-{attempt}"
        folder.mkdir()
        pace, own = (REAL, self._real(kill)) if kill.is_real else (FAKE, self._fake(kill, folder))
        usual = [f"server.port={find_port()}", "server.restart=never", "preflight=off", "server.drain_timeout_s=30"]
        launch = Launch(folder, [*own, *usual], deadline_s=pace.start_s)
        run = Run(launch, folder / "pids", pace)
        try:
            yield run
        finally:
            run.end()

    def _fake(self, kill: Kill, folder: Path) -> list[str]:
        python = make_interpreter(
            folder / "python",
            phase_s=FAKE.loading_s / 8,
            num_workers=2,
            token_delay_s=FAKE.request_s / 20,
            stop_s=0.1,
            shared_memory=f"psm_chaos_{os.getpid()}_{kill.number}",
            pids_file=str(folder / "pids"),
        )
        return ["model=default", "model.name=some/model", f"server.python={python}"]

    def _real(self, kill: Kill) -> list[str]:
        workers = ["server.env.VLLM_ENABLE_V1_MULTIPROCESSING=null"] if kill.victim == "worker" else []
        model = ["model=demo", f"model.name={self._demo_model}"]
        return [*model, "inference=cpu", "inference.kv_cache_memory_bytes=64M", *workers]


class Run:
    """One run, seen from outside.

    Args:
        launch: its launcher.
        pids_file: where a fake writes every process of its own.
        pace: of its server.
    """

    def __init__(self, launch: Launch, pids_file: Path, pace: Pace) -> None:
        self._launch = launch
        self._pids_file = pids_file
        self._pace = pace
        self._requests: list[Thread] = []
        self._witness: Witness | None = None

    def kill(self, kill: Kill) -> Aftermath:
        """Wait for the moment of `kill`, do it, and wait until nothing is left.

        Raises:
            TooLate: the victim is not there at that moment.
        """
        self._wait_phase(kill)
        victim = self._wait_victim(kill)
        self._note()
        try:
            victim.kill()
        except psutil.NoSuchProcess as error:
            raise TooLate from error
        began = time.monotonic()
        left = self._wait_empty(began + _EMPTY_S)
        empty_s = time.monotonic() - began
        state, faults = self._record()
        return Aftermath(kill, empty_s, state, (*left, *faults))

    def end(self) -> None:
        """End what may still run."""
        self._note()
        self._launch.end()
        for process in self._witness.processes if self._witness else ():
            with suppress(psutil.Error):
                if process.pid != os.getpid():
                    psutil.Process(process.pid).kill()
        for request in self._requests:
            request.join()

    def _wait_phase(self, kill: Kill) -> None:
        """Return at the moment of the phase."""
        if kill.phase == "spawn":
            return
        if kill.phase == "loading":
            self._wait(lambda: "phase" in self._events())
            time.sleep(kill.moment * self._pace.loading_s)
            return
        self._wait(lambda: "ready" in self._events())
        if kill.phase in ("under load", "draining"):
            self._ask(3)
        if kill.phase == "draining":
            self._launch.process.send_signal(signal.SIGTERM)
            self._wait(lambda: "draining" in self._events())
        time.sleep(kill.moment * {"draining": self._pace.draining_s}.get(kill.phase, self._pace.serving_s))

    def _wait_victim(self, kill: Kill) -> psutil.Process:
        """Return the process that is to be killed, once it is there; in the phase `spawn` a moment later."""
        found: list[psutil.Process] = []

        def is_there() -> bool:
            with suppress(psutil.Error):
                found.extend(self._find(kill.victim))
            return bool(found)

        self._wait(is_there)
        if kill.phase == "spawn":
            time.sleep(kill.moment * (0.6 if kill.victim == "launcher" else 0.1))
        return found[0]

    def _find(self, victim: str) -> Iterator[psutil.Process]:
        launcher = psutil.Process(self._launch.process.pid)
        if victim == "launcher":
            yield launcher
            return
        guardians = [child for child in launcher.children() if "guardian.py" in " ".join(child.cmdline())]
        if victim == "guardian":
            yield from guardians
            return
        leaders = [leader for guardian in guardians for leader in guardian.children()]
        if victim == "front end":
            yield from leaders
            return
        title = {"engine": "EngineCore", "worker": "Worker"}[victim]
        below = [process for leader in leaders for process in leader.children(recursive=True)]
        yield from (process for process in below if title in " ".join(process.cmdline()))

    def _ask(self, count: int) -> None:
        """Have clients ask for long answers, and return when one of them has begun."""
        url = self._events()["ready"]["url"]
        model = self._events()["spawned"]["model"]
        begun: list[bool] = []

        def stream() -> None:
            body = {"model": model, "prompt": "x", "max_tokens": 20 if self._pace is FAKE else 400, "stream": True}
            with suppress(httpx.HTTPError):
                options: dict[str, Any] = {"json": body, "timeout": 60, "trust_env": False}
                with httpx.stream("POST", f"{url}/v1/completions", **options) as answer:
                    for _ in answer.iter_lines():
                        begun.append(True)

        self._requests = [Thread(target=stream) for _ in range(count)]
        for request in self._requests:
            request.start()
        self._wait(lambda: begun or not any(request.is_alive() for request in self._requests))

    def _wait(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + self._pace.start_s
        while not condition():
            if self._launch.process.poll() is not None or time.monotonic() > deadline:
                raise TooLate
            time.sleep(_TICK_S)

    def _wait_empty(self, deadline: float) -> list[str]:
        """Return what is left at the end: of the run, and the launcher itself where it does not end."""
        while left := self._left():
            if time.monotonic() > deadline:
                return left
            time.sleep(_TICK_S)
        return []

    def _left(self) -> list[str]:
        launcher = [] if self._launch.process.poll() is not None else [f"launcher {self._launch.process.pid}"]
        return [*launcher, *(self._witness.left() if self._note() and self._witness else [])]

    def _note(self) -> bool:
        """Note what the run uses; return whether it has a folder yet."""
        folder = self._launch.run_folder()
        if self._witness is None and folder.name != "outputs":
            self._witness = Witness(RunFolder(folder), self._pids_file)
        if self._witness is not None:
            self._witness.note()
        return self._witness is not None

    def _events(self) -> dict[str, dict[str, Any]]:
        return {event["event"]: event for event in self._witness.events()} if self._note() and self._witness else {}

    def _record(self) -> tuple[str, list[str]]:
        """Return how the run ended as it is recorded, and what is wrong with that."""
        if self._witness is None or not self._witness.folder.events.exists():
            begun = [str(path) for path in private_tmp().glob(f"{self._launch.run_folder().name}-*")]
            return "nothing was started", begun
        status = read_json(self._witness.folder.status) or {}
        state, cause = str(status.get("state")), status.get("cause")
        faults = [] if state in ENDED else [f"recorded as {state}"]
        faults += ["a failure without a cause"] if state == "failed" and not cause else []
        port = int(self._events()["spawned"]["port"]) if "spawned" in self._events() else None
        return f"{state}: {cause}" if cause else state, faults + _port_faults(port)


def _port_faults(port: int | None) -> list[str]:
    if port is None:
        return []
    try:
        lease_port("127.0.0.1", port).release()
    except PortInUse as error:
        return [str(error).partition("\n")[0]]
    return []


def report(seed: int, aftermaths: Sequence[Aftermath]) -> int:
    """Print the table and, as the last line, the figures as JSON; return 0 where nothing was left, else 1."""
    machine = describe_machine()
    print(f"chaos: {len(aftermaths)} kills at random moments, seed {seed}")
    print(", ".join(f"{key} {value}" for key, value in machine.items()))
    rows = _rows(aftermaths)
    for kind in sorted({kind for kind, _ in rows}):
        print()
        print(f"{kind}: kills, longest time to empty in s".ljust(42) + "".join(f"{phase:>14}" for phase in PHASES))
        for victim in VICTIMS:
            cells = [rows.get((kind, f"{victim}, {phase}"), []) for phase in PHASES]
            shown = [f"{len(cell)}, {max(cell):.2f}" if cell else "" for cell in cells]
            print(f"  {victim:<40}" + "".join(f"{cell:>14}" for cell in shown))
    lost = [aftermath for aftermath in aftermaths if aftermath.left]
    for aftermath in lost:
        print(f"LEFT by {asdict(aftermath.kill)}: {', '.join(aftermath.left)}")
    figures = [
        {"name": f"{kind}: {pair}", "n": len(times_s), "figure": max(times_s), "unit": "s until nothing is left"}
        for (kind, pair), times_s in rows.items()
    ]
    print()
    print(
        json.dumps(
            {
                "benchmark": "chaos",
                "machine": machine,
                "seed": seed,
                "num_kills": len(aftermaths),
                "num_left": len(lost),
                "figures": figures,
                "ok": not lost,
            }
        )
    )
    return 1 if lost else 0


def _rows(aftermaths: Iterable[Aftermath]) -> dict[tuple[str, str], list[float]]:
    """Return the times until nothing was left, by kind of vLLM and by victim and phase."""
    rows: dict[tuple[str, str], list[float]] = defaultdict(list)
    for aftermath in aftermaths:
        kill = aftermath.kill
        rows["real vLLM" if kill.is_real else "fake vLLM", f"{kill.victim}, {kill.phase}"].append(aftermath.empty_s)
    return rows


def _real(count: int) -> int:
    """Return `count`, or 0 where there is no vLLM that could serve."""
    try:
        find_installation(None)
    except EngineNotFound:
        progress("no vLLM is installed here: fake runs alone")
        return 0
    return count


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    """End as Ctrl-C does: by an exception, so that every run is ended on the way out."""
    sys.exit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
