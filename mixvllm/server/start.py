"""Starting a server: its port, its key, its command, its process."""

from __future__ import annotations

import os
import secrets
import shlex
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from mixvllm.config.schema import ServeConfig
from mixvllm.demo import ensure_demo_model
from mixvllm.machine.ports import lease_port
from mixvllm.runs.files import write_text
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.journal import Journal, Observer
from mixvllm.server.address import Address
from mixvllm.server.command import ServerCommand, server_command
from mixvllm.server.key import ApiKey, resolve_key
from mixvllm.server.limits import STOP_LIMITS, StopLimits
from mixvllm.server.processes import ProcessTree
from mixvllm.server.server import Server
from mixvllm.vllm.environment import API_KEY_VARIABLE
from mixvllm.vllm.installation import Installation, find_installation


def start_server(
    config: ServeConfig,
    *,
    folder: RunFolder | None = None,
    installation: Installation | None = None,
    observers: Iterable[Observer] = (),
    say: Callable[[str], None] = lambda _line: None,
    stop_limits: StopLimits = STOP_LIMITS,
) -> Server:
    """Start one vLLM server and return at once; `wait_ready` tells when it serves.

    Args:
        config: validated.
        folder: where its log and records go; None makes one below `outputs/`.
        installation: the vLLM to use; None asks the interpreter `server.python`, or the launcher's own.
        observers: told of every event, beside the journal of the folder.
        say: told, in a line, of work that takes long before the start.
        stop_limits: how long the stages of a stop may take.

    Raises:
        EngineNotFound: the interpreter has no vLLM.
        PortInUse: another process has the port.
        SecretUnavailable: the key is not where `server.api_key` says.
        DemoModelFailed: the demo model could not be made.
    """
    folder = folder or RunFolder.create(getattr(config, "output_dir", "outputs"))
    installation = installation or find_installation(config.server.python)
    if config.model.recipe == "demo":
        ensure_demo_model(Path(config.model.name), installation.python, say)
    key = resolve_key(config.server, folder)
    identity = f"{config.model.served_names[0]}@{secrets.token_hex(4)}"
    lease = lease_port(config.server.host, config.server.port)
    is_tls = config.server.extra_args.get("ssl_certfile") is not None
    address = Address(config.server.host, lease, identity, key, is_tls)
    try:
        command = server_command(config, installation, port=address.lease.port, identity=identity)
        write_text(folder.command, _script(command, key), mode=0o700)
        process = _spawn(command, key, folder.server_log)
    except BaseException:
        address.lease.release()
        raise
    try:
        return Server(config, folder, process, address, [Journal(folder), *observers], stop_limits=stop_limits)
    except BaseException:
        ProcessTree(process.pid).kill()
        process.wait()
        address.lease.release()
        raise


def _spawn(command: ServerCommand, key: ApiKey | None, log: Path) -> subprocess.Popen[bytes]:
    """Start the leader: in its own session, out of reach of the terminal's Ctrl-C, its output in a file.

    A file, since a pipe that nobody reads would block vLLM, and would break when the launcher dies.
    """
    secret = {API_KEY_VARIABLE: key.value} if key else {}
    environment = {**os.environ, **command.environment, **secret}
    if key is None:
        environment.pop(API_KEY_VARIABLE, None)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        return subprocess.Popen(
            command.argv,
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            preexec_fn=_ignore_usr2,  # noqa: PLW1509 - one system call, no locks taken
        )
    finally:
        os.close(descriptor)


def _ignore_usr2() -> None:
    """Let the server outlive the signal by which Slurm announces the end of a job; it would die of it."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _script(command: ServerCommand, key: ApiKey | None) -> str:
    return f"#!/bin/sh\n# Started in {shlex.quote(str(Path.cwd()))}\n{command.shell(key.shell if key else None)}\n"
