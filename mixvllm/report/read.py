"""Finds sweeps and runs in the folders that a user names, and reads all of them as one study."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from mixvllm.errors import ConfigError, Fault
from mixvllm.report.fields import Shared
from mixvllm.report.imported import find_imported, read_imported
from mixvllm.report.read_run import read_run
from mixvllm.report.read_sweep import read_sweep
from mixvllm.report.study import Source, Study, StudyPoint
from mixvllm.runs.folder import RunFolder
from mixvllm.sweep.sweep_folder import SweepFolder

_MAX_DEPTH = 4  # outputs/<date>/<run>, and a folder or two around them


def read_studies(paths: Sequence[str | Path]) -> Study:
    """Return the points of all sweeps and runs in `paths`, each folder once.

    A path is the folder of a sweep or a run, a file in one, or a folder that holds some, as `outputs` does; or a folder
    or a file that `vllm bench sweep serve` or `vllm bench serve --save-result` wrote. What cannot be read of a point is
    a remark, and the point is `missing`.

    Args:
        paths: as typed, shape (n,).

    Raises:
        ConfigError: a path is not there, or nothing of ours is in it; all such paths are named.
    """
    found: dict[Path, None] = {}
    faults = []
    for path in paths:
        folders = list(_folders_at(Path(path).absolute()))
        if not folders:
            faults.append(Fault("", _nothing_in(Path(path))))
        found |= dict.fromkeys(folders)
    if faults:
        raise ConfigError(faults)
    return _together([_read(folder, shared) for shared in [Shared()] for folder in found])


def _read(folder: Path, shared: Shared) -> Study:
    if _is_sweep(folder):
        return read_sweep(SweepFolder(folder), shared)
    return read_run(RunFolder(folder), shared) if _is_run(folder) else read_imported(folder, shared)


def _folders_at(path: Path) -> Iterator[Path]:
    """Yield the folders of sweeps and runs at `path`, or below it; where there are none, results of vLLM's own."""
    if path.is_file() and not (_is_sweep(path.parent) or _is_run(path.parent)):
        yield from find_imported(path)
        return
    ours = list(_below(path.parent if path.is_file() else path, _MAX_DEPTH))
    yield from ours or find_imported(path)


def _below(path: Path, depth: int) -> Iterator[Path]:
    if _is_sweep(path) or _is_run(path):
        yield path.resolve()
        return
    if depth:
        try:
            folders = sorted(one for one in path.iterdir() if one.is_dir() and not one.name.startswith("."))
        except OSError:
            return
        for folder in folders:
            yield from _below(folder, depth - 1)


def _is_sweep(path: Path) -> bool:
    return SweepFolder(path).record.is_file()


def _is_run(path: Path) -> bool:
    folder = RunFolder(path)
    return folder.status.is_file() or (folder.point.is_file() and folder.result.is_file())


def _nothing_in(path: Path) -> str:
    if not path.exists():
        return f"{path}: no such folder\n  next: ls outputs outputs/sweeps shows what there is"
    ours = "no sweep (sweep.json), no run (status.json) and no result of vllm bench"
    places = "outputs/sweeps/<name>, outputs/<date>/<run>, or a folder that holds some"
    return f"{path}: {ours} is in it\n  next: name {places}"


def _together(studies: Sequence[Study]) -> Study:
    """Return one study; of sources of the same name the later ones get a number."""
    taken: dict[str, int] = {}
    points: list[StudyPoint] = []
    sources: list[Source] = []
    for study in studies:
        renamed = {}
        for source in study.sources:
            taken[source.name] = count = taken.get(source.name, 0) + 1
            renamed[source.path] = source if count == 1 else replace(source, name=f"{source.name} ({count})")
        sources += renamed.values()
        points += [_in_source(point, renamed[point.source.path]) for point in study.points]
    return Study(tuple(points), tuple(sources), tuple(remark for study in studies for remark in study.remarks))


def _in_source(point: StudyPoint, source: Source) -> StudyPoint:
    return point if point.source is source else replace(point, source=source)
