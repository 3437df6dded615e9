"""GPUs and sources, also where there are none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from mixvllm import GpuInfo, get_gpu_info
from mixvllm.machine.gpus import Gpu, GpuProcess
from mixvllm.machine.source import git_state


@pytest.fixture
def no_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without NVIDIA's library."""

    def refuse() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", refuse)


def fake_torch(folder: Path, devices: str) -> None:
    """Write a package `torch` that knows `devices`, a list of (name, total, free, major, minor)."""
    folder.mkdir()
    (folder / "torch.py").write_text(
        f"from types import SimpleNamespace as N\nD = {devices}\n"
        "def properties(i): return N(name=D[i][0], total_memory=D[i][1], major=D[i][3], minor=D[i][4])\n"
        "cuda = N(device_count=lambda: len(D), get_device_properties=properties,\n"
        "         mem_get_info=lambda i: (D[i][2], D[i][1]))\n"
    )


def test_the_driver_tells_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = SimpleNamespace(total=80 << 30, free=60 << 30)
    answers = {
        "nvmlInit": None,
        "nvmlShutdown": None,
        "nvmlDeviceGetCount": 2,
        "nvmlDeviceGetHandleByIndex": "handle",
        "nvmlDeviceGetMemoryInfo": memory,
        "nvmlDeviceGetName": "H100",
        "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetUUID": "GPU-1",
        "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=os.getpid(), usedGpuMemory=2 << 30)],
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, lambda *_, answer=answer: answer)

    info = get_gpu_info()

    holder = GpuProcess(os.getpid(), psutil.Process().name(), 2.0)
    assert (info.gpu_count, info.gpus[1]) == (2, Gpu(1, "H100", 80.0, 60.0, (9, 0), "GPU-1", (holder,)))


@pytest.mark.usefixtures("no_driver")
def test_torch_is_asked_in_its_own_process_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_torch(tmp_path / "site", "[('A100', 40 << 30, 10 << 30, 8, 0)]")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    assert get_gpu_info() == GpuInfo((Gpu(0, "A100", 40.0, 10.0, (8, 0)),))
    assert "torch" not in sys.modules


@pytest.mark.usefixtures("no_driver")
@pytest.mark.parametrize("devices", ["[]", "1 / 0"])
def test_a_machine_without_a_gpu_has_an_empty_list_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, devices: str
) -> None:
    fake_torch(tmp_path / "site", devices)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    info = get_gpu_info()

    assert (info.gpu_count, info.gpus, info.cuda_available) == (0, (), False)


def test_outside_a_checkout_there_is_no_source_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_a_checkout_has_a_commit_and_what_changed_since(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    (tmp_path / "a").write_text("one\n")
    for arguments in (["init", "-q"], ["add", "a"], ["commit", "-qm", "a"]):
        subprocess.run([*git, *arguments], check=True)
    (tmp_path / "a").write_text("two\n")

    state = git_state(tmp_path)

    assert state is not None
    assert (len(state["commit"]), "+two" in state["diff"]) == (40, True)
