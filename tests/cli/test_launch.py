"""The program as a user runs it, with the fake vLLM behind it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from mixvllm.cli import launch
from tests.fakes.interpreter import make_interpreter
from tests.launches import PROGRAM, Run
from tests.ports import find_port


def test_a_probe_shows_the_answer_and_ends_by_itself(run: Run) -> None:
    one = run("workload=probe", "workload.prompt=Hello!")

    assert (one.exit_code(), one.stdout.splitlines()[0]) == (0, "prompt  Hello!")
    assert "answer  " in one.stdout
    assert one.living() == []


def test_a_probe_sends_the_generation_settings_with_its_request(run: Run) -> None:
    one = run("workload=probe", "generation.temperature=0.25", "generation.max_tokens=7")

    assert (one.exit_code(), one.record("result.json")["figures"]["completion_tokens"]) == (0, 7)
    assert "override-generation-config" not in (one.run_folder() / "command.sh").read_text()


def test_the_record_of_a_run_is_complete(run: Run) -> None:
    one = run("workload=probe")
    one.exit_code()

    names = sorted(path.name for path in one.run_folder().iterdir())
    point, result, status = (one.record(name) for name in ("point.json", "result.json", "status.json"))
    recorded = [
        "command.sh",
        "events.jsonl",
        "point.json",
        "processes.json",
        "result.json",
        "server.log",
        "status.json",
    ]
    assert [name for name in names if name != "samples.jsonl"] == recorded  # a short run may end before a sample
    assert (point["config"]["model"]["name"], point["resources"]) == ("some/model", {"num_nodes": 1, "num_gpus": 1})
    assert (result["status"], result["content_hash"], status["state"]) == ("ok", point["content_hash"], "stopped")


@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_a_serving_server_with_all_its_children(run: Run, number: int, exit_code: int) -> None:
    one = run(num_workers=1)
    url = one.wait_ready()
    os.kill(one.process.pid, number)

    assert (one.exit_code(), one.living()) == (exit_code, [])
    assert (one.record("status.json")["state"], one.record("result.json")["status"]) == ("stopped", "interrupted")
    with pytest.raises(httpx.ConnectError):
        httpx.get(url, trust_env=False)


def test_a_signal_during_start_up_leaves_nothing(run: Run) -> None:
    one = run(hang_in="weights")
    one.wait_for(lambda: "loading weights" in one.stderr)
    os.kill(one.process.pid, signal.SIGINT)

    assert (one.exit_code(), one.living(), one.record("result.json")["status"]) == (130, [], "interrupted")


def test_a_terminal_that_is_gone_does_not_disturb_the_stop(run: Run) -> None:
    read_end, write_end = os.pipe()
    one = run(output=write_end)
    os.close(write_end)
    one.wait_for(lambda: one.run_folder().joinpath("endpoint.json").exists())
    os.close(read_end)
    os.kill(one.process.pid, signal.SIGHUP)

    assert (one.exit_code(), one.living(), one.record("status.json")["was_killed"]) == (129, [], False)


def test_a_launch_under_nohup_outlives_its_terminal(run: Run) -> None:
    one = run(wrapper=["nohup"])
    one.wait_ready()
    os.kill(one.process.pid, signal.SIGHUP)
    os.kill(one.process.pid, signal.SIGTERM)

    assert (one.exit_code(), one.living()) == (143, [])


def test_a_second_signal_kills_at_once(run: Run) -> None:
    one = run("server.drain_timeout_s=600", hang_on_term=True)
    one.wait_ready()
    os.kill(one.process.pid, signal.SIGINT)
    one.wait_for(lambda: "stopping" in one.stderr)
    os.kill(one.process.pid, signal.SIGINT)

    assert (one.exit_code(), one.living()) == (130, [])


def test_a_server_that_dies_while_it_serves_fails_the_run(run: Run) -> None:
    one = run("server.restart=never")
    one.wait_ready()
    os.kill(one.record("status.json")["pid"], signal.SIGTERM)

    assert one.exit_code() == 1
    assert "error: the server ended by itself during serving: exit status 0" in one.stderr
    assert (one.record("status.json")["state"], one.living()) == ("failed", [])


def test_a_server_that_never_gets_ready_fails_the_run_with_its_log(run: Run) -> None:
    one = run(die_in="kv_cache", die_log=["ValueError: No available memory for the cache blocks."])

    assert one.exit_code() == 1
    assert "No available memory for the cache blocks." in one.stderr
    assert "Traceback" not in one.stderr.replace("    Traceback", "")


def test_plain_lines_show_the_phases_where_there_is_no_terminal(run: Run) -> None:
    one = run("workload=probe")
    one.exit_code()

    words = [line[10:] for line in one.stderr.splitlines() if " s  " in line[:12]]
    assert [word.partition(" (")[0].partition(": ")[0] for word in words] == [
        "importing vLLM",
        "starting the engine",
        "loading weights",
        "compiling",
        "making the KV cache",
        "opening the HTTP server",
        "ready",
    ]
    assert "\x1b" not in one.stderr


def test_what_is_shown_when_ready_works_as_pasted(run: Run) -> None:
    one = run("server.api_key=generate")
    one.wait_ready()
    curl, snippet = one.stdout[one.stdout.index("curl") :].split("\n\n")[:2]

    answers = [
        subprocess.run(["bash", "-c", f"{curl} -s"], capture_output=True, text=True, check=True).stdout,
        subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, check=True).stdout,
    ]

    assert json.loads(answers[0])["choices"][0]["message"]["content"].strip() == answers[1].strip() != ""


def test_a_port_that_another_process_holds_is_named(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        one = run(f"server.port={other.getsockname()[1]}")

        assert one.exit_code() == 1
    assert f"is in use by process {os.getpid()}" in one.stderr
    assert not (one.run_folder() / "server.log").exists()


def test_two_launches_at_once_take_two_ports(run: Run) -> None:
    launches = [run(), run()]

    assert len({one.wait_ready() for one in launches}) == 2


def test_a_dry_run_prints_only_the_command_and_starts_nothing(run: Run) -> None:
    one = run("dry_run=true", "server.env.NCCL_DEBUG=INFO")

    assert (one.exit_code(), one.stderr) == (0, "")
    assert one.stdout.startswith("NCCL_DEBUG=INFO VLLM_HOST_IP=127.0.0.1 ")
    assert shlex.split(one.stdout)[2:7] == [
        str(one.folder / "fake" / "python"),
        "-m",
        "vllm.entrypoints.cli.main",
        "serve",
        "some/model",
    ]
    assert (one.folder / "outputs").exists() is False


def test_a_printed_command_runs_as_pasted(run: Run) -> None:
    one = run("dry_run=true", f"server.port={find_port()}", die_in="engine_init", exit_code=7)
    one.exit_code()

    assert subprocess.run(["bash", "-c", one.stdout], capture_output=True).returncode == 7


def test_a_dry_run_without_a_vllm_shows_the_command_all_the_same(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")], check=True)
    python = tmp_path / "empty" / "bin" / "python"

    done = subprocess.run(
        [*PROGRAM, "model=llama3_8b", "inference.tensor_parallel_size=4", "dry_run=true", f"server.python={python}"],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, "vLLM is not installed in" in done.stderr) == (0, True)
    assert "meta-llama/Llama-3.1-8B-Instruct" in done.stdout
    assert "--tensor-parallel-size 4" in done.stdout


def test_a_run_without_a_vllm_says_how_to_get_one_and_leaves_no_folder(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "empty")], check=True)

    done = subprocess.run(
        [*PROGRAM, "model=llama3_8b", f"server.python={tmp_path / 'empty' / 'bin' / 'python'}"],
        capture_output=True,
        text=True,
    )

    assert (done.returncode, "next: pip install" in done.stderr) == (1, True)
    assert not (tmp_path / "outputs").exists()


def test_a_machine_that_cannot_run_it_is_told_before_anything_starts(run: Run) -> None:
    one = run("preflight=strict", "server.env.CUDA_VISIBLE_DEVICES=99", "model.name=/no/such/model")

    assert (one.exit_code(), (one.folder / "outputs").exists()) == (1, False)
    assert "error: this machine cannot run it\n" in one.stderr
    assert "weights: no folder /no/such/model\n    next: model.name=" in one.stderr


def test_a_warned_run_goes_on_all_the_same(run: Run) -> None:
    one = run("preflight=warn", "model.name=/no/such/model", "workload=probe")

    assert (one.exit_code(), "no folder /no/such/model" in one.stderr) == (0, True)


def test_the_preflight_alone_shows_every_line_and_starts_nothing(tmp_path: Path) -> None:
    python = make_interpreter(tmp_path / "fake")
    own = ["preflight", "model=default", "model.name=/no/such/model", f"server.python={python}"]

    done = subprocess.run([*PROGRAM[:-1], *own], capture_output=True, text=True, cwd=tmp_path)

    assert (done.returncode, done.stderr, (tmp_path / "outputs").exists()) == (1, "", False)
    assert [word for word in ("engine", "GPUs", "weights", "port") if word not in done.stdout] == []


def test_an_argument_that_the_release_does_not_have_is_refused_with_its_origin(run: Run) -> None:
    one = run("+inference.schedulng_policy=fcfs", "+server.max_log_len=many")

    assert (one.exit_code(), (one.folder / "outputs").exists()) == (2, False)
    assert "error: inference.schedulng_policy=fcfs: is not an argument of vLLM 0.32.0; did you mean " in one.stderr
    assert "error: server.max_log_len=many: must be an integer (from the command line)" in one.stderr


def test_an_argument_without_a_key_reaches_vllm(run: Run) -> None:
    one = run("dry_run=true", "+inference.kv_events_config.publisher=zmq", "+inference.max_loras=2")

    assert one.exit_code() == 0
    assert one.stdout.rstrip().endswith("""--kv-events-config '{"publisher":"zmq"}' --max-loras 2""")


def test_the_configuration_is_shown_as_yaml(capsys: pytest.CaptureFixture[str]) -> None:
    assert launch.main(["--cfg", "model=qwen3_8b"]) == 0
    assert "name: Qwen/Qwen3-8B\n" in capsys.readouterr().out


def test_help_lists_the_groups_and_their_options(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code = launch.main(["--help"])

    text = capsys.readouterr().out
    assert (exit_code, "  model       " in text and "gpt_oss_20b" in text, max(map(len, text.splitlines())) <= 115) == (
        0,
        True,
        True,
    )


def test_flags_may_stand_between_overrides(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "mine.yaml").write_text("defaults: [default]\nname: me/mine\n")

    launch.main(["model=mine", "--config-dir", "mine", "inference.seed=3", "--cfg"])

    assert "name: me/mine" in capsys.readouterr().out
