"""A real Slurm on this machine, for as long as a test or a command needs it; any user may have one.

    python -m tests.slurm.cluster --nodes 3 -- bash

runs a command in an environment in which Slurm's programs find the cluster, then takes the cluster down. All daemons
are on the loopback interface; keys, sockets, state and logs are in one temporary folder. Nothing else is written, and
nothing stays: see `tests/slurm/keeper.py`.

The nodes declare CPUs, GPUs and memory that this machine need not have. Slurm counts and assigns those; nothing keeps
a job from taking more.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from tests.slurm import accounting
from tests.slurm.configuration import Options, free_ports, gres_conf, munge_socket, slurm_conf, user_name
from tests.slurm.daemon import Daemon

PACKAGES = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
"""What must be installed: the Debian package of each program."""

_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])  # daemons are not on users' paths
_OF_SLURM = ("SLURM", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_")
_UP_S = 30.0
_TICK_S = 0.02


class ClusterFailed(Exception):
    """The cluster did not come up, or did not do what it was told to."""


def missing_packages(packages: Mapping[str, str] = PACKAGES) -> list[str]:
    """Return the Debian packages that a cluster needs and that are not installed, of those of each program."""
    return sorted(package for program, package in packages.items() if shutil.which(program, path=_PATH) is None)


class Cluster:
    """A cluster of two partitions: `main`, the default, whose jobs those of `high` preempt (requeue).

    A context manager: entering it returns when all nodes are idle, leaving it when no process of it is left.

    Args:
        options: what it is like.
    """

    def __init__(self, options: Options | None = None) -> None:
        self.options = options or Options()
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a short path: sockets are in it
        self._daemons: dict[str, Daemon] = {}

    @property
    def environment(self) -> dict[str, str]:
        """The environment for programs that use the cluster; that of a job which this one is in itself is left out."""
        own = {name: value for name, value in os.environ.items() if not name.startswith(_OF_SLURM)}
        return own | {"SLURM_CONF": str(self.folder / "slurm.conf")}

    def __enter__(self) -> Cluster:
        try:
            self._write_files()
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill everything of the cluster, jobs too, and remove its files. May be called again."""
        for daemon in self._daemons.values():
            daemon.kill()
        self._daemons.clear()
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *argv: str, timeout_s: float = 30.0) -> str:
        """Return what a program of Slurm prints, e.g. `run("sinfo", "-h")`.

        Raises:
            ClusterFailed: it failed; says what it printed.
        """
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=timeout_s)
        if done.returncode != 0:
            raise ClusterFailed(f"{' '.join(argv)}: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def submit(self, script: str, *options: str) -> str:
        """Submit the lines of a shell script; return the job's id. Its output goes nowhere unless `options` say so."""
        return self.run("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}").strip()

    def states(self) -> dict[str, str]:
        """Return the state of every job and array element that the cluster knows, e.g. `{"1": "RUNNING"}`."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_state(self, job: str, *states: str, timeout_s: float = 60.0) -> str:
        """Wait until `job` is in one of `states`; return which."""
        self._wait(f"job {job} {'|'.join(states)}", lambda: self.states().get(job) in states, timeout_s)
        return self.states()[job]

    def cancel_all(self) -> None:
        """Cancel all jobs; return when they have ended and none of their processes is left."""
        self.run("scancel", f"--user={user_name()}")
        unfinished = ["squeue", "-h", "-o", "%i"]
        self._wait("the end of all jobs", lambda: not self.run(*unfinished).split() and not self.left(), _UP_S)

    def reset(self) -> None:
        """End all jobs, and have all nodes idle."""
        for name in self.options.nodes:
            if name not in self._daemons:
                self._start_node(name)
            if self.node_state(name).startswith("drain"):
                self.undrain(name)
        self.cancel_all()
        self._wait("all nodes", self._is_idle, _UP_S)

    def left(self) -> list[str]:
        """Return the processes of jobs, on any node, for a message."""
        return [_describe(process) for process in self.processes() if _name(process) not in ("slurmd", "")]

    def processes(self) -> list[psutil.Process]:
        """Return all processes of the nodes, those of their jobs among them."""
        return [process for name in self.options.nodes for process in self._processes(name)]

    def kill_node(self, name: str) -> None:
        """Pull the plug of a node, and have Slurm see that at once rather than after `SlurmdTimeout`."""
        self._daemons.pop(name).kill()
        self.run("scontrol", "update", f"NodeName={name}", "State=DOWN", "Reason=killed")

    def start_node(self, name: str) -> None:
        """Switch a node on that was killed; return when it takes jobs, or has some."""
        self._start_node(name)
        self._wait(f"node {name}", lambda: self.node_state(name) in ("idle", "mixed", "allocated"), _UP_S)

    def kill_controller(self) -> None:
        """Kill slurmctld; jobs go on, and nobody can be asked about them."""
        self._daemons.pop("slurmctld").kill()

    def drain(self, name: str) -> None:
        """Have a node finish its jobs and take no more."""
        self.run("scontrol", "update", f"NodeName={name}", "State=DRAIN", "Reason=drained")

    def undrain(self, name: str) -> None:
        """Have a node take jobs again."""
        self.run("scontrol", "update", f"NodeName={name}", "State=RESUME")

    def node_state(self, name: str) -> str:
        """Return e.g. `idle`, `allocated`, `drained`, `down*`."""
        return self.run("sinfo", "-h", "-p", "main", "-n", name, "-o", "%T").strip()

    def requeue(self, job: str) -> None:
        """Have a job begin anew."""
        self.run("scontrol", "requeue", job)

    def preempt(self, node: str, script: str = "true", *options: str) -> str:
        """Submit a job of higher priority that needs a whole node; return its id."""
        return self.submit(script, "--partition=high", "--exclusive", f"--nodelist={node}", *options)

    def _write_files(self) -> None:
        for name in ("run", "log", "state", "dev", *(f"spool/{node}" for node in self.options.nodes)):
            (self.folder / name).mkdir(parents=True)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        for index in range(self.options.num_gpus):  # Slurm takes device files alone, and what leads to one
            (self.folder / f"dev/gpu{index}").symlink_to(os.devnull)
        (self.folder / "gres.conf").write_text(gres_conf(self.options, self.folder))
        accounting_port, *ports = free_ports(2 + self.options.num_nodes)
        lines = ""
        if self.options.has_accounting:
            lines = accounting.accounting_lines(self.folder, accounting_port)
            conf = self.folder / "slurmdbd.conf"
            conf.touch(mode=0o600)  # slurmdbd insists
            conf.write_text(accounting.slurmdbd_conf(self.folder, accounting_port))
        (self.folder / "slurm.conf").write_text(slurm_conf(self.options, self.folder, ports, lines))

    def _start(self) -> None:
        run, socket_file = self.folder / "run", munge_socket(self.folder)
        files = {"key": "../munge.key", "pid": "munged.pid", "log": "../log/munged.log", "seed": "munged.seed"}
        own = [f"--{name}-file={(run / path).resolve()}" for name, path in files.items()]
        self._spawn("munged", "munged", "--foreground", "--force", f"--socket={socket_file}", *own)
        self._wait("munged", socket_file.exists, _UP_S)
        if self.options.has_accounting:
            self._start_accounting()
        self._spawn("slurmctld", "slurmctld", "-D", "-i")
        self._wait("slurmctld", self._answers, _UP_S)
        for name in self.options.nodes:
            self._start_node(name)
        self._wait("all nodes", self._is_idle, _UP_S)

    def _start_accounting(self) -> None:
        database = _find("mariadbd")
        accounting.make_database(database, self.folder)
        argv = [*accounting.database_command(database, self.folder), *accounting.database_arguments(self.folder)]
        self._spawn("mariadbd", *argv)
        self._wait("mariadbd", accounting.database_socket(self.folder).exists, _UP_S)
        self._spawn("slurmdbd", "slurmdbd", "-D", **accounting.database_environment(self.folder))
        self._wait("slurmdbd", lambda: self._succeeds("sacctmgr", "--noheader", "list", "cluster"), _UP_S)

    def _succeeds(self, *argv: str) -> bool:
        return subprocess.run(argv, env=self.environment, capture_output=True, timeout=_UP_S).returncode == 0

    def _answers(self) -> bool:
        ping = subprocess.run(["scontrol", "ping"], env=self.environment, capture_output=True, text=True, timeout=_UP_S)
        return " is UP" in ping.stdout

    def _is_idle(self) -> bool:
        return all(self.node_state(name) == "idle" for name in self.options.nodes)

    def _start_node(self, name: str) -> None:
        self._spawn(name, "slurmd", "-D", "-N", name)

    def _spawn(self, name: str, program: str, *arguments: str, **environment: str) -> None:
        log = self.folder / "log" / f"{name}.out"
        own = self.environment | {"PATH": _PATH} | environment
        self._daemons[name] = Daemon([_find(program), *arguments], own, log)

    def _processes(self, name: str) -> list[psutil.Process]:
        return self._daemons[name].processes() if name in self._daemons else []

    def _wait(self, what: str, condition: Callable[[], object], timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            dead = [name for name, daemon in self._daemons.items() if daemon.has_ended()]
            if dead or time.monotonic() > deadline:
                why = f"{', '.join(dead)} ended" if dead else f"not within {timeout_s:g} s"
                raise ClusterFailed(f"{what}: {why}\n{self._last_lines()}")
            time.sleep(_TICK_S)

    def _last_lines(self) -> str:
        logs = sorted((self.folder / "log").iterdir())
        return "\n".join(f"{log.name}: {line}" for log in logs for line in log.read_text().splitlines()[-10:])


def _find(program: str) -> str:
    path = shutil.which(program, path=_PATH)
    if path is None:
        package = (PACKAGES | accounting.PACKAGES)[program]
        raise ClusterFailed(f"{program} is not installed\n  next: apt-get install --no-install-recommends {package}")
    return path


def _name(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else process.name()
    except psutil.NoSuchProcess:
        return ""


def _describe(process: psutil.Process) -> str:
    return f"{process.pid} ({_name(process)})"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command with a cluster; return its exit code."""
    parser = argparse.ArgumentParser(description="Run a command with a Slurm cluster of its own.")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=16, help="of each node")
    parser.add_argument("--gpus", type=int, default=8, help="of each node")
    parser.add_argument("--max-array-size", type=int, default=1001)
    parser.add_argument("--accounting", action="store_true", help="with slurmdbd, so that sacct works")
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(argv)
    options = Options(
        num_nodes=given.nodes,
        num_cpus=given.cpus,
        num_gpus=given.gpus,
        max_array_size=given.max_array_size,
        has_accounting=given.accounting,
    )
    try:
        with Cluster(options) as cluster:
            return subprocess.run(given.command, env=cluster.environment).returncode
    except ClusterFailed as error:
        parser.exit(1, f"error: {error}\n")


if __name__ == "__main__":
    raise SystemExit(main())
