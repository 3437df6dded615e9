"""Rules over several values of a workload. Each yields the faults it finds; none looks at the machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from mixvllm.config.schema.generation import GenerationDefaultsConfig
from mixvllm.config.schema.workload import WorkloadConfig
from mixvllm.errors import Fault

_MADE_DATASETS = ("random", "random-mm", "random-rerank", "prefix_repetition")
"""Datasets that are made, not read."""
_READ_DATASETS = ("sharegpt", "burstgpt", "hf", "custom", "custom_audio", "custom_image", "spec_bench", "timed_trace")
"""Datasets that are read from `dataset_path`."""
_NO_SAMPLING_BACKENDS = ("openai-audio",)
_SET_FOR_GUIDELLM = ("backend", "outputs", "seed", "tokenizer")
_SET_FOR_LM_EVAL = ("output_path", "seed")
_SET_FOR_LM_EVAL_MODEL = ("model", "base_url", "tokenizer")


def workload_faults(generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    """Yield every rule that `workload` breaks."""
    yield from _answer_length_has_one_key(generation, workload)
    yield from _further_options_have_a_reader(workload)
    for rule in _RULES.get(workload.kind, ()):
        yield from rule(generation, workload)


def _further_options_have_a_reader(workload: WorkloadConfig) -> Iterator[Fault]:
    if not workload.uses_bench:
        for name, value in workload.extra_args.items():
            words = "unknown key; options of vllm bench serve are for workload=bench"
            yield Fault(f"workload.{name}", f"{words}, and this is workload={workload.kind}", str(value))


def _answer_length_has_one_key(generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    if generation.max_tokens is None:
        return
    advice = {
        "serve": "a server has no default for it (vLLM would cut every answer at it): "
        "send max_tokens with each request, and leave this null under workload=serve",
        "bench": "workload.output_len is the length of answers under workload=bench",
        "slo": "workload.output_len is the length of answers under workload=slo",
        "guidellm": "workload.guidellm.data says the length of answers under workload=guidellm",
    }
    if workload.kind in advice:
        yield Fault("generation.max_tokens", advice[workload.kind], str(generation.max_tokens))


def _sampling_reaches_the_requests(generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    if workload.is_pooling or workload.backend in _NO_SAMPLING_BACKENDS:
        for name, value in generation.server_defaults().items():
            yield Fault(f"generation.{name}", f"workload.backend={workload.backend} does not sample", str(value))


def _dataset_has_its_path(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    name = workload.dataset_name or "random"
    if name in _READ_DATASETS and workload.dataset_path is None:
        yield Fault("workload.dataset_path", f"must be given for workload.dataset_name={name}")
    if name in _MADE_DATASETS and workload.dataset_path is not None:
        yield Fault(
            "workload.dataset_path",
            f"workload.dataset_name={name} is made, not read: null, or another workload.dataset_name",
            workload.dataset_path,
        )


def _length_is_given_once(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    own = {
        "input_len": ("random_input_len",),
        "output_len": (
            "random_output_len",
            "sharegpt_output_len",
            "custom_output_len",
            "hf_output_len",
            "prefix_repetition_output_len",
        ),
    }
    for general, names in own.items():
        for name in names:
            value = getattr(workload, name)
            if getattr(workload, general) is not None and value is not None:
                yield Fault(f"workload.{name}", f"workload.{general} would replace it: give one of them", str(value))


def _ramp_up_is_whole(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    start, end = workload.ramp_up_start_rps, workload.ramp_up_end_rps
    if workload.ramp_up_strategy is None:
        if start is not None or end is not None:
            yield Fault("workload.ramp_up_strategy", "must be given with ramp_up_start_rps and ramp_up_end_rps", "null")
        return
    if workload.request_rate not in (None, "inf"):
        yield Fault("workload.request_rate", "must be null with workload.ramp_up_strategy", str(workload.request_rate))
    if start is None or end is None:
        yield Fault("workload.ramp_up_strategy", "needs ramp_up_start_rps and ramp_up_end_rps")
    elif start > end:
        yield Fault("workload.ramp_up_start_rps", f"must be at most workload.ramp_up_end_rps={end}", str(start))
    elif start == 0 and workload.ramp_up_strategy == "exponential":
        yield Fault("workload.ramp_up_start_rps", "must be at least 1 for an exponential ramp", "0")


def _every_prefix_has_a_prompt(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    num_prefixes = workload.prefix_repetition_num_prefixes or 10
    num_prompts = workload.num_prompts or 1000
    if workload.dataset_name == "prefix_repetition" and num_prompts < num_prefixes:
        yield Fault(
            "workload.num_prompts",
            f"must be at least workload.prefix_repetition_num_prefixes={num_prefixes}",
            str(num_prompts),
        )


def _command_is_given(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    if workload.command is None:
        yield Fault("workload.command", "must be given under workload=command: workload.command='python measure.py'")


def _guidellm_is_not_told_twice(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    for name in _SET_FOR_GUIDELLM:
        if name in workload.guidellm:
            yield Fault(f"workload.guidellm.{name}", "is set by the launcher, from the server and workload.seed")
    if not workload.guidellm.get("data"):
        yield Fault("workload.guidellm.data", "must be given, e.g. [{kind: synthetic_text, prompt_tokens: 256}]")


def _lm_eval_is_not_told_twice(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    for name in _SET_FOR_LM_EVAL:
        if name in workload.lm_eval:
            yield Fault(f"workload.lm_eval.{name}", "is set by the launcher")
    model_args = workload.lm_eval.get("model_args") or {}
    if not isinstance(model_args, dict):
        yield Fault("workload.lm_eval.model_args", "must be a mapping", str(model_args))
        return
    for name in _SET_FOR_LM_EVAL_MODEL:
        if name in model_args:
            yield Fault(f"workload.lm_eval.model_args.{name}", "is set by the launcher, from the server")
    if not workload.lm_eval.get("tasks"):
        yield Fault("workload.lm_eval.tasks", "must be given under workload=lm_eval, e.g. gsm8k")


def _targets_are_given(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    targets = workload.slo_metric_targets
    if not targets:
        words = "must be given under workload=slo: workload.slo_metric_targets='{p99_ttft_ms: 200, p99_tpot_ms: 50}'"
        yield Fault("workload.slo_metric_targets", words)
    elif workload.slo_vary == "request_rate" and not any("_ttft_" in name or "_e2el_" in name for name in targets):
        words = "needs a ttft or an e2el beside these: nothing else shows that a server falls behind"
        yield Fault("workload.slo_metric_targets", words, ", ".join(targets))


def _level_is_for_slo_to_set(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    varied = {"request_rate": ("request_rate", "ramp_up_strategy"), "max_concurrency": ("max_concurrency",)}
    for name in varied[workload.slo_vary]:
        value = getattr(workload, name)
        if value is not None:
            words = f"is what workload.slo_vary={workload.slo_vary} varies: null, with workload.slo_min and slo_max"
            yield Fault(f"workload.{name}", words, str(value))


def _levels_are_in_order(_generation: GenerationDefaultsConfig, workload: WorkloadConfig) -> Iterator[Fault]:
    if workload.slo_min > workload.slo_max:
        words = f"must be at most workload.slo_max={workload.slo_max:g}"
        yield Fault("workload.slo_min", words, f"{workload.slo_min:g}")
    if workload.slo_vary == "max_concurrency":
        for name in ("slo_min", "slo_max"):
            value: float = getattr(workload, name)
            if not value.is_integer():
                yield Fault(f"workload.{name}", "must be an integer for a concurrency", f"{value:g}")


_Rule = Callable[[GenerationDefaultsConfig, WorkloadConfig], Iterator[Fault]]
_BENCH_RULES: tuple[_Rule, ...] = (
    _sampling_reaches_the_requests,
    _dataset_has_its_path,
    _length_is_given_once,
    _ramp_up_is_whole,
    _every_prefix_has_a_prompt,
)
_RULES: dict[str, tuple[_Rule, ...]] = {
    "bench": _BENCH_RULES,
    "slo": (*_BENCH_RULES, _targets_are_given, _level_is_for_slo_to_set, _levels_are_in_order),
    "command": (_command_is_given,),
    "guidellm": (_guidellm_is_not_told_twice,),
    "lm_eval": (_lm_eval_is_not_told_twice,),
}
