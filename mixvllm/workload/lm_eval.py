"""The workload `lm_eval`: how well the model answers, by the Language Model Evaluation Harness.

Source: docs/interface.md and lm_eval/loggers/evaluation_tracker.py of github.com/EleutherAI/lm-evaluation-harness.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ExperimentConfig
from mixvllm.errors import WorkloadFailed
from mixvllm.workload.bench.tokenizer import find_tokenizer
from mixvllm.workload.command import Program, run_program
from mixvllm.workload.measurement import Measurement, is_number, seed_of
from mixvllm.workload.task import RepeatTask
from mixvllm.workload.tools import Tool, find_tool

TOOL = Tool("lm_eval", "lm_eval", "lm_eval[api]")

_CHAT_MODEL = "local-chat-completions"
_ANSWER_LENGTH = {"max_tokens": "max_gen_toks"}
"""Names of sampling values that lm_eval has another one for."""


def run_lm_eval(task: RepeatTask) -> Measurement:
    """Return one repeat, measured by lm_eval; its results are below `lm_eval-<repeat>/`.

    Raises:
        Interrupted: a stop was asked for.
    """
    config, environment, name = task.config, task.generator.environment, f"lm_eval-{task.repeat}"
    output = task.folder / name
    for file in output.glob("results_*.json"):
        file.unlink()
    try:
        start = find_tool(TOOL, config.workload.python, environment)
        tokenizer = find_tokenizer(config.model, environment)
        options = lm_eval_options(config, url=task.server.url, tokenizer=tokenizer, repeat=task.repeat, output=output)
        program = Program(
            name=name,
            argv=[*start, *options],
            environment={},
            read=lambda: (read_results(output), []),
        )
        return run_program(program, task)
    except WorkloadFailed as error:
        return task.begin().failed(str(error))


def lm_eval_options(config: ExperimentConfig, *, url: str, tokenizer: str, repeat: int, output: Path) -> list[str]:
    """Return the options of lm_eval for one repeat. Pure; the key goes by OPENAI_API_KEY.

    Sampling values reach the tasks that generate; those that compare likelihoods have no use for them.
    """
    own = dict(config.workload.lm_eval)
    model = own.pop("model", None) or "local-completions"
    path = "chat/completions" if model == _CHAT_MODEL else "completions"
    model_args = {
        "model": config.model.served_names[0],
        "base_url": f"{url}/v1/{path}",
        "tokenizer": tokenizer,
        **({"verify_certificate": False} if url.startswith("https") else {}),
        **(own.pop("model_args", None) or {}),
    }
    sampling = {_ANSWER_LENGTH.get(name, name): value for name, value in config.generation.request_fields().items()}
    gen_kwargs = {**sampling, **(own.pop("gen_kwargs", None) or {})}
    values = {
        "model": model,
        "model_args": model_args,
        **own,
        "gen_kwargs": gen_kwargs or None,
        "seed": seed_of(config.workload, repeat),
        "output_path": str(output / "results.json"),
    }
    return [word for name, value in values.items() for word in _option(name, value)]


def read_results(output: Path) -> dict[str, float]:
    """Return the scores in the newest results below `output`, as `<task>_<metric>_<filter>`.

    Raises:
        WorkloadFailed: there are none.
    """
    files = sorted(output.glob("results_*.json"), key=lambda file: file.stat().st_mtime)
    try:
        tasks: Mapping[str, Mapping[str, Any]] = json.loads(files[-1].read_text(encoding="utf-8"))["results"]
        scores = {
            _plain(f"{task}_{name}"): float(value)
            for task, values in tasks.items()
            for name, value in values.items()
            if is_number(value)
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise WorkloadFailed(f"lm_eval left no results that can be read in {output}: {error!r}") from error
    if not scores:
        raise WorkloadFailed(f"lm_eval left no score: {files[-1]}")
    return scores


def _option(name: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    if value is True:
        return [f"--{name}"]
    if isinstance(value, Mapping):
        return [f"--{name}", ",".join(f"{key}={entry}" for key, entry in value.items())]
    if isinstance(value, (list, tuple)):
        return [f"--{name}", ",".join(map(str, value))]
    return [f"--{name}", str(value)]


def _plain(name: str) -> str:
    """Return `name` without the filter `none`, and with nothing in it that a column cannot have."""
    return re.sub(r"\W+", "_", name.removesuffix(",none")).strip("_")
