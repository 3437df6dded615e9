"""A search over a space, with a formula in place of servers: what is tried, told, pruned and gone on with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import ConfigError
from mixvllm.sweep.best import Objective
from mixvllm.sweep.plan import PlannedPoint, Shape
from mixvllm.sweep.search.loop import End, Limits, Search, TrialWork
from mixvllm.sweep.search.report import best_first, front
from mixvllm.sweep.search.space import Space, asks_for_search, read_space
from mixvllm.sweep.search.study import Study, Trial, load_optuna, open_study
from mixvllm.sweep.search.trial_point import TrialPlanner, judge
from mixvllm.sweep.sweep_folder import SweepFolder
from tests.sweep.planned import BASE, INSTALLATION, planned_folder, write_repeat

SEQS = "inference.max_num_seqs=8,16,32,64"
MEMORY = "inference.gpu_memory_utilization=0.5,0.7,0.9"
SPEED = {"speed": "maximize"}

Outcome = Callable[[dict[str, Any]], Sequence[float] | str | None]


@dataclass
class Machine:
    """What measures in a test: `outcome` of a point's labels is what comes of it; each point takes `step_s`."""

    space: Space
    outcome: Outcome
    step_s: float = 0.0
    num_at_once: int = 1
    now_s: float = 0.0
    batches: list[list[dict[str, Any]]] = field(default_factory=list)

    def work(self) -> TrialWork:
        return TrialWork(self._plan, lambda _point: self.num_at_once, self._measure, self._judge, lambda: False)

    def measured(self) -> list[dict[str, Any]]:
        return [labels for batch in self.batches for labels in batch]

    def _plan(self, trial: Trial) -> PlannedPoint | str:
        labels = self.space.labels(trial.picks)
        if labels["inference.max_num_seqs"] == 64:
            return "not valid"
        return PlannedPoint(trial.number, labels, (), f"hash-{trial.number}", "key", "m", Shape(1, 1), 1)

    def _measure(self, points: Sequence[PlannedPoint]) -> None:
        self.batches.append([point.labels for point in points])
        self.now_s += self.step_s * len(points)

    def _judge(self, point: PlannedPoint) -> Sequence[float] | str | None:
        return self.outcome(point.labels)


def speed(labels: dict[str, Any]) -> list[float]:
    return [labels["inference.max_num_seqs"] * labels["inference.gpu_memory_utilization"]]


@contextmanager
def study_in(tmp_path: Path, space: Space, objective: dict[str, str] | None = None) -> Iterator[Study]:
    with open_study(tmp_path / "search.db", space, objective or SPEED, 0) as study:
        yield study


def search(tmp_path: Path, machine: Machine, num_trials: int, **limits: Any) -> tuple[End, list[Trial]]:
    with study_in(tmp_path, machine.space) as study:
        end = Search(study, machine.work(), Limits(num_trials, **limits), lambda: machine.now_s).run()
        return end, study.trials()


@pytest.fixture
def space() -> Space:
    return read_space([*BASE, SEQS, MEMORY])


def test_a_space_has_the_values_of_the_keys_that_vary() -> None:
    space = read_space(
        [*BASE, "inference.max_num_seqs=64,8,16,8", "inference.dtype=auto,null", "inference.seed=range(1,4)"]
    )

    assert (space.num_points, [axis.is_ordered for axis in space.axes]) == (18, [True, False, True])
    assert space.labels((0, 1, 2)) == {"inference.max_num_seqs": 8, "inference.dtype": None, "inference.seed": 3}
    assert space.texts((2, 0, 1))[-3:] == ["inference.max_num_seqs=64", "inference.dtype=auto", "inference.seed=2"]


def test_combinations_are_numbered() -> None:
    space = read_space([*BASE, SEQS, MEMORY])

    assert [space.number(space.picks(number)) for number in range(12)] == list(range(12))
    assert (space.picks(0), space.picks(1), space.picks(11)) == ((0, 0), (0, 1), (3, 2))


def test_a_space_may_be_larger_than_any_grid() -> None:
    keys = ["inference.max_num_seqs", "inference.seed", "inference.max_model_len"]

    assert read_space([*BASE, *(f"{key}=range(1,1001)" for key in keys)]).num_points == 10**9


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["inference.seed=1"], "no key has several values"),
        (["inference.sed=1,2"], r"^inference.sed=1: unknown key; did you mean inference.seed\? [^\n]*$"),
        (["model=demo,nemo"], "no such option"),
        (["inference.gpu_memory_utilization=interval(0.5,0.9)"], "single values"),
        (["sweep.num_trials=1,2", "inference.seed=1,2"], "holds for the whole sweep"),
    ],
)
def test_a_space_that_is_wrong_is_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_space([*BASE, *overrides])


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [([], False), (["sweep.search=optuna"], True), (["+sweep.search=optuna", "sweep.search=null"], False)],
)
def test_the_command_line_says_whether_it_is_a_search(overrides: list[str], expected: bool) -> None:
    assert asks_for_search(overrides) is expected


def test_no_point_is_tried_twice(tmp_path: Path, space: Space) -> None:
    machine = Machine(space, speed)

    end, trials = search(tmp_path, machine, 12)

    assert (end, len({trial.picks for trial in trials}), [trial.number for trial in trials]) == (
        End.TRIALS,
        12,
        list(range(12)),
    )
    assert len(machine.measured()) == 9


def test_a_space_that_is_tried_out_ends_the_search(tmp_path: Path, space: Space) -> None:
    end, trials = search(tmp_path, Machine(space, speed), 100)

    assert (end, len(trials)) == (End.SPACE, 12)


def test_points_that_are_not_valid_are_pruned_and_not_measured(tmp_path: Path, space: Space) -> None:
    machine = Machine(space, speed)

    _, trials = search(tmp_path, machine, 12)

    pruned = [(trial.reason, trial.values) for trial in trials if trial.state == "pruned"]
    assert pruned == [("not valid", ())] * 3
    assert all(labels["inference.max_num_seqs"] < 64 for labels in machine.measured())


def test_points_without_good_numbers_are_pruned_with_the_reason(tmp_path: Path, space: Space) -> None:
    machine = Machine(space, lambda labels: "no memory" if labels["inference.max_num_seqs"] == 32 else speed(labels))

    _, trials = search(tmp_path, machine, 12)

    assert sorted(trial.reason for trial in trials if trial.reason) == ["no memory"] * 3 + ["not valid"] * 3
    assert {trial.values for trial in trials if trial.state == "measured"} == {
        (seqs * memory,) for seqs in (8, 16) for memory in (0.5, 0.7, 0.9)
    }


def test_a_search_goes_on_where_it_was_left(tmp_path: Path, space: Space) -> None:
    first, second = Machine(space, speed), Machine(space, speed)

    search(tmp_path, first, 5)
    _, trials = search(tmp_path, second, 12)

    assert len(first.measured()) + len(second.measured()) == 9
    assert not [labels for labels in second.measured() if labels in first.measured()]
    assert len(trials) == 12


def test_a_trial_that_was_not_ended_comes_first(tmp_path: Path, space: Space) -> None:
    first, second = Machine(space, lambda _labels: None), Machine(space, speed)

    end, _ = search(tmp_path, first, 5)
    search(tmp_path, second, 5)

    assert (end, second.measured()[0]) == (End.STOPPED, first.measured()[0])


def test_as_many_are_tried_at_once_as_the_machine_takes(tmp_path: Path, space: Space) -> None:
    machine = Machine(space, speed, num_at_once=3)

    search(tmp_path, machine, 12)

    assert [len(batch) for batch in machine.batches] == [3, 3, 3]


def test_no_trial_begins_when_the_budget_is_spent(tmp_path: Path, space: Space) -> None:
    machine = Machine(space, speed, step_s=60)

    end, _ = search(tmp_path, machine, 12, budget_s=150)

    assert (end, len(machine.measured())) == (End.BUDGET, 3)


def test_what_was_measured_leads_to_the_best_of_many_points(tmp_path: Path) -> None:
    space = read_space([*BASE, "inference.max_num_seqs=range(1,41)", "inference.seed=range(1,41)"])

    def hill(labels: dict[str, Any]) -> list[float]:
        return [-((labels["inference.max_num_seqs"] - 30) ** 2) - (labels["inference.seed"] - 10) ** 2]

    _, trials = search(tmp_path, Machine(space, hill), 60)

    assert max(trial.values for trial in trials) > (-10.0,)  # of 60 random points one in three such sets has it


@pytest.mark.parametrize(
    ("overrides", "objective", "words"),
    [
        ([SEQS, MEMORY], {"speed": "minimize"}, "sweep.objective"),
        ([SEQS, "inference.gpu_memory_utilization=0.5,0.7"], SPEED, "the swept keys"),
        ([SEQS, MEMORY, "inference.seed=3"], SPEED, "the other overrides"),
    ],
)
def test_a_search_does_not_go_on_as_another_one(
    tmp_path: Path, space: Space, overrides: list[str], objective: dict[str, str], words: str
) -> None:
    search(tmp_path, Machine(space, speed), 2)

    with (
        pytest.raises(ConfigError, match=words),
        study_in(tmp_path, read_space([*BASE, *overrides]), objective),
    ):
        pass


def test_a_search_may_go_on_with_more_trials_elsewhere(tmp_path: Path, space: Space) -> None:
    search(tmp_path, Machine(space, speed), 2)
    more = read_space([*BASE, SEQS, MEMORY, "sweep.num_trials=5", "output_dir=elsewhere", "hydra.launcher.slots=2"])

    with study_in(tmp_path, more) as study:
        assert len(study.trials()) == 2


def test_several_objectives_have_a_value_each(tmp_path: Path, space: Space) -> None:
    with study_in(tmp_path, space, {"speed": "maximize", "delay_ms": "minimize"}) as study:
        for trial in (study.ask(), study.ask(), study.ask()):
            assert trial is not None
            if trial.number == 1:
                study.prune(trial, "why not")
            else:
                study.tell(trial, [trial.number, 5.0])

        assert [(one.state, one.values, one.reason) for one in study.trials()] == [
            ("measured", (0.0, 5.0), None),
            ("pruned", (), "why not"),
            ("measured", (2.0, 5.0), None),
        ]


def test_a_machine_without_optuna_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(ConfigError, match=r"pip install 'mixvllm\[search\]'"):
        load_optuna()


def row(point: int, verdict: str = "ok", **metrics: float) -> dict[str, Any]:
    return {"row": "summary", "point": point, "verdict": verdict, **metrics}


def test_the_front_has_the_points_that_no_other_one_beats() -> None:
    rows = [
        row(0, speed=10, delay=5),
        row(1, speed=10, delay=6),
        row(2, speed=20, delay=9),
        row(3, speed=5, delay=5),
        row(4, speed=1, delay=1),
        row(5, "failed"),
        row(6, speed=30),
    ]
    objectives = [Objective("speed", True), Objective("delay", False)]

    assert [one["point"] for one in front(rows, objectives)] == [2, 0, 4]


def test_equal_points_are_both_in_the_front() -> None:
    rows = [row(0, speed=10, delay=5), row(1, speed=10, delay=5)]

    assert len(front(rows, [Objective("speed", True), Objective("delay", False)])) == 2


def test_the_best_is_the_lowest_where_less_is_better() -> None:
    rows = [row(0, delay=5), row(1, delay=2), row(2, "invalid", delay=1), row(3, delay=3)]

    assert [one["point"] for one in best_first(rows, [Objective("delay", False)])] == [1, 3, 0]


def planner(*overrides: str) -> tuple[TrialPlanner, Space]:
    space = read_space([*BASE, *overrides])
    return TrialPlanner(space, (), lambda _line: None, lambda _python: INSTALLATION), space


def test_a_trial_is_a_planned_point_with_its_own_values(tmp_path: Path) -> None:
    plans, space = planner(SEQS, MEMORY)
    grid, folder = planned_folder(tmp_path, SEQS, MEMORY)
    new = SweepFolder.create(tmp_path, "new")

    points = [plans.plan(Trial(number, space.picks(number), number), new) for number in range(12)]

    assert [(one.labels, one.content_hash, one.server_key) for one in points if not isinstance(one, str)] == [
        (one.labels, one.content_hash, one.server_key) for one in grid.points
    ]
    assert {path.name for path in new.points.iterdir()} == {path.name for path in folder.points.iterdir()}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["inference.max_num_seqs=64,128", "inference.max_num_batched_tokens=100"], "must be at least"),
        (["inference.seed=1,2", "sweep.where='inference.seed < 2'"], "sweep.where is not true: inference.seed < 2"),
    ],
)
def test_a_trial_without_a_point_says_why(tmp_path: Path, overrides: list[str], words: str) -> None:
    plans, _ = planner(*overrides)
    folder = SweepFolder.create(tmp_path, "mine")

    first, second = (plans.plan(Trial(pick, (pick,), pick), folder) for pick in (0, 1))

    assert isinstance(first, PlannedPoint)
    assert words in str(second)
    assert len(list(folder.points.iterdir())) == 1


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sweep.zip=[inference.seed,inference.max_num_seqs]", "is for a grid"),
        ("sweep.where='inference.sed < 2'", "did you mean inference.seed"),
        ("sweep.objective.speed=most", "must be one of maximize, minimize"),
        ("sweep.search=grid", "must be optuna|must be one of optuna"),
    ],
)
def test_what_holds_for_all_trials_is_checked_before_the_first(override: str, words: str) -> None:
    plans, _ = planner("inference.seed=1,2", "sweep.search=optuna", "sweep.objective.speed=maximize", override)

    with pytest.raises(ConfigError, match=words):
        plans.asked()


def test_a_search_needs_an_objective() -> None:
    plans, _ = planner("inference.seed=1,2", "sweep.search=optuna")

    with pytest.raises(ConfigError, match=r"must be given with sweep\.search"):
        plans.asked()


def test_a_point_is_judged_by_the_means_of_its_good_repeats(tmp_path: Path) -> None:
    plan, folder = planned_folder(tmp_path, "inference.seed=1", "workload.repeats=3")
    point = plan.points[0]
    for number, value in ((1, 10.0), (2, 20.0)):
        write_repeat(folder, point.content_hash, number, {"speed": value})

    before = judge(point, folder, ["speed"])
    write_repeat(folder, point.content_hash, 3, {"speed": 90.0}, verdict="invalid", reason="lost requests")

    assert (before, judge(point, folder, ["speed"])) == (None, [15.0])


def test_a_point_without_a_good_repeat_is_judged_by_its_reason(tmp_path: Path) -> None:
    plan, folder = planned_folder(tmp_path, "inference.seed=1", "workload.repeats=1")
    write_repeat(folder, plan.points[0].content_hash, 1, verdict="failed", reason="no memory")

    assert judge(plan.points[0], folder, ["speed"]) == "1 of 1 failed: no memory"


def test_an_objective_that_was_not_measured_is_told_with_those_that_were(tmp_path: Path) -> None:
    plan, folder = planned_folder(tmp_path, "inference.seed=1", "workload.repeats=1")
    write_repeat(folder, plan.points[0].content_hash, 1, {"speed": 1.0, "delay_ms": 2.0})

    with pytest.raises(ConfigError, match="no such metric was measured; there are delay_ms, speed"):
        judge(plan.points[0], folder, ["sped"])
