"""Goes on with a sweep that was stopped, killed, or is to have more points."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.multirun import run_multirun
from mixvllm.errors import ConfigError, Fault
from mixvllm.sweep.launched import Launched, read_launched
from mixvllm.sweep.sweep_folder import SweepFolder


def resume(path: str, overrides: Sequence[str]) -> int:
    """Run what is left of the sweep in `path`, with further overrides; return what `run_multirun` does.

    Raises:
        ConfigError: there is no sweep in `path`, or it was started in another working directory.
    """
    folder = SweepFolder(Path(path).absolute())
    launched = read_launched(folder)
    _check_place(launched)
    again = launched.again(folder.name, overrides)
    return run_multirun(Arguments(again, launched.config_dirs, "multirun"), goes_on_in=folder.path)


def _check_place(launched: Launched) -> None:
    place = Path(launched.folder)
    if not place.is_dir():
        raise ConfigError([Fault("", f"the sweep was started in {place}, which is gone; its paths may be relative")])
    if not place.samefile(Path.cwd()):
        raise ConfigError([Fault("", f"the sweep was started in another folder\n  next: cd {place}")])
