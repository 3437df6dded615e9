"""What launcher and guardian left behind is ended, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixvllm.machine.folders import private_tmp
from mixvllm.runs.folder import RunFolder
from mixvllm.server.fleet import look_at
from mixvllm.server.orphans import Orphan, end_orphans, find_orphans
from mixvllm.server.processes import ProcessId, is_alive
from mixvllm.server.remains import remove_temporary_folder
from tests.written_runs import DEAD, SLEEP, Processes, pids_in, role, wait_for, write_processes, write_run

SERVER = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
children = []  # Python waits for one that nobody holds, which is no zombie then
def start(code, **options):
    children.append(subprocess.Popen([sys.executable, "-c", code], **options))
    open(sys.argv[1], "a").write(f"{children[-1].pid}\\n")
SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
exec(sys.argv[2])
time.sleep(60)
"""
"""A leader that starts what its second argument says, and writes the children's numbers to its first."""

ONE_OF_THE_SESSION = "start(SLEEP)"
IN_A_GROUP_OF_ITS_OWN = "start(SLEEP, process_group=0)"
IN_A_SESSION_OF_ITS_OWN = "start(SLEEP, start_new_session=True)"
WHOSE_PARENT_IS_GONE = """
code = "import os, time; pid = os.fork(); pid and (print(pid, flush=True), os._exit(0)); os.dup2(2, 1); time.sleep(60)"
number = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True).stdout
open(sys.argv[1], "a").write(number)
"""
A_ZOMBIE = "start('')"
HOLD_SHARED_MEMORY = """
import mmap, sys
file = open(sys.argv[1], "r+b")
memory = mmap.mmap(file.fileno(), 0)
print(1, file=open(sys.argv[2], "w"))
"""


@pytest.fixture
def processes() -> Iterator[Processes]:
    started = Processes()
    yield started
    started.end()


def abandoned_run(name: str = "a", **status: object) -> RunFolder:
    """Return a run that says it serves, whose launcher and guardian are gone."""
    return write_run(name, **{"state": "ready", "supervisor": role(DEAD), "guardian": role(DEAD), **status})


def serve(processes: Processes, run: RunFolder, children: str) -> tuple[ProcessId, ProcessId]:
    """Start a server that prints to the run's log, record its leader, and return leader and child."""
    numbers = run.path / "numbers"
    leader = processes.start(SERVER, str(numbers), children, log=run.server_log)
    child = processes.note(pids_in(numbers, 1)[0])
    write_processes(run, leader)
    return leader, child


def living(*every: ProcessId) -> list[ProcessId]:
    return [process for process in every if is_alive(process)]


@pytest.mark.parametrize(
    "children",
    [ONE_OF_THE_SESSION, IN_A_GROUP_OF_ITS_OWN, IN_A_SESSION_OF_ITS_OWN, WHOSE_PARENT_IS_GONE],
    ids=["session", "group", "own session", "no parent"],
)
def test_a_server_with_its_children_is_found_and_ended(processes: Processes, children: str) -> None:
    run = abandoned_run()
    leader, child = serve(processes, run, children)

    (orphan,) = find_orphans([run])
    left = end_orphans(orphan)

    assert (set(orphan.processes), left, living(leader, child)) == ({leader, child}, [], [])


@pytest.mark.parametrize("children", [ONE_OF_THE_SESSION, IN_A_GROUP_OF_ITS_OWN, WHOSE_PARENT_IS_GONE])
def test_children_whose_leader_was_killed_are_found_by_session_and_log(processes: Processes, children: str) -> None:
    run = abandoned_run()
    leader, child = serve(processes, run, children)
    processes.kill(leader)

    (orphan,) = find_orphans([run])
    left = end_orphans(orphan)

    assert (orphan.processes, left, living(child)) == ((child,), [], [])


def test_a_child_that_left_the_session_is_found_when_it_was_recorded(processes: Processes) -> None:
    run = abandoned_run()
    leader, child = serve(processes, run, IN_A_SESSION_OF_ITS_OWN)
    write_processes(run, leader, [child])
    processes.kill(leader)

    (orphan,) = find_orphans([run])
    left = end_orphans(orphan)

    assert (orphan.processes, left, living(child)) == ((child,), [], [])


def test_a_zombie_is_nothing_to_end(processes: Processes) -> None:
    run = abandoned_run()
    leader, zombie = serve(processes, run, A_ZOMBIE)
    write_processes(run, leader, [zombie])
    wait_for(lambda: not is_alive(zombie))

    (orphan,) = find_orphans([run])

    assert (orphan.processes, end_orphans(orphan)) == ((leader,), [])


def test_a_later_process_with_a_recorded_number_is_not_touched(processes: Processes) -> None:
    run, other = abandoned_run(), processes.start(SLEEP)
    earlier = ProcessId(other.pid, other.start_ticks - 1)
    write_processes(run, earlier, [earlier])

    found = find_orphans([run])
    end_orphans(Orphan(run, (earlier,)))

    assert (found, living(other)) == ([], [other])


def test_a_session_that_has_the_number_of_the_servers_is_not_touched(processes: Processes, tmp_path: Path) -> None:
    """The leader of the later session has ended too, so that nothing but the log tells whose its members are."""
    run, numbers = abandoned_run(), tmp_path / "numbers"
    other = processes.start(SERVER, str(numbers), ONE_OF_THE_SESSION)
    child = processes.note(pids_in(numbers, 1)[0])
    processes.kill(other)
    run.server_log.touch()
    write_processes(run, ProcessId(other.pid, other.start_ticks - 1))

    found = find_orphans([run])
    end_orphans(Orphan(run, (child,)))

    assert (found, living(child)) == ([], [child])


@pytest.mark.parametrize("state", ["ready", "stopped"])
@pytest.mark.parametrize("alive", ["supervisor", "guardian"])
def test_a_run_that_somebody_looks_after_is_left_alone(processes: Processes, alive: str, state: str) -> None:
    run = abandoned_run(state=state, **{alive: role(processes.start(SLEEP))})
    leader, child = serve(processes, run, ONE_OF_THE_SESSION)

    found = find_orphans([run])
    left = end_orphans(Orphan(run, (leader, child)))

    assert (found, left, living(leader, child)) == ([], [leader, child], [leader, child])


@pytest.mark.parametrize("status", [{"host": "elsewhere", "boot_id": "other"}, {"boot_id": "other"}], ids=str)
def test_processes_of_another_machine_or_boot_are_not_touched(processes: Processes, status: dict[str, str]) -> None:
    run = abandoned_run(**status)
    leader, child = serve(processes, run, ONE_OF_THE_SESSION)
    write_processes(run, leader, [child], boot="other")

    found = find_orphans([run])
    end_orphans(Orphan(run, (leader, child)))

    assert (found, living(leader, child)) == ([], [leader, child])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can start a process of another user")
def test_a_process_of_another_user_is_not_touched(processes: Processes) -> None:
    run = abandoned_run()
    become_other = "import os, sys; file = open(sys.argv[1], 'w'); os.setuid(65534); print(1, file=file, flush=True)"
    other = processes.start(f"{become_other}\n{SLEEP}", str(run.path / "ready"))
    pids_in(run.path / "ready", 1)
    write_processes(run, other)

    found = find_orphans([run])
    end_orphans(Orphan(run, (other,)))

    assert (found, living(other)) == ([], [other])


@pytest.mark.parametrize("record", ["status.json", "processes.json"])
def test_processes_that_others_could_have_named_are_not_touched(processes: Processes, record: str) -> None:
    run, other = abandoned_run(), processes.start(SLEEP)
    write_processes(run, other)
    (run.path / record).chmod(0o666)

    found = find_orphans([run])
    end_orphans(Orphan(run, (other,)))

    assert (found, living(other)) == ([], [other])


def test_what_a_run_left_that_ended_is_found_too(processes: Processes) -> None:
    run = abandoned_run(state="failed", cause="left after the stop")
    leader, child = serve(processes, run, ONE_OF_THE_SESSION)

    (orphan,) = find_orphans([run])
    left = end_orphans(orphan)

    assert (left, living(leader, child), look_at(run).cause) == ([], [], "left after the stop")


def test_only_runs_with_processes_have_orphans(processes: Processes) -> None:
    with_some, without = abandoned_run("a"), abandoned_run("b")
    serve(processes, with_some, ONE_OF_THE_SESSION)

    assert [orphan.run for orphan in find_orphans([without, with_some])] == [with_some]


def test_the_end_is_recorded_with_its_cause(processes: Processes) -> None:
    run = abandoned_run(url="http://127.0.0.1:8000")
    run.endpoint.write_text("{}")
    serve(processes, run, ONE_OF_THE_SESSION)

    for orphan in find_orphans([run]):
        end_orphans(orphan)

    status = json.loads(run.status.read_text())
    assert (status["state"], status["url"], run.endpoint.exists()) == ("failed", None, False)
    assert status["cause"] == "launcher and guardian were killed; 2 processes of it ended later"
    assert json.loads(run.events.read_text())["event"] == "failed"


def test_a_lost_run_without_processes_is_recorded_as_failed() -> None:
    run = abandoned_run(boot_id="earlier")

    end_orphans(Orphan(run, ()))

    assert (look_at(run).state, look_at(run).cause) == ("failed", "the machine was started anew while it ran")


def test_processes_are_ended_though_the_end_cannot_be_recorded(processes: Processes) -> None:
    run = abandoned_run()
    leader, child = serve(processes, run, ONE_OF_THE_SESSION)
    run.events.mkdir()  # nothing can be appended to it

    left = [end_orphans(orphan) for orphan in find_orphans([run])]

    assert (left, living(leader, child), look_at(run).state) == ([[]], [], "lost")


def test_several_end_the_same_orphans_and_one_records_it(processes: Processes) -> None:
    run = abandoned_run()
    leader, child = serve(processes, run, ONE_OF_THE_SESSION)
    (orphan,) = find_orphans([run])
    left: list[list[ProcessId]] = []
    threads = [threading.Thread(target=lambda: left.append(end_orphans(orphan))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (left, living(leader, child)) == ([[]] * 4, [])
    assert len(run.events.read_text().splitlines()) == 1


def test_temporary_files_and_shared_memory_go_too(processes: Processes) -> None:
    folder = tempfile.mkdtemp(dir=private_tmp())
    segment = Path("/dev/shm") / f"psm_{Path(folder).name}"
    segment.write_bytes(bytes(4096))
    run = abandoned_run(tmp_dir=folder)
    Path(folder, "socket").touch()
    server = processes.start(f"{HOLD_SHARED_MEMORY}\n{SLEEP}", str(segment), str(run.path / "ready"))
    write_processes(run, server)
    pids_in(run.path / "ready", 1)

    for orphan in find_orphans([run]):
        end_orphans(orphan)

    assert (Path(folder).exists(), segment.exists()) == (False, False)


def test_a_folder_that_is_not_a_servers_temporary_one_is_never_removed(tmp_path: Path) -> None:
    own, link = tmp_path / private_tmp().name / "x", private_tmp() / "to-elsewhere"
    own.mkdir(parents=True)
    link.symlink_to(tmp_path)
    others = [own, link, private_tmp(), tmp_path, Path.cwd(), private_tmp() / ".." / "x", Path("/")]
    try:
        gone = [remove_temporary_folder(path) for path in others if os.path.lexists(path)]
    finally:
        link.unlink()

    assert (any(gone), own.exists()) == (False, True)


def test_looking_for_orphans_needs_no_engine() -> None:
    """Every start looks for them, so that it imports little."""
    script = "import mixvllm.server.orphans, sys; print({'pydantic', 'httpx', 'rich'} & set(sys.modules))"

    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "set()\n"
