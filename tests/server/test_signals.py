"""What was asked for by signals, and what is about to be."""

from __future__ import annotations

import os
import signal
from threading import Timer

import pytest

from mixvllm.server import signals as module
from mixvllm.server.signals import StopSignals


def test_a_stop_that_comes_with_the_failure_of_a_process_beside_us_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BESIDE_S", 60.0)
    with StopSignals() as signals:
        Timer(0, os.kill, (os.getpid(), signal.SIGTERM)).start()

        assert signals.is_coming()
        assert signals.exit_code == 128 + signal.SIGTERM


def test_without_one_no_stop_is_coming() -> None:
    with StopSignals() as signals:
        assert not signals.is_coming()
        assert signals.exit_code is None
