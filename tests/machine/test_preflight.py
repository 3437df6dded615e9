"""Each check of a preflight: its verdict, and the change that mends it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from mixvllm import ServeConfig
from mixvllm.machine.gpus import Gpu, GpuInfo, GpuProcess
from mixvllm.machine.preflight import Check, run_preflight
from mixvllm.machine.preflight.devices import check_devices, visible_gpus
from mixvllm.machine.preflight.engine import check_engine, release_numbers
from mixvllm.machine.preflight.fit import check_fit
from mixvllm.machine.preflight.host_memory import check_host_memory
from mixvllm.machine.preflight.limits import check_limits
from mixvllm.machine.preflight.nodes import check_nodes
from mixvllm.machine.preflight.weights import check_weights, has_token

HOLDER = GpuProcess(4121, "python", 70.0)


def config(**sections: Any) -> ServeConfig:
    return ServeConfig.model_validate({"model": {"name": "some/model"}, **sections})


def gpu(index: int, free: float = 79.0, capability: tuple[int, int] = (9, 0), **fields: Any) -> Gpu:
    return Gpu(index, "H100", 80.0, free, capability, f"GPU-{index}aaa", **fields)


def verdicts(checks: Iterable[Check]) -> dict[str, str]:
    return {check.subject: check.verdict for check in checks}


def only(checks: Iterable[Check], subject: str) -> Check:
    (found,) = [check for check in checks if check.subject == subject]
    return found


@pytest.mark.parametrize(
    ("version", "host", "verdict"),
    [
        ("0.32.0", "127.0.0.1", "ok"),
        ("0.32.0+cpu", "0.0.0.0", "ok"),
        ("0.33.1", "127.0.0.1", "ok"),
        ("0.31.2", "0.0.0.0", "warning"),
        ("0.23.0", "127.0.0.1", "warning"),
        ("0.23.0", "0.0.0.0", "error"),
        ("dev", "127.0.0.1", "warning"),
    ],
)
def test_an_old_engine_is_warned_of_and_never_opened_to_others(version: str, host: str, verdict: str) -> None:
    assert only(check_engine(config(server={"host": host}), version, "python"), "engine").verdict == verdict


def test_a_server_on_two_nodes_needs_a_job_that_has_them() -> None:
    two = config(inference={"tensor_parallel_size": 2, "nnodes": 2})
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}

    alone = only(check_nodes(two, {"SLURM_JOB_NUM_NODES": "2"}), "nodes")
    assert (alone.verdict, alone.mend) == ("error", "submit=slurm, or --multirun hydra/launcher=slurm")
    assert only(check_nodes(two, job), "nodes").verdict == "ok"
    assert list(check_nodes(config(), {})) == []


@pytest.mark.parametrize("interface", ["lo", "127.0.0.0/8"])
def test_an_interface_is_found_by_its_name_or_its_network(interface: str) -> None:
    found = only(check_nodes(config(server={"interface": interface}), {}), "interface")

    assert (found.verdict, found.finding) == ("ok", "other nodes reach this one at 127.0.0.1")


def test_an_interface_that_is_not_there_names_those_that_are() -> None:
    found = only(check_nodes(config(server={"interface": "ib7"}), {}), "interface")

    assert found.verdict == "error"
    assert "lo (127.0.0.1)" in found.mend


@pytest.mark.parametrize(
    ("text", "release"),
    [("0.32.0+cpu", (0, 32, 0)), ("1.2", (1, 2, 0)), ("0.10.1.1", (0, 10, 1, 1)), ("0.33.0rc1", (0, 33, 0)), ("x", ())],
)
def test_a_version_is_read(text: str, release: tuple[int, ...]) -> None:
    assert release_numbers(text) == release


@pytest.mark.parametrize(
    ("listed", "indices"),
    [
        (None, [0, 1, 2, 3]),
        ("2,0", [2, 0]),
        ("", []),
        ("1,-1,2", [1]),
        ("GPU-3aaa", [3]),
        ("GPU-1a,GPU-0", [1, 0]),
    ],
)
def test_visible_gpus_are_those_that_cuda_would_see(listed: str | None, indices: list[int]) -> None:
    visible = visible_gpus([gpu(index) for index in range(4)], listed)

    assert visible is not None
    assert [one.id for one in visible] == indices


@pytest.mark.parametrize("listed", ["4", "GPU-9", "GPU-", "one"])
def test_a_gpu_that_is_not_there_is_an_error(listed: str) -> None:
    with pytest.raises(LookupError):
        visible_gpus([gpu(index) for index in range(4)], listed)


@pytest.mark.parametrize(
    ("gpus", "environment", "size", "verdict"),
    [
        ([], {}, 1, "error"),
        ([gpu(0), gpu(1)], {}, 2, "ok"),
        ([gpu(0), gpu(1)], {}, 4, "error"),
        ([gpu(0), gpu(1)], {"CUDA_VISIBLE_DEVICES": "1"}, 2, "error"),
        ([gpu(0), gpu(1)], {"CUDA_VISIBLE_DEVICES": "7"}, 1, "error"),
        ([gpu(0)], {"CUDA_VISIBLE_DEVICES": "MIG-1234"}, 1, "warning"),
        ([gpu(0)], {"CUDA_VISIBLE_DEVICES": "MIG-1234"}, 2, "error"),
    ],
)
def test_the_visible_gpus_must_be_enough(gpus: list[Gpu], environment: dict[str, str], size: int, verdict: str) -> None:
    checks = check_devices(config(inference={"tensor_parallel_size": size}), GpuInfo(tuple(gpus)), environment)

    assert verdicts(checks)["GPUs"] == verdict


def test_too_few_gpus_name_the_size_that_fits() -> None:
    checks = check_devices(config(inference={"tensor_parallel_size": 4}), GpuInfo((gpu(0), gpu(1))), {})

    assert only(checks, "GPUs").mend.startswith("inference.tensor_parallel_size=2")


def test_a_gpu_that_another_process_holds_names_it_and_what_would_fit() -> None:
    held = gpu(0, free=10.0, processes=(HOLDER,))

    check = only(check_devices(config(), GpuInfo((held,)), {}), "GPU memory")

    assert (check.verdict, "process 4121 (python, 70 GiB)" in check.finding) == ("error", True)
    assert check.mend.endswith("inference.gpu_memory_utilization=0.10")


def test_an_engine_that_a_dead_server_left_is_named_to_be_ended() -> None:
    held = gpu(0, free=10.0, processes=(GpuProcess(77, "VLLM::EngineCore", 70.0, is_orphan=True),))

    check = only(check_devices(config(), GpuInfo((held,)), {}), "GPU memory")

    assert ("left by a dead server" in check.finding, check.mend.startswith("kill 77, or ")) == (True, True)


def test_a_gpu_with_enough_free_for_a_lower_utilization_is_fine() -> None:
    checks = check_devices(config(inference={"gpu_memory_utilization": 0.1}), GpuInfo((gpu(0, free=10.0),)), {})

    assert verdicts(checks)["GPU memory"] == "ok"


@pytest.mark.parametrize(
    ("inference", "capability", "verdict"),
    [
        ({"dtype": "bfloat16"}, (7, 5), "error"),
        ({"dtype": "bfloat16"}, (8, 0), None),
        ({"quantization": "fp8"}, (8, 0), "warning"),
        ({"kv_cache_dtype": "fp8"}, (8, 9), None),
    ],
)
def test_a_type_that_the_gpu_lacks_is_said(
    inference: dict[str, Any], capability: tuple[int, int], verdict: str | None
) -> None:
    checks = check_devices(config(inference=inference), GpuInfo((gpu(0, capability=capability),)), {})

    assert verdicts(checks).get("dtype") == verdict


def make_model(folder: Path, *, shards: int = 2, missing: int = 0) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    names = [f"model-{number}.safetensors" for number in range(shards)]
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {name: name for name in names}}))
    for name in names[missing:]:
        (folder / name).write_bytes(b"0" * 4096)
    return folder


def weights(name: str | Path, environment: dict[str, str] | None = None, **fields: Any) -> Check:
    checks = check_weights(config(model={"name": str(name), **fields}), environment or {"HF_HOME": "/nowhere"})
    return only(checks, "weights")


def test_a_whole_local_model_is_fine(tmp_path: Path) -> None:
    assert weights(make_model(tmp_path / "model")).verdict == "ok"


def test_a_model_that_lacks_a_shard_names_it(tmp_path: Path) -> None:
    check = weights(make_model(tmp_path / "model", missing=1))

    assert (check.verdict, "lacks model-0.safetensors" in check.finding) == ("error", True)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no config.json"),
        ({"config.json": "{}"}, "has no weights"),
        ({"config.json": "{}", "model.safetensors.index.json": '{"weight_map"'}, "cannot be read"),
        ({"config.json": "{}", "model.safetensors": "version https://git-lfs"}, "too small for weights"),
    ],
)
def test_a_folder_that_is_no_model_says_why(tmp_path: Path, files: dict[str, str], words: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    check = weights(tmp_path)

    assert (check.verdict, words in check.finding) == ("error", True)


def test_a_path_that_is_not_there_is_an_error() -> None:
    assert weights("/no/such/model").verdict == "error"


def test_a_model_in_the_hubs_cache_is_found(tmp_path: Path) -> None:
    repository = tmp_path / "hub" / "models--some--model"
    make_model(repository / "snapshots" / "abc")
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("abc")

    assert weights("some/model", {"HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}).verdict == "ok"


def test_a_model_that_is_nowhere_cannot_be_fetched_offline() -> None:
    assert weights("some/model", {"HF_HOME": "/nowhere", "HF_HUB_OFFLINE": "1"}).verdict == "error"


def test_a_model_that_will_be_fetched_is_said_with_its_size_and_never_the_token() -> None:
    check = weights("some/model", {"HF_HOME": "/nowhere", "HF_TOKEN": "hf_secret"}, weights_gib=15.0)

    assert (check.verdict, "15 GiB; a token is set" in check.finding) == ("warning", True)
    assert "hf_secret" not in f"{check}"


def test_a_model_with_a_recipe_is_made(tmp_path: Path) -> None:
    assert weights(tmp_path / "none", recipe="demo").verdict == "ok"


def test_a_token_is_found_in_the_environment_or_its_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("x")

    (tmp_path / "huggingface").mkdir()
    (tmp_path / "huggingface" / "token").write_text("x")
    environments = (
        {"HF_TOKEN": "x"},
        {"HF_HOME": str(tmp_path)},
        {"XDG_CACHE_HOME": str(tmp_path)},
        {"HF_HOME": "/nowhere"},
    )

    assert list(map(has_token, environments)) == [True, True, True, False]


def test_a_long_folder_for_sockets_is_an_error() -> None:
    checks = check_limits(config(), {"TMPDIR": "/a" * 60, "VLLM_CACHE_ROOT": "/tmp"})

    assert verdicts(checks)["socket path"] == "error"


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    checks = check_limits(config(), {"VLLM_CACHE_ROOT": str(tmp_path / "file" / "cache")})

    assert verdicts(checks)["cache"] == "error"


def test_the_cache_that_is_looked_at_is_the_engines(tmp_path: Path) -> None:
    checks = {check.subject: check for check in check_limits(config(), {"XDG_CACHE_HOME": str(tmp_path)})}

    assert str(tmp_path / "vllm") in checks["cache"].finding


def test_a_taken_port_is_an_error_that_names_its_holder() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        checks = check_limits(config(server={"port": server.getsockname()[1]}), {})

        assert "is in use by process" in only(checks, "port").finding


def test_the_cpu_build_needs_no_gpu() -> None:
    checks = run_preflight(config(), version="0.32.0", is_cpu=True, python="python", environment={})

    assert "GPUs" not in verdicts(checks)


def _memory_node(folder: Path, number: int, free_gib: float) -> None:
    """A node of 16 GiB, as the kernel tells of it."""
    node = folder / f"node{number}"
    node.mkdir()
    kib = {"MemTotal": 16 * 2**20, "MemFree": int(free_gib * 2**20) - 2**20, "Inactive(file)": 2**20}
    (node / "meminfo").write_text("".join(f"Node {number} {name}: {value} kB\n" for name, value in kib.items()))


@pytest.mark.parametrize(
    ("free_gib", "inference", "found"),
    [
        ([11.0], {}, {"host memory": "error"}),
        ([11.0, 15.0], {}, {"host memory": "ok"}),
        ([11.0], {"gpu_memory_utilization": 0.6}, {"host memory": "ok"}),
        ([11.0], {"kv_cache_memory_bytes": "1G"}, {}),
        ([], {}, {}),
    ],
)
def test_a_cache_of_most_of_the_memory_is_refused_where_it_is_not_free(
    free_gib: list[float], inference: dict[str, Any], found: dict[str, str], tmp_path: Path
) -> None:
    for number, free in enumerate(free_gib):
        _memory_node(tmp_path, number, free)

    assert verdicts(check_host_memory(config(inference=inference), tmp_path)) == found


def test_every_finding_that_is_not_ok_names_what_mends_it() -> None:
    checks = run_preflight(
        config(server={"host": "0.0.0.0"}), version="0.1.0", is_cpu=True, python="p", environment={"TMPDIR": "/b" * 60}
    )

    assert [check for check in checks if check.verdict != "ok" and not check.mend] == []


LLAMA_8B = json.loads((Path(__file__).parent / "model_configs" / "llama_3_1_8b.json").read_text(encoding="utf-8"))


def llama(folder: Path) -> Path:
    """Write the config and the index of Llama 3.1 8B, without its weights."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(LLAMA_8B))
    metadata = {"metadata": {"total_size": 16_060_522_496}, "weight_map": {}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(metadata))
    return folder


@pytest.mark.parametrize(
    ("memory_gib", "inference", "verdict", "mend"),
    [
        (80.0, {"max_model_len": 8192}, "ok", ""),
        (24.0, {"max_model_len": 8192}, "ok", ""),
        (24.0, {}, "error", "inference.max_model_len <= "),
        (12.0, {"max_model_len": 4096}, "error", "inference.tensor_parallel_size >= 2"),
    ],
)
def test_a_model_is_weighed_by_its_own_config(
    tmp_path: Path, memory_gib: float, inference: dict[str, Any], verdict: str, mend: str
) -> None:
    card = Gpu(0, "card", memory_gib, memory_gib - 0.1, (9, 0))

    check = only(check_fit(config(inference=inference), llama(tmp_path / "llama"), [card]), "memory")

    assert (check.verdict, mend in check.mend) == (verdict, True)


def test_a_fitting_model_shows_how_much_fits(tmp_path: Path) -> None:
    checks = check_fit(config(inference={"max_model_len": 8192}), llama(tmp_path / "llama"), [gpu(0)])

    assert "sequences of 8,192" in only(checks, "memory").finding


def test_heads_that_the_gpus_cannot_share_evenly_are_an_error(tmp_path: Path) -> None:
    checks = check_fit(config(inference={"tensor_parallel_size": 3}), llama(tmp_path / "llama"), [])

    check = only(checks, "heads")
    assert (check.verdict, check.mend) == ("error", "inference.tensor_parallel_size=2")


@pytest.mark.parametrize(("weights_gib", "size", "verdict"), [(131.4, 1, "error"), (131.4, 2, "ok"), (None, 1, "ok")])
def test_a_model_that_is_not_here_is_weighed_by_the_catalogue(
    weights_gib: float | None, size: int, verdict: str
) -> None:
    asked = config(model={"name": "a/b", "weights_gib": weights_gib}, inference={"tensor_parallel_size": size})

    assert only(check_fit(asked, None, [gpu(index) for index in range(size)]), "memory").verdict == verdict


def test_a_config_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{")

    assert only(check_fit(config(), tmp_path, []), "model").verdict == "error"
