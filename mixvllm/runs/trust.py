"""Reading records that somebody else could have planted: whoever can write them could have us stop other processes.

A record counts where it, and the folder it is in, belong to this user (or root) and nobody else can write to them.
"""

from __future__ import annotations

import errno
import json
import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixvllm.errors import UntrustedFile
from mixvllm.runs.records import MAX_BYTES


def read_record(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file at `path`, if nobody else can have written it.

    File and folder are judged as they are opened: what is put in their place meanwhile is not read.

    Raises:
        UntrustedFile: it, or its folder, is a link, belongs to somebody else, can be written by others, or is no
            record: too large, or no JSON object.
        FileNotFoundError: there is no such file, or no such folder.
    """
    with _opened_folder(path.parent) as folder, _opened(path, os.O_RDONLY | os.O_NONBLOCK, folder) as descriptor:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise UntrustedFile(f"{path} is no plain file: no record\n  next: look what it is, and delete it")
        _check_owner(path, status)
        data = os.pread(descriptor, MAX_BYTES + 1, 0)
    if len(data) > MAX_BYTES:
        raise UntrustedFile(f"{path} is larger than {MAX_BYTES >> 20} MiB: no record\n  next: look what it is")
    return _parsed(path, data)


@contextmanager
def _opened_folder(path: Path) -> Iterator[int]:
    with _opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
        _check_owner(path, os.fstat(descriptor))
        yield descriptor


@contextmanager
def _opened(path: Path, flags: int, folder: int | None = None) -> Iterator[int]:
    """Open `path` itself, never what a link there points to; by its name in `folder`, if that is given."""
    try:
        name = path if folder is None else path.name
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError as error:
        raise FileNotFoundError(error.errno, error.strerror, str(path)) from None
    except OSError as error:
        raise UntrustedFile(_refusal(path, error)) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refusal(path: Path, error: OSError) -> str:
    if path.is_symlink():
        return f"{path} is a link to {path.readlink()}: ours never is\n  next: look who made it, and delete it"
    if error.errno == errno.ENOTDIR:
        return f"{path} is no folder\n  next: name the folder of a run"
    return f"{path} cannot be opened: {error.strerror}\n  next: ls -ld {shlex.quote(str(path))}"


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise UntrustedFile(
            f"{path} belongs to {_user(status.st_uid)}, not to you ({_user(os.geteuid())})\n"
            "  next: use it as that user, or copy what you need into a folder of your own"
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        who = "everybody" if status.st_mode & stat.S_IWOTH else "its group"
        raise UntrustedFile(
            f"{path} can be written by {who} (mode {stat.S_IMODE(status.st_mode):04o})\n"
            f"  next: look whether it is as you left it; then: chmod go-w {shlex.quote(str(path))}"
        )


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        words = "nested too deeply" if isinstance(error, RecursionError) else str(error).partition("\n")[0]
        raise UntrustedFile(f"{path} holds no JSON: {words}\n  next: delete it; ours are always whole") from error
    if not isinstance(value, dict):
        raise UntrustedFile(f"{path} holds no JSON object\n  next: delete it; it is not ours")
    return value
