"""The conditions of `sweep.where`."""

from __future__ import annotations

from typing import Any

import pytest

from mixvllm import compose
from mixvllm.errors import ConfigError
from mixvllm.sweep.where import parse_where

VALUES: dict[str, Any] = {
    "model": {"name": "some/model", "served_model_name": ["a", "b"]},
    "inference": {"max_num_seqs": 64, "max_num_batched_tokens": "2K", "seed": None, "enforce_eager": True},
    "server": {"env": {"NCCL_DEBUG": "INFO"}},
}
LABELS = {"model": "demo", "inference.max_num_seqs": 64}


def holds(text: str) -> bool:
    return parse_where(text, tuple(LABELS)).holds(VALUES, LABELS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inference.max_num_seqs >= 64", True),
        ("inference.max_num_seqs < 64", False),
        ("16 <= inference.max_num_seqs <= 32", False),
        ("16 <= inference.max_num_seqs <= 64", True),
        ("inference.max_num_seqs * 2 + 1 == 129", True),
        ("inference.max_num_seqs / 128 == 0.5", True),
        ("inference.max_num_seqs // 60 == 1 and inference.max_num_seqs % 60 == 4", True),
        ("-inference.max_num_seqs < 0", True),
        ("inference.max_num_batched_tokens >= 2048", True),
        ("inference.max_num_batched_tokens - 1 == 2047", True),
        ("inference.max_num_batched_tokens == '2K'", True),
        ("inference.seed == null", True),
        ("inference.seed != None", False),
        ("inference.enforce_eager", True),
        ("not inference.enforce_eager", False),
        ("inference.enforce_eager == true or inference.seed > 3", True),
        ("model.name in ['some/model', 'other']", True),
        ("model.name not in ('some/model', 'other')", False),
        ("'some' in model.name", True),
        ("'b' in model.served_model_name", True),
        ("model == 'demo'", True),
        ("server.env.NCCL_DEBUG == 'INFO'", True),
        ("server.env.OTHER == null", True),
        ("  inference.max_num_seqs == 64 ", True),
    ],
)
def test_a_condition_is_true_of_the_points_that_it_describes(text: str, expected: bool) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("__import__('os').system('true') == 0", "column 1: nothing can be called"),
        ("1 == 1 and open('x')", "column 12: nothing can be called"),
        ("model.name.__class__ == 1", "column 1: model.name.__class__: unknown key"),
        ("server.env['A'] == 1", "column 1: an entry is named with a dot"),
        ("(lambda: 1) == 1", "column 2: not known here"),
        ("[x for x in [1]] == 1", "column 1: not known here"),
        ("inference.seed is None", "column 1: write == instead of is"),
        ("2 ** 9 == 512", "column 1: there is no **"),
        ("1 if true else 2", "column 1: there is no if"),
        ("f'{model.name}' == 'a'", "column 1: not known here"),
        ("b'a' == model.name", "column 1: not known here"),
        ("~1 == 1", "column 1: not known here"),
        ("(a := 1) == 1", "column 2: not known here"),
        ("'é' == model.name and open('x')", "column 23: nothing can be called"),
        ("1 == 1; 2", "column 7: invalid syntax"),
        ("inference.max_num_seqs >", "invalid syntax; known are"),
        ("inference.max_num_sqs > 1", "column 1: inference.max_num_sqs: unknown key; did you mean"),
        ("inference > 1", "column 1: inference is a section"),
        ("(1).real == 1", "column 1: nothing can be called"),
        ("1 == " * 500, "longer than 2000 characters"),
        ("(" * 900 + "1" + ")" * 900, "too many nested parentheses"),
        ("-" * 1900 + "1 == 1", "nested too deeply"),
    ],
)
def test_whatever_else_is_refused_with_its_column(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        assert holds(text) is None

    assert words in str(raised.value)


def test_every_refused_part_is_named() -> None:
    with pytest.raises(ConfigError) as raised:
        parse_where("open('x') == 1 or infrence.seed == 2")

    assert len(raised.value.faults) == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("inference.seed >= 8", "inference.seed is null, 8 is 8: >= cannot compare them"),
        ("inference.seed + 1 == 8", "inference.seed is null, which is no number"),
        ("inference.max_num_seqs", "inference.max_num_seqs is 64, neither true nor false"),
        ("'a' in inference.seed", "in cannot compare them"),
        ("model.name * 9 == 1", "model.name is some/model, which is no number"),
        ("1 / (inference.max_num_seqs - 64) == 1", "division by zero"),
        ("model.name < 3", "< cannot compare them"),
    ],
)
def test_what_cannot_be_told_of_a_point_is_said_with_its_values(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        holds(text)

    assert words in str(raised.value)


def test_a_condition_can_be_typed_without_quotes_of_its_own() -> None:
    text = "inference.max_num_seqs >= 16 and model.name != 'a/b'"

    assert compose([f"sweep.where={text}"]).sweep.where == text
