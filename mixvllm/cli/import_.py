"""An existing vLLM command line as overrides, as an experiment file or as JSON: for `mixvllm import`."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import yaml

from mixvllm.errors import ConfigError, Fault
from mixvllm.vllm.import_command import ImportedCommand, import_command, nested
from mixvllm.vllm.override_text import is_bare, without_interpolations
from mixvllm.vllm.release import snapshot

_YAML_HEAD = """\
# @package _global_
# mixvllm launch --config-dir FOLDER experiment=NAME     with this file as FOLDER/experiment/NAME.yaml
defaults:
  - override /model: default

"""


def import_words(words: Sequence[str], form: str) -> int:
    """Print what `words` import to, and remarks on stderr; return the exit code.

    Args:
        words: the command; one word is its whole text, `-` stands for the text on stdin.
        form: `command`, `yaml` or `json`.

    Raises:
        ConfigError: it cannot be imported.
    """
    imported = import_command(_command(words), snapshot())
    sys.stdout.write(_FORMS[form](imported))
    if form != "json":
        sys.stderr.writelines(f"{remark}\n" for remark in imported.remarks)
    return 0


def _command(words: Sequence[str]) -> str | Sequence[str]:
    if not words:
        raise ConfigError([Fault("", "no command line is given: mixvllm import -- vllm serve MODEL …, or - for stdin")])
    if list(words) == ["-"]:
        return sys.stdin.read()
    return words[0] if len(words) == 1 else words


def _as_command(imported: ImportedCommand) -> str:
    return " \\\n  ".join(["mixvllm launch", *map(shlex.quote, imported.overrides)]) + "\n"


def _as_json(imported: ImportedCommand) -> str:
    return json.dumps({"overrides": imported.overrides, "remarks": imported.remarks}, indent=2) + "\n"


def _as_yaml(imported: ImportedCommand) -> str:
    values = without_interpolations(nested(imported.values))
    return _YAML_HEAD + yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


class _Dumper(yaml.SafeDumper):
    """Quotes text that Hydra's reading of YAML could take for a number: it knows more of them than PyYAML."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_bare(text) else '"')


_Dumper.add_representer(str, _represent_text)
_FORMS = {"command": _as_command, "yaml": _as_yaml, "json": _as_json}
