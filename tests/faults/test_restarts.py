"""When a failed server is started again, how long that is put off, and what is recorded of it."""

from __future__ import annotations

import signal
from typing import Any

import pytest

from mixvllm import ServerConfig
from mixvllm.errors import ServerDied
from mixvllm.server.restart import Failure, RestartPolicy
from tests.faults.launched import LaunchFake
from tests.faults.nothing_left import assert_nothing_left
from tests.faults.served import Serve
from tests.written_runs import wait_for

TRANSIENT = ["torch.AcceleratorError: CUDA error: unspecified launch failure"]
CONFIG = ["main.py: error: unrecognized arguments: --no-such-thing"]

AT_LOADING = Failure("transient", was_ready=False, served_s=20)
SERVING_BRIEFLY = Failure("transient", was_ready=True, served_s=599)
SERVING_LONG = Failure("transient", was_ready=True, served_s=601)


def policy(**server: Any) -> RestartPolicy:
    return RestartPolicy(ServerConfig(**server), jitter=lambda: 1.0)


@pytest.mark.parametrize(
    ("kind", "was_ready", "restarts"),
    [
        ("transient", False, True),
        ("transient", True, True),
        ("unknown", False, False),
        ("unknown", True, True),
        ("environment", False, False),
        ("environment", True, True),
        ("config", False, False),
        ("config", True, False),
    ],
)
def test_a_failure_is_worth_another_start(kind: str, was_ready: bool, restarts: bool) -> None:
    delay_s = policy().delay_s(Failure(kind, was_ready=was_ready, served_s=1))

    assert (delay_s is not None) is restarts


@pytest.mark.parametrize(
    ("history", "delays_s"),
    [
        ([AT_LOADING] * 10, [5, 10, 20, 40] + [None] * 6),
        ([AT_LOADING, SERVING_BRIEFLY, AT_LOADING], [5, 10, 20]),
        ([AT_LOADING, AT_LOADING, SERVING_LONG, AT_LOADING], [5, 10, 5, 10]),
        ([SERVING_LONG] * 7, [5] * 7),
    ],
    ids=["in a row", "served too briefly", "served long enough", "now and then"],
)
def test_the_delay_doubles_until_the_server_has_served_for_long(
    history: list[Failure], delays_s: list[float | None]
) -> None:
    rule = policy()

    assert [rule.delay_s(failure) for failure in history] == delays_s


def test_the_delay_is_five_minutes_at_the_most() -> None:
    rule = policy(restart_max_attempts=20)

    assert max(filter(None, [rule.delay_s(AT_LOADING) for _ in range(19)])) == 300


def test_delays_vary_so_that_many_servers_do_not_start_at_once() -> None:
    delays_s = {RestartPolicy(ServerConfig()).delay_s(AT_LOADING) for _ in range(20)}

    assert len(delays_s) > 1
    assert all(delay_s is not None and 4 <= delay_s <= 6 for delay_s in delays_s)


def test_never_means_never() -> None:
    assert policy(restart="never").delay_s(SERVING_LONG) is None


@pytest.mark.parametrize(("log", "num_starts"), [(TRANSIENT, 5), (CONFIG, 1)], ids=["transient", "config"])
def test_a_crash_loop_ends_after_as_many_starts_as_can_help(serve: Serve, log: list[str], num_starts: int) -> None:
    one = serve({"restart_backoff_s": 0.01}, die_in="weights", die_log=log)

    with pytest.raises(ServerDied) as caught:
        one.service.wait_ready()
    one.service.stop()

    attempts = assert_nothing_left(one.witness)["attempts"]
    assert [attempt["attempt"] for attempt in attempts] == list(range(1, num_starts + 1))
    assert {(attempt["state"], attempt["cause"]) for attempt in attempts} == {("failed", caught.value.cause)}


def test_the_delays_of_a_crash_loop_double(serve: Serve) -> None:
    one = serve({"restart_backoff_s": 0.1}, die_in="imports", die_log=TRANSIENT)

    with pytest.raises(ServerDied):
        one.service.wait_ready()

    delays_s = [event.fields["delay_s"] for event in one.events if event.name == "restarting"]
    assert [round(delay_s / 0.1 / 2**number) for number, delay_s in enumerate(delays_s)] == [1, 1, 1, 1]


def test_a_server_that_fails_once_serves_at_the_second_attempt(serve: Serve, tmp_path: object) -> None:
    one = serve(starts_file=f"{tmp_path}/starts", by_start=[{"die_in": "weights", "die_log": TRANSIENT}, {}])

    one.service.wait_ready()

    assert one.ask() == 200
    assert [attempt["state"] for attempt in one.end()["attempts"]] == ["failed", "stopped"]


def test_a_stop_between_two_attempts_is_recorded_as_one(launch_fake: LaunchFake) -> None:
    again = ["server.restart=on_failure", "server.restart_backoff_s=100"]
    one = launch_fake(*again, die_in="weights", die_log=TRANSIENT)
    one.launch.wait_for(lambda: "restarting" in one.names)
    one.kill(one.launch.process.pid, number=signal.SIGINT)

    assert one.launch.exit_code() == 130
    assert assert_nothing_left(one.witness)["state"] == "stopped"


def test_a_start_that_fails_between_two_attempts_is_recorded_as_the_end(serve: Serve) -> None:
    one = serve()
    one.service.wait_ready()
    one.folder.command.unlink()
    one.folder.command.mkdir()  # so that the next start cannot write its command
    one.kill(one.leader)

    with pytest.raises(OSError, match="command"):
        one.check_until(lambda: False)
    one.service.stop()

    assert "command" in assert_nothing_left(one.witness)["cause"]


def test_a_launcher_that_is_killed_between_two_attempts_leaves_nothing(launch_fake: LaunchFake) -> None:
    again = ["server.restart=on_failure", "server.restart_backoff_s=100"]
    one = launch_fake(*again, die_in="weights", die_log=TRANSIENT)
    one.launch.wait_for(lambda: "restarting" in one.names)
    one.kill(one.launch.process.pid)

    wait_for(lambda: not one.witness.left())
