"""What a run shows: a live line on a terminal, plain lines elsewhere; how to use the server once it is ready."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mixvllm.cli.terminal import close_stdout, is_live, short
from mixvllm.cli.use import Reach, curl_line, python_snippet
from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.workload import WorkloadConfig
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Event
from mixvllm.runs.records import read_json
from mixvllm.server.key import point_to
from mixvllm.server.server import Server

if TYPE_CHECKING:
    from mixvllm.cli.live import LiveLine

PHASE_WORDS = {
    "preload": "importing vLLM once",
    "imports": "importing vLLM",
    "engine": "starting the engine",
    "weights": "loading weights",
    "compile": "compiling",
    "kv_cache": "making the KV cache",
    "warmup": "warming up",
    "http": "opening the HTTP server",
}


class Screen:
    """Shows a run. Progress goes to stderr, what is for use (how to reach the server, an answer) to stdout.

    Args:
        is_serving: whether the server goes on serving once it is ready, so that people will use it.
        stream: for progress; None = stderr.
        is_terminal: whether `stream` is one; None asks it.
        out: takes text for stdout.
    """

    def __init__(
        self,
        *,
        is_serving: bool,
        stream: TextIO | None = None,
        is_terminal: bool | None = None,
        out: Callable[[str], None] | None = None,
    ) -> None:
        self._is_serving = is_serving
        self._stream = stream or sys.stderr
        self._is_terminal = is_live(self._stream) if is_terminal is None else is_terminal
        self._out = out or _to_stdout
        self._ready_s = 0.0
        self._live: LiveLine | None = None

    def say(self, line: str) -> None:
        """Show a line. Where the terminal is gone, the run goes on, and stops, unseen."""
        with suppress(OSError):
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        show = {
            "spawned": self._show_spawned,
            "phase": self._show_phase,
            "hung": self._show_hung,
            "restarting": self._show_restarting,
            "draining": self._show_draining,
            "stopped": self._show_stopped,
        }.get(event.name)
        if event.name == "ready":
            self._ready_s = event.elapsed_s
        if event.name in ("ready", "hung", "draining", "replaced", "stopped", "failed"):
            self.close()
        if show is not None:
            show(event)

    def close(self) -> None:
        """End the live line, if there is one."""
        if self._live is not None:
            self._live.close()
            self._live = None

    def _show_spawned(self, event: Event) -> None:
        self._begin(PHASE_WORDS["imports"], event)

    def _show_phase(self, event: Event) -> None:
        words = PHASE_WORDS[event.fields["phase"]]
        if self._live is None:
            self.say(f"{event.elapsed_s:6.1f} s  {words}")
        else:
            self._live.show(words)

    def _show_hung(self, event: Event) -> None:
        self.say(f"hung: {event.fields['cause']}")

    def _show_restarting(self, event: Event) -> None:
        delay_s = event.fields["delay_s"]
        self.say(f"{event.fields['message']}\nstarting again" + (f" in {delay_s:.0f} s" if delay_s else ""))

    def _show_draining(self, event: Event) -> None:
        limit_s = event.fields["timeout_s"]
        wait = f"requests in flight get {limit_s:g} s; once more Ctrl-C to kill" if limit_s else "it was not ready yet"
        self.say(f"stopping the server ({wait})")

    def _show_stopped(self, event: Event) -> None:
        how = "killed at the deadline" if event.fields["was_killed"] else "stopped"
        self.say(f"{how}; nothing is left running")

    def _begin(self, words: str, event: Event) -> None:
        if not self._is_terminal:
            self.say(f"{event.elapsed_s:6.1f} s  {words} (process {event.fields['pid']})")
            return
        from mixvllm.cli.live import LiveLine  # the server is starting already: this import costs no time

        self._live = LiveLine(words, self._stream)

    def show_ready(self, server: Server) -> None:
        """Show that `server` is ready; where it goes on serving also how to use it, its log, how to stop it."""
        self.say(f"{self._ready_s:6.1f} s  ready: {server.model_name} at {server.url}/v1")
        if self._is_serving:
            key = server.address.key
            reach = Reach(server.url, server.model_name, _is_pooling(server.config), key.pointer if key else None)
            self._show_use(reach, server.log_path, f"Ctrl-C, or: kill -TERM {os.getpid()}")

    def show_endpoint(self, folder: RunFolder, config: ServeConfig) -> None:
        """Show that the detached server of `folder` is ready, how to use it, its log, how to stop it."""
        endpoint = read_json(folder.endpoint) or {}
        pointer = point_to(endpoint["api_key"]) if endpoint.get("api_key") else None
        reach = Reach(str(endpoint.get("url")), str(endpoint.get("model")), _is_pooling(config), pointer)
        self.say(f"{self._ready_s:6.1f} s  ready: {reach.model} at {reach.url}/v1")
        self._show_use(reach, folder.server_log, f"mixvllm stop {folder.name}")

    def _show_use(self, reach: Reach, log: Path, stop: str) -> None:
        self._out(f"  log   {short(log)}\n  stop  {stop}\n\n{curl_line(reach)}\n\n{python_snippet(reach)}\n")

    def show_figures(self, workload: WorkloadConfig, figures: dict[str, Any]) -> None:
        """Show what `workload` found, where there is anything to show."""
        if workload.kind == "probe":
            self._show_probe(figures)
        elif figures and workload.is_measured:
            from mixvllm.workload.summary import summary_lines

            self._out("\n".join(summary_lines(figures)))

    def _show_probe(self, figures: dict[str, Any]) -> None:
        """Show the answer of a probe and what it took."""
        counted = f"{figures['completion_tokens']} tokens in " if "completion_tokens" in figures else ""
        self._out(
            f"prompt  {figures['prompt']}\nanswer  {figures['answer'].strip()}\n"
            f"        {counted}{figures['latency_ms'] / 1e3:.2f} s\n"
        )


def _is_pooling(config: ServeConfig) -> bool:
    return config.model.runner == "pooling"


def _to_stdout(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:  # nobody reads any more
        close_stdout()
