"""Weights & Biases: a project with a run for each sweep, with its files, and one for each point, in the sweep's group.

Runs that are written offline cannot be asked what they have. So `tracked-wandb.jsonl` in the sweep's folder notes what
was told to which project: a line for each run, the last one counts.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixvllm.errors import TrackerFailed
from mixvllm.report.track_failure import failing_as, not_installed
from mixvllm.report.tracked import TrackedPoint, TrackedSource, fingerprint_of, remaining

LEDGER = "tracked-wandb.jsonl"
_MAX_TEXT = 4000


class WandbTracker:
    """The service, or files for it where `WANDB_MODE=offline`.

    Args:
        project: its name; made where there is none.
        uri: of a server of one's own; None = `WANDB_BASE_URL`, or the public one.

    Raises:
        ConfigError: wandb is not installed.
    """

    def __init__(self, project: str, uri: str | None) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        try:
            self._wandb = importlib.import_module("wandb")
        except ModuleNotFoundError as error:
            raise not_installed("wandb", error) from error
        self._project = project
        self._uri = uri
        where = uri or os.environ.get("WANDB_BASE_URL")
        self._target = fingerprint_of([project, where, os.environ.get("WANDB_ENTITY")])
        self._ledger: _Ledger

    def begin(self, source: TrackedSource) -> None:
        """Take the sweep as a run of its own, with its files."""
        self._ledger = _Ledger(source.folder / LEDGER, self._target)
        digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in source.artifacts}
        state = {"tags": fingerprint_of(source.tags), **digests}
        if self._ledger.known(f"source/{source.key}") == state:
            return
        with self._run(f"source/{source.key}", source.name, source, "sweep", dict(source.tags)) as run:
            artifact = self._wandb.Artifact(f"results-{source.key}", type="results")
            for file in source.artifacts:
                artifact.add_file(str(file))
            if source.artifacts:
                run.log_artifact(artifact)
        self._ledger.note(f"source/{source.key}", state)

    def log(self, source: TrackedSource, point: TrackedPoint) -> str:
        """Take a point; one whose measurements were done anew gets a run of another id."""
        known = self._ledger.known(point.key)
        what = remaining(point.state, known)
        if what == "nothing":
            return what
        told = {} if what == "again" or known is None else known
        generation = self._ledger.generation(point.key) + (what == "again")
        key = f"{point.key}/{generation}" if generation else point.key
        config = {**point.params, **{f"mixvllm.{name}": text[:_MAX_TEXT] for name, text in point.tags.items()}}
        with self._run(key, point.name, source, "point", config) as run:
            for repeat in point.repeats:
                if str(repeat.number) not in told:
                    run.log(dict(repeat.metrics), step=repeat.number)
            run.summary.update(dict(point.summary))
        self._ledger.note(point.key, point.state, generation)
        return what

    def close(self) -> None:
        """End the program that wandb has started for itself."""
        with failing_as("W&B"):
            self._wandb.teardown()

    @contextmanager
    def _run(self, key: str, name: str, source: TrackedSource, kind: str, config: Mapping[str, str]) -> Iterator[Any]:
        """Begin a run, and end it; its id depends on what it is of alone, so that it goes on where it is there."""
        with failing_as("W&B"):
            run = self._wandb.init(
                project=self._project,
                id=hashlib.sha256(f"{self._target}/{key}".encode()).hexdigest()[:16],
                name=name,
                group=source.name,
                job_type=kind,
                config=dict(config),
                tags=[text[:64] for text in (config.get("mixvllm.verdict"), config.get("mixvllm.model")) if text],
                resume="allow",
                settings=self._settings(),
            )
            try:
                yield run
            finally:
                run.finish()

    def _settings(self) -> Any:
        """Return settings with which nothing is sent but what it is told: no code, no output, no machine."""
        base = {"base_url": self._uri} if self._uri else {}
        return self._wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_machine_info=True,
            x_disable_meta=True,
            x_disable_stats=True,
            **base,
        )


class _Ledger:
    """What was told to one project, in a file that only grows."""

    def __init__(self, path: Path, target: str) -> None:
        self._path = path
        self._target = target
        self._notes: dict[str, dict[str, Any]] = {}
        for line in _lines(path):
            if line.get("target") == target:
                self._notes[str(line.get("key"))] = line

    def known(self, key: str) -> dict[str, str] | None:
        """Return the state that was told of `key`; None where nothing was."""
        state = self._notes.get(key, {}).get("state")
        return state if isinstance(state, dict) else None

    def generation(self, key: str) -> int:
        """Return how often `key` was told anew."""
        return int(self._notes.get(key, {}).get("generation", 0))

    def note(self, key: str, state: Mapping[str, str], generation: int = 0) -> None:
        """Note that `state` was told of `key`.

        Raises:
            TrackerFailed: the folder cannot be written to.
        """
        line = {"target": self._target, "key": key, "generation": generation, "state": dict(state)}
        self._notes[key] = line
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(f"{json.dumps(line)}\n")
        except OSError as error:
            words = f"what W&B was told cannot be noted in {self._path}: {error.strerror}"
            raise TrackerFailed(f"{words}\n  next: copy the folder to where you can write") from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:  # the last one, of a process that was killed
            continue
        if isinstance(found, dict):
            yield found
