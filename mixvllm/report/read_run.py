"""Reads the folder of a single run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixvllm.report.fields import Shared, count_in, mapping_in, mappings_in, text_in, texts_in
from mixvllm.report.places import num_gpus_of, program_of
from mixvllm.report.repeats import judge, repeat_of
from mixvllm.report.servers import ServerRun
from mixvllm.report.study import Repeat, Source, Study, StudyPoint
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.records import read_json


def read_run(folder: RunFolder, shared: Shared) -> Study:
    """Return the one point of the run in `folder`, with what is recorded of it by now."""
    frozen, result = read_json(folder.point), read_json(folder.result)
    server = ServerRun(folder.path)
    source = _source(folder, frozen or {}, server)
    repeats = _repeats(result or {}, server)
    judged = judge(repeats)
    config = mapping_in(frozen or {}, "config")
    point = StudyPoint(
        source=source,
        index=0,
        config=shared.sections(config),
        overrides=texts_in(frozen or {}, "overrides"),
        verdict=judged.verdict,
        reason=judged.reason if repeats else _without_numbers(result, server),
        repeats=repeats,
        num_repeats=max(len(repeats), _planned_repeats(config)),
        num_gpus=num_gpus_of({}, frozen or {}),
        versions=mapping_in(frozen or {}, "versions"),
        content_hash=text_in(frozen or {}, "content_hash") or "",
        server_key=text_in(frozen or {}, "server_key") or "",
        servers=(server,),
        argv=texts_in(frozen or {}, "argv"),
    )
    lost = () if frozen else (f"{folder.point} cannot be read: the run is shown without its configuration",)
    return Study((point,), (source,), lost)


def _source(folder: RunFolder, frozen: Mapping[str, Any], server: ServerRun) -> Source:
    launcher = texts_in(frozen, "launcher")
    return Source(
        path=folder.path,
        name=folder.name,
        is_sweep=False,
        kind="run",
        program=program_of(launcher),
        argv=launcher,
        planned_at=text_in(server.status, "began_at"),
        versions=mapping_in(frozen, "versions"),
        git=mapping_in(frozen, "git"),
    )


def _planned_repeats(config: Mapping[str, Any]) -> int:
    workload = mapping_in(config, "workload")
    is_measured = text_in(workload, "kind") not in ("serve", "probe", None)
    return (count_in(workload, "repeats") or 1) if is_measured else 1


def _repeats(result: Mapping[str, Any], server: ServerRun) -> tuple[Repeat, ...]:
    """Return what was measured: the repeats of a benchmark, the one request of a probe, or why there is none."""
    figures = mapping_in(result, "figures")
    records = mappings_in(figures, "repeats")
    status = text_in(result, "status")
    common = {
        "start": {"kind": text_in(server.status, "start_kind"), "ready_s": sum(server.startup_s.values()) or None},
        "server_run": server.name,
        "began_at": result.get("began_at"),
    }
    if not records and status == "failed":
        cause = text_in(result, "cause") or text_in(server.status, "cause") or "the cause is not recorded"
        failure = mapping_in(server.status, "failure")
        records = [{"verdict": "failed", "reason": cause.partition("\n")[0], "failure": failure}]
    if status == "ok" and text_in(result, "workload") == "probe":
        records = [{"verdict": "ok", "metrics": figures}]
    return tuple(repeat_of({**common, **record}, {}, number) for number, record in enumerate(records, 1))


def _without_numbers(result: Mapping[str, Any] | None, server: ServerRun) -> str:
    """Return why a run has measured nothing, and has not failed."""
    if result is None:
        return f"it has not ended; its last state is: {server.state or 'not known'}"
    if text_in(result, "workload") == "serve":
        return "it served until it was stopped: nothing was measured"
    return "it was stopped before anything was measured"
