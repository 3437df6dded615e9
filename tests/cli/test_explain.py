"""What `mixvllm explain` tells, and what a shell completes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mixvllm.cli.complete import complete_override
from mixvllm.cli.explain import explain
from mixvllm.config import keys
from mixvllm.errors import ConfigError
from mixvllm.vllm.release import snapshot


@pytest.mark.parametrize("key", [key for key in keys.fields() if not key.endswith("extra_args")])
def test_every_key_is_explained_with_its_meaning(key: str) -> None:
    lines = explain(key).splitlines()

    assert (lines[0], lines[1].startswith("  meaning  ")) == (key, True)


@pytest.mark.parametrize("name", sorted(snapshot().arguments))
def test_every_argument_of_the_release_is_explained(name: str) -> None:
    assert len(explain(name).splitlines()) >= 4


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("inference.dtype", ["type     one of auto, half, float16", "vLLM     --dtype: ", "inference=cpu: float32"]),
        ("max_num_seqs", ["inference.max_num_seqs", "sequences in one batch"]),
        ("server.port", ["no argument: the launcher uses it", "server=network: 8000"]),
        ("+inference.scheduling_policy", ["choices  fcfs, priority", "use      +inference.scheduling_policy=VALUE"]),
        ("--tensor-parallel-size", ["inference.tensor_parallel_size", "default  1"]),
        ("tp", ["inference.tensor_parallel_size"]),
        ("model.name", ["none: it must be given", "more"]),
    ],
)
def test_an_explanation_holds_what_is_asked_for(name: str, lines: list[str]) -> None:
    text = explain(name)

    assert [line for line in lines if line not in text] == []


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"did you mean inference\.max_num_seqs\?"):
        explain("inference.max_num_sqes")


def test_the_command_prints_and_exits_with_0() -> None:
    command = [sys.executable, "-m", "mixvllm.cli.app", "explain", "inference.seed"]

    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode, done.stdout.splitlines()[0], done.stderr) == (0, "inference.seed", "")


@pytest.mark.parametrize(
    ("incomplete", "some"),
    [
        ("mod", ["model=", "model.name="]),
        ("model=llama3_8", ["model=llama3_8b"]),
        ("inference.dt", ["inference.dtype="]),
        ("inference.dtype=b", ["inference.dtype=bfloat16"]),
        ("inference.enforce_eager=", ["inference.enforce_eager=true", "inference.enforce_eager=false"]),
        ("+inference.scheduling_p", ["+inference.scheduling_policy="]),
        ("hydra/", []),
    ],
)
def test_an_override_is_completed(incomplete: str, some: list[str]) -> None:
    completed = complete_override(incomplete)

    assert [one for one in some if one not in completed] == []
    assert all(one.startswith(incomplete) for one in completed)
