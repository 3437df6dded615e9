"""Each server has GPUs, cores, ports and a cache of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm.sweep.slots import FIRST_INTERNAL_PORT, PORTS_PER_SLOT, Slot, Slots, gpu_names

pytestmark = pytest.mark.usefixtures("own_tmp")


def test_no_gpu_is_in_two_slots() -> None:
    slots = Slots(["0", "1", "2", "3"])

    taken = [slots.take(2), slots.take(2), slots.take(1)]

    assert [slot and slot.gpus for slot in taken] == [("0", "1"), ("2", "3"), None]


def test_gpus_that_are_given_back_are_given_out_again_in_their_order() -> None:
    slots = Slots(["3", "1", "2"])
    first, second = slots.take(1), slots.take(2)
    assert first is not None
    assert second is not None
    slots.give_back(second)
    slots.give_back(first)

    again = slots.take(3)

    assert again is not None
    assert again.gpus == ("3", "1", "2")


def test_no_slot_of_another_launcher_has_the_same_gpus_or_ports() -> None:
    mine, other = Slots(["0", "1"]), Slots(["0", "1"])
    first, second = mine.take(1), other.take(1)
    assert first is not None
    assert second is not None

    assert (first.gpus, second.gpus, other.take(1)) == (("0",), ("1",), None)
    assert first.environment({}, {})["VLLM_PORT"] != second.environment({}, {})["VLLM_PORT"]


def test_gpus_that_another_launcher_gives_back_can_be_had() -> None:
    mine, other = Slots(["0", "1"]), Slots(["1", "0"])
    first = mine.take(1)
    assert first is not None
    assert other.take(2) is None
    mine.give_back(first)

    second = other.take(2)

    assert second is not None
    assert second.gpus == ("1", "0")


def test_a_server_on_the_cpu_takes_the_place_of_one_gpu() -> None:
    slots = Slots(["0", "1"])

    taken = [slots.take(0) for _ in range(3)]

    assert (slots.num_at_once(0), [slot and slot.gpus for slot in taken]) == (2, [("0",), ("1",), None])


def test_shares_of_the_cores_are_disjoint() -> None:
    slots = Slots([], 2, cores=range(5))

    taken = [slots.take(1), slots.take(8), slots.take(1)]

    assert [slot and slot.cores for slot in taken] == [(0, 1, 2), (3, 4), None]


@pytest.mark.parametrize("num_slots", [1, 3])
def test_a_single_share_and_shares_without_a_core_each_have_all_cores(num_slots: int) -> None:
    slots = Slots([], num_slots, cores=[0, 1])

    taken = [slots.take(1) for _ in range(num_slots)]

    assert [slot and slot.cores for slot in taken] == [()] * num_slots
    assert slots.take(1) is None


def test_a_slot_tells_its_server_what_is_its_own() -> None:
    slot = Slot(2, gpus=("4", "GPU-aa"), cores=(0, 1, 2))

    environment = slot.environment({}, {"XDG_CACHE_HOME": "/cache"})

    assert environment == {
        "CUDA_VISIBLE_DEVICES": "4,GPU-aa",
        "OMP_NUM_THREADS": "3",
        "VLLM_PORT": str(FIRST_INTERNAL_PORT + 2 * PORTS_PER_SLOT),
        "VLLM_CACHE_ROOT": "/cache/vllm/slot-2",
    }


def test_what_the_configuration_says_wins_and_only_its_cache_is_divided() -> None:
    configured = {"OMP_NUM_THREADS": "1", "VLLM_PORT": "9", "VLLM_CACHE_ROOT": "/mine"}

    environment = Slot(1, cores=(0, 1)).environment(configured, {"VLLM_CACHE_ROOT": "/theirs"})

    assert environment == {"VLLM_CACHE_ROOT": "/mine/slot-1"}


@pytest.mark.parametrize(
    ("inherited", "cache"),
    [({"VLLM_CACHE_ROOT": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")), ({}, Path.home() / ".cache" / "vllm")],
)
def test_the_cache_of_a_slot_is_below_the_usual_one(inherited: dict[str, str], cache: Path) -> None:
    assert Slot(1).environment({}, inherited)["VLLM_CACHE_ROOT"] == f"{cache}/slot-1"


def test_the_first_slot_has_the_cache_of_a_run_by_itself() -> None:
    assert "VLLM_CACHE_ROOT" not in Slot(0).environment({}, {"VLLM_CACHE_ROOT": "/a"})


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        (None, ["0", "1"]),
        ("", []),
        ("3, 1", ["3", "1"]),
        ("2,-1,0", ["2"]),
        ("-1", []),
        ("MIG-a,GPU-b", ["MIG-a", "GPU-b"]),
    ],
)
def test_gpus_are_those_that_cuda_would_see(listed: str | None, names: list[str]) -> None:
    assert gpu_names(listed, lambda: 2) == names
