"""Failures for lack of memory: of the GPUs, and of the host for vLLM's CPU build."""

from __future__ import annotations

from mixvllm.vllm.failures import remedies
from mixvllm.vllm.failures.catalogue.entry import Failure, Rank, foreign_sign, sign

_GIB = r"[\d.,]+"
_OOM = "CUDA out of memory"
_OOM_LINE = r"OutOfMemoryError: CUDA out of memory|RuntimeError: CUDA out of memory|CUDA error: out of memory"
_LONGER = "shorter inference.max_model_len, a larger inference.gpu_memory_utilization, or more GPUs"

FAILURES = (
    Failure(
        id="weights-exceed-gpu-memory",
        kind="config",
        signs=(
            sign("Failed to load model - not enough GPU memory"),
            foreign_sign(_OOM, _OOM_LINE, during=("loading",)),
        ),
        cause="The weights of {model} do not fit into the memory of each GPU.",
        fix="Spread it over more GPUs, take a quantized checkpoint, or set inference.cpu_offload_gb.",
        override=remedies.more_gpus,
    ),
    Failure(
        id="no-memory-for-kv-cache",
        kind="config",
        signs=(
            sign("No available memory for the cache blocks"),
            sign("Cannot auto-fit max_model_len: not enough GPU memory"),
        ),
        cause="Weights and activations leave no memory for the KV cache.",
        fix="Raise inference.gpu_memory_utilization, lower inference.max_num_batched_tokens, or use more GPUs.",
        override=remedies.more_cache,
    ),
    Failure(
        id="gpu-memory-in-use",
        kind="transient",
        signs=(
            sign(
                "is less than desired GPU memory utilization",
                rf"on device (?P<device>\S+) \((?P<free>{_GIB})/(?P<total>{_GIB}) GiB\) on startup is less than "
                rf"desired GPU memory utilization \((?P<wanted>[\d.]+)",
            ),
        ),
        cause="Only {free} of {total} GiB of {device} are free, and {wanted} of it is asked for: others hold it.",
        fix="End what holds the GPU: nvidia-smi lists it, a dead server of yours may be among it.",
        override=remedies.utilization_of_free,
    ),
    Failure(
        id="host-memory-in-use",
        kind="transient",
        signs=(
            sign(
                "is less than desired CPU memory utilization",
                rf"\((?P<free>{_GIB})/(?P<total>{_GIB}) GiB\) on startup is less than desired CPU memory utilization "
                rf"\((?P<wanted>[\d.]+)",
            ),
        ),
        cause="Only {free} of {total} GiB of the host's memory are free, and {wanted} of it is asked for.",
        fix="End what holds the memory, or set inference.kv_cache_memory_bytes.",
        override=remedies.utilization_of_free,
    ),
    Failure(
        id="kv-cache-exceeds-host-memory",
        kind="config",
        signs=(
            sign(
                "is less than requested memory for kv",
                rf"\((?P<free>{_GIB})/{_GIB} GiB\) on kv cache allocation is less than requested memory for kv "
                rf"\((?P<wanted>{_GIB})",
            ),
        ),
        cause="The KV cache is to have {wanted} GiB, and the host has {free} GiB free.",
        fix="Lower inference.kv_cache_memory_bytes (or VLLM_CPU_KVCACHE_SPACE).",
        override=remedies.cache_within_memory,
    ),
    Failure(
        id="max-model-len-exceeds-kv-cache",
        kind="config",
        signs=(
            sign(
                "cache is needed, which is larger than the available KV cache",
                r"max seq len \((?P<length>\d+)\).*estimated maximum model length is (?P<fitting>\d+)",
            ),
            sign(
                "larger than the maximum number of tokens that can be stored in KV cache",
                r"max seq len \((?P<length>\d+)\) is larger than .* KV cache \((?P<fitting>\d+)\)",
                origin="older",
            ),
        ),
        cause="A sequence of {length} tokens does not fit into the KV cache, which holds {fitting}.",
        fix=f"A {_LONGER}; inference.kv_cache_dtype=fp8 holds twice as many.",
        override="inference.max_model_len={fitting}",
    ),
    Failure(
        id="no-sequence-fits-kv-cache",
        kind="config",
        signs=(
            sign(
                "cache is needed, which is larger than the available KV cache",
                r"max seq len \((?P<length>\d+)\), \((?P<needed>[\d.,]+) GiB KV cache is needed.* memory "
                r"\((?P<available>[\d.,]+) GiB\)\. Try",
            ),
        ),
        cause="A sequence of {length} tokens needs {needed} GiB of KV cache, and there are {available} GiB: "
        "hardly one token fits.",
        fix=f"A {_LONGER}.",
        override=remedies.more_cache,
    ),
    Failure(
        id="cuda-graphs-exceed-gpu-memory",
        kind="config",
        signs=(foreign_sign(_OOM, _OOM_LINE, during=("capturing",)),),
        cause="The CUDA graphs do not fit into what weights and KV cache leave of the GPU's memory.",
        fix="Lower inference.gpu_memory_utilization or inference.max_num_seqs, or give fewer "
        "inference.cudagraph_capture_sizes.",
        override=remedies.lower_utilization,
    ),
    Failure(
        id="warm-up-exceeds-gpu-memory",
        kind="config",
        signs=(
            sign(
                "CUDA out of memory occurred when warming up sampler with",
                r"warming up sampler with (?P<sequences>\d+) dummy",
            ),
            sign(
                "CUDA out of memory occurred when warming up pooler",
                r"warming up pooler \(?.*?(?P<sequences>\d+) dummy",
            ),
        ),
        cause="The GPU's memory does not hold the logits of {sequences} sequences at once.",
        fix="Lower inference.max_num_seqs or inference.gpu_memory_utilization.",
        override=remedies.half_the_sequences,
    ),
    Failure(
        id="gpu-memory-changed",
        kind="transient",
        signs=(sign("Error in memory profiling. "),),
        cause="Another process gave GPU memory back while the server was measuring what is free.",
        fix="Start again, and servers on the same GPU one after the other.",
    ),
    Failure(
        id="max-num-seqs-exceeds-mamba-blocks",
        kind="config",
        signs=(
            sign(
                "exceeds available Mamba cache ",
                r"max_num_seqs \((?P<wanted>\d+)\) exceeds available Mamba cache blocks \((?P<blocks>\d+)\)",
            ),
        ),
        cause="{wanted} sequences are to run at once, and the model's Mamba cache holds {blocks}.",
        fix="Lower inference.max_num_seqs, or raise inference.gpu_memory_utilization.",
        override="inference.max_num_seqs={blocks}",
    ),
    Failure(
        id="gpu-memory-used-up-while-serving",
        kind="transient",
        signs=(foreign_sign(_OOM, _OOM_LINE, during=("serving",)),),
        cause="The GPU's memory was used up by the requests of the moment.",
        fix="Lower inference.gpu_memory_utilization, inference.max_num_seqs or inference.max_num_batched_tokens.",
        override=remedies.lower_utilization,
        rank=Rank.GENERAL,
    ),
    Failure(
        id="gpu-memory-used-up",
        kind="config",
        signs=(foreign_sign(_OOM, _OOM_LINE),),
        cause="The GPU's memory was used up when the server measured what one step needs.",
        fix="Lower inference.max_num_batched_tokens or inference.max_num_seqs, or use more GPUs.",
        override=remedies.lower_utilization,
        rank=Rank.GENERAL,
    ),
    Failure(
        id="host-memory-used-up",
        kind="environment",
        signs=(
            foreign_sign("oom_kill event"),
            foreign_sign("oom-kill:"),
            foreign_sign("Out of memory: Killed process"),
            foreign_sign("Cannot allocate memory", r"\[Errno 12\] Cannot allocate memory|: Cannot allocate memory"),
            foreign_sign("DefaultCPUAllocator: can't allocate memory"),
            foreign_sign("std::bad_alloc"),
            foreign_sign("MemoryError", r"^MemoryError\b"),
            foreign_sign("failed to map segment from shared object"),
        ),
        cause="The host's memory was used up, or the limit that is set on it.",
        fix="Give the job more memory (Slurm: --mem), start fewer servers at once, or raise the limit (ulimit -v).",
    ),
)
