"""The record of one repeat of a point, as it is written beside the point."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from mixvllm.errors import MixvllmError, ServerFailed
from mixvllm.runs.files import write_json
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.sweep.progress import throughput_of
from mixvllm.sweep.sweep_folder import SweepFolder


def failed_record(reason: str, failure: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the record of a repeat that has no numbers.

    Args:
        reason: in one line.
        failure: the diagnosis of its server, where that is the cause.
    """
    return {
        "verdict": "failed",
        "reason": reason,
        "failure": dict(failure or {}),
        "metrics": {},
        "server_metrics": {},
        "began_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "duration_s": 0.0,
    }


def record_of(error: MixvllmError) -> dict[str, Any]:
    """Return the record of a repeat that failed of `error`."""
    if isinstance(error, ServerFailed):
        return failed_record(error.cause, error.failure)
    return failed_record(str(error).partition("\n")[0])


def write_repeat(
    folder: SweepFolder, server_key: str, content_hash: str, number: int, record: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the record of repeat `number`, counted from 1; return what to tell of it.

    One that cannot be written counts as failed, and as missing for whoever goes on with the sweep.
    """
    identity = {"point": content_hash, "repeat": number, "server_key": server_key}
    told = {name: record.get(name) for name in ("verdict", "reason", "duration_s", "start", "server_run")}
    told["metrics"] = throughput_of(record)
    try:
        write_json(folder.repeat(content_hash, number), {"schema": SCHEMA_VERSION, **record, **identity})
    except OSError as error:
        reasons = [*([told["reason"]] if told["reason"] else []), f"not recorded: {error}"]
        told |= {"verdict": "failed", "reason": "; ".join(reasons), "is_lost": True}
    return {"event": "repeat_ended", "point": content_hash, "repeat": number, "server_key": server_key, **told}
