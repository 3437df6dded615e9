"""Failures of several processes or GPUs together: how the model is split, and how the parts talk."""

from __future__ import annotations

from mixvllm.vllm.failures import remedies
from mixvllm.vllm.failures.catalogue.entry import Failure, Rank, foreign_sign, sign

FAILURES = (
    Failure(
        id="heads-not-divisible",
        kind="config",
        signs=(
            sign(
                "Total number of attention heads (",
                r"attention heads \((?P<heads>\d+)\) must be divisible by tensor parallel size \((?P<size>\d+)\)",
            ),
        ),
        cause="The {heads} attention heads of {model} do not divide over {size} GPUs.",
        fix="Use a number of GPUs that divides them; pipeline or data parallelism takes the rest.",
        override=remedies.largest_fitting_tensor_parallel,
    ),
    Failure(
        id="more-gpus-than-visible",
        kind="config",
        signs=(
            sign(
                "is larger than the number of ",
                r"World size \((?P<size>\d+)\) is larger than the number of available GPUs \((?P<gpus>\d+)\)",
            ),
        ),
        cause="{size} GPUs are asked for, and {gpus} can be seen.",
        fix="Use fewer, or make more visible: CUDA_VISIBLE_DEVICES, or the job's request for GPUs.",
        override=remedies.tensor_parallel_within,
    ),
    Failure(
        id="pipeline-not-supported",
        kind="config",
        signs=(sign("Pipeline parallelism is not supported for this model"),),
        cause="{model} cannot be split into stages of a pipeline.",
        fix="Split it by inference.tensor_parallel_size alone.",
        override="inference.pipeline_parallel_size=1",
    ),
    Failure(
        id="pipeline-needs-compilation",
        kind="config",
        signs=(sign("self.intermediate_tensors is not None", r"assert self\.intermediate_tensors is", where="source"),),
        cause="Without compilation, vLLM's CPU build hands nothing from one stage of the pipeline to the next.",
        fix="Compile, or split the model by inference.tensor_parallel_size.",
        override="inference.enforce_eager=false",
    ),
    Failure(
        id="context-parallel-exceeds-heads",
        kind="config",
        signs=(
            sign("greater than the model's total number of KV heads"),
            sign("exceeds the maximum ", r"decode-context-parallel-size` \(\d+\) exceeds the maximum"),
            sign("The model's number of query heads per KV head "),
        ),
        cause="The KV heads of {model} do not spread over so many GPUs of context parallelism.",
        fix="Leave decode_context_parallel_size at 1, or raise inference.tensor_parallel_size.",
        override="+inference.decode_context_parallel_size=1",
    ),
    Failure(
        id="tensor-parallel-splits-quantization",
        kind="config",
        signs=(
            sign("is not divisible", r"(?:in|out)put_size_per_partition = \d+ is not divisible"),
            sign("is not aligned with the quantized "),
        ),
        cause="So many GPUs cut the quantized weights of {model} within a group.",
        fix="Use fewer GPUs for each layer: a smaller inference.tensor_parallel_size, or a pipeline.",
        override=remedies.fewer_gpus,
    ),
    Failure(
        id="too-few-numa-nodes",
        kind="config",
        signs=(
            sign(
                "Not enough allowed NUMA nodes to bind threads of ",
                r"threads of (?P<workers>\d+) local CPUWorkers\. Allowed NUMA nodes are \[(?P<nodes>[^\]]*)\]",
            ),
        ),
        cause="vLLM's CPU build binds each of its {workers} workers to a NUMA node, and may use node {nodes} alone.",
        fix="Do not bind them.",
        override="server.env.VLLM_CPU_OMP_THREADS_BIND=nobind",
    ),
    Failure(
        id="ray-not-there",
        kind="config",
        signs=(
            sign("does not support ray."),
            sign("Failed to import Ray: "),
            sign("Unable to connect to Ray", origin="older"),
        ),
        cause="Ray is to run the workers, and it is not installed, or not for this machine.",
        fix="Leave the choice to vLLM, which needs Ray only for several machines; or install it beside vLLM.",
        override="inference.distributed_executor_backend=null",
    ),
    Failure(
        id="cuda-before-fork",
        kind="config",
        signs=(foreign_sign("Cannot re-initialize CUDA in forked subprocess"),),
        cause="CUDA was used before the workers were forked: by a plugin, or by code of the model.",
        fix="Have the workers started anew.",
        override="server.env.VLLM_WORKER_MULTIPROC_METHOD=spawn",
    ),
    Failure(
        id="gpu-communication",
        kind="environment",
        signs=(
            foreign_sign("ncclSystemError"),
            foreign_sign("ncclInternalError"),
            foreign_sign("ncclRemoteError"),
            foreign_sign("NCCL error", r"NCCL error.*unhandled (?:system|cuda) error|RuntimeError: NCCL error"),
            foreign_sign("unhandled system error"),
            foreign_sign("unhandled cuda error"),
        ),
        cause="The GPUs could not talk to each other (NCCL).",
        fix="Run once with server.env.NCCL_DEBUG=INFO, and see which network or link it names.",
        override=remedies.next_nccl_switch,
        rank=Rank.GENERAL,
    ),
    Failure(
        id="worker-lost",
        kind="transient",
        signs=(
            foreign_sign("Watchdog caught collective operation timeout"),
            foreign_sign("Connection closed by peer", r"Connection closed by peer|Connection reset by peer \[.*gloo"),
        ),
        cause="A worker waited in vain for another one, which died or hangs.",
        fix="Look for the first worker that failed; if all were slow, raise +inference.distributed_timeout_seconds.",
        rank=Rank.GENERAL,
    ),
    Failure(
        id="nccl-warning",
        kind="environment",
        signs=(foreign_sign("NCCL WARN", r"NCCL WARN (?P<warning>.+)"),),
        cause="The GPUs may have failed to talk to each other; NCCL warns: {warning}",
        fix="Run once with server.env.NCCL_DEBUG=INFO, and see which network or link it names.",
        override=remedies.next_nccl_switch,
        rank=Rank.DEATH,
    ),
)
