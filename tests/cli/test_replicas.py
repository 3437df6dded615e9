"""Several fake servers with the real router of vLLM in front of them: one address, one life."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from pathlib import Path

import pytest

from mixvllm.vllm.metrics import read_metrics
from tests.launches import Launch, Run


def urls_of(launch: Launch) -> list[str]:
    urls: list[str] = launch.record("replicas.json")["urls"]
    return urls


def complete(url: str) -> None:
    body = json.dumps({"model": "some/model", "prompt": "one two", "max_tokens": 2}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def num_completions(url: str) -> int:
    with urllib.request.urlopen(f"{url}/metrics", timeout=60) as answer:
        return sum((read_metrics(answer.read().decode()).finished or {}).values())


def last_finished(samples: Path) -> int | None:
    """Return how many requests had ended at the last sample that tells."""
    lines = samples.read_text().splitlines() if samples.exists() else []
    engines = [engine for line in lines if (engine := json.loads(line).get("engine"))]
    return sum(engines[-1]["num_finished_total"].values()) if engines else None


def pids(tmp_path: Path, title: str) -> list[int]:
    lines = (tmp_path / "pids").read_text().splitlines()
    return [int(pid) for found, _, pid in (line.rpartition(" ") for line in lines) if found == title]


def test_requests_to_one_address_are_spread_over_the_replicas(run: Run) -> None:
    launch = run("server.replicas=2", "server.router_policy=round_robin", "workload=serve")
    url = launch.wait_ready()
    replicas = urls_of(launch)
    before = [num_completions(replica) for replica in replicas]
    for _ in range(6):
        complete(url)

    assert url not in replicas
    assert [num_completions(replica) - count for replica, count in zip(replicas, before, strict=True)] == [3, 3]
    launch.process.send_signal(signal.SIGINT)
    assert launch.exit_code() == 130
    assert launch.record("status.json")["state"] == "stopped"
    assert launch.living() == []


def test_the_metrics_of_all_replicas_count(run: Run) -> None:
    launch = run("server.replicas=2", "server.sample_period_s=0.2", "workload=serve")
    url = launch.wait_ready()
    for _ in range(4):
        complete(url)

    samples = launch.run_folder() / "samples.jsonl"
    total = sum(num_completions(replica) for replica in urls_of(launch))
    assert total >= 4
    launch.wait_for(lambda: last_finished(samples) == total)


@pytest.mark.parametrize("victim", ["APIServer", "VLLM::EngineCore"])
def test_a_replica_that_dies_has_all_started_anew(run: Run, tmp_path: Path, victim: str) -> None:
    launch = run("server.replicas=2", "server.restart_backoff_s=0", "workload=serve", pids_file=str(tmp_path / "pids"))
    launch.wait_ready()
    before = urls_of(launch)
    os.kill(pids(tmp_path, victim)[0], signal.SIGKILL)

    events = launch.run_folder() / "events.jsonl"
    launch.wait_for(lambda: events.read_text().count('"event": "ready"') == 2)
    assert "replica" in launch.stderr
    assert len(urls_of(launch)) == len(before)
    complete(launch.record("endpoint.json")["url"])


def test_a_router_is_not_opened_to_others(run: Run) -> None:
    launch = run("server.replicas=2", "server=network", "workload=serve")

    assert launch.exit_code() == 2
    assert "adds and removes servers for whoever reaches it" in launch.stderr
