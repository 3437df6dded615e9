"""The fake vLLM does what the real one was seen to do."""

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ports import find_port

from .fake_server import FakeServer, get_parent_group_session, read_command, shows_marker, wait_until
from .interpreter import make_interpreter

Start = Callable[..., FakeServer]

_SEEN_S = 2.0  # long enough that a busy machine sees /health before the exit
_LOADING = "Starting to load model"
_PROMPT = {"model": "demo", "prompt": "one two three", "max_tokens": 4}


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Start fakes; all their processes are ended after the test."""
    monkeypatch.delenv("FAKE_VLLM", raising=False)
    monkeypatch.delenv("VLLM_API_KEY", raising=False)
    # A shell that runs the tests in the background has SIGINT ignored, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    fakes: list[FakeServer] = []

    def start_one(
        *arguments: str, port: int | None = None, environ: dict[str, str] | None = None, **script: Any
    ) -> FakeServer:
        names = ["--served-model-name", "demo", "demo@nonce", "--shutdown-timeout", "30"]
        directory = tmp_path / str(len(fakes))
        fakes.append(FakeServer(directory, port or find_port(), [*names, *arguments], environ or {}, **script))
        return fakes[-1]

    yield start_one
    for fake in fakes:
        fake.end()
    signal.signal(signal.SIGINT, before)


def test_interpreter_has_the_metadata_of_the_fake(tmp_path: Path) -> None:
    ask = "import importlib.metadata as m, vllm; print(m.version('vllm'), vllm.__version__)"
    program = make_interpreter(tmp_path)

    assert subprocess.check_output([program, "-c", ask], text=True) == "0.32.0 0.32.0\n"


def test_interpreter_keeps_the_python_path_behind_the_fake(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "vllm.py").write_text("raise ImportError")
    (elsewhere / "neighbour.py").write_text("name = 'kept'")
    command = [str(make_interpreter(tmp_path)), "-c", "import vllm, neighbour; print(neighbour.name)"]

    assert subprocess.check_output(command, text=True, env=os.environ | {"PYTHONPATH": str(elsewhere)}) == "kept\n"


def test_environment_wins_over_the_script_of_the_interpreter(start: Start) -> None:
    fake = start(environ={"FAKE_VLLM": '{"die_in": "imports", "exit_code": 3}'}, exit_code=4)

    assert fake.wait_exit() == 3


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ({"die_at": "imports"}, "unknown key die_at; known: phase_s"),
        ({"die_in": "lunch"}, "die_in = lunch: one of imports"),
        ({"by_start": [{}]}, "by_start needs starts_file"),
        ({"die_process": "engine", "die_in": "config"}, "there is none in the phase config"),
    ],
)
def test_mistake_in_a_script_is_refused(start: Start, script: dict[str, Any], message: str) -> None:
    fake = start(**script)

    assert fake.wait_exit() == 64
    assert message in fake.log


def test_each_start_follows_its_own_script(start: Start, tmp_path: Path) -> None:
    script = {"starts_file": str(tmp_path / "starts"), "by_start": [{"die_in": "config"}, {"exit_code": 5}, {}]}
    script["by_start"][1]["die_in"] = "weights"  # type: ignore[index]

    assert start(**script).wait_exit() == 1
    assert start(**script).wait_exit() == 5
    assert start(**script).wait_ready().get("/health")[0] == 200
    assert start(**script).wait_ready().get("/health")[0] == 200


def test_log_tells_the_phases_in_order(start: Start) -> None:
    fake = start("--max-model-len", "512", num_workers=1).wait_ready()
    expected = [
        r"^\(APIServer pid=\d+\) INFO \d\d-\d\d \d\d:\d\d:\d\d \[api_utils.py:286\] non-default args: \{.*"
        r"'served_model_name': \['demo', 'demo@nonce'\], 'shutdown_timeout': 30, 'max_model_len': 512\}$",
        r"Resolved architecture: LlamaForCausalLM",
        r"Using max model len 512",
        r"^\(EngineCore pid=\d+\) .*Initializing a V1 LLM engine \(v0\.32\.0\) with config",
        r"^\(Worker pid=\d+\) .*world_size=1 rank=0 local_rank=0 distributed_init_method=\S+ backend=gloo$",
        r"^\(Worker pid=\d+\) .*Starting to load model /models/demo\.\.\.$",
        r"\rLoading safetensors checkpoint shards:   0% Completed \| 0/1 ",
        r"\rLoading safetensors checkpoint shards: 100% Completed \| 1/1 ",
        r"Loading weights took [\d.]+ seconds",
        r"KV cache size: [\d,]+ tokens",
        r"init engine \(profile, create kv cache, warmup model\) took [\d.]+ s",
        r"^\(APIServer pid=\d+\) .*Starting vLLM server on http://127.0.0.1:\d+$",
        r"^INFO:     Application startup complete\.$",
    ]
    log = fake.log_path.read_bytes().decode()
    places = [match.start() if (match := re.search(pattern, log, re.MULTILINE)) else -1 for pattern in expected]

    assert -1 not in places
    assert places == sorted(places)


def test_refused_flag_exits_2_with_the_words_of_argparse(start: Start) -> None:
    fake = start("--enforce-eager", "--no-such-flag", "1", unknown_flags=["--no-such-flag"])

    assert fake.wait_exit() == 2
    assert fake.log.endswith("main.py: error: unrecognized arguments: --no-such-flag 1\n")


def test_bad_number_exits_2(start: Start) -> None:
    fake = start("--max-model-len=many")

    assert fake.wait_exit() == 2
    assert "argument --max-model-len: invalid int value: 'many'" in fake.log


def test_key_on_the_command_line_is_not_logged(start: Start) -> None:
    fake = start("--api-key", "secret-key").wait_ready()

    assert "'api_key': '***'" in fake.log
    assert "secret-key" not in fake.log


def test_flood_of_the_log_does_not_stop_the_start(start: Start) -> None:
    fake = start(log_flood_mb=3).wait_ready()

    assert fake.log_path.stat().st_size > 3 * 2**20


def test_taken_port_fails_before_the_engine_starts(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as owner:
        fake = start(port=owner.getsockname()[1])

        assert fake.wait_exit() == 1
    assert fake.log.endswith("OSError: [Errno 98] Address already in use\n")
    assert "VLLM::EngineCore" not in fake.pids


def test_port_taken_while_loading_fails_at_the_end(start: Start) -> None:
    with socket.socket() as rival:
        rival.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        rival.bind(("127.0.0.1", 0))
        fake = start(port=rival.getsockname()[1], slow_phases_s={"warmup": 2})
        fake.wait_for(_LOADING)
        rival.listen()

        assert fake.wait_exit() == 1
    assert "Application startup complete" in fake.log
    assert fake.log.endswith("OSError: [Errno 98] Address already in use\n")
    wait_until(lambda: not fake.alive)


def test_port_refuses_until_the_model_is_loaded(start: Start) -> None:
    fake = start(hang_in="weights")
    fake.wait_for(_LOADING)

    with pytest.raises(ConnectionRefusedError):
        fake.get("/health")


def test_tree_is_that_of_vllm(start: Start) -> None:
    fake = start(num_workers=2).wait_ready()
    leader, engine = fake.process.pid, fake.pids["VLLM::EngineCore"]
    [tracker] = [pid for title, pid in fake.pids.items() if "resource_tracker" in title]

    assert get_parent_group_session(engine) == (leader, leader, leader)
    assert get_parent_group_session(tracker) == (leader, leader, leader)
    assert get_parent_group_session(fake.pids["VLLM::Worker_TP1"]) == (engine, leader, leader)
    assert read_command(engine) == "VLLM::EngineCore"
    assert [shows_marker(pid) for pid in (leader, tracker, engine)] == [True, True, False]


@pytest.mark.parametrize(
    ("escape", "leaves_session", "is_orphan"),
    [("setpgrp", False, False), ("setsid", True, False), ("double_fork", True, True)],
)
def test_escaped_child_outlives_a_clean_stop(start: Start, escape: str, leaves_session: bool, is_orphan: bool) -> None:
    fake = start(escape=escape).wait_ready()
    escaped = fake.wait_process("VLLM::Escaped")
    parent, group, session = get_parent_group_session(escaped)
    fake.process.terminate()

    assert fake.wait_exit() == 0
    assert group != fake.process.pid
    assert (session != fake.process.pid) == leaves_session
    assert (parent != fake.pids["VLLM::EngineCore"]) == is_orphan
    assert shows_marker(escaped)
    wait_until(lambda: fake.alive == {"VLLM::Escaped"})


def test_escaped_child_can_hide_its_environment(start: Start) -> None:
    fake = start(escape="setsid", escape_hides_environ=True).wait_ready()

    assert not shows_marker(fake.wait_process("VLLM::Escaped"))


def test_stubborn_child_ends_by_kill_only(start: Start) -> None:
    fake = start(stubborn=True).wait_ready()
    stubborn = fake.wait_process("VLLM::Stubborn")
    os.kill(stubborn, signal.SIGTERM)
    fake.process.terminate()
    fake.wait_exit()
    wait_until(lambda: fake.alive == {"VLLM::Stubborn"})
    os.kill(stubborn, signal.SIGKILL)

    wait_until(lambda: not fake.alive)


def test_lifetime_ends_every_process(start: Start) -> None:
    fake = start(num_workers=1, stubborn=True, escape="setsid", lifetime_s=0.5, hang_in="weights")

    assert fake.wait_exit() == -signal.SIGALRM
    wait_until(lambda: not fake.alive)


def test_models_lists_all_served_names(start: Start) -> None:
    fake = start("--max-model-len", "2K").wait_ready()
    models = json.loads(fake.get("/v1/models")[1])["data"]

    assert [model["id"] for model in models] == ["demo", "demo@nonce"]
    assert {(model["root"], model["max_model_len"]) for model in models} == {("/models/demo", 2048)}


def test_key_guards_v1_and_nothing_else(start: Start) -> None:
    fake = start(environ={"VLLM_API_KEY": "secret-key"}).wait_ready()

    assert fake.get("/v1/models")[0] == 401
    assert fake.get("/v1/models", Authorization="Bearer wrong")[0] == 401
    assert fake.get("/v1/models", Authorization="Bearer secret-key")[0] == 200
    assert fake.post("/v1/completions", _PROMPT) == (401, {"error": "Unauthorized"})
    assert fake.post("/v1/completions", _PROMPT, Authorization="Bearer secret-key")[0] == 200
    assert [fake.get(path)[0] for path in ("/health", "/version", "/metrics")] == [200, 200, 200]


def test_completion_has_as_many_tokens_as_asked(start: Start) -> None:
    status, answer = start().wait_ready().post("/v1/completions", _PROMPT)

    assert status == 200
    assert answer["choices"][0]["text"] == "This is the fake "
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (3, 4)


def test_chat_answers_with_a_message(start: Start) -> None:
    body = {"model": "demo@nonce", "messages": [{"role": "user", "content": "hello you"}], "max_completion_tokens": 2}
    status, answer = start().wait_ready().post("/v1/chat/completions", body)

    assert status == 200
    assert answer["choices"][0]["message"]["content"] == "This is "
    assert answer["usage"]["total_tokens"] == 4


@pytest.mark.parametrize(
    ("path", "prompt", "texts"),
    [
        ("/v1/completions", {"prompt": [1, 2, 3]}, ["This ", "is "]),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a b c"}]}, ["", "This ", "is "]),
    ],
)
def test_stream_sends_each_token_and_its_usage(
    start: Start, path: str, prompt: dict[str, Any], texts: list[str]
) -> None:
    body = prompt | {"model": "demo", "max_tokens": 2, "stream": True, "stream_options": {"include_usage": True}}
    status, content = start().wait_ready().request("POST", path, json.dumps(body), {})
    events = [event.removeprefix("data: ") for event in content.strip().split("\n\n")]
    chunks = [json.loads(event) for event in events[:-1]]
    choices = [chunk["choices"][0] for chunk in chunks[:-1]]

    assert (status, events[-1]) == (200, "[DONE]")
    assert [choice["text"] if "text" in choice else choice["delta"]["content"] for choice in choices] == texts
    assert choices[-1]["finish_reason"] == "length"
    assert (chunks[-1]["usage"]["prompt_tokens"], chunks[-1]["usage"]["completion_tokens"]) == (3, 2)


def test_requests_can_be_read_back(start: Start) -> None:
    fake = start().wait_ready()
    fake.post("/v1/completions", _PROMPT)

    assert json.loads(fake.get("/fake/requests")[1])["requests"] == [{"path": "/v1/completions", "body": _PROMPT}]


def test_metrics_count_tokens_and_requests(start: Start) -> None:
    fake = start("--max-num-seqs", "1", token_delay_s=0.5).wait_ready()
    answers = [fake.post_later("/v1/completions", _PROMPT) for _ in range(2)]
    fake.wait_running(1)
    wait_until(lambda: fake.read_metric("vllm:num_requests_waiting") == 1)

    assert [answer.wait()[0] for answer in answers] == [200, 200]
    assert fake.read_metric("vllm:prompt_tokens_total") == 6
    assert fake.read_metric("vllm:generation_tokens_total") == 8
    assert fake.read_metric("vllm:num_requests_running") == 0


def test_request_that_cannot_be_served_is_refused(start: Start) -> None:
    fake = start("--max-model-len", "16").wait_ready()

    assert fake.post("/v1/completions", _PROMPT | {"model": "other"})[0] == 404
    assert fake.post("/v1/completions", _PROMPT | {"max_tokens": 99})[0] == 400
    assert fake.get("/v1/nothing")[0] == 404


def test_embeddings_version_and_cache_reset_answer(start: Start) -> None:
    fake = start(environ={"VLLM_SERVER_DEV_MODE": "1"}, reset_success=False).wait_ready()
    status, embeddings = fake.post("/v1/embeddings", {"model": "demo", "input": ["a b", "c"]})

    assert (status, len(embeddings["data"]), embeddings["usage"]["prompt_tokens"]) == (200, 2, 3)
    assert json.loads(fake.get("/version")[1]) == {"version": "0.32.0"}
    assert fake.post("/reset_prefix_cache", {}) == (200, {"success": False})


def test_sigterm_while_importing_kills(start: Start) -> None:
    fake = start(hang_in="imports")
    fake.wait_process("APIServer")
    fake.process.terminate()

    assert fake.wait_exit() == -signal.SIGTERM


def test_sigterm_while_loading_is_not_heard(start: Start) -> None:
    fake = start(slow_phases_s={"weights": 2})
    fake.wait_for(_LOADING)
    fake.process.terminate()

    assert fake.wait_ready().get("/health")[0] == 200


def test_sigint_while_loading_ends_everything(start: Start) -> None:
    fake = start(hang_in="weights", num_workers=1)
    fake.wait_for(_LOADING)
    fake.process.send_signal(signal.SIGINT)

    assert fake.wait_exit() == -signal.SIGINT
    wait_until(lambda: not fake.alive)


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_stop_drains_what_is_in_flight(start: Start, signal_number: int) -> None:
    fake = start(token_delay_s=0.75, num_workers=1).wait_ready()
    answer = fake.post_later("/v1/completions", _PROMPT)
    fake.wait_running(1)
    fake.process.send_signal(signal_number)
    fake.wait_for("draining in-flight requests count=1 timeout=30s")
    fake.process.send_signal(signal_number)

    assert fake.get("/health")[0] == 200
    assert fake.request("POST", "/v1/completions", json.dumps(_PROMPT), {}) == (500, "Internal Server Error")
    assert answer.wait()[0] == 200
    assert fake.wait_exit() == 0
    wait_until(lambda: not fake.alive)


@pytest.mark.parametrize("timeout_s", [0, 1])
def test_stop_cuts_off_what_outlasts_the_shutdown_timeout(start: Start, timeout_s: int) -> None:
    fake = start("--shutdown-timeout", str(timeout_s), token_delay_s=30).wait_ready()
    answer = fake.post_later("/v1/completions", _PROMPT | {"stream": True})
    fake.wait_running(1)
    fake.process.terminate()

    assert answer.wait()[1].endswith("data: [DONE]\n\n")
    assert fake.wait_exit() == 0


def test_sigterm_to_the_group_breaks_the_drain(start: Start) -> None:
    fake = start(token_delay_s=30, num_workers=1).wait_ready()
    answer = fake.post_later("/v1/completions", _PROMPT)
    fake.wait_running(1)
    os.killpg(fake.process.pid, signal.SIGTERM)

    assert answer.wait()[0] == 500
    assert fake.wait_exit() == 0


@pytest.mark.parametrize("signal_number", [signal.SIGUSR2, signal.SIGHUP])
def test_other_signals_kill_the_leader_alone(start: Start, signal_number: int) -> None:
    fake = start().wait_ready()
    fake.process.send_signal(signal_number)

    assert fake.wait_exit() == -signal_number
    assert "VLLM::EngineCore" in fake.alive


def test_server_can_hang_on_sigterm(start: Start) -> None:
    fake = start(hang_on_term=True).wait_ready()
    fake.process.terminate()
    fake.wait_for("shutdown triggered")
    fake.process.terminate()

    assert fake.get("/health")[0] == 200
    assert fake.process.poll() is None


@pytest.mark.parametrize("phase", ["imports", "config", "engine_init", "distributed", "weights", "kv_cache", "http"])
def test_death_in_a_phase_tells_its_cause_and_leaves_nothing(start: Start, phase: str) -> None:
    fake = start(die_in=phase, exit_code=7, num_workers=1)

    assert fake.wait_exit() == 7
    assert f"RuntimeError: scripted failure in {phase}" in fake.log
    wait_until(lambda: not fake.alive)


def test_failure_of_the_engine_ends_in_the_wrapper_line(start: Start) -> None:
    fake = start(die_in="kv_cache", die_log=["ValueError: No available memory for the cache blocks."])

    assert fake.wait_exit() == 1
    assert "ValueError: No available memory for the cache blocks.\n" in fake.log
    assert fake.log.endswith("Engine core initialization failed. See root cause above. Failed core proc(s): {}\n")


def test_recorded_log_is_told_as_it_is(start: Start, tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.log"
    recorded.write_text("first line\nlast line\n")
    fake = start(die_in="weights", die_log_file=str(recorded))

    assert fake.wait_exit() == 1
    assert fake.log.endswith("first line\nlast line\n")


@pytest.mark.parametrize("phase", ["imports", "weights"])
@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_leader_dies_by_a_signal_and_the_engine_survives(start: Start, phase: str, signal_number: int) -> None:
    fake = start(die_in=phase, die_by_signal=signal_number)

    assert fake.wait_exit() == -signal_number
    assert ("VLLM::EngineCore" in fake.alive) == (phase == "weights")


def test_engine_killed_while_loading_fails_the_start(start: Start) -> None:
    fake = start(die_in="weights", die_process="engine", die_by_signal=9)

    assert fake.wait_exit() == 1
    assert "Failed core proc(s): {'EngineCore': -9}" in fake.log


def test_killed_leader_leaves_the_engine_and_frees_the_port(start: Start) -> None:
    port = find_port()
    fake = start(port=port, num_workers=1).wait_ready()
    fake.process.kill()

    assert fake.wait_exit() == -signal.SIGKILL
    assert start(port=port).wait_ready().get("/health")[0] == 200
    assert {"VLLM::EngineCore", "VLLM::Worker"} <= fake.alive


@pytest.mark.parametrize("title", ["VLLM::EngineCore", "VLLM::Worker"])
def test_killed_engine_ends_in_exit_0(start: Start, title: str) -> None:
    fake = start(num_workers=1, watchdog_s=_SEEN_S).wait_ready()
    os.kill(fake.pids[title], signal.SIGKILL)
    wait_until(lambda: fake.get("/health")[0] == 503)

    assert fake.wait_exit() == 0
    assert "EngineDeadError" in fake.log
    wait_until(lambda: not fake.alive)


def test_worker_of_an_engine_killed_while_loading_lives_on(start: Start) -> None:
    fake = start(num_workers=1, hang_in="weights")
    fake.wait_for(_LOADING)
    os.kill(fake.pids["VLLM::EngineCore"], signal.SIGKILL)

    assert fake.wait_exit() == 1
    assert "VLLM::Worker" in fake.alive


def test_stopped_engine_hangs_requests_but_not_health(start: Start) -> None:
    fake = start().wait_ready()
    os.kill(fake.pids["VLLM::EngineCore"], signal.SIGSTOP)
    answer = fake.post_later("/v1/completions", _PROMPT)
    fake.wait_running(1)

    assert fake.get("/health")[0] == 200
    assert fake.read_metric("vllm:generation_tokens_total") == 0
    assert not answer.is_there
    os.kill(fake.pids["VLLM::EngineCore"], signal.SIGCONT)
    assert answer.wait()[0] == 200


def test_stopped_engine_is_killed_at_the_end_of_the_drain(start: Start) -> None:
    fake = start("--shutdown-timeout", "0", num_workers=1).wait_ready()
    os.kill(fake.pids["VLLM::EngineCore"], signal.SIGSTOP)
    fake.process.terminate()

    assert fake.wait_exit() == 0
    wait_until(lambda: not fake.alive)


def test_request_can_kill_the_engine(start: Start) -> None:
    fake = start(die_on_request=2, watchdog_s=_SEEN_S).wait_ready()

    assert fake.post("/v1/completions", _PROMPT)[0] == 200
    status, answer = fake.post("/v1/completions", _PROMPT)
    assert (status, answer["error"]["type"]) == (500, "InternalServerError")
    assert fake.get("/health")[0] == 503
    assert fake.wait_exit() == 0


@pytest.mark.parametrize(
    ("script", "status"),
    [({"exit_code": 6}, 6), ({"die_by_signal": 11}, -11), ({"die_process": "engine"}, 0)],
)
def test_server_dies_once_there_is_a_file(start: Start, script: dict[str, Any], status: int, tmp_path: Path) -> None:
    fake = start(die_at_file=str(tmp_path / "die"), **script).wait_ready()
    (tmp_path / "die").touch()

    assert fake.wait_exit() == status
    assert "Application startup complete" in fake.log


def test_health_can_lie_about_the_engine(start: Start) -> None:
    fake = start("--shutdown-timeout", "0", health_without_engine=True).wait_ready()
    answer = fake.post_later("/v1/completions", _PROMPT)
    fake.wait_running(1)

    assert fake.get("/health")[0] == 200
    assert not answer.is_there
    fake.process.terminate()
    assert answer.wait()[0] == 500
    assert fake.wait_exit() == 0


def test_completions_can_fail_or_be_empty(start: Start) -> None:
    failing, empty = start(completions_status=500), start(empty_completion=True)

    assert failing.wait_ready().post("/v1/completions", _PROMPT)[0] == 500
    status, answer = empty.wait_ready().post("/v1/completions", _PROMPT)
    assert (status, answer["choices"][0]["text"], answer["usage"]["completion_tokens"]) == (200, "", 0)


def test_identity_can_be_wrong(start: Start) -> None:
    fake = start(wrong_identity=True).wait_ready()

    assert [model["id"] for model in json.loads(fake.get("/v1/models")[1])["data"]] == ["somebody-elses-model"]
    assert fake.post("/v1/completions", _PROMPT)[0] == 404


def test_shared_memory_is_removed_by_the_engine_or_else_by_the_tracker(start: Start) -> None:
    name = f"psm_fake_{os.getpid()}"
    segment = Path("/dev/shm", name)
    for kill in (False, True):
        fake = start(shared_memory=name).wait_ready()
        assert str(segment) in Path(f"/proc/{fake.pids['VLLM::EngineCore']}/maps").read_text()

        if kill:
            os.kill(fake.pids["VLLM::EngineCore"], signal.SIGKILL)
        else:
            fake.process.terminate()

        fake.wait_exit()
        wait_until(lambda: not segment.exists())


def test_long_prompt_takes_the_time_of_the_engine(start: Start) -> None:
    fake = start(prefill_token_s=0.02).wait_ready()
    began = time.monotonic()

    assert fake.post("/v1/completions", _PROMPT | {"prompt": "x " * 25})[0] == 200
    assert time.monotonic() - began >= 0.5
