"""How a sweep was asked for, so that it can be asked for again: `launched.json` in its folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixvllm.errors import ConfigError, Fault
from mixvllm.runs.files import write_json
from mixvllm.runs.journal import SCHEMA_VERSION
from mixvllm.runs.records import read_json
from mixvllm.sweep.override import key_of
from mixvllm.sweep.sweep_folder import SweepFolder

_ONE_TIME = ("sweep.name", "sweep.rerun")


@dataclass(frozen=True)
class Launched:
    """What was typed, and where.

    Args:
        overrides: shape (n,).
        config_dirs: folders with the user's own options.
        folder: the working directory, absolute: paths in a configuration may be relative to it.
    """

    overrides: tuple[str, ...]
    config_dirs: tuple[str, ...]
    folder: str

    def again(self, name: str, overrides: Sequence[str]) -> tuple[str, ...]:
        """Return the overrides that go on with the sweep `name`, with further ones.

        What was to be done once more then is not done once more again.
        """
        kept = [text for text in self.overrides if key_of(text) not in _ONE_TIME]
        return (*kept, f"sweep.name={name}", *overrides)


def write_launched(folder: SweepFolder, overrides: Sequence[str], config_dirs: Sequence[str]) -> None:
    """Write how the sweep in `folder` was asked for. The caller holds the lock."""
    record = {"schema": SCHEMA_VERSION, "overrides": overrides, "config_dirs": config_dirs, "cwd": str(Path.cwd())}
    write_json(folder.launched, record)


def read_launched(folder: SweepFolder) -> Launched:
    """Return how the sweep in `folder` was asked for.

    Raises:
        ConfigError: there is no sweep.
    """
    record = read_json(folder.launched)
    try:
        return Launched(tuple(record["overrides"]), tuple(record["config_dirs"]), record["cwd"])  # type: ignore[index]
    except (TypeError, KeyError):
        words = f"{folder.path} is not the folder of a sweep that was started; ls outputs/sweeps shows those here"
        raise ConfigError([Fault("", words)]) from None
