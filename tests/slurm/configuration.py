"""What a cluster is like, and the files that say so to Slurm."""

from __future__ import annotations

import os
import pwd
import random
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.ports import is_free

_PORTS = range(31_500, 32_700)  # beside those of tests/ports.py


@dataclass(frozen=True)
class Options:
    """What a cluster is like.

    Args:
        num_nodes: n1, n2, …
        num_cpus: of each node.
        num_gpus: of each node; jobs get `CUDA_VISIBLE_DEVICES` without a device behind it.
        gpu_type: e.g. `a100`; None = GPUs have no type.
        memory_mib: of each node; a job that asks for none gets 100 for each CPU.
        grace_s: seconds that a preempted job has between SIGTERM and SIGKILL, in the partition `main`.
        kill_wait_s: seconds between SIGTERM and SIGKILL in any other case.
        max_array_size: the highest index of an array, plus one.
        kept_s: seconds for which `squeue` knows a job that has ended.
        has_accounting: whether `sacct` tells of jobs that `squeue` has forgotten; a cluster takes seconds longer then.
        lines: more of slurm.conf.
    """

    num_nodes: int = 2
    num_cpus: int = 16
    num_gpus: int = 8
    gpu_type: str | None = None
    memory_mib: int = 1_000_000
    grace_s: int = 3
    kill_wait_s: int = 2
    max_array_size: int = 1001
    kept_s: int = 86_400
    has_accounting: bool = False
    lines: tuple[str, ...] = ()

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes, shape (num_nodes,)."""
        return [f"n{number}" for number in range(1, self.num_nodes + 1)]

    @property
    def gres(self) -> str:
        """The GPUs of a node, as slurm.conf has them."""
        return ":".join(filter(None, ("gpu", self.gpu_type, str(self.num_gpus))))


def slurm_conf(options: Options, folder: Path, ports: Sequence[int], accounting: str = "") -> str:
    """Return slurm.conf of the cluster in `folder`.

    Args:
        ports: of slurmctld and of each node, shape (1 + num_nodes,).
        accounting: what it says of that.
    """
    user, host = user_name(), socket.gethostname()
    control_port, *node_ports = ports
    size = f"CPUs={options.num_cpus} RealMemory={options.memory_mib} Gres={options.gres} State=UNKNOWN"
    nodes = "\n".join(
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} {size}"
        for name, port in zip(options.nodes, node_ports, strict=True)
    )
    more = "\n".join(options.lines)
    return f"""\
ClusterName=mini
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={control_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
# How long a credential is good is also how long a requeued job waits.
AuthInfo=socket={munge_socket(folder)},cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
MailProg=/bin/true
# Steps are found by parentage, so that no control group is left behind.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
# Without it every job takes the whole memory of its node.
DefMemPerCPU=100
# Nodes are what is said here, not what this machine has.
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
# Unless told so Slurm waits 3 s before it looks at a batch job.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmctldTimeout=5
SlurmdTimeout=60
MessageTimeout=5
TCPTimeout=2
KillWait={options.kill_wait_s}
InactiveLimit=0
MinJobAge={options.kept_s}
MaxArraySize={options.max_array_size}
JobRequeue=1
GresTypes=gpu
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=1 PreemptMode=REQUEUE GraceTime={options.grace_s}
PartitionName=high Nodes=ALL MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
{accounting}{more}
"""


def gres_conf(options: Options, folder: Path) -> str:
    """Return gres.conf: where the GPUs of each node are."""
    kind = f"Type={options.gpu_type} " if options.gpu_type else ""
    return f"Name=gpu {kind}File={folder}/dev/gpu[0-{options.num_gpus - 1}]\n" if options.num_gpus else ""


def munge_socket(folder: Path) -> Path:
    """Return where munge answers."""
    return folder / "run" / "munge.socket"


def user_name() -> str:
    """Return who runs the cluster."""
    return pwd.getpwuid(os.getuid()).pw_name


def free_ports(count: int) -> list[int]:
    """Return ports that are free now."""
    free = (port for port in random.sample(_PORTS, len(_PORTS)) if is_free(port))
    return [next(free) for _ in range(count)]
