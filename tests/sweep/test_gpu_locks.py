"""Starts on one GPU happen one after the other, and what is claimed is nobody else's."""

from __future__ import annotations

import pytest

from mixvllm.errors import Interrupted
from mixvllm.machine.gpu_locks import Claims, starting_on

pytestmark = pytest.mark.usefixtures("own_tmp")


def never() -> bool:
    return False


def test_a_start_waits_for_another_one_on_any_of_its_gpus() -> None:
    asked: list[int] = []

    def after_a_while() -> bool:
        asked.append(1)
        return len(asked) == 2

    with starting_on(["1", "2"], never):  # noqa: SIM117 - the second is to be refused inside the first
        with pytest.raises(Interrupted), starting_on(["0", "2"], after_a_while):
            pytest.fail("both start")

    assert len(asked) == 2
    with starting_on(["0", "2"], never):
        pass


def test_starts_on_different_gpus_do_not_wait() -> None:
    with starting_on(["0"], never), starting_on(["1", "MIG-a/1/2"], never):
        pass


def test_a_claim_is_nobody_elses_until_it_is_given_back() -> None:
    mine, other = Claims(), Claims()

    taken = [mine.take("a"), mine.take("a"), other.take("a"), other.take("b")]
    mine.give_back("a")

    assert taken == [True, False, False, True]
    assert other.take("a")
