"""An engine over several nodes: the first waits for all others, which have no API server and never notice its death."""

import os
import signal
import socket
import sys
import time

from fake_vllm import VERSION
from fake_vllm.arguments import ServeArguments
from fake_vllm.log_lines import ProcessLog
from fake_vllm.phases import hang
from fake_vllm.process_tree import fork_child, set_title
from fake_vllm.script import Script

_POLL_S = 0.02


def meet_others(arguments: ServeArguments) -> list[socket.socket]:
    """Wait, without a deadline, until an engine of each other node has come; return the links to them."""
    if arguments.nnodes == 1:
        return []
    with socket.create_server((arguments.master_addr, arguments.master_port)) as listener:
        return [listener.accept()[0] for _ in range(arguments.nnodes - 1)]


def run_headless(script: Script, arguments: ServeArguments, log: ProcessLog) -> int:
    """Run the engine of a node that is not the first; return the exit status once its worker has ended, 0 as vLLM's.

    SIGTERM ends both.
    """
    address = f"{arguments.master_addr}:{arguments.master_port}"
    words = f"Launching vLLM (v{VERSION}) headless multiproc executor, with head node address {address}"
    log.write_info("serve.py:226", f"{words} for torch.distributed process group.")
    if script.die_node == arguments.node_rank:
        log.write_error("serve.py:230", "RuntimeError: scripted failure of a node")
        return script.exit_code

    def work() -> int:
        set_title(f"VLLM::Worker_TP{arguments.node_rank}", script)
        with _link_to(arguments.master_addr, arguments.master_port):
            hang()
        return 0

    worker = fork_child(work, script)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        os.waitpid(worker, 0)
    except SystemExit:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)
    time.sleep(script.watchdog_s)
    return 0


def _link_to(host: str, port: int) -> socket.socket:
    while True:
        try:
            return socket.create_connection((host, port))
        except OSError:
            time.sleep(_POLL_S)
