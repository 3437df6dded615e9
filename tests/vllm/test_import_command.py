"""A command line that starts vLLM is read as vLLM reads it, and composes to the same command."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixvllm import ConfigError, ServeConfig, build_vllm_command, compose
from mixvllm.cli.import_ import import_words
from mixvllm.vllm.arguments import Argument
from mixvllm.vllm.command_words import split_command
from mixvllm.vllm.import_command import ImportedCommand, import_command
from mixvllm.vllm.override_text import write_value
from mixvllm.vllm.release import snapshot
from tests.vllm.command_lines import LINES
from tests.vllm.values import SETTABLE, value_for

RELEASE = snapshot()
ADDED = ["model=default", "server.host=0.0.0.0", "server.port=8000"]


def imported(command: str) -> ImportedCommand:
    return import_command(command, RELEASE)


def overrides(arguments: str) -> list[str]:
    """Return what `vllm serve m ARGUMENTS` imports to, without what every line does."""
    found = imported(f"vllm serve m {arguments}").overrides
    return [one for one in found if one not in (*ADDED, "model.name=m")]


def faults(command: str) -> str:
    with pytest.raises(ConfigError) as caught:
        imported(command)
    return str(caught.value)


def value_at(config: ServeConfig, path: str) -> Any:
    value: Any = config
    for part in path.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value


@pytest.mark.parametrize("name", LINES)
def test_the_overrides_compose_to_the_values_that_were_read(name: str) -> None:
    found = imported(LINES[name])

    config = compose(found.overrides)

    assert {path: value_at(config, path) for path in found.values} == found.values


@pytest.mark.parametrize("name", LINES)
def test_an_experiment_file_composes_to_the_same(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    import_words([LINES[name]], "yaml")
    file = tmp_path / "mine" / "experiment" / "imported.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(capsys.readouterr().out, encoding="utf-8")

    config = compose(["experiment=imported"], config_dirs=[tmp_path / "mine"])

    assert config == compose(imported(LINES[name]).overrides)


@pytest.mark.parametrize("name", LINES)
def test_the_printed_command_is_one_that_a_shell_reads(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    import_words([LINES[name]], "command")

    words = shlex.split(capsys.readouterr().out.replace("\\\n", " "))

    assert words == ["mixvllm", "launch", *imported(LINES[name]).overrides]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("-tp 4", ["inference.tensor_parallel_size=4"]),
        ("-tp=4 -q=awq", ["inference.tensor_parallel_size=4", "inference.quantization=awq"]),
        ("-qawq", ["inference.quantization=awq"]),
        ("--max_model_len 8k", ["inference.max_model_len=8k"]),
        ("--max-model-len AUTO", ["inference.max_model_len=auto"]),
        ("--max-model-len -1", ["inference.max_model_len=-1"]),
        ("--device-memory-utilization .5", ["inference.gpu_memory_utilization=0.5"]),
        ("--no-enable-prefix-caching", ["inference.enable_prefix_caching=false"]),
        ("--quantization None", []),
        ("--quantization awq --quantization None", []),
        ("-O3", ["+inference.optimization_level='3'"]),
        ("-O=1", ["+inference.optimization_level='1'"]),
        ("-O 2", ["+inference.optimization_level='2'"]),
        ("--allowed-origins '[\"*\"]'", ['+server.allowed_origins=["*"]']),
        ("--served-model-name a", ["model.served_model_name=a"]),
        ("--served-model-name a b", ["model.served_model_name=[a,b]"]),
        ("--shutdown-timeout 5", ["server.drain_timeout_s=5"]),
        ("--middleware a.B --middleware c.D", ["+server.middleware=[a.B,c.D]"]),
        ("--hf-overrides.a.b 1 --hf-overrides.a.c+=x,y --hf-overrides.a.c+ z", [
            "inference.hf_overrides={a:{b:1,c:[x,y,z]}}"
        ]),
        ("--compilation-config '{\"mode\": 1}' --compilation-config.mode 3", ["inference.compilation_config={mode:3}"]),
        ("--kv-transfer-config '{\"kv_buffer_size\": 5k}'", ["+inference.kv_transfer_config={kv_buffer_size:5000}"]),
        ("--override-generation-config '{\"top_k\": 5}'", ["generation.top_k=5"]),
        ("--generation-config vllm", ["generation.generation_config=vllm"]),
        ("--trust-remote-code", ["model.trust_remote_code=true", "model.trust_unpinned_code=true"]),
        ("--trust-remote-code --revision abc", ["model.trust_remote_code=true", "model.revision=abc"]),
    ],
)  # fmt: skip
def test_an_argument_becomes_its_override(arguments: str, expected: list[str]) -> None:
    found = [one.replace('"', "'") for one in overrides(arguments)]

    assert found == [one.replace('"', "'") for one in expected]


@pytest.mark.parametrize(
    ("command", "environment"),
    [
        ("A=1 B='x y' vllm serve m", {"server.env.A": "1", "server.env.B": "x y"}),
        ("env A=1 /opt/venv/bin/vllm serve m", {"server.env.A": "1"}),
        ("export A=1 && vllm serve m", {"server.env.A": "1"}),
        ("docker run -eA=1 --env=B=2 -e C --name vllm -d vllm/vllm-openai:v0.32.0 m", {
            "server.env.A": "1", "server.env.B": "2"
        }),
        ("podman run --entrypoint bash img vllm serve m", {}),
        ("python3 -m vllm.entrypoints.cli.main serve m", {}),
        ("python -m vllm.entrypoints.openai.api_server --model=m", {}),
        ("# a comment\nvllm serve --enforce-eager \\\n m", {}),
    ],
)  # fmt: skip
def test_what_stands_around_the_arguments_is_understood(command: str, environment: dict[str, str]) -> None:
    values = imported(command).values

    assert values["model.name"] == "m"
    assert {path: value for path, value in values.items() if path.startswith("server.env.")} == environment


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("vllm serve m", "without --host vLLM listens on all interfaces"),
        ("vllm serve m --host 0.0.0.0", "a key is generated"),
        ("vllm serve m --api-key k", "server.api_key=env:NAME"),
        ("vllm serve m --hf-token", "export HF_TOKEN"),
        ("HF_TOKEN=k vllm serve m", "HF_TOKEN was left out"),
        ("VLLM_API_KEY=k vllm serve m", "server.api_key=env:VLLM_API_KEY"),
        ("VLLM_LOGING_LEVEL=INFO vllm serve m", "did you mean VLLM_LOGGING_LEVEL?"),
        ("uv run vllm serve m", "uv …, before the command, was left out"),
        ("vllm serve m | tee log", "what follows the command (>, |, & …) was left out"),
        ("vllm serve m --download-dir $HOME/x", "not expanded, as no shell has read the text: HOME"),
        ("vllm serve m --trust-remote-code", "model.revision=COMMIT pins it"),
        ("vllm serve m --override-generation-config '{\"max_new_tokens\": 5}'", "without max_new_tokens"),
        ("docker run vllm/vllm-openai m", "the container itself"),
    ],
)
def test_what_is_not_carried_over_is_said(command: str, words: str) -> None:
    assert words in "\n".join(imported(command).remarks)


def test_a_line_for_this_machine_alone_needs_no_remark() -> None:
    assert imported("vllm serve m --host 127.0.0.1").remarks == ()


@pytest.mark.parametrize(
    "command",
    [
        "vllm serve m --api-key verysecret othersecret",
        "vllm serve m --api_key=verysecret",
        "vllm serve m --hf-token=verysecret",
        "HUGGING_FACE_HUB_TOKEN=verysecret AWS_SECRET_ACCESS_KEY=verysecret vllm serve m",
        "docker run -e HF_TOKEN=verysecret -eOPENAI_API_KEY=verysecret img m",
    ],
)
def test_a_secret_is_never_shown(command: str) -> None:
    found = imported(command)

    assert re.findall("verysecret|othersecret", repr((found.overrides, found.values, found.remarks))) == []


@pytest.mark.parametrize("arguments", ["--api-kee verysecret", "--api-kee=verysecret", "--enforce-eager verysecret"])
def test_a_word_that_is_not_understood_is_not_shown(arguments: str) -> None:
    assert "verysecret" not in faults(f"vllm serve m {arguments}")


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("ls -l", ["no vLLM server is started"]),
        ("vllm bench serve", ["no vLLM server is started"]),
        ("vllm serve 'm", ["cannot read the command line: no closing quotation"]),
        ("vllm serve", ["names no model"]),
        ("vllm serve m --model n", ["is given twice"]),
        ("vllm serve m n", ["words that belong to no argument"]),
        ("vllm serve m --max-num-sqes 4 --foo", ["--max-num-sqes: ", "inference.max_num_seqs?", "--foo: is not an"]),
        ("vllm serve m --swap-space 4", ["--swap-space: ", "vLLM 0.17.1 has it"]),
        ("vllm serve m --max-num-seqs", ["--max-num-seqs: needs a value"]),
        ("vllm serve m --max-num-seqs many", ["--max-num-seqs=many: must be an integer"]),
        ("vllm serve m --enforce-eager=true", ["--enforce-eager: takes no value"]),
        ("vllm serve m --dtype fp8", ["--dtype=fp8: must be one of auto"]),
        ("vllm serve m --kv-transfer-config '{'", ["--kv-transfer-config={: must be JSON"]),
        ("vllm serve m --seed.x 1", ["--seed.x: has no keys"]),
        ("vllm serve m --headless --uds /x", ["--headless=true: starts no HTTP", "--uds=/x: listens on no port"]),
        ("vllm serve m --port 70000", ["--port=70000: must be 'auto' or a number"]),
        ("vllm serve m --enable-auto-tool-choice", ["--enable-auto-tool-choice=true: needs model.tool_call_parser"]),
    ],
)
def test_a_line_that_cannot_be_imported_is_refused_in_words(command: str, words: list[str]) -> None:
    text = faults(command)

    assert [word for word in words if word not in text] == []


def test_a_key_that_an_override_cannot_hold_is_refused_and_a_file_holds_it() -> None:
    found = imported("""vllm serve m --hf-overrides '{"it\\u0027s": 1}'""")

    assert found.values["inference.hf_overrides"] == {"it's": 1}
    with pytest.raises(ConfigError, match="--yaml"):
        _ = found.overrides


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.from_regex(r"[a-z_][a-z0-9_.-]{0,5}", fullmatch=True), inner)
    ),
    max_leaves=4,
).filter(lambda value: "???" not in json.dumps(value))
SLOW = settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.slow
@SLOW
@given(st.dictionaries(st.sampled_from(["alpha", "be ta", "g.a:m=m,a"]), JSON_VALUES), st.text("a\"'\\${}, =k\n"))
def test_any_value_is_composed_as_it_was_written(mapping: dict[str, Any], text: str) -> None:
    written = ["model=default", "model.name=m", f"inference.hf_overrides={write_value({'x': mapping})}"]

    config = compose([*written, f"+inference.worker_cls={write_value(text)}"])

    assert (config.inference.hf_overrides, config.inference.extra_args) == ({"x": mapping}, {"worker_cls": text})


@pytest.mark.slow
@SLOW
@given(st.lists(st.sampled_from(SETTABLE), unique_by=lambda argument: argument.name))
def test_a_rendered_command_is_imported_to_one_that_renders_to_it(arguments: list[Argument]) -> None:
    sections: dict[str, Any] = {"model": {"name": "some/model"}}
    for argument in arguments:
        section = "server" if argument.group == "Frontend" else "inference"
        sections.setdefault(section, {}).setdefault("extra_args", {})[argument.name] = value_for(argument)
    command = build_vllm_command(ServeConfig.model_validate(sections), port=8000, release=RELEASE)

    again = build_vllm_command(compose(import_command(command, RELEASE).overrides), release=RELEASE)

    assert again == command


def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mixvllm.cli.app", "import", *arguments]
    return subprocess.run(command, input=text, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [(["--", "vllm", "serve", "m", "-tp", "2"], ""), (["vllm serve m -tp 2"], ""), (["-"], "vllm serve m -tp 2\n")],
)
def test_the_command_takes_words_or_a_text_or_stdin(arguments: list[str], text: str) -> None:
    done = run(*arguments, text=text)

    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "mixvllm launch \\")
    assert "  inference.tensor_parallel_size=2 \\" in done.stdout.splitlines()
    assert "without --host" in done.stderr


def test_json_holds_overrides_and_remarks() -> None:
    done = run("--json", "vllm serve m --host localhost --port 9000")

    expected = {"overrides": ["model=default", "model.name=m", "server.host=localhost", "server.port=9000"]}
    assert (json.loads(done.stdout), done.stderr) == ({**expected, "remarks": []}, "")


@pytest.mark.parametrize("arguments", [["--", "vllm", "serve", "m", "--foo"], [], ["--", "ls"]])
def test_a_refusal_has_exit_code_2_and_no_traceback(arguments: list[str]) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout, done.stderr.startswith("error: ")) == (2, "", True)


def test_words_are_taken_as_they_are() -> None:
    assert split_command(["vllm", "serve", "m", "--root-path", "a b"]).arguments == ("m", "--root-path", "a b")
