"""Every run of a user is found again, whatever happens to the registry."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from mixvllm.runs.folder import RunFolder
from mixvllm.runs.registry import RunNotFound, find_runs, host_name, register, resolve_run


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "runs"


def make_run(tmp_path: Path, name: str, **status: object) -> RunFolder:
    folder = RunFolder(tmp_path / "outputs" / name)
    folder.path.mkdir(parents=True)
    if status:
        folder.status.write_text(json.dumps(status))
    return folder


def write_entry(registry: Path, folder: RunFolder, host: str) -> Path:
    registry.mkdir(parents=True, exist_ok=True)
    file = registry / f"{host}.json"
    file.write_text(json.dumps({"folder": str(folder.path), "host": host, "created_at": "2026-01-01T00:00:00+00:00"}))
    return file


def test_runs_are_found_newest_first(tmp_path: Path, registry: Path) -> None:
    runs = [make_run(tmp_path, name) for name in ("b", "a", "c")]
    for run in runs:
        register(registry, run)

    assert find_runs(registry) == runs[::-1]


def test_without_a_registry_there_are_no_runs(registry: Path) -> None:
    assert find_runs(registry) == []


def test_registry_and_entries_are_for_their_owner_alone(tmp_path: Path, registry: Path) -> None:
    register(registry, make_run(tmp_path, "a"))

    modes = [path.stat().st_mode & 0o777 for path in (registry, *registry.iterdir())]

    assert modes == [0o700, 0o600]


def test_a_run_that_is_registered_twice_is_there_once(tmp_path: Path, registry: Path) -> None:
    run = make_run(tmp_path, "a")
    register(registry, run)

    register(registry, run)

    assert (find_runs(registry), len(list(registry.iterdir()))) == ([run], 1)


def test_the_entry_of_a_deleted_run_is_removed(tmp_path: Path, registry: Path) -> None:
    run = make_run(tmp_path, "a")
    register(registry, run)
    run.path.rmdir()

    assert (find_runs(registry), list(registry.iterdir())) == ([], [])


def test_the_entry_of_another_machine_stays_though_its_folder_is_not_seen_here(tmp_path: Path, registry: Path) -> None:
    file = write_entry(registry, RunFolder(tmp_path / "not" / "here"), "elsewhere")

    assert (find_runs(registry), file.exists()) == ([], True)


def test_a_run_of_another_machine_is_found_where_its_folder_is_seen(tmp_path: Path, registry: Path) -> None:
    run = make_run(tmp_path, "a")
    write_entry(registry, run, "elsewhere")

    assert find_runs(registry) == [run]


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "[" * 100_000, '{"folder": 1}', '{"folder": "\\u0000", "host": "h", "created_at": "x"}'],
    ids=lambda text: text[:20],
)
def test_a_corrupt_entry_hides_no_other(tmp_path: Path, registry: Path, text: str) -> None:
    run = make_run(tmp_path, "a")
    register(registry, run)
    (registry / "bad.json").write_text(text)

    assert find_runs(registry) == [run]


def test_runs_that_are_registered_at_once_are_all_found(tmp_path: Path, registry: Path) -> None:
    runs = [make_run(tmp_path, str(number)) for number in range(32)]
    threads = [threading.Thread(target=register, args=(registry, run)) for run in runs]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        find_runs(registry)
    for thread in threads:
        thread.join()

    assert set(find_runs(registry)) == set(runs)


def test_a_thousand_runs_are_found(tmp_path: Path, registry: Path) -> None:
    run = make_run(tmp_path, "a")
    registry.mkdir(parents=True)
    entry = {"host": host_name(), "created_at": "2026-01-01T00:00:00+00:00"}
    for number in range(1000):
        folder = run.path / str(number)
        folder.mkdir()
        (registry / f"{number}.json").write_text(json.dumps(entry | {"folder": str(folder)}))

    assert len(find_runs(registry)) == 1000


def test_the_last_run_is_the_newest(tmp_path: Path, registry: Path) -> None:
    for name in ("b", "a"):
        register(registry, make_run(tmp_path, name))

    assert resolve_run(registry, "last").name == "a"


@pytest.mark.parametrize("text", ["14-03-22-ab12cd", "ab12cd", "14-03", "outputs/14-03-22-ab12cd", "llama"])
def test_a_run_is_found_by_name_part_path_and_model(tmp_path: Path, registry: Path, text: str) -> None:
    wanted = make_run(tmp_path, "14-03-22-ab12cd", state="ready", model="llama")
    for run in (wanted, make_run(tmp_path, "15-00-00-ffffff", state="ready", model="qwen")):
        register(registry, run)

    assert resolve_run(registry, text) == wanted


def test_a_models_name_means_the_run_that_lives(tmp_path: Path, registry: Path) -> None:
    living = make_run(tmp_path, "a", state="starting", model="llama")
    for run in (living, make_run(tmp_path, "b", state="stopped", model="llama")):
        register(registry, run)

    assert resolve_run(registry, "llama") == living


def test_whether_a_run_lives_can_be_told_by_others(tmp_path: Path, registry: Path) -> None:
    runs = [make_run(tmp_path, name, state="ready", model="llama") for name in ("a", "b")]
    for run in runs:
        register(registry, run)

    assert resolve_run(registry, "llama", lambda run: run == runs[1]) == runs[1]


def test_a_name_that_is_part_of_another_means_its_own_run(tmp_path: Path, registry: Path) -> None:
    runs = [make_run(tmp_path, name) for name in ("a", "aa")]
    for run in runs:
        register(registry, run)

    assert resolve_run(registry, "a") == runs[0]


def test_a_run_that_is_not_registered_is_found_by_its_path(tmp_path: Path, registry: Path) -> None:
    run = make_run(tmp_path, "a", state="ready")

    assert resolve_run(registry, str(run.path)) == run


def test_what_means_several_runs_is_refused_with_all_of_them(tmp_path: Path, registry: Path) -> None:
    for name in ("14-a", "14-b"):
        register(registry, make_run(tmp_path, name, state="ready", model="llama"))

    with pytest.raises(RunNotFound) as caught:
        resolve_run(registry, "llama")

    assert str(caught.value).splitlines() == [
        "'llama' means 2 runs",
        f"    14-b  ready, llama, {tmp_path}/outputs/14-b",
        f"    14-a  ready, llama, {tmp_path}/outputs/14-a",
        "  next: give the whole name, or the folder's path",
    ]


def test_what_means_no_run_is_refused_with_those_that_there_are(tmp_path: Path, registry: Path) -> None:
    for number in range(12):
        register(registry, make_run(tmp_path, f"run-{number:02}", state="stopped", model="llama"))

    with pytest.raises(RunNotFound) as caught:
        resolve_run(registry, "nothing")

    lines = str(caught.value).splitlines()
    assert (lines[0], lines[1].split()[0], lines[-2]) == ("no run 'nothing'; there are", "run-11", "    and 2 older")


@pytest.mark.parametrize("text", ["last", "x", ""])
def test_where_there_is_no_run_the_way_to_start_one_is_told(registry: Path, text: str) -> None:
    with pytest.raises(RunNotFound, match="mixvllm launch model=demo"):
        resolve_run(registry, text)
