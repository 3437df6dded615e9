"""The memory arithmetic against what a real server makes of the same model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mixvllm.machine.memory import CacheLayout, num_parameters, plan_kv_cache, read_model_files
from tests.engine.conftest import LaunchDemo

ROOM_BYTES = 64 << 20  # inference.kv_cache_memory_bytes of `launch_demo`
CPU_BLOCK_SIZE = 128  # tokens: `check_and_update_config` in vllm/platforms/cpu.py, 0.32


def test_the_cache_holds_the_tokens_that_the_server_logs(launch_demo: LaunchDemo, demo_model: Path) -> None:
    files = read_model_files(demo_model)
    layout = plan_kv_cache(files.config, dtype="float32", block_size=CPU_BLOCK_SIZE)
    assert isinstance(layout, CacheLayout)

    launch = launch_demo("workload=probe")
    launch.exit_code()
    log = (launch.run_folder() / "server.log").read_text()
    logged = re.search(r"KV cache size: ([\d,]+) tokens", log)

    assert logged is not None
    num_tokens = layout.num_tokens(layout.num_blocks((ROOM_BYTES,)), files.config["max_position_embeddings"])
    assert num_tokens == pytest.approx(int(logged[1].replace(",", "")), rel=0.05)


def test_the_demo_models_file_holds_the_parameters_that_are_counted(demo_model: Path) -> None:
    files = read_model_files(demo_model)

    assert files.total_size == pytest.approx(4 * (num_parameters(files.config).total or 0), rel=0.05)
