"""The run of one server, as its folder tells of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from mixvllm.report.fields import count_in, mapping_in, mappings_in, number_in, text_in
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import read_json
from mixvllm.runs.samples import read_samples
from mixvllm.vllm.phases import PHASES

_MAX_LOOKED_AT = 3  # samples, for what the machine has


@dataclass(frozen=True)
class ServerRun:
    """One server with its restarts; what its files say is read when it is asked for, once.

    Args:
        path: of its run folder.
    """

    path: Path

    @property
    def name(self) -> str:
        """What the run is called."""
        return self.path.name

    @property
    def folder(self) -> RunFolder:
        """Names its files."""
        return RunFolder(self.path)

    @cached_property
    def status(self) -> Mapping[str, Any]:
        """The content of `status.json`; empty where it cannot be read."""
        return read_json(self.folder.status) or {}

    @property
    def state(self) -> str | None:
        """The last one that is recorded."""
        return text_in(self.status, "state")

    @property
    def host(self) -> str | None:
        """Name of the machine that served."""
        return text_in(self.status, "host")

    @property
    def job(self) -> Mapping[str, Any]:
        """The Slurm job that it was part of; empty where it was none."""
        return mapping_in(self.status, "job")

    @cached_property
    def startup_s(self) -> Mapping[str, float]:
        """Seconds that each phase of the last start took, in order; phases that did not occur are left out."""
        attempts = mappings_in(self.status, "attempts")
        last = attempts[-1] if attempts else {}
        durations = mapping_in(self.status, "durations_s") or mapping_in(last, "durations_s")
        found = {phase: number_in(durations, phase) for phase in PHASES}
        return {phase: seconds for phase, seconds in found.items() if seconds is not None}

    @property
    def num_starts(self) -> int:
        """How often it was started."""
        return count_in(self.status, "attempt") or 0

    @cached_property
    def hardware(self) -> str | None:
        """What it ran on: `2 x NVIDIA H100 80GB HBM3`, or the processor where it had no GPU; None: not told."""
        for sample in islice(self.samples(), _MAX_LOOKED_AT):
            if gpus := mappings_in(sample, "gpus"):
                return _gpus_words(gpus)
            if sample.get("gpus") == []:
                return _cpu_words(mapping_in(self.status, "cpu"))
        return None

    def samples(self) -> Iterator[dict[str, Any]]:
        """Yield what it did over time, oldest first."""
        return read_samples(self.folder)


def _gpus_words(gpus: Sequence[Mapping[str, Any]]) -> str:
    names = Counter(text_in(gpu, "name") for gpu in gpus)
    if None not in names:
        return ", ".join(f"{num} x {name}" for name, num in names.items())
    sizes = [number_in(gpu, "memory_total_gib") for gpu in gpus]
    words = f"{len(gpus)} GPU{'s' if len(gpus) > 1 else ''}"
    return f"{words} of {sizes[0]:.3g} GiB" if sizes[0] and len(set(sizes)) == 1 else words


def _cpu_words(cpu: Mapping[str, Any]) -> str | None:
    name, num_cores = text_in(cpu, "name"), count_in(cpu, "num_cores")
    return f"{name}, {num_cores} cores" if name and num_cores else name
