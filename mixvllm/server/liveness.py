"""Whether a server that serves still produces anything; `/health` of a hung vLLM answers 200."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from typing import NamedTuple

from mixvllm.errors import ServerNotReady
from mixvllm.server.client import ServerClient
from mixvllm.server.usage import Usage
from mixvllm.vllm.metrics import read_metrics

_PERIOD_S = 1.0
_MAX_PAUSE_S = 5.0  # between two looks; longer ones are of a launcher that was suspended, or busy with a reload
_BUSY_SHARE = 0.1  # of one core: a computation that is only slow uses one, or what a crowded machine leaves of it
PATIENCE = 3.0
"""How often the limit is granted to an engine that computes, or that cannot be asked by itself."""


class Look(NamedTuple):
    """What a server answered at one moment.

    Args:
        health: status of `/health`; None where it did not answer.
        progress: what changes with any progress of an engine; None where it does not tell.
        is_asleep: whether it was put to sleep, and rightly answers nothing.
        engines: of several engines (data parallel) the progress of each that has requests, by its index.
    """

    health: int | None
    progress: tuple[float, ...] | None = None
    is_asleep: bool = False
    engines: Mapping[str, tuple[float, ...] | None] = {}


class HangRule:
    """Decides from looks when an engine must prove itself by a token. Pure: the caller has the clock.

    It must where nothing has progressed for `timeout_s`: whether requests are there, or nobody has asked for as long,
    since an engine may hang unseen.
    """

    def __init__(self, timeout_s: float, now: float) -> None:
        self.timeout_s = timeout_s
        self._progress: tuple[float, ...] | None = None
        self._answered_at = now
        self._progressed_at = now
        self._engines: dict[str, tuple[float, ...] | None] = {}
        self._engines_since: dict[str, float] = {}

    def note(self, look: Look, now: float) -> None:
        """Take a look that was had at `now`."""
        if look.health is not None:
            self._answered_at = now
        if look.is_asleep or (look.progress is not None and look.progress != self._progress):
            self._progressed_at = now
            self._progress = look.progress
        for name, progress in look.engines.items():
            if name not in self._engines or progress != self._engines[name]:
                self._engines_since[name] = now
        self._engines = dict(look.engines)

    def pass_over(self, duration_s: float) -> None:
        """Leave out a time in which nobody looked."""
        self._answered_at += duration_s
        self._progressed_at += duration_s
        self._engines_since = {name: since + duration_s for name, since in self._engines_since.items()}

    @property
    def tells_progress(self) -> bool:
        """Whether the server has told of progress at all; it may have been started without metrics."""
        return self._progress is not None

    def proved(self, now: float) -> None:
        """Take note that the engine produced a token at `now`."""
        self._progressed_at = now

    def silent_s(self, now: float) -> float:
        """Return the seconds without progress."""
        return now - self._progressed_at

    def must_prove(self, now: float) -> bool:
        """Whether a token must be asked for."""
        return self.silent_s(now) >= self.timeout_s

    def stuck_engine(self, now: float) -> str | None:
        """Return the index of an engine that has had requests and no progress for far too long.

        The token that is asked for tells nothing of it, since another engine may produce it.
        """
        longest_s = PATIENCE * self.timeout_s
        return next((name for name in self._engines if now - self._engines_since[name] >= longest_s), None)

    def unanswered_s(self, now: float) -> float | None:
        """Return the seconds since the last answer of any kind, where they are too many."""
        seconds = now - self._answered_at
        return seconds if seconds >= self.timeout_s else None


class Liveness:
    """Looks at a server in the background, and says when its engine is dead or hangs.

    Args:
        client: of the server.
        ask_token: asks for one token; raises `ServerNotReady` where none comes.
        usage: asks what its processes have used so far.
        timeout_s: of the hang rule.
        background: where questions are asked, so that an answer that hangs holds up nothing.
    """

    def __init__(
        self,
        client: ServerClient,
        ask_token: Callable[[], None],
        usage: Callable[[], Usage],
        timeout_s: float,
        background: Executor,
    ) -> None:
        self._client = client
        self._ask_token = ask_token
        self._usage = usage
        self._background = background
        self._rule = HangRule(timeout_s, time.monotonic())
        self._called_at = time.monotonic()
        self._look: Future[Look] | None = None
        self._look_at = 0.0
        self._proof: Future[None] | None = None
        self._proof_began = 0.0
        self._usage_before = Usage(0.0, 0)

    def engine_is_dead(self) -> bool:
        """Take a new look where one is due; return whether the server says that its engine is dead."""
        now = time.monotonic()
        pause_s, self._called_at = now - self._called_at, now
        if pause_s > min(_MAX_PAUSE_S, self._rule.timeout_s / 2):
            self._rule.pass_over(pause_s)
        if self._look is not None and self._look.done():
            look, self._look = self._look.result(), None
            self._rule.note(look, now)
            if look.health == 503:
                return True
        if self._look is None and now >= self._look_at:
            self._look_at = now + min(_PERIOD_S, self._rule.timeout_s / 4)
            self._look = self._background.submit(self._take_look)
        return False

    def hang(self) -> str | None:
        """Return in words that the server hangs, where it does."""
        now = time.monotonic()
        unanswered_s = self._rule.unanswered_s(now)
        if unanswered_s is not None:
            return f"the front end has not answered /health for {unanswered_s:.0f} s; its process lives"
        engine = self._rule.stuck_engine(now)
        if engine is not None:
            return f"engine {engine} has requests and has made no progress for {PATIENCE * self._rule.timeout_s:.0f} s"
        if self._proof is None:
            if self._rule.must_prove(now):
                self._proof_began, self._usage_before = now, self._usage()
                self._proof = self._background.submit(self._ask_token)
            return None
        if not self._proof.done():
            return None
        proof, self._proof = self._proof, None
        return self._judge(proof, now)

    def _judge(self, proof: Future[None], now: float) -> str | None:
        silent_s = self._rule.silent_s(now)
        try:
            proof.result()
        except ServerNotReady as error:
            is_patient = silent_s < PATIENCE * self._rule.timeout_s or not self._rule.tells_progress
            if not self._rule.must_prove(now) or (is_patient and self._computes(now)):
                return None
            return f"the engine has made no progress for {silent_s:.0f} s, and a request for one token failed: {error}"
        self._rule.proved(now)
        return None

    def _computes(self, now: float) -> bool:
        """Whether the processes used the CPU while the token did not come: a long prefill, rather than a hang."""
        return self._usage().cpu_s - self._usage_before.cpu_s >= _BUSY_SHARE * (now - self._proof_began)

    def _take_look(self) -> Look:
        health = self._client.health()
        text = self._client.metrics() if health == 200 else None
        if text is None:
            return Look(health)
        metrics = read_metrics(text)
        engines = {name: engine.progress for name, engine in metrics.engines.items() if engine.num_requests}
        return Look(health, metrics.progress, metrics.is_asleep, engines if len(metrics.engines) > 1 else {})
