"""What the GPUs do: also where the driver is missing, answers in part, or not at all."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from mixvllm.machine.gpu_load import GpuLoad, GpuReader, ask_driver, used_by
from tests.written_runs import wait_for

ANSWERS: dict[str, Any] = {
    "nvmlInit": None,
    "nvmlShutdown": None,
    "nvmlDeviceGetCount": 2,
    "nvmlDeviceGetHandleByIndex": "handle",
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=97, memory=40),
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=60 << 30, total=80 << 30, free=20 << 30),
    "nvmlDeviceGetPowerUsage": 650_480,
    "nvmlDeviceGetTemperature": 61,
    "nvmlDeviceGetName": "NVIDIA H100 80GB HBM3",
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=7, usedGpuMemory=60 << 30)],
}


def answer_with(monkeypatch: pytest.MonkeyPatch, **changed: Any) -> None:
    """Have the driver's library give `ANSWERS`; an error is raised."""
    for name, answer in (ANSWERS | changed).items():

        def call(*_: Any, answer: Any = answer) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(pynvml, name, call)


def test_each_gpu_tells_its_load(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_with(monkeypatch)

    name = "NVIDIA H100 80GB HBM3"
    assert ask_driver() == tuple(GpuLoad(index, 97, 60.0, 80.0, 650.5, 61, frozenset({7}), name) for index in (0, 1))


def test_what_a_gpu_does_not_tell_is_none_and_the_rest_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    silent = pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    names = ("UtilizationRates", "PowerUsage", "ComputeRunningProcesses", "Name")
    answer_with(monkeypatch, **{f"nvmlDeviceGet{name}": silent for name in names})

    assert ask_driver()[0] == GpuLoad(0, None, 60.0, 80.0, None, 61)


@pytest.mark.parametrize("call", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_a_driver_that_is_missing_or_broken_is_no_gpu(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    answer_with(monkeypatch, **{call: pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)})

    assert ask_driver() == ()


def test_a_machine_without_gpus_is_asked_without_an_error() -> None:
    assert isinstance(ask_driver(), tuple)


def test_the_gpus_of_a_server_are_those_that_hold_its_memory() -> None:
    one, two = (GpuLoad(index, 0, 0.0, 80.0, 60.0, 30, frozenset({index + 10})) for index in (0, 1))

    assert used_by([one, two], [11, 99]) == (two,)
    assert used_by([one, two], [99]) == (one, two)


def test_a_driver_that_hangs_is_left_alone_until_it_answers() -> None:
    released = threading.Event()
    calls: list[int] = []

    def ask() -> tuple[GpuLoad, ...]:
        calls.append(1)
        released.wait(30)
        return (GpuLoad(0, 0, 0.0, 80.0, 60.0, 30),)

    quick, patient = GpuReader(ask, timeout_s=0.01), GpuReader(ask, timeout_s=30)
    assert quick.read() is None
    wait_for(lambda: calls)
    assert [quick.read(), quick.read()] == [None] * 2
    assert len(calls) == 1
    released.set()
    assert patient.read() == (GpuLoad(0, 0, 0.0, 80.0, 60.0, 30),)
