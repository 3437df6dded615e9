"""The errors that mixvllm raises, as one tree.

    MixvllmError
    ├── ConfigError          the configuration is wrong; nothing was started
    ├── EngineNotFound       the serving interpreter has no vLLM
    ├── DemoModelFailed      the demo model could not be made
    ├── PreflightFailed      this machine lacks what the run needs
    ├── PortInUse            another process holds the port
    ├── SecretUnavailable    the API key is not where the configuration says
    ├── UntrustedFile        somebody else could have written it
    ├── ServerFailed         a server was started and did not serve
    │   ├── ServerDied       its process ended without being asked to
    │   ├── ServerNotReady   it did not answer in time
    │   ├── ServerHung       it lives, and produces nothing any more
    │   └── ServerForeign    something else answers on its address
    ├── StopIncomplete       something of ours is left after a stop
    ├── WorkloadFailed       the server serves, the work on it failed
    ├── TrackerFailed        MLflow or W&B did not take results, which are all in their folder
    └── Interrupted          the user asked to stop before the work was done

A message says what, where and what next. This module imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


class MixvllmError(Exception):
    """Every error that is not a fault in mixvllm itself."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong in a configuration.

    Args:
        path: dotted key (`inference.dtype`), group (`model`), or the argument as typed.
        message: what is wrong with it, in words that name the way out.
        value: as the user wrote it; None where there is none to show.
        origin: where the value came from, e.g. `command line` or `conf/model/demo.yaml:4`.
    """

    path: str
    message: str
    value: str | None = None
    origin: str | None = None

    def __str__(self) -> str:
        subject = self.path if self.value is None else f"{self.path}={self.value}"
        source = f" (from {self.origin})" if self.origin else ""
        return f"{subject}: {self.message}{source}" if subject else f"{self.message}{source}"


class ConfigError(MixvllmError):
    """The configuration is wrong; nothing was started."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__(self.faults)

    def __str__(self) -> str:
        return "\n".join(str(fault) for fault in self.faults)


class EngineNotFound(MixvllmError):
    """The serving interpreter has no vLLM, or is not there."""


class DemoModelFailed(MixvllmError):
    """The demo model could not be made."""


class PreflightFailed(MixvllmError):
    """This machine lacks what the run needs; nothing was started."""


class PortInUse(MixvllmError):
    """Another process holds the port that was asked for."""


class SecretUnavailable(MixvllmError):
    """The API key is not where the configuration says it is."""


class UntrustedFile(MixvllmError):
    """A file or folder could have been put there, or changed, by somebody else."""


class ServerFailed(MixvllmError):
    """A server was started and did not serve.

    Args:
        kind: `config`, `environment`, `transient` or `unknown`: whether another start can help.
        failure: the diagnosis, as the records have it; empty where there is none.
    """

    def __init__(self, message: str, *, kind: str = "unknown", failure: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.failure = dict(failure or {})

    @property
    def cause(self) -> str:
        """What happened, in one line."""
        return str(self.failure.get("cause") or str(self).partition("\n")[0])


class ServerDied(ServerFailed):
    """The server's process ended without being asked to."""


class ServerNotReady(ServerFailed):
    """The server did not become ready in time; its process was alive."""


class ServerHung(ServerFailed):
    """The server's processes live, and it produces nothing any more."""


class ServerForeign(ServerFailed):
    """Something else than our server answers on its address."""


class StopIncomplete(MixvllmError):
    """The server was stopped and something of ours is left."""


class WorkloadFailed(MixvllmError):
    """The server was ready and the work done with it failed."""


class TrackerFailed(MixvllmError):
    """A tracker did not take the results; they are all in their folder."""


class Interrupted(MixvllmError):
    """The user asked to stop before the work was done."""
