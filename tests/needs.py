"""What tests need of this machine: in CI it must be there, elsewhere the tests that need it are skipped."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest


class PackageMissing(RuntimeError):
    """A package is not installed, where it must be."""


def need(packages: Sequence[str], what: str) -> None:
    """Skip the test where Debian's `packages` are missing; in CI fail it.

    Args:
        packages: those that are missing, shape (n,); none = all is there.
        what: they are.

    Raises:
        PackageMissing: there are some, in CI.
    """
    if packages:
        words = f"needs {what}: apt-get install --no-install-recommends {' '.join(packages)}"
        if os.environ.get("CI"):
            raise PackageMissing(words)
        pytest.skip(words)
