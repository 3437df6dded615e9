"""Workloads that other programs do: the user's own, guidellm, lm_eval."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from mixvllm.errors import WorkloadFailed
from mixvllm.workload.command import command_line, read_metrics_file, run_command
from mixvllm.workload.generator import LoadGenerator
from mixvllm.workload.guidellm import guidellm_spec, run_guidellm
from mixvllm.workload.lm_eval import lm_eval_options, run_lm_eval
from mixvllm.workload.task import RepeatTask
from mixvllm.workload.tools import Tool, find_tool
from tests.launches import Run
from tests.workload.conftest import INSTALLATION, Serve, configure, never

TOOLS = Path(__file__).parent / "tools"
WRITE = """
import json, os
from pathlib import Path
names = ("OPENAI_BASE_URL", "OPENAI_API_KEY", "MIXVLLM_MODEL", "MIXVLLM_SEED", "MIXVLLM_SAMPLING")
Path("seen.json").write_text(json.dumps({name: os.environ.get(name) for name in names}))
Path(os.environ["MIXVLLM_RUN_DIR"], "metrics.json").write_text(json.dumps({"score_percent": 61.5, "num_right": 8}))
"""
GUIDELLM = {"data": [{"kind": "synthetic_text", "prompt_tokens": 8}], "profile": {"kind": "concurrent", "streams": [2]}}


@pytest.fixture
def seen(tmp_path: Path) -> Path:
    """The file in which a tool says what it was given."""
    return tmp_path / "seen.json"


@pytest.fixture
def programs(tmp_path: Path, seen: Path) -> LoadGenerator:
    """What runs programs, the tools among them."""
    path = f"{TOOLS}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return LoadGenerator(INSTALLATION, {**os.environ, "PATH": path, "SEEN": str(seen)}, tmp_path, is_warm=False)


def read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text())
    return value


def test_a_command_finds_the_server_and_its_numbers_are_the_result(
    serve: Serve, programs: LoadGenerator, tmp_path: Path, seen: Path
) -> None:
    server = serve(server={"api_key": "generate"})
    config = configure("command", command=[sys.executable, "-c", WRITE], seed=5, generation={"temperature": 0.5})
    assert server.address.key is not None

    with programs:
        measured = run_command(RepeatTask(config, server, programs, tmp_path, 1, never))

    assert (measured.verdict, measured.metrics) == ("ok", {"score_percent": 61.5, "num_right": 8.0})
    assert read(seen) == {
        "OPENAI_BASE_URL": f"{server.url}/v1",
        "OPENAI_API_KEY": server.address.key.value,
        "MIXVLLM_MODEL": "some/model",
        "MIXVLLM_SEED": "6",
        "MIXVLLM_SAMPLING": '{"temperature": 0.5}',
    }


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("echo out of luck; exit 3", "ended with status 3"),
        ("true", "wrote no "),
        ("echo '[1]' > $MIXVLLM_RUN_DIR/metrics.json", "must hold one object of numbers"),
        ("/no/such/program", "ended with status 127"),
        (["/no/such/program"], "cannot run /no/such/program"),
    ],
)
def test_a_command_that_leaves_no_numbers_has_failed(
    serve: Serve, programs: LoadGenerator, tmp_path: Path, command: str | list[str], reason: str
) -> None:
    with programs:
        measured = run_command(RepeatTask(configure("command", command=command), serve(), programs, tmp_path, 0, never))

    assert (measured.verdict, reason in str(measured.reason)) == ("failed", True)


def test_the_end_of_a_failed_commands_log_is_shown(serve: Serve, programs: LoadGenerator, tmp_path: Path) -> None:
    config = configure("command", command="echo out of luck; exit 3")

    with programs:
        measured = run_command(RepeatTask(config, serve(), programs, tmp_path, 0, never))

    assert str(measured.reason).endswith("out of luck")


def test_numbers_of_the_repeat_before_are_not_taken_for_new_ones(
    serve: Serve, programs: LoadGenerator, tmp_path: Path
) -> None:
    (tmp_path / "command-0").mkdir()
    (tmp_path / "command-0" / "metrics.json").write_text('{"old": 1}')

    with programs:
        measured = run_command(RepeatTask(configure("command", command="true"), serve(), programs, tmp_path, 0, never))

    assert measured.verdict == "failed"


@pytest.mark.parametrize("text", ['{"a": "1"}', '{"a": true}', '{"a": NaN}', '{"a": [1]}', "{", "5"])
def test_only_finite_numbers_are_metrics(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.json").write_text(text)

    with pytest.raises(WorkloadFailed):
        read_metrics_file(tmp_path / "metrics.json")


def test_a_text_is_for_the_shell_and_a_list_is_not() -> None:
    assert [command_line("a | b"), command_line(["a", "|"])] == [["/bin/sh", "-c", "a | b"], ["a", "|"]]


def test_guidellm_measures_and_its_report_is_read(
    serve: Serve, programs: LoadGenerator, tmp_path: Path, seen: Path
) -> None:
    config = configure("guidellm", guidellm=GUIDELLM, seed=5, generation={"temperature": 0.5})
    server = serve(server={"api_key": "generate"})
    assert server.address.key is not None

    with programs:
        measured = run_guidellm(RepeatTask(config, server, programs, tmp_path, 1, never))

    assert (measured.verdict, measured.reason) == ("ok", None)
    named = ("num_completed", "requests_per_s", "mean_ttft_ms", "p99_ttft_ms", "mean_e2el_s", "output_tokens_per_s")
    assert [measured.metrics[name] for name in named] == [10, 2.5, 12.0, 48.0, 0.4, 320.0]
    given = read(seen)
    assert (server.address.key.value in " ".join(given["argv"]), given["mode"]) == (False, "0o100600")
    assert list(tmp_path.glob("guidellm-*.task.json")) == []
    assert given["spec"] == {
        **GUIDELLM,
        "backend": {
            "kind": "openai_http",
            "target": server.url,
            "model": "some/model",
            "api_key": server.address.key.value,
            "extras": {"body": {"temperature": 0.5}},
        },
        "tokenizer": {"kind": "huggingface_auto", "model": "some/model"},
        "seed": {"kind": "static", "value": 6},
        "outputs": [{"kind": "json", "path": str(tmp_path / "guidellm-1.json")}],
    }


def test_guidellm_with_failed_requests_is_invalid(serve: Serve, programs: LoadGenerator, tmp_path: Path) -> None:
    programs.environment["ERRORED"] = "2"

    with programs:
        measured = run_guidellm(
            RepeatTask(configure("guidellm", guidellm=GUIDELLM), serve(), programs, tmp_path, 0, never)
        )

    assert (measured.verdict, measured.reason) == ("invalid", "2 of 12 requests failed")


def test_several_loads_of_guidellm_keep_their_numbers_apart(
    serve: Serve, programs: LoadGenerator, tmp_path: Path
) -> None:
    programs.environment["LOADS"] = "2"

    with programs:
        measured = run_guidellm(
            RepeatTask(configure("guidellm", guidellm=GUIDELLM), serve(), programs, tmp_path, 0, never)
        )

    assert [name for name in measured.metrics if name.endswith("mean_ttft_ms")] == [
        "load0_mean_ttft_ms",
        "load1_mean_ttft_ms",
    ]


def test_a_server_without_a_key_needs_none_from_guidellm(tmp_path: Path) -> None:
    config = configure("guidellm", guidellm=GUIDELLM)

    spec = guidellm_spec(config, url="http://x:1", key=None, tokenizer="t", repeat=0, report=tmp_path)

    assert spec["backend"] == {"kind": "openai_http", "target": "http://x:1", "model": "some/model"}


def test_lm_eval_scores_the_model(serve: Serve, programs: LoadGenerator, tmp_path: Path, seen: Path) -> None:
    server = serve(server={"api_key": "generate"})
    assert server.address.key is not None

    with programs:
        measured = run_lm_eval(
            RepeatTask(configure("lm_eval", lm_eval={"tasks": "gsm8k"}), server, programs, tmp_path, 0, never)
        )

    assert (measured.verdict, measured.metrics) == (
        "ok",
        {"gsm8k_exact_match_strict_match": 0.5, "gsm8k_exact_match_stderr_strict_match": 0.01, "gsm8k_acc": 0.25},
    )
    assert read(seen)["key"] == server.address.key.value


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"lm_eval": {"tasks": ["gsm8k", "arc_easy"], "num_fewshot": 5, "limit": 10, "apply_chat_template": False}},
            "--model local-completions "
            "--model_args model=some/model,base_url=http://x:1/v1/completions,tokenizer=t "
            "--tasks gsm8k,arc_easy --num_fewshot 5 --limit 10 --seed 7 --output_path /run/lm_eval-0/results.json",
        ),
        (
            {
                "lm_eval": {
                    "tasks": "gsm8k",
                    "model": "local-chat-completions",
                    "model_args": {"num_concurrent": 8},
                    "apply_chat_template": True,
                    "gen_kwargs": {"top_p": 0.5},
                },
                "generation": {"temperature": 0.0, "max_tokens": 64},
            },
            "--model local-chat-completions "
            "--model_args model=some/model,base_url=http://x:1/v1/chat/completions,tokenizer=t,num_concurrent=8 "
            "--tasks gsm8k --apply_chat_template --gen_kwargs temperature=0.0,max_gen_toks=64,top_p=0.5 --seed 7 "
            "--output_path /run/lm_eval-0/results.json",
        ),
    ],
)
def test_options_of_lm_eval_have_its_names(fields: dict[str, Any], expected: str) -> None:
    config = configure("lm_eval", seed=7, **fields)

    options = lm_eval_options(config, url="http://x:1", tokenizer="t", repeat=0, output=Path("/run/lm_eval-0"))

    assert " ".join(options) == expected


@pytest.mark.parametrize("kind", ["guidellm", "lm_eval"])
def test_a_tool_that_is_missing_is_named_with_how_to_get_it(
    serve: Serve, programs: LoadGenerator, tmp_path: Path, kind: str
) -> None:
    programs.environment["PATH"] = str(tmp_path)
    config = configure(kind, guidellm=GUIDELLM, lm_eval={"tasks": "gsm8k"})
    measure = {"guidellm": run_guidellm, "lm_eval": run_lm_eval}[kind]

    with programs:
        measured = measure(RepeatTask(config, serve(), programs, tmp_path, 0, never))

    assert (measured.verdict, f"pip install '{kind}" in str(measured.reason)) == ("failed", True)


def test_a_tool_of_another_interpreter_is_started_by_it() -> None:
    assert find_tool(Tool("json", "json", "json"), sys.executable, os.environ) == [sys.executable, "-m", "json"]
    with pytest.raises(WorkloadFailed, match=f"{sys.executable} -m pip install 'nothing'"):
        find_tool(Tool("nothing", "no_such_module", "nothing"), sys.executable, os.environ)


def test_a_run_by_itself_measures_and_stops(run: Run) -> None:
    command = 'echo "{\\"seed_of_run\\": $MIXVLLM_SEED}" > $MIXVLLM_RUN_DIR/metrics.json'
    one = run("workload=command", f"workload.command='{command}'")

    assert (one.exit_code(), one.living()) == (0, []), one.stderr
    figures = one.record("result.json")["figures"]
    assert figures["metrics"] == {"seed_of_run": {"mean": 1.0, "sd": 1.0, "least": 0.0, "most": 2.0, "num": 3}}
    assert [file.name for file in sorted(one.run_folder().glob("measured/repeat-*.json"))] == [
        "repeat-0.json",
        "repeat-1.json",
        "repeat-2.json",
    ]


def test_a_run_by_itself_fails_where_no_repeat_is_valid(run: Run) -> None:
    one = run("workload=command", "workload.command='exit 3'", "workload.repeats=2")

    assert (one.exit_code(), one.living()) == (1, [])
    assert "none of 2 repeats is valid" in one.stderr
