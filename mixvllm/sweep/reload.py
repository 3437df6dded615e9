"""A running server becomes another one: asked for by a file or a signal, checked, shown, done, or taken back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import MixvllmError
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.runs.records import read_json
from mixvllm.server.service import Service
from mixvllm.server.signals import StopSignals
from mixvllm.server.start import Deployment
from mixvllm.sweep.flat import leaves
from mixvllm.sweep.point import Point

Recompose = Callable[[Sequence[str]], Point]
"""Composes the run anew from its own overrides and further ones, checks it for this machine, and freezes it.

Raises a `MixvllmError` where the configuration is wrong, or this machine lacks something for it."""

_FIXED = ("server.host", "server.port", "server.api_key", "workload", "output_dir", "detach", "dry_run")


class Listener(Protocol):
    """Who is told what comes of a reload."""

    def say(self, line: str) -> None:
        """Take a line for the user."""


class Reloader:
    """Looks for a request each time it is called, and does what it asks for.

    Args:
        point: what runs.
        folder: of the run; requests and answers are files in it.
        service: to change.
        signals: ask for a reload without further overrides.
        listener: told what comes of it.
        recompose: gives the point that is asked for.
    """

    def __init__(
        self,
        point: Point,
        folder: RunFolder,
        service: Service,
        signals: StopSignals,
        listener: Listener,
        recompose: Recompose,
    ) -> None:
        self._point = point
        self._folder = folder
        self._service = service
        self._signals = signals
        self._listener = listener
        self._recompose = recompose

    def __call__(self) -> None:
        """Do what is asked for, if anything is."""
        request = self._take_request()
        if request is not None:
            self._reload(request)

    def _take_request(self) -> dict[str, Any] | None:
        if self._signals.take_reload():
            return {"id": "signal", "overrides": []}
        if not self._folder.reload_request.exists():
            return None
        request = read_json(self._folder.reload_request) or {}
        self._folder.reload_request.unlink(missing_ok=True)
        return {"id": request.get("id"), "overrides": request.get("overrides")}

    def _reload(self, request: dict[str, Any]) -> None:
        if not _are_words(request["overrides"]):
            self._answer(request, "refused", cause=f"{self._folder.reload_request.name} has no list of overrides")
            return
        try:
            point = self._recompose([*self._point.overrides, *request["overrides"]])
        except MixvllmError as error:
            self._answer(request, "refused", cause=str(error))
            return
        difference = differences(self._point.config, point.config)
        fixed = [line for line in difference if line.startswith(_FIXED)]
        if fixed:
            cause = "\n".join([*fixed, "cannot change while the run goes on: stop it and start another"])
            self._answer(request, "refused", cause=cause)
        elif not difference:
            self._answer(request, "unchanged")
        else:
            self._answer(request, "replacing", difference=difference)
            self._replace(request, point, difference)

    def _replace(self, request: dict[str, Any], point: Point, difference: Sequence[str]) -> None:
        error = self._service.replace(Deployment(point.config, point.installation))
        if error is not None:
            self._answer(request, "rolled_back", difference=difference, cause=str(error))
            return
        self._point = point
        write_json(self._folder.point, point.record())
        self._answer(request, "done", difference=difference)

    def _answer(self, request: dict[str, Any], state: str, **fields: Any) -> None:
        write_json(
            self._folder.reload_answer, {"schema": SCHEMA_VERSION, "id": request["id"], "state": state, **fields}
        )
        self._listener.say("\n".join([f"reload: {state.replace('_', ' ')}", *_lines(fields)]))


def differences(before: ExperimentConfig, after: ExperimentConfig) -> list[str]:
    """Return the keys whose values differ, as `key: old -> new`, shape (n,)."""
    old, new = dict(leaves(before.model_dump(mode="json"))), dict(leaves(after.model_dump(mode="json")))
    paths = [*old, *(path for path in new if path not in old)]
    return [f"{path}: {_shown(old, path)} -> {_shown(new, path)}" for path in paths if old.get(path) != new.get(path)]


def _are_words(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


def _shown(values: dict[str, Any], path: str) -> str:
    return json.dumps(values[path], ensure_ascii=False) if path in values else "not set"


def _lines(fields: dict[str, Any]) -> list[str]:
    return [f"  {line}" for line in [*fields.get("difference", []), *fields.get("cause", "").splitlines()]]
