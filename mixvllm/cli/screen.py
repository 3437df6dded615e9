"""What a run shows: a live line on a terminal, plain lines elsewhere; how to use the server once it is ready."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from mixvllm.runs.journal import Event
from mixvllm.server.server import Server

if TYPE_CHECKING:
    from mixvllm.cli.live import LiveLine

PHASE_WORDS = {
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
        self._is_terminal = self._stream.isatty() if is_terminal is None else is_terminal
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
            "draining": self._show_draining,
            "stopped": self._show_stopped,
        }.get(event.name)
        if event.name == "ready":
            self._ready_s = event.elapsed_s
        if event.name in ("ready", "draining", "stopped", "failed"):
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
            self._out(
                f"  log   {_short(server.log_path)}\n"
                f"  stop  Ctrl-C, or: kill -TERM {os.getpid()}\n\n"
                f"{curl_line(server)}\n\n{python_snippet(server)}\n"
            )

    def show_probe(self, figures: dict[str, Any]) -> None:
        """Show the answer of a probe and what it took."""
        counted = f"{figures['completion_tokens']} tokens in " if "completion_tokens" in figures else ""
        self._out(
            f"prompt  {figures['prompt']}\nanswer  {figures['answer'].strip()}\n"
            f"        {counted}{figures['latency_ms'] / 1e3:.2f} s\n"
        )


def curl_line(server: Server) -> str:
    """Return a command that asks `server` for one answer, for pasting; lines fit a narrow terminal."""
    path, body = _example(server)
    key = server.address.key
    parts = [
        f"curl {server.url}{path}",
        "-H 'Content-Type: application/json'",
        *([f'-H "Authorization: Bearer {key.shell}"'] if key else []),
        f"-d '{json.dumps(body, separators=(',', ':'))}'",
    ]
    return " \\\n  ".join(parts)


def python_snippet(server: Server) -> str:
    """Return a program that asks `server` through the OpenAI client, for pasting; lines fit a narrow terminal."""
    _, body = _example(server)
    call, result = (
        ("embeddings.create", "data[0].embedding[:4]")
        if server.config.model.runner == "pooling"
        else ("chat.completions.create", "choices[0].message.content")
    )
    key = server.address.key.python if server.address.key else '"none"'
    return "\n".join(
        [
            *(["import os"] if key.startswith("os.") else []),
            "from openai import OpenAI",
            f'client = OpenAI(base_url="{server.url}/v1", api_key={key})',
            f"answer = client.{call}(",
            *(f"    {name}={json.dumps(value)}," for name, value in body.items()),
            ")",
            f"print(answer.{result})",
        ]
    )


def _example(server: Server) -> tuple[str, dict[str, Any]]:
    if server.config.model.runner == "pooling":
        return "/v1/embeddings", {"model": server.model_name, "input": "Hello!"}
    return "/v1/chat/completions", {
        "model": server.model_name,
        "messages": [{"role": "user", "content": "Who are you?"}],
    }


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _to_stdout(text: str) -> None:
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError:  # nobody reads any more: what is still buffered must not fail the exit
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - until the process ends
