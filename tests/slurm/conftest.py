"""The real Slurm of these tests. In CI a missing one is a failure, elsewhere these tests are skipped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.needs import need
from tests.slurm.cluster import Cluster, missing_packages
from tests.slurm.configuration import Options
from tests.slurm.submitted import SubmitSweep, SubmittedSweep
from tests.sweep.sweeps import held

StartCluster = Callable[..., Cluster]
"""Starts a cluster with the given `Options`; see the fixture `start_cluster`."""


@pytest.fixture(scope="session")
def slurm_packages() -> None:
    """Have what a cluster needs installed."""
    need(missing_packages(), "Slurm")


@pytest.fixture(scope="session")
def shared_cluster(slurm_packages: None) -> Iterator[Cluster]:
    """The cluster that tests share; use the fixture `slurm`."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def slurm(shared_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster of two nodes with 16 CPUs and 8 GPUs each, which the environment leads to; idle at the end."""
    _lead_to(shared_cluster, monkeypatch)
    yield shared_cluster
    shared_cluster.reset()


@pytest.fixture
def start_cluster(slurm_packages: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartCluster]:
    """Return a function that starts another cluster, which the environment leads to then."""
    with ExitStack() as clusters:

        def start(**options: object) -> Cluster:
            cluster = clusters.enter_context(Cluster(Options(**options)))  # type: ignore[arg-type]
            _lead_to(cluster, monkeypatch)
            return cluster

        yield start


@pytest.fixture
def slow_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have sbatch wait until the file `gate` is in this folder; `asked` says that it does."""
    folder, real = tmp_path / "slow", shutil.which("sbatch")
    folder.mkdir()
    text = f'#!/bin/sh\ntouch {folder}/asked\n{held(folder / "gate")}\nexec {real} "$@"\n'
    (folder / "sbatch").write_text(text)
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def _lead_to(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ.keys() - cluster.environment.keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_CONF", cluster.environment["SLURM_CONF"])


@pytest.fixture
def submit_sweep(tmp_path: Path) -> Iterator[SubmitSweep]:
    """Return a function that submits a sweep of the fake: overrides, and keys of the fake's script."""
    started: list[SubmittedSweep] = []

    def start(*overrides: str, **script: object) -> SubmittedSweep:
        started.append(SubmittedSweep(tmp_path / "sweeping", overrides, script, number=len(started)))
        return started[-1]

    yield start
    for one in started:
        one.end()
