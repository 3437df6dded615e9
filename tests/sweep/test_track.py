"""A sweep that tells a tracker of its results when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.sweep.sweeps import StartSweep

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own use of SQLAlchemy


def test_results_are_told_to_a_tracker_at_the_end(
    start_sweep: StartSweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    sweep = start_sweep("workload.seed=1,2", "sweep.track=[mlflow]")

    code = sweep.exit_code()

    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("mixvllm")
    assert (code, experiment is not None) == (0, True), sweep.launch.stderr
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    assert sorted(run.data.metrics.get("answer", 0) for run in runs) == [0, 42, 42]
    assert {run.data.params["workload.seed"] for run in runs if run.data.params} == {"1", "2"}
    assert "mlflow: 2 points: 2 new" in sweep.launch.stderr
    assert sweep.left() == []


def test_a_tracker_that_fails_does_not_fail_the_sweep(start_sweep: StartSweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    sweep = start_sweep("workload.seed=1", "sweep.track=[mlflow]")

    assert sweep.exit_code() == 0, sweep.launch.stderr
    assert "mlflow was not told: MLflow: " in sweep.launch.stderr
    assert sweep.folder.results_csv.exists()
