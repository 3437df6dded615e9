"""The points of one server: what fails takes no other point with it, and what is done is written at once."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from mixvllm.runs.folder import RunFolder
from mixvllm.server import signals
from mixvllm.server.processes import identify
from mixvllm.server.signals import StopSignals
from mixvllm.server.warm.engines import WarmEngines
from mixvllm.sweep.draft import Draft
from mixvllm.sweep.group import GroupRunner, Task
from mixvllm.sweep.meter import Meter
from mixvllm.sweep.plan import Plan
from mixvllm.sweep.plan_record import write_plan
from mixvllm.sweep.planner import make_plan
from mixvllm.sweep.slots import Slot
from mixvllm.sweep.sweep_folder import SweepFolder
from tests.faults.nothing_left import Witness, left_at_last
from tests.faults.strangers import stranger
from tests.sweep.sweeps import command, fake_overrides, hang
from tests.written_runs import wait_for

pytestmark = pytest.mark.usefixtures("own_tmp")


class Group:
    """A group of one server in this process."""

    def __init__(self, folder: Path, *overrides: str, **script: object) -> None:
        self.pids_file = folder / "pids"
        shared = fake_overrides(folder, {"pids_file": str(self.pids_file), **script})
        with Draft() as draft:
            self.plan: Plan = make_plan([*shared, command(), f"output_dir={folder}", *overrides], draft=draft)
            self.plan.check()
            self.folder = SweepFolder.create(folder, "mine")
            with self.folder.locked():
                write_plan(self.plan, draft, self.folder, [])
        self.told: list[dict[str, Any]] = []
        self.witnesses: list[Witness] = []

    def run(
        self,
        slot: Slot | None = None,
        at: Callable[[dict[str, Any]], None] = lambda _message: None,
        *,
        is_warm: bool = False,
    ) -> None:
        """Run it to its end; `at` is called with all that is told."""
        (group,) = self.plan.groups
        repeats = tuple((point.content_hash, k + 1) for point in group.points for k in range(point.num_repeats))
        with StopSignals() as stops, Meter(self.folder.path, stops.is_requested) as meter, WarmEngines() as engines:
            task = Task(group.server_key, repeats, slot or Slot(0), is_warm)
            GroupRunner(self.folder, task, meter, engines, stops, lambda message: self._hear(message, at)).run()

    def _hear(self, message: dict[str, Any], at: Callable[[dict[str, Any]], None]) -> None:
        for path in self.folder.servers.glob("*/*/*"):
            Witness(RunFolder(path), self.pids_file).note()
        self.told.append(message)
        at(message)

    def records(self) -> list[dict[str, Any]]:
        """Return the records, by point and repeat."""
        hashes = [point.content_hash for point in self.plan.points]
        return [record for content_hash in hashes for record in self.folder.read_repeats(content_hash)]

    def verdicts(self) -> list[str]:
        return [record["verdict"] for record in self.records()]

    def runs(self) -> list[RunFolder]:
        """Return the runs of the servers, in the order of their starts."""
        found = [RunFolder(path) for path in self.folder.servers.glob("*/*/*")]
        return sorted(found, key=lambda run: json.loads(run.status.read_text())["began_at"])

    def left(self) -> list[str]:
        """Return in words what is left."""
        return left_at_last(lambda: [line for run in self.runs() for line in Witness(run, self.pids_file).left()])


StartGroup = Callable[..., Group]


@pytest.fixture
def make_group(tmp_path: Path) -> StartGroup:
    """Return a function that plans a group: overrides, and keys of the fake's script."""
    return lambda *overrides, **script: Group(tmp_path, *overrides, **script)


def test_one_server_measures_all_its_points(make_group: StartGroup) -> None:
    group = make_group("workload.seed=1,2", "workload.repeats=2")
    group.run()

    records = group.records()

    assert [(record["verdict"], record["seed"], record["repeat"]) for record in records] == [
        ("ok", 1, 1),
        ("ok", 2, 2),
        ("ok", 2, 1),
        ("ok", 3, 2),
    ]
    assert {record["server_run"] for record in records} == {run.name for run in group.runs()}
    assert records[0]["versions"].keys() == {"mixvllm", "vllm"}
    assert records[0]["start"]["kind"] == "cold"
    assert group.left() == []


def test_a_warm_server_measures_the_same_and_the_record_says_so(make_group: StartGroup) -> None:
    group = make_group("workload.seed=1,2")
    group.run(is_warm=True)

    starts = [record["start"] for record in group.records()]

    assert (group.verdicts(), group.left()) == (["ok", "ok"], [])
    assert {start["kind"] for start in starts} == {"warm"}
    assert all(start["ready_s"] > 0 and start["preload_s"] >= 0 for start in starts)


def test_a_server_whose_interpreter_cannot_be_forked_is_started_cold_and_the_reason_told(
    make_group: StartGroup, tmp_path: Path
) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "uvloop.py").write_text("raise RuntimeError('no such device')")
    group = make_group(f"server.env.PYTHONPATH={tmp_path / 'broken'}")
    group.run(is_warm=True)

    remarks = [message["text"] for message in group.told if message["event"] == "remark"]

    assert (group.verdicts(), group.records()[0]["start"]["kind"]) == (["ok"], "cold")
    assert remarks == ["started cold: RuntimeError: no such device"]


def test_a_server_that_dies_is_started_once_more_and_the_repeat_is_done_again(
    make_group: StartGroup, tmp_path: Path
) -> None:
    script = {"starts_file": str(tmp_path / "starts"), "by_start": [{"die_at_file": str(tmp_path / "hung-0")}, {}]}
    group = make_group("workload.seed=1,2", command(hang(tmp_path)), **script)
    group.run()

    assert group.verdicts() == ["ok", "ok"]
    assert len(group.runs()) == 2
    assert group.left() == []


def test_a_server_that_hears_of_a_stop_first_has_not_failed(
    make_group: StartGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slurm tells all processes of a job, one by one."""
    monkeypatch.setattr(signals, "_BESIDE_S", 60.0)
    group = make_group(command("sleep 20"))

    def stop_it(message: dict[str, Any]) -> None:
        if message["event"] == "repeat_began":
            leader = json.loads(group.runs()[0].status.read_text())["leader"]["pid"]
            Timer(0.2, end_first, [leader]).start()

    def end_first(leader: int) -> None:
        os.kill(leader, signal.SIGTERM)
        wait_for(lambda: identify(leader) is None)
        os.kill(os.getpid(), signal.SIGTERM)

    group.run(at=stop_it)

    (run,) = group.runs()
    assert json.loads(run.status.read_text())["state"] == "stopped"
    assert (group.records(), group.left()) == ([], [])


def test_a_point_whose_server_dies_twice_has_failed_and_the_next_point_goes_on(
    make_group: StartGroup, tmp_path: Path
) -> None:
    dying = [{"die_at_file": str(tmp_path / f"hung-{number}"), "die_by_signal": 9} for number in range(2)]
    script = {"starts_file": str(tmp_path / "starts"), "by_start": [*dying, {}]}
    group = make_group("workload.seed=1,2", "workload.repeats=2", command(hang(tmp_path, 2)), **script)
    group.run()

    records = group.records()

    assert [record["verdict"] for record in records] == ["failed", "failed", "ok", "ok"]
    assert records[0]["reason"].startswith("The server was killed")
    assert records[0]["metrics"] == {}
    assert group.left() == []


def test_a_start_that_fails_of_the_configuration_fails_every_point_at_once(make_group: StartGroup) -> None:
    log = Path(__file__).parents[1] / "vllm" / "failures" / "logs" / "kv_below_length.log"
    group = make_group("workload.seed=1,2", die_in="kv_cache", die_log_file=str(log))
    group.run()

    records = group.records()

    assert [record["failure"]["id"] for record in records] == ["max-model-len-exceeds-kv-cache"] * 2
    assert [told["at_start"] for told in group.told if "at_start" in told] == ["max-model-len-exceeds-kv-cache"]
    assert len(group.runs()) == 1


def test_a_port_that_a_stranger_has_fails_the_points_with_his_name(make_group: StartGroup) -> None:
    with stranger(0) as port:
        group = make_group(f"server.port={port}")
        group.run()

    (record,) = group.records()
    assert record["verdict"] == "failed"
    assert f"port {port} is in use by process {os.getpid()}" in record["reason"]


def test_requests_that_all_fail_are_failed_repeats_on_a_server_that_goes_on(make_group: StartGroup) -> None:
    group = make_group("workload=probe", "inference.max_model_len=100", "workload.seed=1,2")  # it asks for more
    group.run()

    assert [(record["verdict"], record["metrics"]) for record in group.records()] == [("failed", {})] * 2
    assert len(group.runs()) == 1


def test_a_folder_that_takes_no_file_fails_its_own_point_alone(make_group: StartGroup) -> None:
    wreck = "if [ $MIXVLLM_SEED = 1 ]; then d=$(dirname $MIXVLLM_RUN_DIR); rm -r $d; touch $d; fi"
    group = make_group("workload.seed=1,5", "workload.repeats=2", command(wreck))
    group.run()

    told = [message for message in group.told if message["event"] == "repeat_ended"]

    assert [(one["verdict"], one.get("is_lost", False)) for one in told] == [
        ("failed", True),
        ("failed", True),
        ("ok", False),
        ("ok", False),
    ]
    assert "not recorded: [Errno 20]" in told[0]["reason"]
    assert len(group.runs()) == 1


def test_a_server_has_what_its_slot_gives_it(make_group: StartGroup) -> None:
    seen: list[dict[str, str]] = []
    group = make_group("server.env.OMP_NUM_THREADS=7")

    def look(message: dict[str, Any]) -> None:
        if message["event"] == "repeat_began":
            leader = json.loads(group.runs()[0].status.read_text())["leader"]["pid"]
            lines = Path(f"/proc/{leader}/environ").read_bytes().split(b"\0")
            seen.append(dict(line.decode().partition("=")[::2] for line in lines))

    group.run(Slot(3, gpus=("a", "b")), at=look)

    names = ("CUDA_VISIBLE_DEVICES", "VLLM_PORT", "OMP_NUM_THREADS")
    assert [[one[name] for name in names] for one in seen] == [["a,b", "20300", "7"]]
    assert seen[0]["VLLM_CACHE_ROOT"].endswith("/slot-3")
