"""Starting a server: its port, its key, its command, its process."""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mixvllm.config.schema import ServeConfig
from mixvllm.demo import ensure_demo_model
from mixvllm.machine.cpu import cpu_facts
from mixvllm.machine.folders import cache_folder, private_tmp, runs_folder
from mixvllm.machine.nodes import own_address
from mixvllm.machine.ports import lease_port
from mixvllm.runs.files import write_text
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.job import job_of_environment
from mixvllm.runs.journal import Journal, Observer
from mixvllm.runs.registry import find_runs, host_name, register
from mixvllm.runs.secrets import known_secrets
from mixvllm.runtime.mounts import Mount
from mixvllm.runtime.wrapper import Wrapped, Wrapper
from mixvllm.server.address import Address
from mixvllm.server.command import ServerCommand, server_command
from mixvllm.server.guarded import GuardedProcess, GuardianProcess, start_guardian
from mixvllm.server.key import ApiKey, resolve_key
from mixvllm.server.limits import STOP_LIMITS, StartLimit, StopLimits
from mixvllm.server.nodes import has_parts, leading_argv
from mixvllm.server.orphans import end_orphans, find_orphans
from mixvllm.server.place import Place
from mixvllm.server.processes import boot_id, identify
from mixvllm.server.server import Server
from mixvllm.server.warm.interpreter import WarmEngine
from mixvllm.server.warm.shared import warm_key
from mixvllm.vllm.environment import API_KEY_VARIABLE
from mixvllm.vllm.installation import Installation, installation_of


@dataclass(frozen=True)
class Deployment:
    """What a server runs.

    Args:
        config: validated.
        installation: the vLLM that serves it.
        environment: what the server gets over what its command says, e.g. the GPUs that are its own.
        start_limit: of its first start; None where nothing from outside limits it.
    """

    config: ServeConfig
    installation: Installation
    environment: Mapping[str, str] = field(default_factory=dict)
    start_limit: StartLimit | None = None


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

    Servers of this user whose launcher and guardian were both killed are ended first: they hold GPUs for nobody.

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
    installation = installation or installation_of(config)
    prepare(config, installation, folder, say)
    address = take_address(config, folder)
    try:
        everyone: list[Observer] = [Journal(folder, run_facts(config)), *observers]
        return launch(Deployment(config, installation), folder, address, everyone, stop_limits=stop_limits)
    except BaseException:
        address.lease.release()
        raise


def prepare(config: ServeConfig, installation: Installation, folder: RunFolder, say: Callable[[str], None]) -> None:
    """Do what must be done once before a run's first server: end orphans, make the demo model, enter the registry."""
    for orphan in find_orphans(find_runs(runs_folder())):
        say(f"ending what is left of run {orphan.run.name}, whose launcher and guardian were killed")
        end_orphans(orphan)
    try:
        register(runs_folder(), folder)
    except OSError as error:
        say(f"mixvllm ps will not know this run: {error}")
    if config.model.recipe == "demo":
        ensure_demo_model(Path(config.model.name), installation.python, say, _wrap_training(config))


def _wrap_training(config: ServeConfig) -> Callable[[list[str]], Wrapped]:
    """Return what has the demo model made by the Python that will serve it."""
    wrapper = Wrapper.of(config, cache_folder())

    def wrap(argv: list[str]) -> Wrapped:
        Path(config.model.name).parent.mkdir(parents=True, exist_ok=True)
        wrapper.make_folders(os.environ)
        return wrapper.program(argv, os.environ, mounts=[Mount(argv[1], argv[1], is_read_only=True)])

    return wrap


def take_address(config: ServeConfig, folder: RunFolder) -> Address:
    """Return the address that the servers of a run have, one after the other."""
    key = resolve_key(config.server, folder)
    is_tls = config.server.extra_args.get("ssl_certfile") is not None
    interface = config.server.interface
    advertised = None if interface is None else own_address(interface)[0]
    return Address(config.server.host, lease_port(config.server.host, config.server.port), key, is_tls, advertised)


def run_facts(config: ServeConfig) -> dict[str, Any]:
    """Return what the record of a run says from its first event on."""
    own = identify(os.getpid())
    return {
        "model": config.model.served_names[0],
        "host": host_name(),
        "cpu": cpu_facts(),
        "boot_id": boot_id(),
        "supervisor": own and own._asdict(),
        "detached": bool(getattr(config, "detach", False)),
        "job": job_of_environment(os.environ),
    }


def launch(
    deployment: Deployment,
    folder: RunFolder,
    address: Address,
    observers: Iterable[Observer],
    *,
    stop_limits: StopLimits = STOP_LIMITS,
    warm: WarmEngine | None = None,
) -> Server:
    """Start one server at `address`, which stays the caller's where this raises.

    `warm` forks it where its environment allows that and the warm engine lives; else it is started cold.
    """
    config, installation = deployment.config, deployment.installation
    identity = address.identity(config.model.served_names[0])
    command = server_command(config, installation, port=address.lease.port, identity=identity)
    folder.replicas.unlink(missing_ok=True)
    write_text(folder.command, _script(command, address.key), mode=0o700)
    environment = {**_environment(command, address.key), **deployment.environment}
    place = Place(
        folder=folder,
        address=address,
        tmp_dir=private_tmp() / f"{folder.name}-{secrets.token_hex(4)}",  # made by the guardian, which removes it
        log_start=folder.server_log.stat().st_size if folder.server_log.exists() else 0,
        is_cpu=installation.is_cpu,
        secrets=known_secrets(environment),
    )
    wrapped = _wrapped(command, config, {**environment, "TMPDIR": str(place.tmp_dir)}, place)
    is_forked = warm is not None and not has_parts(config) and warm.key == warm_key(installation, environment)
    process = GuardedProcess.start(
        wrapped.argv,
        wrapped.environment,
        log=folder.server_log,
        tmp_dir=place.tmp_dir,
        limits=stop_limits,
        drain_s=config.server.drain_timeout_s,
        guard=_guard(warm if is_forked else None),
    )
    try:
        return Server(config, place, process, observers, stop_limits=stop_limits)
    except BaseException:
        process.kill()
        raise


def _wrapped(command: ServerCommand, config: ServeConfig, environment: Mapping[str, str], place: Place) -> Wrapped:
    """Return what is started: `command` in its runtime, or the leader of several of it, which wraps each."""
    if not has_parts(config):
        command.wrapper.make_folders(environment)
        return command.wrapper.server(command.argv, environment)
    port, replicas = place.address.lease.port, place.folder.replicas
    argv = leading_argv(command, config, environment, port=port, replicas=replicas, is_cpu=place.is_cpu)
    return Wrapped(tuple(argv), dict(environment))


def environment_of(deployment: Deployment) -> Mapping[str, str]:
    """Return what servers of `deployment` get as their environment, but for what is their own; for `WarmEngines`."""
    command = server_command(deployment.config, deployment.installation)
    return {**_environment(command, None), **deployment.environment}


def _guard(warm: WarmEngine | None) -> Callable[[Path], GuardianProcess]:
    def guard(log: Path) -> GuardianProcess:
        if warm is not None:
            with suppress(ConnectionError):
                return warm.fork_guardian(log)
        return start_guardian(log)

    return guard


def _environment(command: ServerCommand, key: ApiKey | None) -> Mapping[str, str]:
    environment = {**os.environ, **command.environment}
    environment.pop(API_KEY_VARIABLE, None)
    return environment | ({API_KEY_VARIABLE: key.value} if key else {})


def _script(command: ServerCommand, key: ApiKey | None) -> str:
    return (
        f"#!/bin/sh\n# Started in {shlex.quote(str(Path.cwd()))}\n{command.shell(key.pointer.shell if key else None)}\n"
    )
