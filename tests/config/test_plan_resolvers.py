"""Values that are calculated from others."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from mixvllm.config.load.plan import open_grid
from mixvllm.config.load.resolvers import register_resolvers


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${mul:10,${n}}", 40),
        ("${mul:2,3,4}", 24),
        ("${mul:0.5,${n}}", 2.0),
        ("${add:1,${n}}", 5),
        ("${sub:${n},1,1}", 2),
        ("${div:${n},2}", 2),
        ("${div:${n},8}", 0.5),
        ("${min:${n},3}", 3),
        ("${max:${n},3.5}", 4),
        ("${mul:2,${tokens}}", 4096),
        ("${add:${mul:2,${n}},1}", 9),
    ],
)
def test_numbers_are_calculated_and_integers_stay_integers(text: str, expected: Any) -> None:
    register_resolvers()
    found = OmegaConf.create({"n": 4, "tokens": "2K", "x": text}).x

    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("${div:1,0}", "div by zero"),
        ("${mul:2,${model.name}}", "mul takes numbers, not 'some/model'"),
        ("${mul:2,${inference.seed}}", "mul takes numbers, not null"),
        ("${mul:2}", "mul takes two numbers at least"),
    ],
)
def test_what_cannot_be_calculated_is_a_fault_of_the_key(value: str, words: str) -> None:
    key = "inference.max_num_seqs"
    with open_grid(["workload=probe", "model=default", "model.name=some/model", f"{key}='{value}'"]) as opened:
        faults = next(opened.candidates()).faults

    assert [(fault.path, words in fault.message) for fault in faults] == [(key, True)]


def test_a_value_follows_a_swept_one_without_quotes_of_its_own() -> None:
    derived = "inference.max_num_batched_tokens=${mul:16,${inference.max_num_seqs}}"

    with open_grid(["workload=probe", "inference.max_num_seqs=64,128", derived]) as opened:
        found = [one.config.inference.max_num_batched_tokens for one in opened.candidates() if one.config]

    assert found == [1024, 2048]
