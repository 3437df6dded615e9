"""MLflow: an experiment with a run for each sweep, and one below it for each point.

Which points it has, it tells itself: a tag holds the key of each run, another one the state of what was told.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping
from typing import Any

from mixvllm.report.track_failure import failing_as, not_installed
from mixvllm.report.tracked import TrackedPoint, TrackedSource, remaining

_KEY, _STATE, _SOURCE, _FILE = "mixvllm.key", "mixvllm.state", "mixvllm.source", "mixvllm.file."
_PARENT = "mlflow.parentRunId"
_MAX_TEXT = 6000  # of a parameter; a tag may have 8000
_MAX_METRICS, _MAX_PARAMS = 800, 100  # of one call, which may have 1000 of all kinds
_REQUEST_TIMEOUT_S, _MAX_RETRIES = "30", "2"
"""Of a tracking server that does not answer, where the environment says nothing else."""


class MlflowTracker:
    """A tracking server, or a local store.

    Args:
        experiment: its name; made where there is none.
        uri: None = `MLFLOW_TRACKING_URI`, or MLflow's own default.

    Raises:
        ConfigError: MLflow is not installed.
        TrackerFailed: it cannot be reached.
    """

    def __init__(self, experiment: str, uri: str | None) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", _REQUEST_TIMEOUT_S)
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", _MAX_RETRIES)
        try:
            self._entities = importlib.import_module("mlflow.entities")
            tracking = importlib.import_module("mlflow.tracking")
            if uri is None or not uri.startswith(("http:", "https:", "databricks")):
                importlib.import_module("sqlalchemy")
        except ModuleNotFoundError as error:
            raise not_installed("mlflow", error) from error
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        with failing_as("MLflow"):
            self._client = tracking.MlflowClient(tracking_uri=uri)
            found = self._client.get_experiment_by_name(experiment)
            self._experiment = found.experiment_id if found else self._client.create_experiment(experiment)
        self._known: dict[str, Any] = {}
        self._parent = ""

    def begin(self, source: TrackedSource) -> None:
        """Take the sweep as a run of its own, with its files; find out which of its points are there."""
        with failing_as("MLflow"):
            self._known = dict(self._runs_of(source.key))
            key = f"source/{source.key}"
            run = self._known.get(key) or self._create(key, source.name, source.key, {})
            self._parent = run.info.run_id
            self._client.log_batch(self._parent, tags=self._tags(source.tags))
            for file in source.artifacts:
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
                if run.data.tags.get(f"{_FILE}{file.name}") != digest:
                    self._client.log_artifact(self._parent, str(file))
                    self._client.set_tag(self._parent, f"{_FILE}{file.name}", digest)
            self._client.set_terminated(self._parent)

    def log(self, source: TrackedSource, point: TrackedPoint) -> str:
        """Take a point; a run whose measurements were done anew is deleted, and another one takes its place."""
        with failing_as("MLflow"):
            run = self._known.get(point.key)
            known = _state(run.data.tags) if run is not None else None
            what = remaining(point.state, known)
            if what == "nothing":
                return what
            if run is not None and what == "again":
                self._client.delete_run(run.info.run_id)
                run, known = None, None
            if run is None:
                run = self._create(point.key, point.name, source.key, {_PARENT: self._parent})
            self._tell(run.info.run_id, point, known or {})
            return what

    def close(self) -> None:
        """Nothing is open."""

    def _tell(self, run_id: str, point: TrackedPoint, known: Mapping[str, str]) -> None:
        metric, step = self._entities.Metric, len(point.repeats)
        moment = max((repeat.began_at_ms for repeat in point.repeats), default=0)
        metrics = [
            metric(_name(name), value, repeat.began_at_ms, repeat.number)
            for repeat in point.repeats
            if str(repeat.number) not in known
            for name, value in repeat.metrics.items()
        ]
        metrics += [metric(_name(name), value, moment, step) for name, value in point.summary.items()]
        asked = {} if known else point.params
        params = [self._entities.Param(_name(key), text[:_MAX_TEXT]) for key, text in asked.items()]
        tags = self._tags({**point.tags, _STATE: json.dumps(point.state)})
        while len(metrics) > _MAX_METRICS or len(params) > _MAX_PARAMS:
            self._client.log_batch(run_id, metrics=metrics[:_MAX_METRICS], params=params[:_MAX_PARAMS])
            metrics, params = metrics[_MAX_METRICS:], params[_MAX_PARAMS:]
        # The state goes with the last of it: where it is there, all is.
        self._client.log_batch(run_id, metrics=metrics, params=params, tags=tags)
        self._client.set_terminated(run_id, "FINISHED" if point.is_good else "FAILED")

    def _tags(self, tags: Mapping[str, str]) -> list[Any]:
        return [self._entities.RunTag(_name(name), text[:_MAX_TEXT]) for name, text in tags.items()]

    def _create(self, key: str, name: str, source: str, tags: Mapping[str, str]) -> Any:
        own = {_KEY: key, _SOURCE: source, **tags}
        return self._client.create_run(self._experiment, start_time=int(time.time() * 1000), tags=own, run_name=name)

    def _runs_of(self, source: str) -> Iterator[tuple[str, Any]]:
        token: str | None = None
        while True:
            page = self._client.search_runs(
                [self._experiment], f"tags.`{_SOURCE}` = '{source}'", max_results=1000, page_token=token
            )
            yield from ((run.data.tags.get(_KEY, ""), run) for run in page)
            token = page.token
            if not token:
                return


def _state(tags: Mapping[str, str]) -> dict[str, str]:
    """Return what was told of a point; nothing where it was begun and not ended."""
    try:
        found = json.loads(tags.get(_STATE, "{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _name(name: str) -> str:
    """Return `name` with the characters that MLflow takes in one."""
    return "".join(char if char.isalnum() or char in "_-. /:" else "_" for char in name)[:250]
