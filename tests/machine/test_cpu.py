"""The processor is told by the name that the kernel has for it."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import pytest

from mixvllm.machine.cpu import cpu_facts


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (
            "processor\t: 0\nmodel name\t: AMD EPYC 7B13\n\nprocessor\t: 1\nmodel name\t: another\n",
            "AMD EPYC 7B13",
        ),
        ("processor\t: 0\nCPU implementer\t: 0x41\n", platform.machine()),
        (None, platform.machine()),
    ],
    ids=["x86", "Arm, which has no name there", "no such file"],
)
def test_the_model_or_the_architecture_is_told(tmp_path: Path, text: str | None, name: str) -> None:
    file = tmp_path / "cpuinfo"
    if text is not None:
        file.write_text(text)

    assert cpu_facts(file) == {"name": name, "num_cores": len(os.sched_getaffinity(0))}
