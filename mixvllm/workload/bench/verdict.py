"""Whether the numbers of a repeat mean what they say. Each check returns what is wrong, or None."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.vllm.rates import Rates
from mixvllm.workload.bench.caches import Reset
from mixvllm.workload.bench.expected import Expected
from mixvllm.workload.programs import Ended
from mixvllm.workload.span import Moment

_MAX_LOAD_OF_GENERATOR = 0.9
"""Share of a core above which the load generator, one thread, is itself what is measured."""
_BUSY_GENERATOR = 0.7
_MAX_CLOCK_DRIFT = 0.01
_CLOCK_SLACK_S = 0.25  # a clock that is set in small steps, and a short repeat
_HIT_SLACK = 0.05  # random prompts of a small vocabulary are at times alike
_MANY_PREEMPTIONS = 0.2


@dataclass(frozen=True)
class Evidence:
    """All that is known of a repeat.

    Args:
        result: what `vllm bench serve` wrote.
        expected: what the load must yield.
        ended: how the load generator ended.
        began: the server before the repeat, and the clocks.
        finished: after it.
        rates: what the server counted between.
        reset: whether its caches were empty at the beginning.
        caches_prefixes: whether it has a prefix cache, as far as the configuration says.
    """

    result: Mapping[str, Any]
    expected: Expected
    ended: Ended
    began: Moment
    finished: Moment
    rates: Rates
    reset: Reset
    caches_prefixes: bool = True


def invalid_reasons(evidence: Evidence) -> list[str]:
    """Return all that speaks against the numbers; empty where nothing does."""
    return [reason for check in _CHECKS if (reason := check(evidence)) is not None]


def remarks(evidence: Evidence) -> list[str]:
    """Return what is worth knowing and speaks against nothing."""
    return [remark for find in _REMARKS if (remark := find(evidence)) is not None]


def unanswered_requests(evidence: Evidence) -> str | None:
    """Every request must have been answered."""
    completed, asked = int(evidence.result.get("completed", 0)), evidence.expected.num_requests
    errors = [str(error) for error in evidence.result.get("errors") or [] if error]
    failed = int(evidence.result.get("failed") or len(errors))
    if completed == asked and failed == 0:
        return None
    first = f"; the first error: {errors[0].strip().splitlines()[-1][:200]}" if errors else ""
    return f"{completed} of {asked} requests were answered, {failed} failed{first}"


def wrong_output_tokens(evidence: Evidence) -> str | None:
    """Each answer must be as long as was asked."""
    wanted, lengths = evidence.expected.output, evidence.result.get("output_lens")
    if wanted is None or not isinstance(lengths, list):
        return None
    wrong = [length for length in lengths if not wanted.least <= length <= wanted.most]
    if not wrong:
        return None
    asked = f"{wanted.least:g}" if wanted.least == wanted.most else f"{wanted.least:g} to {wanted.most:g}"
    return f"{len(wrong)} of {len(lengths)} answers do not have the {asked} tokens asked for, e.g. {wrong[0]}"


def wrong_input_tokens(evidence: Evidence) -> str | None:
    """The prompts must be as long as was asked, on average."""
    wanted, lengths = evidence.expected.inputs, evidence.result.get("input_lens")
    if wanted is None or not isinstance(lengths, list) or not lengths:
        return None
    mean = sum(lengths) / len(lengths)
    if wanted.least <= mean <= wanted.most:
        return None
    return f"prompts have {mean:.1f} tokens on average, not {wanted.least:g} to {wanted.most:g}"


def no_tokens(evidence: Evidence) -> str | None:
    """Something must have been generated; a pooling model reads only."""
    produced = evidence.result.get("total_output_tokens", evidence.result.get("total_input_tokens"))
    return None if produced else "not a single token came of it"


def caches_not_empty(evidence: Evidence) -> str | None:
    """The caches must have been emptied, or what they hold must be seen from the hits."""
    if evidence.reset is Reset.CONFIRMED or not evidence.caches_prefixes:
        return None
    if evidence.reset is Reset.REFUSED:
        return "the server did not empty its caches before the repeat"
    known = evidence.expected.prefix_hit_fraction is not None and evidence.rates.prefix_cache_hit_fraction is not None
    return None if known else "the server's caches could not be emptied before the repeat, and nothing tells what hit"


def too_many_prefix_hits(evidence: Evidence) -> str | None:
    """The prefix cache must not find more than the prompts share."""
    most, hits = evidence.expected.prefix_hit_fraction, evidence.rates.prefix_cache_hit_fraction
    if most is None or hits is None or hits <= most + _HIT_SLACK:
        return None
    why = "it was not empty"
    if evidence.reset is Reset.CONFIRMED:  # random prompts begin alike where a model knows few tokens
        why = "they repeat each other; inference.enable_prefix_caching=false measures them without it"
    return f"the prefix cache held {hits:.0%} of the prompts, which share {most:.0%}: {why}"


def generator_is_the_limit(evidence: Evidence) -> str | None:
    """The load generator must have waited for the server, not the server for it."""
    load = generator_load(evidence)
    if load is None or load < _MAX_LOAD_OF_GENERATOR:
        return None
    return f"the load generator used {load:.0%} of a core: its own speed was measured, not the server's"


def clock_was_set(evidence: Evidence) -> str | None:
    """The clocks must agree on how long the repeat took."""
    monotonic_s = evidence.finished.monotonic_s - evidence.began.monotonic_s
    wall_s = evidence.finished.wall_s - evidence.began.wall_s
    if abs(wall_s - monotonic_s) > _MAX_CLOCK_DRIFT * monotonic_s + _CLOCK_SLACK_S:
        return f"the machine's clock was set meanwhile: {wall_s:.2f} s passed by it, {monotonic_s:.2f} s in truth"
    said_s, run_s = float(evidence.result.get("duration") or 0), evidence.ended.ended_s - evidence.ended.began_s
    if said_s > run_s * (1 + _MAX_CLOCK_DRIFT) + _CLOCK_SLACK_S:
        return f"it is said to have taken {said_s:.2f} s, and ran for {run_s:.2f} s"
    return None


def generator_load(evidence: Evidence) -> float | None:
    """Return the cores that the load generator used while requests were out; None where it is not known."""
    duration_s = float(evidence.result.get("duration") or 0)
    starts = evidence.result.get("start_times")
    if duration_s <= 0:
        return None
    ended = evidence.ended
    if starts and ended.began_s <= min(starts) <= ended.ended_s:  # both are CLOCK_MONOTONIC on Linux
        return ended.cpu_between(min(starts), min(starts) + duration_s) / duration_s
    return None


def _busy_generator(evidence: Evidence) -> str | None:
    load = generator_load(evidence)
    return f"the load generator used {load:.0%} of a core" if load and load >= _BUSY_GENERATOR else None


def _preemptions(evidence: Evidence) -> str | None:
    count = evidence.rates.num_preemptions or 0
    if count < _MANY_PREEMPTIONS * evidence.expected.num_requests or not count:
        return None
    return f"the scheduler preempted {count} requests: the KV cache is too small for this load"


def _unconfirmed_caches(evidence: Evidence) -> str | None:
    if evidence.reset is not Reset.UNAVAILABLE or not evidence.caches_prefixes:
        return None
    return "the server's caches could not be emptied; what the prefix cache found is as it should be"


_CHECKS: tuple[Callable[[Evidence], str | None], ...] = (
    unanswered_requests,
    wrong_output_tokens,
    wrong_input_tokens,
    no_tokens,
    caches_not_empty,
    too_many_prefix_hits,
    generator_is_the_limit,
    clock_was_set,
)
_REMARKS: tuple[Callable[[Evidence], str | None], ...] = (_busy_generator, _preemptions, _unconfirmed_caches)
