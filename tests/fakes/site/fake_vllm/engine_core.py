"""The EngineCore process and its workers: they load the model, and each token asks them."""

import os
import select
import signal
import socket
import time

from fake_vllm import VERSION
from fake_vllm.arguments import ServeArguments
from fake_vllm.log_lines import ProcessLog, format_shards, format_traceback, write_log
from fake_vllm.phases import ScriptedFaultError, die_by, hang, pass_phase, write_scripted_cause
from fake_vllm.process_tree import fork_child, hold_shared_memory, set_title, start_strays
from fake_vllm.script import Script

# One byte each from the API server; a TOKEN is answered with itself, and there is a PROMPT_TOKEN for each of a prompt.
REQUEST_BEGINS, REQUEST_ENDS, PROMPT_TOKEN, TOKEN, CRASH = b"+", b"-", b"p", b"t", b"x"

_WORKER_GRACE_S = 0.5  # 5 s in the real one


class EngineCore:
    """One EngineCore, to be run in a process of its own.

    It outlives the API server, drains at SIGTERM when it serves, and has no ear for SIGTERM while it loads.
    """

    def __init__(self, script: Script, arguments: ServeArguments, channel: socket.socket, tracker_fd: int) -> None:
        self._script = script
        self._arguments = arguments
        self._channel: socket.socket | None = channel
        self._tracker_fd = tracker_fd
        self._workers: dict[socket.socket, int] = {}
        self._num_in_flight = 0
        self._stop_signal: int | None = None

    def run(self) -> int:
        """Load, serve, and return the exit status of the process."""
        wake_fd = self._record_stop_signals()
        start_strays(self._script)
        set_title("VLLM::EngineCore", self._script, hides_environ=True)
        self._log = ProcessLog("EngineCore", os.getpid())
        with hold_shared_memory(self._script):
            try:
                self._load()
            except ScriptedFaultError as fault:
                return self._fail_to_start(fault.phase)
            status = self._serve(wake_fd) if self._free_workers() else 1
            self._end_workers()
        return status

    def _record_stop_signals(self) -> int:
        """Have SIGTERM and SIGINT remembered; return a file that becomes readable with one."""
        read_fd, write_fd = os.pipe()
        os.set_blocking(write_fd, False)
        signal.set_wakeup_fd(write_fd)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, self._record_stop)
        return read_fd

    def _record_stop(self, signal_number: int, _frame: object) -> None:
        self._stop_signal = self._stop_signal or signal_number

    def _tell(self, line: str) -> None:
        """Send the API server a line; it may be gone, and nothing here depends on it."""
        try:
            if self._channel is not None:
                self._channel.sendall(f"{line}\n".encode())
        except OSError:
            self._channel = None

    def _load(self) -> None:
        self._start_engine()
        worker_log = self._start_workers()
        self._log_ranks(worker_log)
        self._load_weights(worker_log)
        pass_phase("kv_cache", self._script)
        self._log_kv_cache()
        pass_phase("warmup", self._script)
        self._log.write_info("core.py:402", "init engine (profile, create kv cache, warmup model) took 0.05 s")

    def _start_engine(self) -> None:
        model = self._arguments.model
        self._log.write_info(
            "core.py:133",
            f"Initializing a V1 LLM engine (v{VERSION}) with config: model='{model}', speculative_config=None, "
            f"tokenizer='{model}', skip_tokenizer_init=False, max_seq_len={self._arguments.max_model_len}, "
            f"tensor_parallel_size={self._arguments.tensor_parallel_size}, pipeline_parallel_size=1",
        )
        pass_phase("engine_init", self._script)

    def _start_workers(self) -> ProcessLog:
        """Fork the workers; return the log of the process that will load the model."""
        num_workers = self._script.num_workers
        titles = [f"Worker_TP{rank}" for rank in range(num_workers)] if num_workers > 1 else ["Worker"][:num_workers]
        for title in titles:
            self._start_worker(title)
        pids = list(self._workers.values())
        return ProcessLog(titles[0], pids[0]) if titles else self._log

    def _start_worker(self, title: str) -> None:
        """Fork a worker that ends with this process: but, as in the real one, not while it loads."""
        ours, theirs = socket.socketpair()

        def work() -> int:
            set_title(f"VLLM::{title}", self._script, hides_environ=True)
            theirs.sendall(b"u")
            if not theirs.recv(1):
                hang()
            theirs.recv(1)
            return 0

        pid = fork_child(work, self._script, keep_fds=[self._tracker_fd, theirs.fileno()])
        self._tell(f"worker {pid}")
        self._workers[ours] = pid
        theirs.close()
        ours.recv(1)  # until it has its title; nothing comes of one that was killed

    def _log_ranks(self, log: ProcessLog) -> None:
        world_size = max(1, self._script.num_workers)
        place = f"distributed_init_method=file:///tmp/vllm_dist_{os.getpid():032x} backend=gloo"
        log.write_info("parallel_state.py:1906", f"world_size={world_size} rank=0 local_rank=0 {place}")
        pass_phase("distributed", self._script)
        ranks = "DP rank 0, PP rank 0, PCP rank 0, TP rank 0, ETP rank 0, EP rank N/A, EPLB rank N/A"
        log.write_info("parallel_state.py:2350", f"rank 0 in world size {world_size} is assigned as {ranks}")

    def _load_weights(self, log: ProcessLog) -> None:
        log.write_info("cpu_model_runner.py:68", f"Starting to load model {self._arguments.model}...")
        write_log(format_shards(0, 1))
        pass_phase("weights", self._script)
        write_log(format_shards(1, 1) + "\n")
        log.write_info("default_loader.py:501", "Loading weights took 0.01 seconds")

    def _log_kv_cache(self) -> None:
        max_model_len = self._arguments.max_model_len
        concurrency = f"Maximum concurrency for {max_model_len:,} tokens per request: {65536 / max_model_len:.2f}x"
        self._log.write_info("kv_cache_utils.py:2327", f"CPU KV cache size: 65,536 tokens, {concurrency}")

    def _fail_to_start(self, phase: str) -> int:
        """Die as the script says; a leader that dies by a signal dies itself, and this process lives on."""
        if self._script.die_by_signal is not None and self._script.die_process == "leader":
            self._tell(f"fault {phase}")
            hang()
        if not write_scripted_cause(self._script) and self._script.die_by_signal is None:
            frames = ["v1/engine/core.py:1482 run_engine_core", "v1/engine/core.py:144 __init__"]
            cause = format_traceback(frames, f"RuntimeError: scripted failure in {phase}")
            self._log.write_error("core.py:1510", f"EngineCore failed to start.\n{cause}")
        if self._script.die_by_signal is not None:
            die_by(self._script.die_by_signal)
        self._end_workers()
        return 1

    def _free_workers(self) -> bool:
        """Tell the workers that loading is over, and then the API server; return False if a worker is gone."""
        try:
            for worker in self._workers:
                worker.sendall(b"r")
        except OSError:
            cause = "WorkerProc initialization failed due to an exception in a background process."
            self._log.write_error("core.py:1510", f"EngineCore failed to start.\nException: {cause}")
            return False
        self._tell("ready")
        return True

    def _serve(self, wake_fd: int) -> int:
        """Answer for each token until a signal has been drained, a worker dies or a crash is asked for."""
        drain_deadline: float | None = None
        while True:
            if self._stop_signal is not None and drain_deadline is None:
                drain_deadline = time.monotonic() + self._begin_drain(self._stop_signal)
            if drain_deadline is not None and (self._num_in_flight <= 0 or time.monotonic() >= drain_deadline):
                self._log.write_info("core.py:1499", "[shutdown] EngineCore: exiting busy loop")
                return 0
            for source in self._wait(wake_fd, drain_deadline):
                if source in self._workers:
                    return self._die_with_worker()
                if source is self._channel and not self._handle_messages():
                    return self._die_of_request()

    def _wait(self, wake_fd: int, deadline: float | None) -> list[object]:
        """Return what has something to say; the bytes of `wake_fd` say nothing themselves."""
        sources: list[int | socket.socket] = [wake_fd, *self._workers]
        if self._channel is not None:
            sources.append(self._channel)
        timeout_s = None if deadline is None else max(0, deadline - time.monotonic())
        readable = select.select(sources, [], [], timeout_s)[0]
        if wake_fd in readable:
            os.read(wake_fd, 512)
        return list(readable)

    def _begin_drain(self, signal_number: int) -> float:
        """Log that draining starts; return for how many seconds requests in flight may go on."""
        timeout_s = self._arguments.shutdown_timeout_s
        name = signal.Signals(signal_number).name
        mode = "drain" if timeout_s else "abort"
        self._log.write_info("core.py:1454", f"[shutdown] EngineCore: trigger received signal={name}")
        self._log.write_info("core.py:1635", f"[shutdown] EngineCore: start mode={mode} timeout={timeout_s}s")
        if self._num_in_flight:
            count = f"count={self._num_in_flight} timeout={timeout_s}s"
            self._log.write_info("core.py:1655", f"[shutdown] EngineCore: draining in-flight requests {count}")
        return timeout_s

    def _handle_messages(self) -> bool:
        """Read what the API server sent; return False if it is a request that crashes the engine."""
        assert self._channel is not None
        try:
            messages = self._channel.recv(4096)
            self._num_in_flight += messages.count(REQUEST_BEGINS) - messages.count(REQUEST_ENDS)
            _compute(messages.count(PROMPT_TOKEN) * self._script.prefill_token_s)
            self._channel.sendall(TOKEN * messages.count(TOKEN))
        except OSError:
            messages = b""
        if not messages:
            # The API server is dead. The real EngineCore does not notice and keeps the device.
            self._channel = None
        return CRASH not in messages

    def _die_with_worker(self) -> int:
        cause = "Worker proc VllmWorker-0 died unexpectedly (exit code: None), shutting down executor."
        self._log.write_error("multiproc_executor.py:315", cause)
        self._log_fatal_error("RuntimeError: Executor failed.")
        return 1

    def _die_of_request(self) -> int:
        if not write_scripted_cause(self._script):
            self._log_fatal_error("AssertionError: assert self.intermediate_tensors is not None")
        if self._script.die_by_signal is not None:
            die_by(self._script.die_by_signal)
        return 1

    def _log_fatal_error(self, cause: str) -> None:
        frames = ["v1/engine/core.py:1496 run_engine_core", "v1/engine/core.py:1551 run_busy_loop"]
        self._log.write_error(
            "core.py:1512", f"EngineCore encountered a fatal error.\n{format_traceback(frames, cause)}"
        )

    def _end_workers(self) -> None:
        """End the workers by their pipe and SIGTERM; those that are left are killed."""
        for worker, pid in self._workers.items():
            worker.close()
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + _WORKER_GRACE_S
        for pid in self._workers.values():
            while os.waitpid(pid, os.WNOHANG) == (0, 0):
                if time.monotonic() >= deadline:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.005)


def _compute(duration_s: float) -> None:
    """Use the CPU for this long."""
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        pass
