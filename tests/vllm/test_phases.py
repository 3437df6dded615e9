"""The phases of a start-up, read from a log."""

from __future__ import annotations

from mixvllm.vllm.phases import StartupPhases

GPU_LOG = """\
(APIServer pid=1) INFO 11-22 14:37:07 [api_utils.py:286] non-default args: {'model': 'm'}
(APIServer pid=1) INFO 11-22 14:37:07 [model.py:733] Resolved architecture: LlamaForCausalLM
(EngineCore pid=2) INFO 11-22 14:37:17 [core.py:133] Initializing a V1 LLM engine (v0.32.0) with config: model='m'
(Worker_TP0 pid=3) INFO 11-22 14:37:18 [gpu_model_runner.py:68] Starting to load model m...
(Worker_TP1 pid=4) INFO 11-22 14:37:18 [gpu_model_runner.py:68] Starting to load model m...
Loading safetensors checkpoint shards: 100% Completed | 4/4
(Worker_TP0 pid=3) INFO 11-22 14:37:28 [default_loader.py:501] Loading weights took 9.01 seconds
(Worker_TP0 pid=3) INFO 11-22 14:37:48 [monitor.py:34] torch.compile takes 19.70 s in total
(Worker_TP0 pid=3) INFO 11-22 14:37:49 [gpu_worker.py:276] Available KV cache memory: 30.92 GiB
(EngineCore pid=2) INFO 11-22 14:37:49 [kv_cache_utils.py:2327] GPU KV cache size: 253,344 tokens
(Worker_TP0 pid=3) INFO 11-22 14:37:50 [gpu_model_runner.py:3480] Capturing CUDA graphs
(EngineCore pid=2) INFO 11-22 14:37:59 [core.py:402] init engine (profile, create kv cache, warmup model) took 31.05 s
(APIServer pid=1) INFO 11-22 14:38:00 [entry.py:140] Starting vLLM server on http://127.0.0.1:8000
"""


def test_each_phase_begins_once_and_in_order() -> None:
    phases = StartupPhases()

    begun = [phases.current for line in GPU_LOG.splitlines() if phases.read(line)]

    assert begun == ["engine", "weights", "compile", "kv_cache", "warmup", "http"]


def test_a_late_line_of_another_process_does_not_turn_back() -> None:
    phases = StartupPhases()
    lines = GPU_LOG.splitlines()

    assert [phases.read(lines[-1]), phases.read(lines[3]), phases.current] == [True, False, "http"]
