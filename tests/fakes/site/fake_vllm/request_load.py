"""What the server has to do: requests running and waiting, and what was counted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class RequestLoad:
    """Requests in flight and the counters of /metrics; every method may be called from any thread."""

    def __init__(self, max_num_seqs: int) -> None:
        self._max_num_seqs = max_num_seqs
        self._changed = threading.Condition()
        self.num_running = 0
        self.num_waiting = 0
        self.num_completions = 0
        self.num_succeeded = 0
        self.num_prompt_tokens = 0
        self.num_generation_tokens = 0
        self.is_draining = False
        self.aborted = threading.Event()
        """Set when requests in flight are to be cut off."""

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold one of `max_num_seqs` places for a request; it waits for a free one."""
        with self._changed:
            self.num_waiting += 1
            self._changed.wait_for(lambda: self.num_running < self._max_num_seqs or self.aborted.is_set())
            self.num_waiting -= 1
            self.num_running += 1
        try:
            yield
        finally:
            with self._changed:
                self.num_running -= 1
                self._changed.notify_all()

    def count(
        self, *, completions: int = 0, prompt_tokens: int = 0, generation_tokens: int = 0, succeeded: int = 0
    ) -> int:
        """Add to the counters; return the number of completions so far."""
        with self._changed:
            self.num_completions += completions
            self.num_prompt_tokens += prompt_tokens
            self.num_generation_tokens += generation_tokens
            self.num_succeeded += succeeded
            return self.num_completions

    def abort(self) -> None:
        """Cut off what is in flight."""
        with self._changed:
            self.aborted.set()
            self._changed.notify_all()

    def wait_idle(self) -> None:
        """Wait until nothing is in flight: for ever, like uvicorn, where a client does not read."""
        with self._changed:
            self._changed.wait_for(lambda: self.num_running + self.num_waiting == 0)

    def format_metrics(self, model: str) -> str:
        """Return the text of /metrics."""
        gauges = {
            "num_requests_running": self.num_running,
            "num_requests_waiting": self.num_waiting,
            "kv_cache_usage_perc": 0,
        }
        counters = {
            "prompt_tokens": self.num_prompt_tokens,
            "generation_tokens": self.num_generation_tokens,
            "num_preemptions": 0,
            "prefix_cache_queries": self.num_prompt_tokens,
            "prefix_cache_hits": 0,
        }
        labels = f'engine="0",model_name="{model}"'
        lines = [_format_metric(f"vllm:{name}", "gauge", labels, value) for name, value in gauges.items()]
        lines += [_format_metric(f"vllm:{name}_total", "counter", labels, value) for name, value in counters.items()]
        success_labels = f'engine="0",finished_reason="length",model_name="{model}"'
        lines.append(_format_metric("vllm:request_success_total", "counter", success_labels, self.num_succeeded))
        return "".join(lines)


def _format_metric(name: str, kind: str, labels: str, value: int) -> str:
    return f"# HELP {name} As in vLLM.\n# TYPE {name} {kind}\n{name}{{{labels}}} {float(value)}\n"
