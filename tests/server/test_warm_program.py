"""A program that a warm engine forked sees and does what it does after a cold start."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from mixvllm.server.warm.engines import WarmEngines
from tests.server.probed import Probed


@pytest.fixture
def engines() -> Iterator[WarmEngines]:
    """The warm engines of one launcher."""
    with WarmEngines() as engines:
        yield engines


@pytest.mark.parametrize(
    "imported",
    ["", "import os, tempfile; os.environ['SET_BY_IMPORT'] = tempfile.gettempdir() + '/x'; os.environ.pop('GONE')"],
    ids=["nothing", "changes"],
)
def test_a_program_sees_the_same_as_after_a_cold_start(tmp_path: Path, engines: WarmEngines, imported: str) -> None:
    probed = Probed(tmp_path, imported)
    with (probed.site / "vllm" / "entrypoints" / "cli" / "main.py").open("r+") as file:
        source = file.read()
        file.seek(0)
        file.write(f"import vllm.entrypoints.cli.serve\n{source}")
    warm = engines.get(probed.installation, probed.environment(GONE="1"))
    assert warm is not None

    cold_facts, warm_facts = (
        json.loads(probed.run(one, "tells", GONE="1", VLLM_API_KEY="secret")[1]) for one in (None, warm)
    )

    assert cold_facts["argv"][1:] == ["tells", "two words"]
    assert warm_facts == cold_facts


@pytest.mark.parametrize(
    "end",
    [
        "returns",
        "exits with 3",
        "exits with a text",
        "raises",
        "is interrupted",
        "is killed",
        "leaves a thread",
        "has an exit handler",
    ],
)
def test_a_program_ends_with_the_same_status_and_last_words(tmp_path: Path, engines: WarmEngines, end: str) -> None:
    probed = Probed(tmp_path)
    warm = engines.get(probed.installation, probed.environment())
    assert warm is not None

    (cold_status, cold_text), (warm_status, warm_text) = (probed.run(one, end) for one in (None, warm))

    assert warm_status == cold_status
    assert words(warm_text) == words(cold_text)


def words(text: str) -> list[str]:
    """Return what a program printed without the frames of tracebacks that are not its own."""
    return re.sub(r'  File "(<frozen runpy>|[^"]*/warm/[^"]*)".*\n(    .*\n)*', "", text).splitlines()


def test_a_server_takes_the_variables_that_may_differ_from_its_own_environment(
    tmp_path: Path, engines: WarmEngines
) -> None:
    probed = Probed(tmp_path)
    warm = engines.get(probed.installation, probed.environment(VLLM_HOST_IP="127.0.0.1"))

    facts = json.loads(probed.run(warm, "tells", VLLM_HOST_IP="127.0.0.2")[1])

    assert facts["environment"]["VLLM_HOST_IP"] == "127.0.0.2"


PLATFORM = """\
import os, sys, types
class CpuPlatform:
    def is_cpu(self): return True
    @classmethod
    def check_and_update_config(cls, config):
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"
        if "ANOTHER_LIBRARY" in os.environ:
            os.environ["LD_PRELOAD"] = "libanother.so"
sys.modules["vllm.platforms"] = types.SimpleNamespace(current_platform=CpuPlatform())
"""
MAIN = """\
import os, types
from vllm.platforms import current_platform
parallel = types.SimpleNamespace(
    distributed_executor_backend=os.environ["BACKEND"], _api_process_count=int(os.environ["FRONT_ENDS"])
)
current_platform.check_and_update_config(types.SimpleNamespace(parallel_config=parallel))
print(os.environ["VLLM_WORKER_MULTIPROC_METHOD"])
"""


@pytest.mark.parametrize(
    ("settings", "others", "method"),
    [
        (("uni", "auto", "1"), {}, "fork"),
        (("mp", "nobind", "1"), {}, "fork"),
        (("mp", "auto", "1"), {}, "spawn"),
        (("mp", "nobind", "2"), {}, "spawn"),
        (("uni", "nobind", "1"), {"ANOTHER_LIBRARY": "1"}, "spawn"),
    ],
)
def test_processes_of_vllm_are_forked_only_where_spawned_ones_had_the_same_settings(
    tmp_path: Path, engines: WarmEngines, settings: tuple[str, str, str], others: dict[str, str], method: str
) -> None:
    probed = Probed(tmp_path, PLATFORM, version="0.32.0+cpu")
    (probed.site / "vllm" / "entrypoints" / "cli" / "main.py").write_text(MAIN)
    variables = dict(zip(("BACKEND", "VLLM_CPU_OMP_THREADS_BIND", "FRONT_ENDS"), settings, strict=True)) | others
    warm = engines.get(probed.installation, probed.environment(**variables))
    assert warm is not None

    assert probed.run(warm, "", **variables) == (0, f"{method}\n")
