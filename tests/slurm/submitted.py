"""Sweeps of the fake vLLM on the cluster of a test, as a user submits them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.sweep.sweeps import Sweep


class SubmittedSweep(Sweep):
    """A launcher of a sweep on the cluster, in `folder`, where the next one may go on."""

    def __init__(self, folder: Path, overrides: Sequence[str], script: dict[str, object], number: int) -> None:
        super().__init__(folder, ["hydra/launcher=slurm", "sweep.name=s", *overrides], script, number)

    def arrays(self) -> list[dict[str, Any]]:
        """Return what was submitted, as it is recorded."""
        arrays: list[dict[str, Any]] = json.loads((self.folder.path / "jobs.json").read_text())["arrays"]
        return arrays

    def wait_submitted(self, num_arrays: int = 1) -> list[str]:
        """Wait until so many arrays are submitted; return the ids of their elements."""
        self.launch.wait_for(lambda: self._num_arrays() >= num_arrays or self.launch.process.poll() is not None)
        assert self._num_arrays() >= num_arrays, self.launch.stderr
        return [f"{array['job_id']}_{at}" for array in self.arrays() for at in range(array["num_elements"])]

    def exit_code(self) -> int:
        try:
            return super().exit_code()
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs()}\n{self.server_logs()}") from None

    def job(self, job_id: str) -> dict[str, Any]:
        """Return the record of an element, as it wrote it, or as it was written for it."""
        array, _, index = job_id.partition("_")
        records = (json.loads(file.read_text()) for file in self.folder.path.glob(f"slurm/*/job-{index}.json"))
        return next(record for record in records if record["job_id"].startswith(f"{array}_"))

    def logs(self) -> str:
        """Return what all jobs printed."""
        return "\n".join(file.read_text() for file in sorted(self.folder.path.glob("slurm/*/*_log.out")))

    def server_logs(self) -> str:
        """Return what happened to all servers, and what they printed last."""
        files = (
            file for name in ("events.jsonl", "server.log") for file in self.folder.path.glob(f"servers/**/{name}")
        )
        return "\n".join(f"{file}\n{file.read_text()[-2000:]}" for file in files)

    def scripts(self) -> list[str]:
        """Return the scripts that were submitted, in their order."""
        return [file.read_text() for file in sorted(self.folder.path.glob("slurm/*/script.sh"))]

    def server_records(self) -> list[dict[str, Any]]:
        """Return the states of the servers that were started, as they are recorded."""
        return [json.loads(file.read_text()) for file in self.folder.path.glob("servers/*/*/*/status.json")]

    def _num_arrays(self) -> int:
        return len(self.arrays()) if list(self._outputs.glob("sweeps/s/jobs.json")) else 0


SubmitSweep = Callable[..., SubmittedSweep]
"""Submits a sweep of the fake; see the fixture `submit_sweep`."""
