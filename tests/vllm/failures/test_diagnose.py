"""Which of several things in a log is the cause, and what is said where none is known."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mixvllm import compose
from mixvllm.vllm.failures import Diagnosis, diagnose
from tests.vllm.failures.snippets import written

NO_KV_CACHE = "E ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`"
DAMAGED = "W1 safetensors_rust.SafetensorError: Error while deserializing header: InvalidHeaderDeserialization"
PORT = "- OSError: [Errno 98] Address already in use"
UNKNOWN = "E KeyError: 'layers.0.mystery'"
SERVING = "- INFO:     Application startup complete."
TOLD_TO_STOP = "Ai [shutdown] API server: shutdown triggered"
ENGINE_DEAD = "A vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)"
WRAPPER = "- RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}"
TRACEBACK = (
    "E Traceback (most recent call last):",
    'E   File "/venv/lib/python3.11/site-packages/vllm/v1/engine/core.py", line 1501, in run_engine_core',
    "E     raise Something()",
)
SILENT = "Ei No available shared memory broadcast block found in 60 seconds. This typically happens when"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "server.log"


def of(log: Path, *lines: str, exit_status: int | None = 1) -> Diagnosis:
    """Return the diagnosis of a log of these lines, in the form of `cases.yaml`."""
    log.write_text("".join(f"{written(line)}\n" for line in lines))
    return diagnose(log, exit_status=exit_status)


def test_the_engine_is_believed_before_the_api_server(log: Path) -> None:
    assert of(log, PORT, NO_KV_CACHE).id == "no-memory-for-kv-cache"


def test_the_earliest_of_several_causes_is_the_cause(log: Path) -> None:
    assert [of(log, *lines).id for lines in ((DAMAGED, NO_KV_CACHE), (NO_KV_CACHE, DAMAGED))] == [
        "weights-damaged",
        "no-memory-for-kv-cache",
    ]


def test_what_says_more_is_believed_though_it_comes_later(log: Path) -> None:
    lost = "W0 RuntimeError: [gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:21389"

    assert of(log, lost, DAMAGED).id == "weights-damaged"


def test_workers_load_at_their_own_pace(log: Path) -> None:
    oom = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 448.00 MiB."
    begun = ("W0i Starting to load model org/model...", "W1i Starting to load model org/model...")

    late = [of(log, *begun, "W0i Loading weights took 9.01 seconds", f"{who} {oom}").id for who in ("W1", "W0")]

    assert late == ["weights-exceed-gpu-memory", "gpu-memory-used-up"]


def test_an_error_that_did_not_keep_the_server_from_serving_is_not_the_cause(log: Path) -> None:
    assert of(log, PORT, SERVING, exit_status=-signal.SIGKILL).id == "killed"


def test_an_error_of_one_request_is_not_why_a_server_died(log: Path) -> None:
    refused = "A ValueError: As of transformers v4.44, default chat template is no longer allowed"
    multimodal = "A ValueError: org/model is not a multimodal model"

    assert of(log, SERVING, refused, multimodal, exit_status=-signal.SIGKILL).id == "killed"


def test_what_a_server_prints_once_it_was_told_to_stop_is_no_failure(log: Path) -> None:
    found = of(log, SERVING, TOLD_TO_STOP, UNKNOWN, "A AsyncLLM output_handler failed.", ENGINE_DEAD, exit_status=0)

    assert (found.id, found.kind, found.line) == ("unclassified", "unknown", None)


def test_a_line_of_code_in_a_traceback_is_not_the_error_that_it_would_raise(log: Path) -> None:
    code = '-     raise TypeError("Error: --enable-auto-tool-choice requires --tool-call-parser")'

    assert of(log, code).id == "unclassified"


@pytest.mark.parametrize("who", ["Ai", "Aw"])
def test_daily_business_and_warnings_are_no_cause_whatever_they_quote(log: Path, who: str) -> None:
    quoted = f"{who} Received request: prompt: 'torch.OutOfMemoryError: CUDA out of memory. [Errno 98] ENOSPC'"

    assert of(log, quoted).id == "unclassified"


def test_an_unknown_error_is_shown_before_the_death_that_follows_from_it(log: Path) -> None:
    found = of(log, SERVING, UNKNOWN, "E EngineCore encountered a fatal error.", ENGINE_DEAD, exit_status=0)

    assert (found.id, found.kind, found.line_number) == ("unclassified", "unknown", 2)
    assert found.line == written(UNKNOWN)


def test_an_error_of_an_unknown_name_is_told_by_the_traceback_above_it(log: Path) -> None:
    found = of(log, *TRACEBACK, "E harbour.storm.MastBroken: no mast", "E EngineCore failed to start.", WRAPPER)

    assert (found.id, found.line) == ("unclassified", written("E harbour.storm.MastBroken: no mast"))


def test_a_wrapper_is_never_shown_as_an_unknown_error(log: Path) -> None:
    found = of(log, *TRACEBACK, "E EngineCore encountered a fatal error.", *TRACEBACK, ENGINE_DEAD, exit_status=1)

    assert (found.id, found.line) == ("engine-died", written("E EngineCore encountered a fatal error."))


def test_of_an_unknown_failure_the_end_of_the_log_is_kept(log: Path) -> None:
    found = of(log, *(f"Ai line {number}" for number in range(100)))

    assert [line.rpartition(" ")[2] for line in found.context] == [str(number) for number in range(80, 100)]


def test_of_a_known_failure_the_lines_around_it_are_kept(log: Path) -> None:
    before, after = [f"Ai before {number}" for number in range(50)], [f"Ai after {number}" for number in range(50)]

    found = of(log, *before, NO_KV_CACHE, *after)

    assert (len(found.context), written(NO_KV_CACHE) in found.context) == (20, True)


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (-signal.SIGKILL, "killed", "environment"),
        (128 + signal.SIGKILL, "killed", "environment"),
        (-signal.SIGSEGV, "crashed", "transient"),
        (-signal.SIGABRT, "aborted", "transient"),
        (-signal.SIGBUS, "shared-memory-full", "environment"),
        (-signal.SIGILL, "processor-too-old", "environment"),
        (-signal.SIGTERM, "told-to-stop", "environment"),
        (-signal.SIGINT, "told-to-stop", "environment"),
        (-signal.SIGHUP, "ended-by-signal", "transient"),
        (-64, "ended-by-signal", "transient"),
        (0, "unclassified", "unknown"),
        (1, "unclassified", "unknown"),
        (None, "unclassified", "unknown"),
    ],
)
def test_where_the_log_is_silent_the_exit_status_tells(log: Path, status: int | None, name: str, kind: str) -> None:
    found = of(log, "Ai Resolved architecture: LlamaForCausalLM", SERVING, exit_status=status)

    assert (found.id, found.kind, found.line, found.override) == (name, kind, None, None)


def test_a_known_cause_comes_before_the_exit_status(log: Path) -> None:
    assert of(log, NO_KV_CACHE, exit_status=-signal.SIGKILL).id == "no-memory-for-kv-cache"


@pytest.mark.parametrize("exit_status", [0, 1, -9])
def test_a_server_that_ended_did_not_hang(log: Path, exit_status: int) -> None:
    assert of(log, SILENT, SILENT, exit_status=exit_status).id in ("unclassified", "killed")


def test_a_server_that_got_on_after_a_silence_does_not_hang(log: Path) -> None:
    assert of(log, SILENT, SILENT, "Ei init engine took 31 s", exit_status=None).id == "unclassified"


def test_a_server_whose_requests_move_does_not_hang(log: Path) -> None:
    stats = "Ai Engine 000: Avg generation throughput: {} tokens/s, Running: 4 reqs, Waiting: 9 reqs, GPU KV cache: 1%"

    assert of(log, SERVING, *(stats.format(rate) for rate in ("0.0", "0.0", "81.2")), exit_status=None).id == (
        "unclassified"
    )


def test_only_the_output_after_the_start_counts_and_lines_count_from_the_beginning(log: Path) -> None:
    earlier, later = f"{written(DAMAGED)}\n" * 7, f"{written(NO_KV_CACHE)}\n"
    log.write_text(earlier + later)

    found = diagnose(log, exit_status=1, start=len(earlier.encode()))

    assert (found.id, found.line_number) == ("no-memory-for-kv-cache", 8)


def test_a_log_that_is_not_there_is_no_failure_of_ours(log: Path) -> None:
    assert [diagnose(log, exit_status=status).id for status in (1, -9)] == ["unclassified", "killed"]


def test_an_override_that_was_set_already_is_not_proposed(log: Path) -> None:
    mend = "inference.dtype=half"
    log.write_text(f"{written('E ValueError: Bfloat16 is only supported on GPUs with compute capability 8.0')}\n")

    proposed = [
        diagnose(log, exit_status=1, config=compose(["model=default", "model.name=m", *own])).override
        for own in ([], [mend])
    ]

    assert proposed == [mend, None]
