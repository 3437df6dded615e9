"""The catalogue as a table."""

from __future__ import annotations

import pytest

from mixvllm.cli.models import gpus_needed, show_models


@pytest.mark.parametrize(
    ("weights_gib", "num_heads", "memory_gib", "size"),
    [
        (15.0, 32, 24, 1),
        (15.0, 32, 16, 2),
        (131.4, 64, 80, 4),
        (131.4, 64, 141, 2),
        (131.4, 64, 24, 8),
        (30.0, 5, 24, None),
        (30.0, None, 24, 2),
        (641.3, 128, 24, None),
    ],
)
def test_the_smallest_size_that_holds_the_weights_is_given(
    weights_gib: float, num_heads: int | None, memory_gib: float, size: int | None
) -> None:
    assert gpus_needed(weights_gib, num_heads, memory_gib) == size


def test_every_model_is_listed_with_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    show_models([])

    lines = capsys.readouterr().out.splitlines()
    row = next(line.split() for line in lines if line.split()[:1] == ["llama3_8b"])
    assert row == ["llama3_8b", "meta-llama/Llama-3.1-8B-Instruct", "15", "131,072", "1", "1", "1", "1"]
    assert len([line for line in lines if "/" in line]) >= 25
