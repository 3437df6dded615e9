"""Failures of the server's own processes: one died, hung, or was too slow."""

from __future__ import annotations

from mixvllm.vllm.failures import remedies
from mixvllm.vllm.failures.catalogue.entry import Failure, Rank, foreign_sign, sign

_RESTART = "Start again; where it comes back, the lines above and the machine's own log (dmesg) tell more."

FAILURES = (
    Failure(
        id="gpu-fault",
        kind="transient",
        signs=(
            foreign_sign("an illegal memory access was encountered"),
            foreign_sign("device-side assert triggered"),
            foreign_sign("uncorrectable ECC error"),
            foreign_sign("Xid (", r"NVRM: Xid \(.*\): \d+"),
            foreign_sign("unspecified launch failure"),
        ),
        cause="A computation on the GPU failed: a fault of the GPU, of a kernel, or of the weights.",
        fix="Start again; where the same request does it, that request is the cause; Xid 48, 63, 74, 79: the GPU.",
    ),
    Failure(
        id="engine-start-timed-out",
        kind="transient",
        signs=(
            sign(
                "Timed out waiting for engine core processes to ",
                r"engine core processes to .*Waited (?P<seconds>\d+)s",
            ),
        ),
        cause="The engine was not ready {seconds} s after its start: weights on a slow disk, or a long compilation.",
        fix="Give it more time, or copy the model to a local disk.",
        override=remedies.longer_engine_start,
        rank=Rank.GENERAL,
    ),
    Failure(
        id="front-end-lost",
        kind="transient",
        signs=(sign("Did not receive response from front-end "),),
        cause="The engine waited in vain for the process that answers HTTP, which died or hangs.",
        fix=_RESTART,
        rank=Rank.GENERAL,
    ),
    Failure(
        id="worker-hung",
        kind="transient",
        signs=(
            sign("RPC call to ", r"RPC call to (?P<call>\w+) timed out"),
            sign("Worker failed with error 'RPC", r"RPC call to (?P<call>\w+) timed out", origin="older"),
        ),
        cause="A worker did not answer ({call}): it hangs, or its GPU does.",
        fix="Start again; where it comes back, look at the GPUs (nvidia-smi, dmesg).",
        rank=Rank.GENERAL,
    ),
    Failure(
        id="worker-killed",
        kind="transient",
        signs=(
            sign("died unexpectedly (exit code: ", r"proc (?P<name>\S+) died unexpectedly \(exit code: (?:-9|None)\)"),
        ),
        cause="The worker {name} died without a word: killed by the kernel for lack of memory, or by somebody.",
        fix="Start again; give the job more host memory where dmesg tells of an oom-kill.",
        rank=Rank.GENERAL,
    ),
    Failure(
        id="worker-died",
        kind="transient",
        signs=(
            sign(
                "died unexpectedly (exit code: ",
                r"Worker proc (?P<name>\S+) died unexpectedly \(exit code: (?P<code>(?!-9\))-?\d+)\)",
            ),
        ),
        cause="The worker {name} died with exit code {code} (negative: the signal that ended it).",
        fix=_RESTART,
        rank=Rank.GENERAL,
    ),
    Failure(
        id="crashed",
        kind="transient",
        signs=(
            foreign_sign("Segfault encountered"),
            foreign_sign("Segmentation fault", r"^(?:Fatal Python error: |!!!+ *)?Segmentation fault"),
            foreign_sign("Fatal Python error: ", r"Fatal Python error: (?:Aborted|Illegal instruction)"),
        ),
        cause="A process of the server crashed in native code.",
        fix=_RESTART,
        rank=Rank.GENERAL,
    ),
    Failure(
        id="engine-killed-at-start",
        kind="environment",
        signs=(sign("Failed core proc(s): ", r"Failed core proc\(s\): \{.*'(?P<name>[^']+)': -9\b"),),
        cause="{name} was killed while it started: by the kernel for lack of host memory, or by somebody.",
        fix="Give the job more host memory, or start fewer servers at once; dmesg tells of an oom-kill.",
        rank=Rank.DEATH,
    ),
    Failure(
        id="engine-died-at-start",
        kind="transient",
        signs=(sign("Failed core proc(s): ", r"Failed core proc\(s\): \{.*'(?P<name>[^']+)': (?P<code>-(?!9\b)\d+)"),),
        cause="{name} died while it started, with exit code {code} (negative: the signal that ended it).",
        fix=_RESTART,
        rank=Rank.DEATH,
    ),
    Failure(
        id="engine-lost-at-start",
        kind="environment",
        signs=(sign("Failed core proc(s): ", r"Failed core proc\(s\): \{\}"),),
        cause="The engine died while it started, without a word: killed for lack of host memory, or by somebody.",
        fix="Give the job more host memory, or start fewer servers at once; dmesg tells of an oom-kill.",
        rank=Rank.DEATH,
    ),
    Failure(
        id="node-died",
        kind="transient",
        signs=(
            foreign_sign(
                "its engine ended by itself: exit code ",
                r"mixvllm: node (?P<rank>\d+) \((?P<host>\S+)\): its engine ended .* exit code (?P<code>-?\d+)",
            ),
        ),
        cause="The engine on {host}, node {rank} of the server, ended with exit code {code}.",
        fix="The lines of that engine above tell why; where they do not, the machine's own log (dmesg) may.",
        rank=Rank.GENERAL,
    ),
    Failure(
        id="node-lost",
        kind="transient",
        signs=(
            foreign_sign("mixvllm: the engine on another node ended: "),
            foreign_sign(": nothing comes from the first node any more", r"mixvllm: node \d+ \(\S+\): nothing comes"),
        ),
        cause="A node of the server was lost, or the program that ran its engine was killed.",
        fix="Start again; sacct and the state of the node (scontrol show node) tell more.",
        rank=Rank.GENERAL,
    ),
    Failure(
        id="front-end-died",
        kind="transient",
        signs=(
            sign(
                "died with exit code ",
                r"Process (?P<name>ApiServer\S*) \(PID: \d+\) died with exit code (?P<code>-?\d+)",
            ),
        ),
        cause="The process {name}, which answers HTTP, died with exit code {code} (negative: a signal).",
        fix=_RESTART,
        rank=Rank.DEATH,
    ),
    Failure(
        id="engine-died",
        kind="transient",
        signs=(
            sign("[shutdown] MPClient: engine core exited unexpectedly", where="warning"),
            sign("died unexpectedly.", r"Engine core process \S+ died unexpectedly\."),
            sign("EngineCore encountered a fatal error."),
        ),
        cause="The engine died without a word: killed, or crashed in native code.",
        fix=_RESTART,
        rank=Rank.DEATH,
    ),
    Failure(
        id="front-end-not-started",
        kind="transient",
        signs=(foreign_sign("Application startup failed. Exiting."),),
        cause="The process that answers HTTP failed to start.",
        fix="The lines above say why.",
        rank=Rank.DEATH,
    ),
)
