"""The sampler: what it writes of a server that serves, and that nothing ends it before its time."""

from __future__ import annotations

import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mixvllm.machine.gpu_load import GpuLoad, GpuReader
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.samples import last_sample, read_samples
from mixvllm.server.sampler import MetricsSource, Sampler
from tests.fakes.fake_server import FakeServer, wait_until
from tests.ports import find_port

PERIOD_S = 0.02
GPUS = (
    GpuLoad(0, 97, 70.0, 80.0, 650.5, 61, frozenset({os.getpid()}), "NVIDIA H100 80GB HBM3"),
    GpuLoad(1, 0, 1.0, 80.0, 70.0, 30, frozenset()),
)


@dataclass
class HttpMetrics:
    """The metrics of the server at `port`; counts how often they were asked for."""

    port: int

    def metrics(self) -> str | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
                text: str = answer.read().decode()
                return text
        except (urllib.error.URLError, OSError):
            return None


@dataclass
class Scripted:
    """Gives one answer after the other, the last one again and again; an exception is raised."""

    answers: list[str | Exception | None]
    asked_at: list[float] = field(default_factory=list)

    def metrics(self) -> str | None:
        answer = self.answers[min(len(self.asked_at), len(self.answers) - 1)]
        self.asked_at.append(time.monotonic())
        if isinstance(answer, Exception):
            raise answer
        return answer


Begin = Callable[..., Sampler]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path)


@pytest.fixture
def begin(folder: RunFolder) -> Iterator[Begin]:
    """Return a function that starts a sampler, which is stopped after the test."""
    begun: list[Sampler] = []

    def begin_one(client: MetricsSource, **more: Any) -> Sampler:
        options: dict[str, Any] = {"gpus": GpuReader(lambda: ()), "period_s": PERIOD_S, **more}
        begun.append(Sampler(folder, client, options.pop("tree_pids", lambda: [os.getpid()]), **options))
        begun[-1].start()
        return begun[-1]

    yield begin_one
    for sampler in begun:
        sampler.stop()


@pytest.fixture
def port() -> int:
    return find_port()


@pytest.fixture
def server(tmp_path: Path, port: int) -> Iterator[FakeServer]:
    fake = FakeServer(tmp_path / "fake", port, ["--served-model-name", "demo"], {})
    yield fake.wait_ready()
    fake.end()


def samples(folder: RunFolder, count: int) -> list[dict[str, Any]]:
    """Wait until there are `count` samples, and return so many of them."""
    return wait_until(lambda: found[:count] if len(found := list(read_samples(folder))) >= count else [])


def test_a_sample_tells_what_a_server_does(folder: RunFolder, begin: Begin, server: FakeServer, port: int) -> None:
    sampler = begin(HttpMetrics(port), tree_pids=lambda: list(server.pids.values()))
    samples(folder, 2)
    server.post("/v1/completions", {"model": "demo", "prompt": "one two three", "max_tokens": 40})
    wait_until(lambda: last_sample(folder)["engine"]["num_generation_tokens_total"] == 40)
    sampler.stop()

    found = list(read_samples(folder))
    made = [sample["rates"]["generation_tokens_per_s"] * sample["interval_s"] for sample in found[1:]]
    assert sum(made) == pytest.approx(40, rel=0.05)
    assert (found[-1]["answers"], found[-1]["engine"]["num_prompt_tokens_total"]) == (True, 3)
    assert (found[-1]["processes"]["num_processes"], found[-1]["gpus"]) == (len(server.pids), [])
    assert found[-1]["processes"]["rss_gib"] > 0.01


def test_every_sample_says_when_it_was_taken_and_how_it_is_read(folder: RunFolder, begin: Begin) -> None:
    begin(Scripted([""]), began=time.monotonic() - 1000)

    first, second = samples(folder, 2)
    assert abs((datetime.now(UTC) - datetime.fromisoformat(first["time"])).total_seconds()) < 60
    assert (first["schema"], first["period_s"], 1000 <= first["elapsed_s"] < 1060) == (1, PERIOD_S, True)
    assert (first["interval_s"], second["interval_s"] > 0) == (None, True)
    assert (first["processes"]["cpu_percent"], second["processes"]["cpu_percent"] >= 0) == (None, True)


def test_a_server_that_does_not_answer_is_sampled_all_the_same(folder: RunFolder, begin: Begin) -> None:
    begin(Scripted(["vllm:num_requests_running 3.0\n", None]))

    told, silent = samples(folder, 2)
    assert (told["answers"], told["engine"]["num_requests_running"]) == (True, 3)
    assert (silent["answers"], "engine" in silent, silent["processes"]["num_processes"]) == (False, False, 1)


def test_rates_go_over_the_time_in_which_a_server_did_not_answer(folder: RunFolder, begin: Begin) -> None:
    tokens = 'vllm:generation_tokens_total{{engine="0"}} {}\n'
    client = Scripted([tokens.format(100), None, None, tokens.format(150)])
    begin(client)

    back = samples(folder, 4)[3]
    assert back["interval_s"] > client.asked_at[3] - client.asked_at[1]
    assert back["rates"]["generation_tokens_per_s"] == pytest.approx(50 / back["interval_s"], rel=0.05)


def test_a_sample_that_was_late_is_not_made_up_for(folder: RunFolder, begin: Begin) -> None:
    class Slow(Scripted):
        def metrics(self) -> str | Exception | None:
            answer = super().metrics()
            if len(self.asked_at) == 1:
                time.sleep(5 * PERIOD_S)
            return answer

    client = Slow([""])
    begin(client)
    samples(folder, 5)

    assert client.asked_at[4] - client.asked_at[0] >= (5 + 3) * PERIOD_S


def test_an_error_costs_its_own_sample_and_is_told_in_it(folder: RunFolder, begin: Begin) -> None:
    begin(Scripted([RuntimeError("boom"), ""]))

    broken, next_one = samples(folder, 2)
    assert (broken["answers"], broken["error"]) == (False, "RuntimeError: boom")
    assert (next_one["answers"], "error" in next_one) == (True, False)


def test_a_folder_that_takes_nothing_ends_nothing(tmp_path: Path, begin: Begin, folder: RunFolder) -> None:
    client = Scripted([""])
    folder.samples.mkdir()
    begin(client)
    wait_until(lambda: len(client.asked_at) >= 3)

    folder.samples.rmdir()
    assert samples(folder, 1)[0]["answers"] is True


def test_only_the_gpus_that_the_server_uses_are_told(folder: RunFolder, begin: Begin) -> None:
    begin(Scripted([""]), gpus=GpuReader(lambda: GPUS))

    assert samples(folder, 1)[0]["gpus"] == [
        {
            "id": 0,
            "name": "NVIDIA H100 80GB HBM3",
            "utilization_percent": 97,
            "memory_used_gib": 70.0,
            "memory_total_gib": 80.0,
            "power_w": 650.5,
            "temperature_c": 61,
        }
    ]


def test_where_the_driver_does_not_name_the_processes_all_gpus_are_told(folder: RunFolder, begin: Begin) -> None:
    begin(Scripted([""]), gpus=GpuReader(lambda: GPUS), tree_pids=lambda: [1])

    assert [gpu["id"] for gpu in samples(folder, 1)[0]["gpus"]] == [0, 1]


def test_a_driver_that_never_answers_holds_up_no_sample(folder: RunFolder, begin: Begin) -> None:
    released, calls = threading.Event(), []

    def hang() -> tuple[GpuLoad, ...]:
        calls.append(1)
        released.wait(30)
        return GPUS

    begin(Scripted([""]), gpus=GpuReader(hang, timeout_s=0.01))

    assert [sample["gpus"] for sample in samples(folder, 4)] == [None] * 4
    assert len(calls) == 1
    released.set()
    wait_until(lambda: last_sample(folder)["gpus"])


def test_a_stop_does_not_wait_for_a_server_that_hangs_and_nothing_is_written_after_it(
    folder: RunFolder, begin: Begin
) -> None:
    asked, released = threading.Event(), threading.Event()

    class Hanging:
        def metrics(self) -> str | None:
            asked.set()
            released.wait(30)
            return ""

    sampler = begin(Hanging())
    assert asked.wait(10)
    sampler.stop(timeout_s=0.01)
    released.set()
    wait_until(lambda: not any(thread.name == "sampler" for thread in threading.enumerate()))

    assert list(read_samples(folder)) == []


def test_a_sampler_that_never_began_can_be_stopped_and_twice(folder: RunFolder) -> None:
    sampler = Sampler(folder, Scripted([""]), lambda: [], PERIOD_S)

    sampler.stop()
    sampler.stop()

    assert not folder.samples.exists()


def test_no_sample_has_a_quantity_without_its_unit(folder: RunFolder, begin: Begin) -> None:
    begin(Scripted([(Path(__file__).parents[1] / "vllm/metrics/loaded.txt").read_text()]), gpus=GpuReader(lambda: GPUS))

    units = ("_s", "_ms", "_gib", "_percent", "_fraction", "_w", "_c", "_per_s", "_total")
    plain = {"schema", "time", "answers", "is_asleep", "id", "stop", "length", "abort", "error", "repetition"}
    names = {name for name, value in _leaves(samples(folder, 1)[0]) if not isinstance(value, str)} - plain
    assert [name for name in sorted(names) if not name.endswith(units) and not name.startswith("num_")] == []
    assert len(names) > 30


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _leaves(part, key)
    elif isinstance(value, list):
        for part in value:
            yield from _leaves(part, name)
    else:
        yield name, value


def test_a_sample_is_one_line_of_json(folder: RunFolder, begin: Begin) -> None:
    begin(Scripted([""]))
    samples(folder, 1)

    assert json.loads(folder.samples.read_text().splitlines()[0])["answers"] is True
