"""What the end of a log tells of a server that lives and does not get on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mixvllm.vllm.failures.diagnosis import FailureKind
from mixvllm.vllm.failures.log_lines import LogLine


@dataclass(frozen=True)
class Stall:
    """A way of not getting on.

    Args:
        id: its name; see `Diagnosis`.
        kind: who can mend it.
        core: the part of its line that never varies, as vLLM's source has it.
        pattern: searched in the last lines.
        num_lines: how many of the last lines must match.
        cause: one sentence.
        fix: what to do.
        override: what mends it; None where nothing is sure to.
    """

    id: str
    kind: FailureKind
    core: str
    pattern: re.Pattern[str]
    num_lines: int
    cause: str
    fix: str
    override: str | None = None


STALLS = (
    Stall(
        "workers-silent",
        "transient",
        "No available shared memory broadcast block found ",
        re.compile(r"No available shared memory broadcast block found in \d+ seconds"),
        2,
        "The workers have not answered for minutes: they compile or load for very long, or hang.",
        "Where they use no CPU time, start again; where they do, raise server.ready_timeout_s.",
    ),
    Stall(
        "gpu-communication-silent",
        "environment",
        "vLLM is using nccl==",
        re.compile(r"vLLM is using nccl==\S+"),
        1,
        "The GPUs began to set up how they talk to each other (NCCL), and never came back.",
        "Run once with server.env.NCCL_DEBUG=INFO, and see which network or link it names.",
        "server.env.NCCL_P2P_DISABLE=1",
    ),
    Stall(
        "requests-stuck",
        "transient",
        "Waiting: %d reqs",
        re.compile(r"generation throughput: 0\.0 tokens/s, Running: \d+ reqs, Waiting: [1-9]\d* reqs"),
        3,
        "Requests wait, and the engine has produced no token for many seconds.",
        "Start again; where it comes back, look for the request that comes before.",
    ),
)

_ASIDE = re.compile(r'"(?:GET|HEAD|POST) /\S* HTTP/|^\s*$')


def find_stall(lines: Sequence[LogLine]) -> tuple[Stall, LogLine] | None:
    """Return the stall that the last lines show, and the first of those lines; answers to requests do not count."""
    last = [line for line in lines[-200:] if not _ASIDE.search(line.text)]
    for stall in STALLS:
        shown = last[-stall.num_lines :]
        if len(shown) == stall.num_lines and all(stall.pattern.search(line.text) for line in shown):
            return stall, shown[0]
    return None
