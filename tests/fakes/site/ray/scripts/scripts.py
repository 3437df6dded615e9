"""`ray start --block` as Ray 2.60 has it: the head listens, another node joins it, both stay until they are ended."""

import argparse
import contextlib
import signal
import socket
import threading
import time


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser("ray")
    start = parser.add_subparsers(required=True).add_parser("start")
    role = start.add_mutually_exclusive_group(required=True)
    role.add_argument("--head", action="store_true")
    role.add_argument("--address")
    start.add_argument("--node-ip-address", required=True)
    start.add_argument("--port", type=int)
    start.add_argument("--include-dashboard")
    start.add_argument("--temp-dir")
    start.add_argument("--disable-usage-stats", action="store_true")
    start.add_argument("--block", action="store_true", required=True)
    given = parser.parse_args()
    if given.head:
        listener = socket.create_server((given.node_ip_address, given.port))
        threading.Thread(target=_accept, args=[listener], daemon=True).start()
    else:
        host, _, port = given.address.rpartition(":")
        _join(host, int(port))
        print(f"Ray runtime started on {given.node_ip_address}.", flush=True)
    signal.pause()


def _accept(listener: socket.socket) -> None:
    while True:
        listener.accept()


def _join(host: str, port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection((host, port))
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main()
