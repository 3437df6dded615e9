"""Which runs this user has: one small file for each, in a folder of the user's own.

That folder may be on a disk that several machines share. So an entry names its machine, and only that one removes it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mixvllm.errors import MixvllmError
from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import ENDED, SCHEMA_VERSION
from mixvllm.runs.records import read_json

LAST = "last"
"""The word for the newest run."""

_MAX_LISTED = 10


class RunNotFound(MixvllmError):
    """No run, or more than one, is meant by what was given."""


@dataclass(frozen=True)
class _Entry:
    file: Path
    folder: RunFolder
    host: str
    created_at: str


def host_name() -> str:
    """Return the name of this machine, as records have it."""
    return os.uname().nodename


def register(registry: Path, folder: RunFolder) -> None:
    """Note that the run of `folder` is there. Again changes nothing but the time.

    Raises:
        OSError: the registry cannot be written; the run is fine, and `find_runs` will not know it.
    """
    registry.mkdir(mode=0o700, parents=True, exist_ok=True)
    host, path = host_name(), str(folder.path.absolute())
    name = hashlib.sha256(os.fsencode(f"{host}\0{path}")).hexdigest()[:32]
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    entry = {"schema": SCHEMA_VERSION, "folder": path, "host": host, "created_at": now}
    write_json(registry / f"{name}.json", entry)


def find_runs(registry: Path) -> list[RunFolder]:
    """Return the runs whose folders can be seen from here, newest first; entries of deleted ones are removed.

    A run of another machine is there where both see its folder. What is no entry is passed over.
    """
    host = host_name()
    seen = []
    for entry in _entries(registry):
        if _is_there(entry.folder.path):
            seen.append(entry)
        elif entry.host == host:
            with suppress(OSError):
                entry.file.unlink(missing_ok=True)
    seen.sort(key=lambda entry: (entry.created_at, str(entry.folder.path)), reverse=True)
    return list(dict.fromkeys(entry.folder for entry in seen))


def is_recorded_as_living(folder: RunFolder) -> bool:
    """Whether the run's record says that it has not ended; its processes may be gone all the same."""
    status = read_json(folder.status)
    return status is not None and status.get("state") not in ENDED


def resolve_run(registry: Path, text: str, is_living: Callable[[RunFolder], bool] = is_recorded_as_living) -> RunFolder:
    """Return the run that `text` means.

    Args:
        registry: of this user.
        text: `last`, a run's name, the path of its folder, the served name of a model, or a part of a run's name.
        is_living: whether a run has not ended; a model's name means a living one.

    Raises:
        RunNotFound: it means none, or several; the message lists what there is.
    """
    runs = find_runs(registry)
    if text == LAST:
        if not runs:
            raise RunNotFound("there is no run yet\n  next: mixvllm launch model=demo starts one")
        return runs[0]
    path = Path(text).absolute()
    if text and RunFolder(path).status.exists():
        return RunFolder(path)
    of_model = [run for run in runs if _model(run) == text and is_living(run)]
    fitting = (
        [run for run in runs if run.name == text],
        of_model,
        [run for run in runs if text and text in run.name],
    )
    for found in fitting:
        if len(found) == 1:
            return found[0]
    raise RunNotFound(_refusal(text, next(filter(None, fitting), []), runs))


def _refusal(text: str, found: Sequence[RunFolder], runs: Sequence[RunFolder]) -> str:
    if found:
        return f"{text!r} means {len(found)} runs\n{_listed(found)}\n  next: give the whole name, or the folder's path"
    if not runs:
        return f"no run {text!r}; there is no run yet\n  next: mixvllm launch model=demo starts one"
    return f"no run {text!r}; there are\n{_listed(runs)}\n  next: mixvllm ps --all tells more of them"


def _listed(runs: Sequence[RunFolder]) -> str:
    lines = [f"    {run.name}  {_recorded_state(run)}" for run in runs[:_MAX_LISTED]]
    more = len(runs) - len(lines)
    return "\n".join([*lines, *([f"    and {more} older"] if more > 0 else [])])


def _recorded_state(run: RunFolder) -> str:
    status = read_json(run.status) or {}
    return f"{status.get('state', 'unknown')}, {status.get('model', 'unknown model')}, {run.path}"


def _model(run: RunFolder) -> object:
    return (read_json(run.status) or {}).get("model")


def _entries(registry: Path) -> Iterator[_Entry]:
    for file in _files(registry):
        record = read_json(file) or {}
        folder, host, created_at = (record.get(name) for name in ("folder", "host", "created_at"))
        if isinstance(folder, str) and isinstance(host, str) and isinstance(created_at, str) and "\0" not in folder:
            yield _Entry(file, RunFolder(Path(folder)), host, created_at)


def _files(registry: Path) -> Iterable[Path]:
    try:
        return [file for file in registry.iterdir() if file.suffix == ".json"]
    except OSError:
        return []


def _is_there(path: Path) -> bool:
    """Whether the folder is there; one that cannot be looked at, e.g. since a disk does not answer, is."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True
