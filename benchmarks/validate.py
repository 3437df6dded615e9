"""What it costs to validate a configuration that is composed: schema, rules, and the arguments of the release.

Against composing one configuration with Hydra, which comes before it for every point of a sweep: the same values, in
the same process, on one core. The goal is a thousand validated configurations per second.

Run it from the root of a checkout: python -m benchmarks.validate [--quick]
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from typing import Any

import hydra

from benchmarks._report import Pairs, Series, measure_pairs, progress, report
from mixvllm.config.load.session import CONFIG_NAME, hydra_session
from mixvllm.config.schema import ExperimentConfig
from mixvllm.vllm.check import check_release
from mixvllm.vllm.release import snapshot

MAX_MS = 1.0

_NUM_VALIDATED = 200
_NUM_COMPOSED = 5
_EXTRAS = {"max_loras": 2, "scheduling_policy": "priority", "kv_events_config": {"enable_kv_cache_events": True}}


def configuration(number: int) -> dict[str, Any]:
    """Return the values of one configuration, different for each `number`, with arguments that have no key."""
    return {
        "model": {"name": "some/model", "num_attention_heads": 32, "context_length": 131072},
        "inference": {"max_num_seqs": 1 + number, "max_model_len": "8K", "extra_args": dict(_EXTRAS)},
        "server": {"env": {"VLLM_LOGGING_LEVEL": "INFO"}},
        "generation": {"temperature": 0.5},
        "workload": {"kind": "serve"},
    }


def validate_ms() -> float:
    """Return the milliseconds that one configuration takes, from `_NUM_VALIDATED`."""
    values = [configuration(number) for number in range(_NUM_VALIDATED)]
    release = snapshot()
    began = time.perf_counter()
    for one in values:
        if check_release(ExperimentConfig.model_validate(one), release):
            raise SystemExit("a configuration of this benchmark is not valid")
    return 1000 * (time.perf_counter() - began) / _NUM_VALIDATED


def compose_ms() -> float:
    """Return the milliseconds that Hydra takes to compose one configuration, from `_NUM_COMPOSED`."""
    with hydra_session():
        began = time.perf_counter()
        for number in range(_NUM_COMPOSED):
            hydra.compose(CONFIG_NAME, ["model=llama3_8b", f"inference.max_num_seqs={1 + number}"])
        return 1000 * (time.perf_counter() - began) / _NUM_COMPOSED


def main() -> int:
    """Measure on one core, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer pairs")
    num_pairs = 3 if parser.parse_args().quick else 15
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    composed, validated = measure_pairs(
        num_pairs, compose_ms, validate_ms, lambda index, *_: progress(f"pair {index} of {num_pairs}")
    )
    rows: list[Pairs | Series] = [
        Series("validate, ms each", validated, MAX_MS),
        Pairs("beside Hydra's compose, ms", composed, validated),
    ]
    return report("validate", "schema, rules and release's arguments, beside composing with Hydra", rows)


if __name__ == "__main__":
    sys.exit(main())
