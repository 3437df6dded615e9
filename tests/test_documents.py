"""Every command that the documents show is one that works as far as it can be tried without what it names."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from mixvllm.cli.app import app
from tests.fakes.interpreter import make_interpreter

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
_NOT_RUN = ("--help", "--cfg")


def commands(start: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the document and the words of each command that begins with `start`, lines that go on joined."""
    for document in DOCUMENTS:
        text = re.sub(r" *\\\n +", " ", document.read_text())
        for line in re.findall(rf"^ {{4}}{re.escape(start)} (.*)$", text, re.MULTILINE):
            yield document.name, shlex.split(line.partition(";")[0], comments=True)


def name_of(value: object) -> str:
    return " ".join(value) if isinstance(value, list) else str(value)


def test_there_are_commands_to_try() -> None:
    assert len(list(commands("python launch.py"))) > 12
    assert len(list(commands("mixvllm"))) > 10


@pytest.mark.parametrize(("document", "words"), list(commands("python launch.py")), ids=name_of)
def test_a_launch_of_the_documents_would_start(document: str, words: list[str], tmp_path: Path) -> None:
    is_local = not any(word.startswith("runtime=") for word in words)
    python = [f"server.python={make_interpreter(tmp_path / 'fake')}"] if is_local else []
    own = [*python, "dry_run=true", "preflight=off"]
    extra = [] if words[0] in _NOT_RUN else own
    command = [sys.executable, str(ROOT / "launch.py"), *words, *extra]

    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert done.returncode == 0, f"{document}: {done.stderr}"
    assert done.stdout.strip()


@pytest.mark.parametrize(("document", "words"), list(commands("mixvllm")), ids=name_of)
def test_a_command_of_the_documents_is_one(document: str, words: list[str]) -> None:
    name, *arguments = words
    known = {command.name or name_of_function(command.callback): command for command in app.registered_commands}
    assert name in known, document

    # typer parses an application's only command without its name
    alone = typer.Typer()
    alone.command(name, context_settings=known[name].context_settings)(known[name].callback or typer.Abort)
    typer.main.get_command(alone).make_context(name, arguments)


def name_of_function(function: object) -> str:
    return str(getattr(function, "__name__", "")).replace("_", "-")
