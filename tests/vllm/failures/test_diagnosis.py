"""What a diagnosis tells a user, and what is kept of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mixvllm.vllm.failures import Diagnosis

LOG = Path("outputs/server.log")
KNOWN = Diagnosis(
    id="max-model-len-exceeds-model",
    kind="config",
    cause="8192 tokens are asked for, and the model was made for 4096.",
    fix="Lower inference.max_model_len.",
    override="inference.max_model_len=4096",
    line="  Value error, User-specified max_model_len (8192) is greater",
    line_number=55,
    context=("a line", "another"),
)


def test_a_message_says_what_where_and_the_override_to_try() -> None:
    assert KNOWN.message(LOG) == (
        "8192 tokens are asked for, and the model was made for 4096.\n"
        "  log: outputs/server.log:55\n"
        "    Value error, User-specified max_model_len (8192) is greater\n"
        "  try: inference.max_model_len=4096"
    )


def test_without_an_override_a_message_says_what_to_do() -> None:
    assert replace(KNOWN, override=None).message(LOG).endswith("\n  next: Lower inference.max_model_len.")


def test_a_cause_that_no_line_shows_names_the_log_alone() -> None:
    assert "  log: outputs/server.log\n  try: " in replace(KNOWN, line=None, line_number=None).message(LOG)


def test_of_an_unclassified_failure_the_end_of_the_log_is_shown() -> None:
    unknown = replace(KNOWN, id="unclassified", kind="unknown", override=None, cause="It is not known.")

    assert "  its end:\n    a line\n    another\n  next: " in unknown.message(LOG)


def test_what_is_kept_is_all_but_the_lines_around() -> None:
    assert KNOWN.record() == {
        "id": "max-model-len-exceeds-model",
        "kind": "config",
        "cause": "8192 tokens are asked for, and the model was made for 4096.",
        "fix": "Lower inference.max_model_len.",
        "override": "inference.max_model_len=4096",
        "line": "  Value error, User-specified max_model_len (8192) is greater",
        "line_number": 55,
    }
