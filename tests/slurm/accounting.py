"""Accounting for a cluster: a database that listens on no port, and slurmdbd before it."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.slurm.configuration import munge_socket, user_name

PACKAGES = {"slurmdbd": "slurmdbd", "mariadbd": "mariadb-server-core"}
"""What must be installed beside Slurm: the Debian package of each program."""

_TABLES = Path("/usr/share/mysql/mysql_system_tables.sql")
_SMALL_AND_QUICK = (
    *("--no-defaults", "--skip-networking", "--skip-grant-tables", "--performance-schema=off"),
    *("--innodb-log-file-size=4M", "--innodb-buffer-pool-size=32M", "--aria-log-file-size=8M"),
    *("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync"),
    "--innodb-lock-wait-timeout=900",  # slurmdbd refuses to start with less
)


def database_command(program: str, folder: Path) -> list[str]:
    """Return the command that runs the database in `folder`."""
    return [program, *_SMALL_AND_QUICK, f"--user={user_name()}", f"--datadir={folder / 'db'}"]


def database_arguments(folder: Path) -> list[str]:
    """Return what the database needs to serve."""
    run = folder / "run"
    return [f"--socket={database_socket(folder)}", f"--pid-file={run / 'mysql.pid'}"]


def database_socket(folder: Path) -> Path:
    """Return where the database answers."""
    return folder / "run" / "mysql.socket"


def make_database(program: str, folder: Path) -> None:
    """Make an empty database."""
    (folder / "db" / "mysql").mkdir(parents=True)
    tables = f"use mysql;\n{_TABLES.read_text()}"
    command = [*database_command(program, folder), "--bootstrap"]
    subprocess.run(command, input=tables, text=True, check=True, capture_output=True)


def slurmdbd_conf(folder: Path, port: int) -> str:
    """Return slurmdbd.conf."""
    return f"""\
AuthType=auth/munge
AuthInfo=socket={munge_socket(folder)}
DbdHost={socket.gethostname()}
DbdAddr=127.0.0.1
DbdPort={port}
SlurmUser={user_name()}
LogFile={folder}/log/slurmdbd.log
PidFile={folder}/run/slurmdbd.pid
CommitDelay=0
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm_acct_db
"""


def accounting_lines(folder: Path, port: int) -> str:
    """Return what slurm.conf says of accounting."""
    return f"""\
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={port}
# For munge this is the socket, not a password.
AccountingStoragePass={munge_socket(folder)}
"""


def database_environment(folder: Path) -> Mapping[str, str]:
    """Return what has slurmdbd find the database."""
    return {"MYSQL_UNIX_PORT": str(database_socket(folder))}
