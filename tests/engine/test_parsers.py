"""The recorded names of parsers, which the model catalogue is checked against, are those of the installed vLLM."""

from __future__ import annotations

import json
import subprocess

from mixvllm.vllm.installation import Installation
from tests.config.test_catalogue import PARSERS

READ_REGISTRIES = """
import json
from vllm.reasoning import ReasoningParserManager
from vllm.tool_parsers import ToolParserManager

names = {
    "tool_call_parser": sorted(ToolParserManager.list_registered()),
    "reasoning_parser": sorted(ReasoningParserManager.list_registered()),
}
print("\\n" + json.dumps(names))
"""


def test_the_recorded_parsers_are_those_of_the_installed_release(installation: Installation) -> None:
    """Where this fails for a new release: write what vLLM says to tests/config/parsers.json."""
    done = subprocess.run([installation.python, "-c", READ_REGISTRIES], capture_output=True, text=True)

    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == PARSERS
