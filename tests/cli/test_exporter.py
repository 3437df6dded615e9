"""The exporter: valid exposition, true health, over HTTP, ended by signals."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from mixvllm.cli.exporter import Exporter
from mixvllm.cli.exposition import exposition, health
from mixvllm.errors import MixvllmError, PortInUse
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.snapshot import Snapshot, read_snapshot
from tests.cli.recorded_runs import NOW, make_all, make_run, sample
from tests.fakes.fake_server import wait_until

Found = dict[str, list[tuple[dict[str, str], float]]]


def look(paths: list[Path]) -> list[Snapshot]:
    return [read_snapshot(RunFolder(path), now=NOW) for path in paths]


def parse(content: bytes) -> Found:
    """Return labels and value of each sample by its name; refuse what Prometheus refuses."""
    found: Found = {}
    for family in text_string_to_metric_families(content.decode()):
        for one in family.samples:
            found.setdefault(one.name, []).append((one.labels, one.value))
    for name, samples in found.items():
        keys = [tuple(sorted(labels.items())) for labels, _ in samples]
        assert len(keys) == len(set(keys)), name
    return found


def value(found: Found, name: str, **labels: str) -> float | None:
    """Return the one value of the metric `name` with these `labels`; None where there is none."""
    values = [number for given, number in found.get(f"mixvllm_{name}", []) if labels.items() <= given.items()]
    assert len(values) <= 1
    return values[0] if values else None


def test_a_server_is_told_in_base_units(tmp_path: Path) -> None:
    found = parse(exposition(look([make_run(tmp_path, "r", "ready", [sample(num_gpus=2)], attempt=3)])))

    assert {labels["run"] + labels["model"] + labels["attempt"] for all_ in found.values() for labels, _ in all_} == {
        "rllama3_8b3"
    }
    assert {name.removeprefix("mixvllm_"): all_[-1][1] for name, all_ in found.items()} == {
        "server_up": 1,
        "server_state": 0,
        "server_uptime_seconds": 3723,
        "server_restarts": 2,
        "requests_running": 256,
        "requests_waiting": 12,
        "kv_cache_usage_ratio": 0.973,
        "prompt_tokens_per_second": 123_456,
        "generation_tokens_per_second": 4096.4,
        "requests_per_second": 12.34,
        "http_error_ratio": 0.25,
        "time_to_first_token_p50_seconds": pytest.approx(0.0722),
        "time_to_first_token_p95_seconds": pytest.approx(1.9804),
        "processes": 7,
        "cpu_cores": pytest.approx(1.813),
        "resident_memory_bytes": pytest.approx(12.34 * 2**30),
        "proportional_memory_bytes": pytest.approx(9 * 2**30),
        "prompt_tokens_total": 1000,
        "generation_tokens_total": 2000,
        "preemptions_total": 17,
        "http_requests_total": 100,
        "http_errors_total": 3,
        "requests_finished_total": 1,
        "gpu_utilization_ratio": 0.97,
        "gpu_memory_used_bytes": pytest.approx(70.25 * 2**30),
        "gpu_memory_total_bytes": pytest.approx(80 * 2**30),
        "gpu_power_watts": 650.5,
        "gpu_temperature_celsius": 61,
    }


def test_only_a_server_that_serves_is_up_and_each_has_one_state(tmp_path: Path) -> None:
    found = parse(exposition(look(make_all(tmp_path))))

    assert [labels["run"] for labels, is_up in found["mixvllm_server_up"] if is_up] == ["a-ready", "b-idle"]
    states = {labels["run"]: labels["state"] for labels, is_on in found["mixvllm_server_state"] if is_on}
    assert states == {
        "a-ready": "ready",
        "b-idle": "ready",
        "c-hung": "hung",
        "d-silent": "ready",
        "e-stale": "ready",
        "f-starting": "starting",
        "g-failed": "failed",
        "h-stopped": "stopped",
    }


@pytest.mark.parametrize("run", ["d-silent", "e-stale", "f-starting", "g-failed", "h-stopped"])
def test_what_is_not_known_now_has_no_line(tmp_path: Path, run: str) -> None:
    found = parse(exposition(look(make_all(tmp_path))))

    assert value(found, "requests_running", run="c-hung") == 256
    for name in ("requests_running", "generation_tokens_total", "generation_tokens_per_second", "cpu_cores"):
        assert value(found, name, run=run) is None


@pytest.mark.parametrize("name", ['quote"', "back\\slash", "line\nbreak", "{brace},=", "ünï", "\\n", ""])
def test_any_name_is_read_back_as_it_is(tmp_path: Path, name: str) -> None:
    path = make_run(tmp_path, "r", "ready", [sample()], model=name)

    assert [labels["model"] for labels, _ in parse(exposition(look([path])))["mixvllm_server_up"]] == [name]


def test_two_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / parent, "r", "ready", [sample()]) for parent in ("a", "b")]

    assert [labels["run"] for labels, _ in parse(exposition(look(paths)))["mixvllm_server_up"]] == [
        str(path) for path in paths
    ]


def test_no_runs_are_a_valid_exposition_and_healthy() -> None:
    assert parse(exposition([])) == {}
    assert health([]) == (True, {"status": "ok", "ready": [], "not_ready": []})


def test_health_names_each_living_run_that_does_not_serve_and_why(tmp_path: Path) -> None:
    is_well, words = health(look(make_all(tmp_path)))

    assert (is_well, words["status"], words["ready"]) == (False, "unhealthy", ["a-ready", "b-idle"])
    assert {entry["run"]: (entry["state"], entry["reason"]) for entry in words["not_ready"]} == {
        "c-hung": (
            "hung",
            "the engine has made no progress for 130 s, and a request for one token failed: no answer in 30 s",
        ),
        "d-silent": ("ready", "the server does not answer"),
        "e-stale": ("ready", "no samples: its launcher is gone, or cannot write"),
        "f-starting": ("starting", "weights"),
    }


def test_ended_runs_do_not_make_a_machine_unhealthy(tmp_path: Path) -> None:
    good, *_, failed, stopped = make_all(tmp_path)

    assert health(look([good, failed, stopped]))[0] is True


def test_a_run_without_a_readable_status_is_unhealthy(tmp_path: Path) -> None:
    is_well, words = health([read_snapshot(RunFolder(tmp_path))])

    assert (is_well, words["not_ready"][0]["state"]) == (False, "unreadable")


Serve = Callable[..., Exporter]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that starts an exporter, which is stopped after the test."""
    started: list[tuple[Exporter, threading.Thread]] = []

    def serve_one(find: Callable[[], list[Path]], **options: Any) -> Exporter:
        exporter = Exporter(find, **{"port": 0, **options})
        thread = threading.Thread(target=exporter.serve_forever, args=(0.01,))
        thread.start()
        started.append((exporter, thread))
        return exporter

    yield serve_one
    for exporter, thread in started:
        exporter.shutdown()
        thread.join()
        exporter.server_close()


def get(exporter: Exporter, path: str, method: str = "GET") -> tuple[int, str, bytes]:
    host, port = exporter.server_address[:2]
    connection = http.client.HTTPConnection(str(host), int(port), timeout=60)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        connection.close()


def test_it_is_reachable_from_this_machine_only_unless_asked(serve: Serve) -> None:
    assert serve(list).url.startswith("http://127.0.0.1:")
    assert serve(list, host="::1").url.startswith("http://[::1]:")


def test_every_request_reads_anew(serve: Serve, tmp_path: Path) -> None:
    paths: list[Path] = []
    exporter = serve(lambda: paths)

    assert get(exporter, "/health")[:2] == (200, "application/json")
    paths.append(make_run(tmp_path, "r", "starting", now=datetime.now(UTC)))
    status, _, content = get(exporter, "/health?x=1")
    assert (status, [entry["run"] for entry in json.loads(content)["not_ready"]]) == (503, ["r"])
    paths[0] = make_run(tmp_path, "s", "ready", [sample()], now=datetime.now(UTC))
    status, kind, content = get(exporter, "/metrics")
    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert value(parse(content), "server_up", run="s") == 1
    assert get(exporter, "/health")[0] == 200


def test_head_has_no_body_and_other_paths_are_not_there(serve: Serve) -> None:
    exporter = serve(list)

    assert get(exporter, "/health", "HEAD") == (200, "application/json", b"")
    assert get(exporter, "/")[0] == 404
    assert get(exporter, "/metrics/../health")[0] == 404
    assert get(exporter, "/health", "POST")[0] == 501


def test_a_client_that_goes_away_disturbs_nobody(serve: Serve, capfd: pytest.CaptureFixture[str]) -> None:
    exporter = serve(list)
    with socket.create_connection(exporter.server_address[:2]) as silent:
        silent.sendall(b"GET /met")
        assert get(exporter, "/health")[0] == 200
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset

    wait_until(lambda: not any("process_request" in thread.name for thread in threading.enumerate()))
    assert get(exporter, "/health")[0] == 200
    assert capfd.readouterr() == ("", "")


def test_a_taken_port_and_an_unknown_address_are_said_so(serve: Serve) -> None:
    port = int(serve(list).server_address[1])

    with pytest.raises(PortInUse, match=rf"cannot listen on 127.0.0.1:{port}: .*\n  next: another --port or --host"):
        Exporter(list, port=port)
    with pytest.raises(MixvllmError, match=r"cannot listen on 192\.0\.2\.1:0"):
        Exporter(list, host="192.0.2.1", port=0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_exit_code_0(number: signal.Signals) -> None:
    program = "import sys; from mixvllm.cli.exporter import run_exporter; sys.exit(run_exporter(list, port=0))"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    announced = process.stderr.readline()
    process.send_signal(number)

    assert (process.wait(60), process.stderr.read()) == (0, "")
    assert announced.startswith("http://127.0.0.1:")
    process.stderr.close()
