"""Processes are found by session and parentage, and never mistaken for others."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mixvllm.server.processes import ProcessId, ProcessTree, describe, identify, send_signal

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
PARENT_OF_A_SESSION = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(SLEEP, start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_signal_reaches_the_process_that_was_meant(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None

    assert (send_signal(identity, signal.SIGTERM), sleeper.wait(10)) == (True, -signal.SIGTERM)


def test_a_later_process_of_the_same_number_is_not_touched(sleeper: subprocess.Popen[bytes]) -> None:
    now = identify(sleeper.pid)
    assert now is not None
    earlier = ProcessId(sleeper.pid, now.start_ticks - 1)

    assert (send_signal(earlier, signal.SIGKILL), sleeper.poll()) == (False, None)


def test_a_process_that_is_gone_is_not_signalled(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None
    sleeper.kill()
    sleeper.wait()

    assert (send_signal(identity, signal.SIGTERM), identify(sleeper.pid)) == (False, None)


def test_a_child_that_left_the_session_is_still_ours_after_its_parent_died() -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", PARENT_OF_A_SESSION], start_new_session=True, stdout=subprocess.PIPE
    )
    assert leader.stdout is not None
    child = int(leader.stdout.readline())
    tree = ProcessTree(_id(leader.pid))
    tree.refresh()
    leader.kill()
    leader.wait()
    leader.stdout.close()

    left = [process.pid for process in tree.refresh()]

    assert (left, tree.kill()) == ([child], [])


def test_a_tree_without_processes_is_gone_at_once(sleeper: subprocess.Popen[bytes]) -> None:
    tree = ProcessTree(_id(sleeper.pid))
    sleeper.kill()
    sleeper.wait()

    assert (tree.wait_gone(0), tree.kill()) == ([], [])


def test_our_own_process_is_never_part_of_a_servers_tree(sleeper: subprocess.Popen[bytes]) -> None:
    assert [process.pid for process in ProcessTree(_id(sleeper.pid)).refresh()] == [sleeper.pid]


def test_a_description_names_number_and_program(sleeper: subprocess.Popen[bytes]) -> None:
    identity = identify(sleeper.pid)
    assert identity is not None

    assert describe([identity]).startswith(f"{sleeper.pid} (python")


def _id(pid: int) -> ProcessId:
    identity = identify(pid)
    assert identity is not None
    return identity
