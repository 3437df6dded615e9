"""The numbers of `vllm bench serve`, under names that carry their unit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixvllm.workload.measurement import is_number

_RENAMED = {
    "duration": "duration_s",
    "completed": "num_completed",
    "failed": "num_failed",
    "request_throughput": "request_throughput_per_s",
    "request_goodput": "request_goodput_per_s",
    "output_throughput": "output_tokens_per_s",
    "total_token_throughput": "total_tokens_per_s",
    "input_sequence_throughput": "input_sequences_per_s",
    "rtfx": "audio_s_per_s",
    "probe_completed": "num_probes_completed",
    "probe_failed": "num_probes_failed",
    "spec_decode_acceptance_rate": "spec_decode_acceptance_percent",
    "spec_decode_acceptance_length": "spec_decode_acceptance_length_tokens",
    "spec_decode_num_drafts": "num_spec_decode_drafts",
    "spec_decode_draft_tokens": "num_spec_decode_draft_tokens",
    "spec_decode_accepted_tokens": "num_spec_decode_accepted_tokens",
}
"""vLLM's names without a unit, and ours; a name that carries its unit is kept."""

_ASKED = {
    *("num_prompts", "request_rate", "burstiness", "max_concurrency"),
    *("ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps"),
}
"""What the result repeats of the options."""


def read_result(path: Path) -> dict[str, Any] | None:
    """Return what `vllm bench serve` wrote to `path`; None where it is not there, or not whole."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def bench_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of `result` by name with unit; what does not apply (null, no audio) is left out."""
    found = {
        _RENAMED.get(name, name): value for name, value in result.items() if name not in _ASKED and is_number(value)
    }
    if not found.get("audio_s_per_s"):
        found.pop("audio_s_per_s", None)
    return found
