"""Recorded logs without what they tell of the machine they were made on."""

from __future__ import annotations

import getpass
import re
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

MAX_BYTES = 60_000
_HEAD_BYTES = 30_000
_KEPT_ADDRESSES = ("127.0.0.1", "0.0.0.0", "10.0.0.1")
_ADDRESS = re.compile(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])")


def neutral(text: str, places: Mapping[str, str]) -> str:
    """Return `text` with every path in `places`, and this machine's own names, replaced.

    Args:
        text: a log.
        places: what to write instead of a path.
    """
    prefix, base = Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()
    known = {**places, str(prefix): "/venv", str(base): "/python", str(Path.home()): "/home/user"}
    for path in sorted(known, key=len, reverse=True):
        text = text.replace(path, known[path])
    text = re.sub(rf"\b{re.escape(socket.gethostname())}\b(?=[:/\s.])", "node-1", text)
    if getpass.getuser() != "root":
        text = re.sub(rf"\b{re.escape(getpass.getuser())}\b", "user", text)
    return _ADDRESS.sub(lambda found: found[0] if found[0] in _KEPT_ADDRESSES else "192.0.2.7", text)


def shortened(text: str) -> str:
    """Return `text`, or its beginning and its end where it is long."""
    if len(text) <= MAX_BYTES:
        return text
    head, tail = text[:_HEAD_BYTES], text[-(MAX_BYTES - _HEAD_BYTES) :]
    return f"{head[: head.rindex(chr(10)) + 1]}… left out …\n{tail[tail.index(chr(10)) + 1 :]}"
