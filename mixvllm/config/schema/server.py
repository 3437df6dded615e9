"""The `server` section: where it listens, who may talk to it, how long things may take."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mixvllm.config.schema.fields import (
    LAUNCHER_ONLY,
    OUR_DEFAULT,
    Environment,
    ExtraArguments,
    PositiveInt,
    Section,
    Word,
)

_SECRET_NAME = re.compile(r"(TOKEN|(SECRET|PASSWORD|PASSWD|CREDENTIAL|(API|ACCESS|PRIVATE)_?KEY)S?)$", re.IGNORECASE)
_KEY_SOURCE = re.compile(r"auto|none|generate|env:[A-Za-z_][A-Za-z0-9_]*|file:.+", re.DOTALL)


def is_secret_name(name: str) -> bool:
    """Whether an environment variable of this name holds a secret, as far as its name tells; `…_TOKENS` is a count."""
    return _SECRET_NAME.search(name) is not None


def _port(value: int | str) -> int | str:
    if value == "auto" or (isinstance(value, int) and 1 <= value <= 65535):
        return value
    raise ValueError("must be 'auto' or a number from 1 to 65535")


def _api_key(value: str) -> str:
    if _KEY_SOURCE.fullmatch(value):
        return value
    raise ValueError("must be auto, none, generate, env:NAME or file:PATH; the key itself does not belong here")


RouterPolicy = Literal["random", "round_robin", "cache_aware", "power_of_two", "consistent_hash", "sticky_least_loaded"]
"""Policies of vllm-router 0.1 that need nothing else."""


class ServerConfig(Section):
    """Address, access and time limits of one server, and the interpreter that runs it."""

    host: Annotated[Word, OUR_DEFAULT] = "127.0.0.1"
    """Address to bind; the default is reachable from this machine only."""
    interface: Annotated[Word | None, LAUNCHER_ONLY] = None
    """Network interface by which other machines reach this one: its name, or a network (10.77.0.0/16) that its address
    is in; null = the one that the machine's name leads to."""
    port: Annotated[int | str, AfterValidator(_port), LAUNCHER_ONLY] = "auto"
    """Port to listen on; `auto` = the first free one from 8000, or from `MIXVLLM_FIRST_PORT`."""
    api_key: Annotated[str, AfterValidator(_api_key), LAUNCHER_ONLY] = "auto"
    """Where the clients' key comes from: auto (generated where others can reach the host), none, generate,
    env:NAME or file:PATH."""
    replicas: Annotated[PositiveInt, LAUNCHER_ONLY] = 1
    """Servers behind this one address, each on GPUs of its own, with vLLM's router in front of them."""
    router_policy: Annotated[RouterPolicy | None, LAUNCHER_ONLY] = None
    """How the router chooses a replica; null = the router's own default."""
    api_server_count: PositiveInt | None = None
    """Processes that answer HTTP."""
    ready_timeout_s: Annotated[float, Field(gt=0), LAUNCHER_ONLY] = 1800.0
    """Seconds from the start until the server must have answered with a token."""
    drain_timeout_s: Annotated[int, Field(ge=0), LAUNCHER_ONLY] = 30
    """Seconds that requests in flight get to finish at a stop, whole."""
    stall_timeout_s: Annotated[float | None, Field(gt=0), LAUNCHER_ONLY] = None
    """Seconds that a phase of the start-up may last without a line, CPU time or bytes read; null = each phase's own."""
    hang_timeout_s: Annotated[float, Field(gt=0), LAUNCHER_ONLY] = 120.0
    """Seconds without any progress, while requests are there, after which the engine is asked for one token."""
    hang_probe_timeout_s: Annotated[float, Field(gt=0), LAUNCHER_ONLY] = 30.0
    """Seconds that it gets for that token before the server is called hung."""
    restart: Annotated[Literal["never", "on_failure"], LAUNCHER_ONLY] = "on_failure"
    """What follows a failure: on_failure = a new start, unless the configuration is the cause."""
    restart_max_attempts: Annotated[int, Field(ge=1), LAUNCHER_ONLY] = 5
    """Failures in a row after which it is given up."""
    restart_backoff_s: Annotated[float, Field(ge=0), LAUNCHER_ONLY] = 5.0
    """Seconds before the first new start; doubled with each failure in a row, to 300 at the most."""
    restart_reset_s: Annotated[float, Field(gt=0), LAUNCHER_ONLY] = 600.0
    """Seconds of serving after which the failures before it are forgotten."""
    sample_period_s: Annotated[float, Field(gt=0), LAUNCHER_ONLY] = 5.0
    """Seconds between two samples of the server's metrics, the GPUs and the processes."""
    python: Annotated[Word | None, LAUNCHER_ONLY] = None
    """Interpreter that has vLLM, e.g. another venv's; null = the launcher's own."""
    env: Annotated[Environment, LAUNCHER_ONLY] = Field(default_factory=dict)
    """Environment of the engine, over the launcher's own; null leaves an entry out."""
    enable_log_requests: bool | None = None
    """Log each request."""
    uvicorn_log_level: Literal["critical", "error", "warning", "info", "debug", "trace"] | None = None
    """Level of the HTTP server's log."""
    disable_access_log_for_endpoints: Annotated[Word | None, OUR_DEFAULT] = "/health,/metrics"
    """Paths, separated by commas, whose requests are not logged."""

    extra_args: ExtraArguments = Field(default_factory=dict)
    """vLLM arguments without a key of their own, e.g. `+server.NAME=VALUE` on the command line."""

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach `host`."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return False

    @property
    def key_source(self) -> str:
        """`api_key` with `auto` decided: `none`, `generate`, `env:NAME` or `file:PATH`."""
        if self.api_key != "auto":
            return self.api_key
        return "none" if self.is_loopback else "generate"
