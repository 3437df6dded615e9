"""What trackers are told, read back as they keep it. A study told twice is there once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import ConfigError, TrackerFailed
from mixvllm.report.study import Study
from mixvllm.report.track import Target, TrackerName, track
from mixvllm.report.track_process import track_aside
from tests.report.studies import repeats, study
from tests.report.wandb_files import OfflineRun, read_runs

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of MLflow's own use of SQLAlchemy

SECRET = "s3cr3t-value-of-mine-0123456789"
ASKED = {"model.name": "m", "inference.max_num_seqs": 8, "inference.dtype": None}


@pytest.fixture(autouse=True)
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trackers that write into the test's own folder, and ask nobody."""
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_API_KEY", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"WANDB_MODE": "offline", "MLFLOW_DISABLE_TELEMETRY": "true", "MY_TOKEN": SECRET}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def told(tmp_path: Path) -> Study:
    """Two points, one of them failed, in a folder with a table."""
    folder = tmp_path / "sweeps"
    (folder / "s").mkdir(parents=True)
    (folder / "s" / "results.csv").write_text("row,point\n")
    return two_points(folder, [10.0, 20.0])


def two_points(folder: Path, values: list[float]) -> Study:
    return study(
        "s",
        [
            (ASKED, repeats({"p99_ttft_ms": values, "output_tokens_per_s": [100.0] * len(values)})),
            ({**ASKED, "inference.max_num_seqs": 16}, ()),
        ],
        folder=folder,
    )


def tell(found: Study, name: TrackerName, tmp_path: Path) -> dict[str, int]:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}" if name == "mlflow" else None
    return track(found, name, Target("test", uri), lambda _line: None).counts


class Mlflow:
    """What MLflow has, by its own client."""

    def __init__(self, tmp_path: Path) -> None:
        from mlflow.tracking import MlflowClient

        self.client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}")
        experiment = self.client.get_experiment_by_name("test")
        assert experiment is not None
        found = self.client.search_runs([experiment.experiment_id], max_results=1000)
        self.points = {run.info.run_name: run for run in found if "mlflow.parentRunId" in run.data.tags}
        self.sweeps = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
        self.num_runs = len(found)

    def steps(self, name: str, metric: str) -> list[tuple[int, float]]:
        history = self.client.get_metric_history(self.points[name].info.run_id, metric)
        return sorted((one.step, one.value) for one in history)


def test_mlflow_has_a_run_for_each_point_below_one_for_the_sweep(told: Study, tmp_path: Path) -> None:
    assert tell(told, "mlflow", tmp_path) == {"new": 2}

    found = Mlflow(tmp_path)
    run = found.points["s#0"]
    assert set(found.points) == {"s#0", "s#1"}
    assert run.data.tags["mlflow.parentRunId"] == found.sweeps[0].info.run_id
    assert run.data.params == {"model.name": "m", "inference.max_num_seqs": "8"}
    assert found.steps("s#0", "p99_ttft_ms") == [(1, 10.0), (2, 20.0)]
    assert run.data.metrics["p99_ttft_ms/mean"] == 15.0
    assert {"p99_ttft_ms/ci95_low", "p99_ttft_ms/ci95_high", "output_tokens_per_s/mean"} < set(run.data.metrics)
    assert (run.data.tags["verdict"], run.info.status) == ("ok", "FINISHED")
    assert [file.path for file in found.client.list_artifacts(found.sweeps[0].info.run_id)] == ["results.csv"]


def test_mlflow_has_a_failed_point_without_numbers_and_with_its_reason(told: Study, tmp_path: Path) -> None:
    tell(told, "mlflow", tmp_path)

    run = Mlflow(tmp_path).points["s#1"]
    assert (run.info.status, run.data.metrics) == ("FAILED", {})
    assert run.data.tags["reason"] == "1 of 1 failed: out of memory"


def test_mlflow_told_twice_has_everything_once(told: Study, tmp_path: Path) -> None:
    tell(told, "mlflow", tmp_path)

    assert tell(told, "mlflow", tmp_path) == {"nothing": 2}

    found = Mlflow(tmp_path)
    assert found.num_runs == 3
    assert found.steps("s#0", "p99_ttft_ms") == [(1, 10.0), (2, 20.0)]


def test_mlflow_gets_further_repeats_in_the_same_run(told: Study, tmp_path: Path) -> None:
    tell(told, "mlflow", tmp_path)
    before = Mlflow(tmp_path).points["s#0"].info.run_id

    assert tell(two_points(tmp_path / "sweeps", [10.0, 20.0, 30.0]), "mlflow", tmp_path) == {"more": 1, "nothing": 1}

    found = Mlflow(tmp_path)
    assert found.points["s#0"].info.run_id == before
    assert found.steps("s#0", "p99_ttft_ms") == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert found.points["s#0"].data.metrics["p99_ttft_ms/mean"] == 20.0


def test_mlflow_gets_another_run_for_a_point_that_was_measured_anew(told: Study, tmp_path: Path) -> None:
    tell(told, "mlflow", tmp_path)

    assert tell(two_points(tmp_path / "sweeps", [10.0, 21.0]), "mlflow", tmp_path) == {"again": 1, "nothing": 1}

    found = Mlflow(tmp_path)
    assert found.num_runs == 3
    assert found.steps("s#0", "p99_ttft_ms") == [(1, 10.0), (2, 21.0)]


def test_mlflow_goes_on_with_a_point_that_was_begun_and_not_ended(told: Study, tmp_path: Path) -> None:
    tell(told, "mlflow", tmp_path)
    found = Mlflow(tmp_path)
    found.client.delete_tag(found.points["s#0"].info.run_id, "mixvllm.state")

    tell(told, "mlflow", tmp_path)

    assert Mlflow(tmp_path).num_runs == 3
    assert Mlflow(tmp_path).steps("s#0", "p99_ttft_ms") == [(1, 10.0), (2, 20.0)]


def test_folders_of_the_same_name_do_not_share_runs(tmp_path: Path) -> None:
    for parent in ("a", "b"):
        tell(two_points(tmp_path / parent, [10.0]), "mlflow", tmp_path)

    assert Mlflow(tmp_path).num_runs == 6


def wandb_points(tmp_path: Path) -> dict[str, list[OfflineRun]]:
    found: dict[str, list[OfflineRun]] = {}
    for run in read_runs(tmp_path):
        found.setdefault(run.name, []).append(run)
    return found


def test_wandb_has_a_run_for_each_point_and_one_for_the_sweep_with_its_table(told: Study, tmp_path: Path) -> None:
    assert tell(told, "wandb", tmp_path) == {"new": 2}

    found = wandb_points(tmp_path)
    (point,), (failed,), (sweep,) = found["s#0"], found["s#1"], found["s"]
    assert (point.group, point.project) == ("s", "test")
    assert point.config["inference.max_num_seqs"] == "8"
    assert point.config["mixvllm.verdict"] == "ok"
    assert {step: row["p99_ttft_ms"] for step, row in point.history.items()} == {1: 10.0, 2: 20.0}
    assert point.summary["p99_ttft_ms/mean"] == 15.0
    assert (failed.config["mixvllm.reason"], failed.history) == ("1 of 1 failed: out of memory", {})
    assert sweep.artifacts == [["results.csv"]]


def test_wandb_told_twice_is_told_once(told: Study, tmp_path: Path) -> None:
    tell(told, "wandb", tmp_path)

    assert tell(told, "wandb", tmp_path) == {"nothing": 2}

    assert {name: len(runs) for name, runs in wandb_points(tmp_path).items()} == {"s": 1, "s#0": 1, "s#1": 1}


def test_wandb_gets_further_repeats_under_the_same_id_and_new_ones_under_another(told: Study, tmp_path: Path) -> None:
    tell(told, "wandb", tmp_path)
    tell(two_points(tmp_path / "sweeps", [10.0, 20.0, 30.0]), "wandb", tmp_path)
    tell(two_points(tmp_path / "sweeps", [11.0, 20.0, 30.0]), "wandb", tmp_path)

    runs = wandb_points(tmp_path)["s#0"]
    by_id = {run.run_id: [sorted(one.history) for one in runs if one.run_id == run.run_id] for run in runs}
    assert sorted(by_id.values(), key=len) == [[[1, 2, 3]], [[1, 2], [3]]]


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_secret_is_in_no_file_of_a_tracker(name: TrackerName, told: Study, tmp_path: Path) -> None:
    point = told.points[0]
    config = {**point.config, "server": {"env": {"X": f"a {SECRET}"}}}
    leaky = Study((replace(point, config=config, reason=f"it said {SECRET}"), told.points[1]), told.sources)

    tell(leaky, name, tmp_path)

    assert {path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()} == set()


@pytest.mark.parametrize(("name", "module"), [("mlflow", "mlflow.entities"), ("wandb", "wandb")])
def test_without_its_extra_a_tracker_names_it(
    name: TrackerName, module: str, told: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ConfigError, match=rf"pip install 'mixvllm\[{name}\]'"):
        tell(told, name, tmp_path)


def test_a_tracking_server_that_does_not_answer_is_an_error_of_ours(
    told: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    with pytest.raises(TrackerFailed, match="the results are in their folder"):
        track(told, "mlflow", Target("test", "http://127.0.0.1:9"), lambda _line: None)


def test_aside_whatever_a_tracker_does_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = Path(__file__).parent / "vllm_bench" / "single"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")

    (line,) = track_aside(recorded, ["mlflow"])
    (failed,) = track_aside(tmp_path, ["mlflow"])
    (late,) = track_aside(recorded, ["mlflow"], timeout_s=0.01)

    assert line == "mlflow: 3 points: 3 new"
    assert failed.startswith("mlflow was not told: ")
    assert failed.endswith(f"try again: mixvllm track {tmp_path} --to mlflow")
    assert late.startswith("mlflow was not told: it took more than 0.01 s")


def test_what_is_told_of_a_study_has_no_empty_values(told: Study) -> None:
    from mixvllm.report.tracked import tracked_sources

    points: Any = tracked_sources(told)[0].points

    assert all(text for point in points for text in (*point.params.values(), *point.tags.values()))
