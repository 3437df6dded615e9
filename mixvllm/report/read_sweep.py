"""Reads the folder of a sweep: local, on Slurm, or a search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixvllm.report.fields import Shared, count_in, mapping_in, mappings_in, text_in, texts_in
from mixvllm.report.places import num_gpus_of, program_of
from mixvllm.report.repeats import judge, repeat_of
from mixvllm.report.servers import ServerRun
from mixvllm.report.study import Repeat, Source, Study, StudyPoint
from mixvllm.runs.records import read_json
from mixvllm.sweep.sweep_folder import SweepFolder
from mixvllm.vllm.installation import is_cpu_build

_UNREADABLE = "its point.json cannot be read"


def read_sweep(folder: SweepFolder, shared: Shared) -> Study:
    """Return the points that are planned in `folder`, with what is recorded of them by now."""
    plan = read_json(folder.record)
    if plan is None:
        source = Source(folder.path, folder.name, True, "sweep")
        return Study((), (source,), (f"{folder.record} cannot be read: its points are left out",))
    source = _source(folder, plan)
    reader = _Reader(folder, source, shared)
    planned = mappings_in(plan, "points")
    points = [reader.point(record, number) for number, record in enumerate(planned)]
    return Study(tuple(points), (source,), tuple(reader.remarks))


def _source(folder: SweepFolder, plan: Mapping[str, Any]) -> Source:
    settings = mapping_in(plan, "settings")
    is_search = bool(text_in(settings, "search")) or folder.search.exists()
    launched = read_json(folder.launched) or {}
    return Source(
        path=folder.path,
        name=folder.name,
        is_sweep=True,
        kind="search" if is_search else "sweep",
        swept=texts_in(plan, "swept"),
        program=program_of(texts_in(plan, "launcher"), texts_in(launched, "config_dirs")),
        argv=texts_in(plan, "argv"),
        planned_at=text_in(plan, "planned_at"),
        versions=mapping_in(plan, "versions"),
        git=mapping_in(plan, "git"),
        settings=settings,
    )


class _Reader:
    def __init__(self, folder: SweepFolder, source: Source, shared: Shared) -> None:
        self._folder = folder
        self._source = source
        self._shared = shared
        self._servers: dict[str, dict[str, ServerRun]] = {}
        self.remarks: list[str] = []

    def point(self, planned: Mapping[str, Any], number: int) -> StudyPoint:
        """Return the point that `planned`, its entry in the plan, tells of."""
        content_hash, labels = text_in(planned, "content_hash") or "", mapping_in(planned, "labels")
        num_repeats = count_in(planned, "num_repeats") or 1
        repeats = self._repeats(content_hash, labels, num_repeats)
        frozen = self._frozen(content_hash)
        versions = self._shared(mapping_in(frozen, "versions"))
        server_key = text_in(planned, "server_key") or ""
        judged = judge(repeats)
        index = count_in(planned, "index")
        return StudyPoint(
            source=self._source,
            index=number if index is None else index,
            labels=labels,
            config=self._shared.sections(mapping_in(frozen, "config")),
            overrides=texts_in(planned, "overrides"),
            verdict=judged.verdict,
            reason=judged.reason,
            repeats=repeats,
            num_repeats=num_repeats,
            num_gpus=_num_gpus(planned, frozen, repeats),
            versions=versions,
            content_hash=content_hash,
            server_key=server_key,
            servers=self._servers_of(server_key, repeats),
            argv=tuple(self._shared(list(texts_in(frozen, "argv")))),
        )

    def _repeats(self, content_hash: str, labels: Mapping[str, Any], num_repeats: int) -> tuple[Repeat, ...]:
        """Return the planned repeats that are recorded; an earlier plan may have had more."""
        if not _is_name(content_hash):
            return ()
        records = ((number, self._folder.read_repeat(content_hash, number)) for number in range(1, num_repeats + 1))
        return tuple(repeat_of(record, labels, number) for number, record in records if record is not None)

    def _frozen(self, content_hash: str) -> dict[str, Any]:
        file = self._folder.point(content_hash)
        found = read_json(file) if _is_name(content_hash) else None
        if found is None:
            self.remarks.append(f"{file} cannot be read: the point is shown without its configuration")
        return found or {}

    def _servers_of(self, server_key: str, repeats: tuple[Repeat, ...]) -> tuple[ServerRun, ...]:
        """Return the servers that measured `repeats`; where none did, those that were started for them."""
        runs = self._runs(server_key)
        used = dict.fromkeys(repeat.server_run for repeat in repeats if repeat.server_run in runs)
        return tuple(runs[name] for name in used if name is not None) or tuple(runs.values())

    def _runs(self, server_key: str) -> dict[str, ServerRun]:
        if server_key not in self._servers:
            place = self._folder.server_folder(server_key)
            found = sorted(place.glob("*/*/")) if _is_name(server_key) else []
            self._servers[server_key] = {path.name: ServerRun(Path(path)) for path in found}
        return self._servers[server_key]


def _num_gpus(planned: Mapping[str, Any], frozen: Mapping[str, Any], repeats: tuple[Repeat, ...]) -> int | None:
    served = [mapping_in(frozen, "versions"), *(repeat.versions for repeat in repeats)]
    if any(is_cpu_build(versions) for versions in served):
        return 0
    return num_gpus_of(mapping_in(planned, "shape"), frozen)


def _is_name(text: str) -> bool:
    """Whether `text` names something in a folder, and nothing outside of it."""
    return bool(text) and text not in (".", "..") and "/" not in text and "\0" not in text
