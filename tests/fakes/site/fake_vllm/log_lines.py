"""The log of the real server: its line format, and the tracebacks a launcher has to read."""

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass

LOG_FD = 2

_ENGINE_DEAD = "vllm.v1.engine.exceptions.EngineDeadError: EngineCore encountered an issue. See stack trace (above)"


def write_log(content: str | bytes) -> None:
    """Write all of `content` at once; a log that takes no more is given up, as Python's logging does."""
    rest = content.encode() if isinstance(content, str) else content
    try:
        while rest:
            rest = rest[os.write(LOG_FD, rest) :]
    except OSError:
        return


@dataclass(frozen=True)
class ProcessLog:
    """The log of one process: `(APIServer pid=23661) INFO 11-22 14:13:01 [api_utils.py:286] ...`."""

    process: str
    pid: int

    def write_info(self, source: str, message: str) -> None:
        """Log `message` line by line, as from the code line `source`."""
        self._write("INFO", source, message)

    def write_warning(self, source: str, message: str) -> None:
        """As `write_info`."""
        self._write("WARNING", source, message)

    def write_error(self, source: str, message: str) -> None:
        """As `write_info`."""
        self._write("ERROR", source, message)

    def _write(self, level: str, source: str, message: str) -> None:
        prefix = f"({self.process} pid={self.pid}) {level} {time.strftime('%m-%d %H:%M:%S')} [{source}] "
        write_log("".join(f"{prefix}{line}\n" for line in message.split("\n")))


def write_uvicorn(*messages: str, level: str = "INFO") -> None:
    """Log lines as uvicorn does, without process or time."""
    write_log("".join(f"{level + ':':<10}{message}\n" for message in messages))


def format_banner(version: str, model: str) -> str:
    """Return the sign vLLM prints first."""
    lines = [
        "",
        "       █     █     █▄   ▄█",
        f" ▄▄ ▄█ █     █     █ ▀▄▀ █  version {version}",
        f"  █▄█▀ █     █     █     █  model   {model}",
        "   ▀▀  ▀▀▀▀▀ ▀▀▀▀▀ ▀     ▀",
        "",
    ]
    return "\n".join(lines)


def format_traceback(frames: Iterable[str], cause: str) -> str:
    """Return a traceback through `frames`, each `file:line function`, that ends in `cause`."""
    lines = ["Traceback (most recent call last):"]
    for frame in frames:
        place, function = frame.split()
        path, line = place.split(":")
        lines.append(f'  File "/venv/lib/python3.11/site-packages/vllm/{path}", line {line}, in {function}')
    return "\n".join([*lines, cause])


def format_engine_dead() -> str:
    """Return the traceback of each request that meets a dead engine."""
    frames = ["v1/engine/async_llm.py:849 output_handler", "v1/engine/core_client.py:1235 get_output_async"]
    return format_traceback(frames, f"{_ENGINE_DEAD} for the root cause.")


def format_shards(num_done: int, num_shards: int) -> str:
    """Return one step of the progress bar over weight files, which goes back to the start of its line."""
    rate = "00:00<00:00, 132.38it/s" if num_done else "00:00<?, ?it/s"
    percent = 100 * num_done // num_shards
    return f"\rLoading safetensors checkpoint shards: {percent:3d}% Completed | {num_done}/{num_shards} [{rate}]\n"
