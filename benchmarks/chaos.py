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
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from benchmarks._kills import EARLY, FAKE, PHASES, REAL, VICTIMS, Aftermath, Kill, Run, TooLate
from benchmarks._report import describe_machine, progress
from benchmarks._session import exit_at_sigterm
from mixvllm import demo
from mixvllm.errors import EngineNotFound
from mixvllm.machine.folders import cache_folder
from mixvllm.vllm.installation import find_installation
from tests.fakes.interpreter import make_interpreter
from tests.launches import Launch
from tests.ports import find_port


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
    exit_at_sigterm()
    progress(f"chaos: seed {seed}")
    demo_model = cache_folder() / demo.FOLDER
    num_real = _prepare_real(num_real, demo_model)
    with tempfile.TemporaryDirectory(prefix="mixvllm-chaos-") as name:
        os.environ["MIXVLLM_CACHE"] = f"{name}/cache"  # its runs are no business of other launchers
        scene = Scene(Path(name), demo_model)
        try:
            aftermaths = [scene.play(kill) for kill in draw(seed, num_fake, num_real)]
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


def _prepare_real(count: int, demo_model: Path) -> int:
    """Return `count` where there is a vLLM, with the model that it is to serve; else 0."""
    if count == 0:
        return 0
    try:
        installation = find_installation(None)
    except EngineNotFound:
        progress("no vLLM is installed here: runs of the fake alone")
        return 0
    demo.ensure_demo_model(demo_model, installation.python, progress)
    return count


if __name__ == "__main__":
    sys.exit(main())
