"""A real server's secrets are in no file but the key's own and in no command line, however the server ends."""

from __future__ import annotations

import os
import secrets
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from tests.engine.conftest import LaunchDemo
from tests.launches import Launch
from tests.ports import find_port

KEY, TOKEN = (f"{prefix}{secrets.token_hex(20)}" for prefix in ("sk-test-", "hf_"))
LOUD = ("server.env.VLLM_LOGGING_LEVEL=DEBUG", "server.uvicorn_log_level=trace", "server.restart=never")
"""All that a server can be made to say; and what it says is not said twice."""


@dataclass(frozen=True)
class Seen:
    """A launch that is over, and where its secrets were found: while it served, and afterwards."""

    launch: Launch
    meanwhile: list[str]
    afterwards: list[str]


def holders(values: list[str], *folders: Path) -> list[str]:
    """Return each file below `folders`, and each command line of this machine, that holds one of `values`."""
    files = [Path(root, name) for folder in folders for root, _, names in os.walk(folder) for name in names]
    places = [*files, *(Path(f"/proc/{pid}/cmdline") for pid in psutil.pids())]
    listed = subprocess.run(["ps", "-ewwo", "args"], capture_output=True, check=True).stdout
    found = [f"{path}" for path in places for value in values if value.encode() in content(path)]
    return found + [f"ps: {value}" for value in values if value.encode() in listed]


def content(path: Path) -> bytes:
    with suppress(OSError):
        if stat.S_ISREG(path.stat().st_mode):
            return path.read_bytes()
    return b""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything goes that is written outside the run: caches, temporary files, settings."""
    return tmp_path_factory.mktemp("h")


@contextmanager
def surroundings(home: Path) -> Iterator[None]:
    """Have what is launched find the secrets in its environment, and write nowhere but in `home`."""
    own = {"HOME": home, "MIXVLLM_CACHE": home / "mixvllm", "VLLM_CACHE_ROOT": home / "vllm", "TMPDIR": home / "tmp"}
    (home / "tmp").mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(("XDG_", "HF_", "VLLM_", "MIXVLLM_"))]:
            patch.delenv(name)
        for name, value in {**own, "MY_KEY": KEY, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": 1}.items():
            patch.setenv(name, str(value))
        yield


@pytest.fixture(scope="module")
def killed(launch_demo: LaunchDemo, home: Path) -> Seen:
    """A server that says all it can, is asked with the right key and a wrong one, and whose engine is killed."""
    with surroundings(home):
        one = launch_demo(f"server.port={find_port()}", "server.api_key=env:MY_KEY", *LOUD)
        url = one.wait_ready()
    answers = [ask(url, key).status_code for key in (KEY, "wrong")]
    meanwhile = holders([KEY, TOKEN], one.folder, home)
    leader = psutil.Process(one.record("status.json")["pid"])
    engine = next(child for child in leader.children(recursive=True) if "EngineCore" in " ".join(child.cmdline()))
    engine.kill()
    assert (answers, one.exit_code()) == ([200, 401], 1), one.stderr
    return Seen(one, meanwhile, holders([KEY, TOKEN], one.folder, home))


@pytest.fixture(scope="module")
def stopped(launch_demo: LaunchDemo, home: Path) -> Seen:
    """A server with a generated key, whose launcher is told to end."""
    with surroundings(home):
        one = launch_demo(f"server.port={find_port()}", "server.api_key=generate")
        one.wait_ready()
    generated = (one.run_folder() / "api_key").read_text()
    meanwhile = holders([generated, TOKEN], one.folder, home)
    os.kill(one.process.pid, signal.SIGTERM)
    assert one.exit_code() == 143, one.stderr
    return Seen(one, meanwhile, holders([generated, TOKEN], one.folder, home))


@pytest.fixture(scope="module")
def refused(launch_demo: LaunchDemo, home: Path) -> Seen:
    """A start that vLLM itself ends, of a value that only it can know to be wrong."""
    with surroundings(home):
        too_long = ("inference.max_model_len=4096", "model.context_length=null")
        one = launch_demo(f"server.port={find_port()}", "server.api_key=env:MY_KEY", *too_long, *LOUD)
    assert one.exit_code() == 1, one.stderr
    return Seen(one, [], holders([KEY, TOKEN], one.folder, home))


def ask(url: str, key: str) -> httpx.Response:
    body = {"model": "demo", "prompt": "Hello", "max_tokens": 1}
    headers = {"Authorization": f"Bearer {key}"}
    return httpx.post(f"{url}/v1/completions", json=body, headers=headers, timeout=60, trust_env=False)


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    value = secrets.token_hex(20)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_text(f"x{value}y")
    shown = subprocess.Popen([sys.executable, "-c", "input()", value], stdin=subprocess.PIPE)
    try:
        found = holders([value], tmp_path)
    finally:
        shown.kill()
        shown.communicate()

    assert found == [f"{tmp_path}/folder/file", f"/proc/{shown.pid}/cmdline", f"ps: {value}"]


def test_while_it_serves_nothing_shows_a_secret(killed: Seen) -> None:
    assert killed.meanwhile == []


def test_after_its_engine_was_killed_nothing_shows_a_secret(killed: Seen) -> None:
    assert killed.afterwards == []


def test_it_had_said_all_that_it_can(killed: Seen) -> None:
    log = (killed.launch.run_folder() / "server.log").read_text(errors="replace")

    assert " DEBUG " in log


def test_a_generated_key_is_in_its_file_alone_while_it_serves_and_after_a_stop(stopped: Seen) -> None:
    own = [str(stopped.launch.run_folder() / "api_key")]

    assert (stopped.meanwhile, stopped.afterwards) == (own, own)


def test_its_file_and_all_others_of_the_run_are_for_their_owner_alone(stopped: Seen) -> None:
    folder = stopped.launch.run_folder()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.iterdir()]}

    assert (modes[folder.name], modes["api_key"]) == (0o700, 0o600)
    assert [name for name, mode in modes.items() if mode & 0o077] == []


def test_after_a_start_that_failed_nothing_shows_a_secret(refused: Seen) -> None:
    assert refused.afterwards == []
