"""vLLM's own load generator on a real server: the numbers are those of `vllm bench serve`, and mean what they say."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from mixvllm import ExperimentConfig, compose, start_server
from mixvllm.config.schema.workload import BENCH_OPTION, WorkloadConfig
from mixvllm.runs.folder import RunFolder
from mixvllm.server.processes import identify, send_signal
from mixvllm.server.server import Server
from mixvllm.vllm.arguments import read_release
from mixvllm.vllm.installation import Installation
from mixvllm.workload.bench import dump_options
from mixvllm.workload.bench.caches import Reset, reset_caches
from mixvllm.workload.bench.command import build_bench_command
from mixvllm.workload.bench.measure import run_bench
from mixvllm.workload.bench.options import bench_options
from mixvllm.workload.generator import LoadGenerator, generator_environment
from mixvllm.workload.span import Span, look
from mixvllm.workload.task import RepeatTask
from tests.engine.conftest import DEADLINE_S, LaunchDemo
from tests.workload.test_bench_command import CASES, MODEL, options

LOAD = [
    "workload=bench",
    "workload.num_prompts=24",
    "workload.input_len=200",
    "workload.output_len=16",
    "workload.max_concurrency=4",
    "workload.timeout_s=120",
]


def never() -> bool:
    return False


def demo(model: Path, *overrides: str) -> ExperimentConfig:
    own = ["model=demo", f"model.name={model}", "inference=cpu", "inference.kv_cache_memory_bytes=64M"]
    config = compose([*own, "inference.block_size=32", *LOAD, *overrides])
    environment = {**config.server.env, **config.workload.server_environment(config.server)}
    return config.model_copy(update={"server": config.server.model_copy(update={"env": environment})})


@contextmanager
def serving(config: ExperimentConfig, installation: Installation, folder: Path) -> Iterator[Server]:
    with start_server(config, folder=RunFolder.create(folder), installation=installation) as server:
        server.wait_ready(DEADLINE_S)
        yield server


@pytest.fixture(scope="module")
def config(demo_model: Path) -> ExperimentConfig:
    """A small load on the demo model."""
    return demo(demo_model)


@pytest.fixture(scope="module")
def generator(
    config: ExperimentConfig, installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LoadGenerator]:
    """A load generator that has imported vLLM."""
    environment = generator_environment(config, installation)
    with LoadGenerator(installation, environment, tmp_path_factory.mktemp("generator")) as one:
        yield one


@pytest.fixture(scope="module")
def server(
    config: ExperimentConfig, installation: Installation, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server for the tests of this module."""
    with serving(config, installation, tmp_path_factory.mktemp("server")) as one:
        yield one


def cold_result(config: ExperimentConfig, server: Server, installation: Installation, folder: Path) -> dict[str, Any]:
    """Return what `vllm bench serve` says, as a user runs it, of the first repeat."""
    result = folder / "by-hand.json"
    argv = build_bench_command(config, url=server.url, tokenizer=config.model.name, repeat=0, result=result)
    command = [installation.python, "-m", installation.module, "bench", "serve", *argv]
    done = subprocess.run(command, env=generator_environment(config, installation), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    numbers: dict[str, Any] = json.loads(result.read_text())
    return numbers


def test_the_numbers_are_those_of_a_run_by_hand(
    config: ExperimentConfig, server: Server, generator: LoadGenerator, installation: Installation, tmp_path: Path
) -> None:
    repeats = [run_bench(RepeatTask(config, server, generator, tmp_path, repeat, never)) for repeat in range(2)]
    assert reset_caches(server.client) is Reset.CONFIRMED
    by_hand = cold_result(config, server, installation, tmp_path)

    assert [(one.verdict, one.reason) for one in repeats] == [("ok", None)] * 2
    assert generator.cold_reason is None
    warm = json.loads((tmp_path / "bench-0.json").read_text())
    exact = ("completed", "failed", "total_input_tokens", "total_output_tokens", "output_lens")
    assert {name: warm[name] for name in exact} == {name: by_hand[name] for name in exact}
    assert sorted(warm["input_lens"]) == sorted(by_hand["input_lens"])
    assert set(warm) == set(by_hand)
    assert [rates_of(one) for one in (warm, by_hand)] == [pytest.approx(derived_rates(one)) for one in (warm, by_hand)]


def rates_of(result: dict[str, Any]) -> dict[str, float]:
    return {name: result[name] for name in ("request_throughput", "output_throughput", "mean_ttft_ms")}


def derived_rates(result: dict[str, Any]) -> dict[str, float]:
    """Return what `rates_of` must be, by what was counted: two runs are never equally fast."""
    return {
        "request_throughput": result["completed"] / result["duration"],
        "output_throughput": result["total_output_tokens"] / result["duration"],
        "mean_ttft_ms": 1e3 * sum(result["ttfts"]) / len(result["ttfts"]),
    }


def test_each_repeat_has_prompts_of_its_own(
    config: ExperimentConfig, server: Server, generator: LoadGenerator, tmp_path: Path
) -> None:
    repeats = [run_bench(RepeatTask(config, server, generator, tmp_path, repeat, never)) for repeat in range(2)]

    assert [one.seed for one in repeats] == [0, 1]
    texts = [json.loads((tmp_path / f"bench-{repeat}.json").read_text())["generated_texts"] for repeat in range(2)]
    assert texts[0] != texts[1]
    assert all(one.server_metrics["prefix_cache_hit_fraction"] < 0.05 for one in repeats)


def test_the_server_tells_that_prompts_are_still_in_its_cache(
    config: ExperimentConfig, server: Server, generator: LoadGenerator, tmp_path: Path
) -> None:
    argv = build_bench_command(
        config, url=server.url, tokenizer=config.model.name, repeat=0, result=tmp_path / "result.json"
    )
    assert reset_caches(server.client) is Reset.CONFIRMED
    hits = []
    for _ in range(2):
        span = Span(server, 0, 0)
        generator.run(argv, tmp_path / "log", 120, never)
        hits.append(span.rates(look(server)).prefix_cache_hit_fraction or 0.0)

    assert (hits[0] < 0.05, hits[1] > 0.5) == (True, True)


def test_a_shared_prefix_is_found_in_the_cache_and_is_valid(
    demo_model: Path, server: Server, generator: LoadGenerator, tmp_path: Path
) -> None:
    own = ["workload.input_len=null", "workload.dataset_name=prefix_repetition", "workload.ignore_eos=true"]
    lengths = ["workload.prefix_repetition_prefix_len=128", "workload.prefix_repetition_suffix_len=64"]
    config = demo(demo_model, *own, *lengths, "workload.prefix_repetition_num_prefixes=2")

    measured = run_bench(RepeatTask(config, server, generator, tmp_path, 0, never))

    assert (measured.verdict, measured.reason) == ("ok", None)
    assert measured.server_metrics["prefix_cache_hit_fraction"] > 0.3


def test_a_server_that_is_killed_meanwhile_is_the_cause_and_nothing_is_left(
    demo_model: Path, generator: LoadGenerator, installation: Installation, tmp_path: Path
) -> None:
    config = demo(demo_model, "workload.num_prompts=2000", "workload.output_len=200")
    log = tmp_path / "bench-0.log"
    with serving(config, installation, tmp_path / "server") as server:
        leader = identify(server.pid)
        assert leader is not None
        everyone = psutil.Process(leader.pid).children(recursive=True)

        def kill_it_meanwhile() -> bool:
            if log.exists() and "Starting main benchmark run" in log.read_text():
                send_signal(leader, signal.SIGKILL)
            return False

        measured = run_bench(RepeatTask(config, server, generator, tmp_path, 0, kill_it_meanwhile))

    assert (measured.verdict, type(measured.error).__name__) == ("failed", "ServerDied")
    assert "The server was killed" in str(measured.reason)
    children = [child for pid in generator.pids for child in psutil.Process(pid).children(recursive=True)]
    assert [process for process in [*everyone, *children] if process.is_running()] == []


def test_a_run_by_itself_measures_and_stops(launch_demo: LaunchDemo) -> None:
    one = launch_demo(*LOAD, "workload.repeats=2", "server.env.VLLM_SERVER_DEV_MODE='1'")

    assert (one.exit_code(), one.living()) == (0, []), one.stderr
    figures = one.record("result.json")["figures"]
    assert (figures["num_ok"], figures["metrics"]["total_output_tokens"]["mean"]) == (2, 24 * 16)


_PARSE = """
import json, sys
from vllm.benchmarks.serve import add_cli_args
from vllm.utils.argparse_utils import FlexibleArgumentParser
parser = FlexibleArgumentParser()
add_cli_args(parser)
print(json.dumps([vars(parser.parse_args(argv)) for argv in json.load(sys.stdin)], default=str, skipkeys=True))
"""


def test_vllm_reads_back_what_was_set(installation: Installation) -> None:
    configs = [compose([*MODEL, *overrides]) for overrides in CASES.values()]
    given = json.dumps([options(config) for config in configs])
    done = subprocess.run([installation.python, "-c", _PARSE], input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

    for config, read in zip(configs, json.loads(done.stdout.splitlines()[-1]), strict=True):
        assert {name: read[name] for name in set_values(config)} == set_values(config)


def set_values(config: ExperimentConfig) -> dict[str, Any]:
    """Return what vLLM must read: every option that is set, as its parser has it."""
    marked = [name for name, field in WorkloadConfig.model_fields.items() if BENCH_OPTION in field.metadata]
    values = {name: getattr(config.workload, name) for name in marked}
    values |= {**config.workload.extra_args, **config.generation.server_defaults()}
    for name in ("request_rate", "burstiness"):
        values[name] = float(values[name]) if values[name] is not None else None
    texts = {
        "goodput": ["ttft:200", "tpot:50.5"],
        "percentile_metrics": "ttft,tpot,itl,e2el",
        "metric_percentiles": {4: "50,90,95,99", 2: "50,99.9"}[len(values["metric_percentiles"])],
        "random_range_ratio": '{"input":0.1,"output":0.2}' if "timed_trace_sec_multiplier" in values else "0.25",
    }
    set_here = {name: value for name, value in values.items() if value is not None}
    return {**set_here, **{name: text for name, text in texts.items() if name in set_here}}


def test_the_shipped_list_is_what_the_installed_release_says(installation: Installation) -> None:
    """Where this fails for a new release: write what the script says to mixvllm/workload/bench/data."""
    command = [installation.python, dump_options.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True)

    described = read_release(json.loads(done.stdout), is_snapshot=True)

    assert (described.version, described.arguments) == (bench_options().version, bench_options().arguments)
