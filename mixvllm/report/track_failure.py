"""What a tracker raises, or the lack of one, as an error of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from mixvllm.errors import ConfigError, Fault, TrackerFailed


@contextmanager
def failing_as(name: str) -> Iterator[None]:
    """Turn whatever the tracker `name`, its store or the network raise into `TrackerFailed`."""
    try:
        yield
    except Exception as error:
        told = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        raise TrackerFailed(f"{name}: {told}\n  next: the results are in their folder; try again later") from error


def not_installed(name: str, error: ModuleNotFoundError) -> ConfigError:
    """Return the error that names the extra of the tracker `name`."""
    words = f"{error.name} is not installed\n  next: pip install 'mixvllm[{name}]'"
    return ConfigError([Fault("--to", words, name)])
