"""What a server writes down of itself: events, its processes, where it answers."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from mixvllm.runs.files import write_json
from mixvllm.runs.folder import RunFolder
from mixvllm.runs.job import job_of_environment
from mixvllm.runs.journal import SCHEMA_VERSION, Event, Observer
from mixvllm.server.address import Address
from mixvllm.server.guarded import GuardedProcess
from mixvllm.server.processes import boot_id


class ServerRecord:
    """Keeps the records of one server.

    Args:
        folder: of its run.
        process: its leader, under its guardian.
        observers: told of every event.
    """

    def __init__(self, folder: RunFolder, process: GuardedProcess, observers: Iterable[Observer]) -> None:
        self._folder = folder
        self._process = process
        self._observers = tuple(observers)
        self._began = time.monotonic()
        self._num_written = 0

    @property
    def elapsed_s(self) -> float:
        """Seconds since the server was started."""
        return time.monotonic() - self._began

    def tell(self, name: str, **fields: Any) -> None:
        """Tell the observers of an event."""
        event = Event(name, self.elapsed_s, fields)
        for observer in self._observers:
            observer(event)

    def write_processes(self) -> None:
        """Write which processes are the server's, for whoever must end them when launcher and guardian are gone."""
        tree, leader = self._process.tree, self._process.leader
        tree.refresh()
        if len(tree.known) == self._num_written:
            return
        self._num_written = len(tree.known)
        record = {
            "schema": SCHEMA_VERSION,
            "boot_id": boot_id(),
            "session": leader.pid,
            "start_ticks": leader.start_ticks,
            "known": sorted(tree.known),
        }
        write_json(self._folder.processes, record)

    def publish(self, address: Address, model_name: str) -> None:
        """Write where the server answers, for other programs of this user."""
        endpoint = {
            "schema": SCHEMA_VERSION,
            "url": address.url,
            "api_base": f"{address.url}/v1",
            "bind": address.host,
            "address": address.advertised,
            "job": job_of_environment(os.environ),
            "model": model_name,
            "identity": address.identity(model_name),
            "api_key": address.key.pointer.reference if address.key else None,
            "pid": self._process.leader.pid,
        }
        write_json(self._folder.endpoint, endpoint)

    def withdraw(self) -> None:
        """Take back where the server answers, before it stops answering."""
        self._folder.endpoint.unlink(missing_ok=True)
