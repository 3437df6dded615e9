"""The leader, which stays the program that was started: start-up, serving and shutdown as in vLLM 0.32."""

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from fake_vllm import VERSION
from fake_vllm.arguments import ServeArguments, parse_serve_arguments
from fake_vllm.engine_client import EngineClient, EngineDeadError
from fake_vllm.log_lines import (
    ProcessLog,
    format_banner,
    format_engine_dead,
    format_traceback,
    write_log,
    write_uvicorn,
)
from fake_vllm.nodes import meet_others, run_headless
from fake_vllm.phases import ScriptedFaultError, die_by, hang, pass_phase, write_scripted_cause
from fake_vllm.process_tree import limit_lifetime, record_pid, start_resource_tracker
from fake_vllm.request_load import RequestLoad
from fake_vllm.script import Script, read_script

if TYPE_CHECKING:
    from fake_vllm.http_server import HttpServer

# Events of the serving loop beside the numbers of signals.
_ENGINE_ENDED, _DIE = 200, 201
_SECRETS = {"api_key", "hf_token"}


def main() -> None:
    """Run the command line of the fake vLLM."""
    argv = sys.argv[1:]
    if argv in (["-v"], ["--version"]):
        print(VERSION)
        return
    sys.exit(ApiServer(read_script(os.environ)).run(argv))


class ApiServer:
    """One leader process; one loop takes all decisions once it serves."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._log = ProcessLog("APIServer", os.getpid())
        # One byte is one event: a signal, which Python itself writes here, or what a thread has seen.
        self._events_fd, self._new_events_fd = os.pipe()
        os.set_blocking(self._new_events_fd, False)
        self._engine: EngineClient | None = None
        self._links: list[socket.socket] = []

    def run(self, argv: list[str]) -> int:
        """Return the exit status; death by a signal does not return."""
        limit_lifetime(self._script)
        record_pid("APIServer", self._script)
        try:
            pass_phase("imports", self._script)
            arguments = parse_serve_arguments(argv, os.environ, self._script.unknown_flags)
            if arguments.is_headless:
                return run_headless(self._script, arguments, self._log)
            engine, server = self._start(arguments)
        except ScriptedFaultError as fault:
            return self._die_in(fault.phase)
        except EngineDeadError:
            return self._fail_with_engine()
        except KeyboardInterrupt:
            self._die_of_interrupt()
        return self._serve(arguments, engine, server)

    def _start(self, arguments: ServeArguments) -> tuple[EngineClient, "HttpServer"]:
        """Bind, load and listen, in vLLM's order: a second server on the port fails at its end."""
        self._log_arguments(arguments)
        bound_socket = _bind(arguments.host, arguments.port)
        # From here until it serves, the real server goes on after SIGTERM.
        signal.signal(signal.SIGTERM, lambda *_: None)
        self._pass_config(arguments)
        engine = self._start_engine(arguments)
        self._links = meet_others(arguments)
        # Loaded while the engine loads: it is a third of the program's own start time.
        from fake_vllm.http_server import HttpServer
        from fake_vllm.service import Service

        service = Service(self._script, arguments, engine, RequestLoad(arguments.max_num_seqs), self._log)
        server = HttpServer(bound_socket, service)
        engine.wait_ready()
        self._announce(arguments)
        try:
            server.server_activate()
        except OSError:
            engine.kill()
            raise
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return engine, server

    def _log_arguments(self, arguments: ServeArguments) -> None:
        self._log.write_info("api_utils.py:347", format_banner(VERSION, arguments.model))
        shown = {name: "***" if name in _SECRETS else value for name, value in arguments.given.items()}
        self._log.write_info("api_utils.py:286", f"non-default args: {shown}")

    def _pass_config(self, arguments: ServeArguments) -> None:
        self._log.write_info("model.py:733", "Resolved architecture: LlamaForCausalLM")
        _flood_log(self._script.log_flood_mb)
        pass_phase("config", self._script)
        self._log.write_info("model.py:2152", f"Using max model len {arguments.max_model_len}")

    def _start_engine(self, arguments: ServeArguments) -> EngineClient:
        tracker_fd = start_resource_tracker(self._script)
        self._engine = EngineClient(self._script, arguments, tracker_fd, lambda: self._put_event(_ENGINE_ENDED))
        return self._engine

    def _announce(self, arguments: ServeArguments) -> None:
        """Log readiness, which the real server does before it listens; from here signals are drained."""
        from fake_vllm.routes import ROUTES

        self._log.write_info("entry.py:140", f"Starting vLLM server on http://{arguments.host}:{arguments.port}")
        self._log.write_info("launcher.py:186", "Available routes are:")
        for method, routes in ROUTES.items():
            for path in routes:
                self._log.write_info("launcher.py:195", f"Route: {path}, Methods: {method}")
        pass_phase("http", self._script)
        write_uvicorn(f"Started server process [{os.getpid()}]", "Waiting for application startup.")
        signal.set_wakeup_fd(self._new_events_fd)
        for signal_number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signal_number, lambda *_: None)
        write_uvicorn("Application startup complete.")

    def _serve(self, arguments: ServeArguments, engine: EngineClient, server: "HttpServer") -> int:
        if self._script.die_at_file is not None:
            threading.Thread(target=self._die_at, args=[self._script.die_at_file], daemon=True).start()
        while True:
            event = os.read(self._events_fd, 1)[0]
            if event in (signal.SIGTERM, signal.SIGINT):
                return self._shut_down(arguments, engine, server.service.load)
            if event == _ENGINE_ENDED:
                return self._leave_dead_engine(server.service.load)
            if self._script.die_process == "leader":
                return self._die_in("serving")
            engine.crash()

    def _die_at(self, path: str) -> None:
        while not Path(path).exists():
            time.sleep(0.01)
        self._put_event(_DIE)

    def _put_event(self, event: int) -> None:
        os.write(self._new_events_fd, bytes([event]))

    def _shut_down(self, arguments: ServeArguments, engine: EngineClient, load: RequestLoad) -> int:
        """Drain for at most the shutdown timeout and leave; no later signal is heard."""
        timeout_s = arguments.shutdown_timeout_s
        mode = "drain" if timeout_s else "abort"
        self._log.write_info("launcher.py:254", "[shutdown] API server: shutdown triggered")
        if self._script.hang_on_term:
            hang()
        load.is_draining = True
        self._log.write_info(
            "launcher.py:270", f"[shutdown] API server: stopping engine client mode={mode} timeout={timeout_s}s"
        )
        self._log.write_info("utils.py:628", "[shutdown] Process manager: send sigterm to process EngineCore")
        engine.stop(timeout_s)
        self._log.write_info("launcher.py:279", "[shutdown] API server: engine client stopped")
        load.abort()
        time.sleep(self._script.stop_s)
        self._log.write_info("launcher.py:304", "[shutdown] API server: shutting down FastAPI HTTP server")
        return _close_http(load)

    def _leave_dead_engine(self, load: RequestLoad) -> int:
        """Exit 0 after a while, as if nothing had gone wrong: the real server does."""
        self._log.write_warning(
            "core_client.py:817", "[shutdown] MPClient: engine core exited unexpectedly; starting cleanup"
        )
        self._log.write_error("async_llm.py:906", f"AsyncLLM output_handler failed.\n{format_engine_dead()}")
        load.abort()
        time.sleep(self._script.watchdog_s)
        return _close_http(load)

    def _die_in(self, phase: str) -> int:
        """Die of the scripted fault: by a signal at once, or with an exit status after the engine."""
        has_cause = write_scripted_cause(self._script)
        if self._script.die_by_signal is not None:
            die_by(self._script.die_by_signal)
        if not has_cause:
            frames = ["entrypoints/cli/main.py:126 <module>", "entrypoints/cli/serve.py:156 cmd"]
            write_log(format_traceback(frames, f"RuntimeError: scripted failure in {phase}") + "\n")
        if self._engine is not None:
            self._engine.kill()
        return self._script.exit_code

    def _fail_with_engine(self) -> int:
        """Report, without the cause, that the engine ended while it loaded."""
        status = self._engine.status if self._engine is not None else None
        failed = {"EngineCore": status} if status is not None and status < 0 else {}
        cause = "Engine core initialization failed. See root cause above."
        frames = ["entrypoints/cli/serve.py:156 cmd", "v1/engine/utils.py:1431 wait_for_engine_startup"]
        if self._script.die_log_file is None:
            write_log(format_traceback(frames, f"RuntimeError: {cause} Failed core proc(s): {failed}") + "\n")
        return self._script.exit_code

    def _die_of_interrupt(self) -> NoReturn:
        """End the engine and then die by SIGINT, as Python does when nothing catches it."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._engine is not None:
            time.sleep(self._script.init_interrupt_s)
            self._engine.kill()
        write_log(format_traceback(["entrypoints/cli/main.py:126 <module>"], "KeyboardInterrupt") + "\n")
        die_by(signal.SIGINT)


def _bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound but does not listen: until then another may bind as well."""
    bound_socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    bound_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound_socket.bind((host, port))
    return bound_socket


def _close_http(load: RequestLoad) -> int:
    write_uvicorn("Shutting down", "Waiting for application shutdown.")
    load.wait_idle()
    write_uvicorn("Application shutdown complete.", f"Finished server process [{os.getpid()}]")
    return 0


def _flood_log(num_mb: float) -> None:
    """Write binary without a newline."""
    block = os.urandom(1 << 16).replace(b"\n", b"\0")
    for _ in range(int(num_mb * (1 << 20)) // len(block)):
        write_log(block)
