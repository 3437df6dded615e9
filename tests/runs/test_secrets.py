"""Secrets are found in every form that they are written in, and nothing else is."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mixvllm.runs.secrets import MASK, known_secrets, mask

HF = "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"
OPENAI = "sk-proj-" + "Ab1" * 16
GITHUB = "ghp_" + "a1B2" * 9
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"

SHOWS_ITSELF = [
    (f"token {HF} is used", "token hf_*** is used"),
    (f"key: {OPENAI}", "key: sk-***"),
    (f"cloning with {GITHUB}.", "cloning with ghp_***."),
    ("github_pat_" + "a1B2c3" * 8, "github_pat_***"),
    ("glpat-" + "a1B2c3D4e5" * 2, "glpat-***"),
    ("nvapi-" + "a1B2c3D4e5" * 5, "nvapi-***"),
    (f"cookie={JWT}", "cookie=eyJ***"),
    ("as AKIAIOSFODNN7EXAMPLE in us-east-1", "as AKIA*** in us-east-1"),
    ("curl -H 'authorization: Bearer correct-horse'", "curl -H 'authorization: Bearer ***'"),
    ("[(b'Authorization', b'Basic dXNlcjpwYXNz')]", "[(b'Authorization', b'Basic ***')]"),
    ("sent Bearer 3f9a77c1d2", "sent Bearer ***"),
    ("GET https://me:pa55word@host.org/x", "GET https://me:***@host.org/x"),
    ("redis://:p4ss@[::1]:6379", "redis://:***@[::1]:6379"),
    ("postgres://me:p@ss!word@host/db", "postgres://me:***@host/db"),
    (f"git clone https://{'a1B2' * 6}@github.com/x", "git clone https://***@github.com/x"),
    ('{"api_key": "correct horse battery"}', '{"api_key": "***"}'),
    ("{'hf_token': ['abcdefgh'], 'port': 80}", "{'hf_token': ['***'], 'port': 80}"),
    (r'"{\"s3_secret_access_key\": \"aBcDeFgHiJ\"}"', r'"{\"s3_secret_access_key\": \"***\"}"'),
    ("--api-key abcd1234 --port 8000", "--api-key *** --port 8000"),
    ("['--hf-token', 'abcd1234', '--port']", "['--hf-token', '***', '--port']"),
    ("OPENAI_API_KEY=abcd1234 vllm serve m", "OPENAI_API_KEY=*** vllm serve m"),
    ("?access_token=abcd1234&page=2", "?access_token=***&page=2"),
    ("password: hunter2hunter2", "password: ***"),
]

HARMLESS = [
    "Avg prompt throughput: 12.3 tokens/s, Running: 3 reqs, GPU KV cache usage: 1.2%, max_num_batched_tokens=16384",
    '{"prompt_tokens": 12345678, "total_tokens": 123456789012, "completion_tokens_details": null}',
    '{"token": " mountain12345", "logprob": -0.1, "eos_token": "<|end_of_text|>", "bos_token": "<|begin_of_text|>"}',
    "time to first token 0.123456789 s, per-token 12.345678 ms, --max-tokens 123456789",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 commit=2046aa8f1c2d3e4f5a6b",
    "docker://vllm:v0.32.0@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "/home/me/.cache/huggingface/hub/models--org--sk-learn-2024-random-forest/snapshots/0123456789abcdef",
    "model=sk-something-large-2024-instruct served as sk-Llama3-8B-Instruct-v2-chat",
    "loading task-oriented-dialogue-model-2024-large, disk-0123456789abcdef0123",
    "hf_transfer hf_overrides hf_model_config_with_a_long_name hf_hub_download",
    "http://127.0.0.1:8000/v1/chat/completions, tcp://10.0.0.7:29500, ssh://git@github.com/org/repo.git",
    "mail me@example.org, see http://localhost:8000 (a@b)",
    "server.api_key=env:MY_KEY_1 server.api_key=file:/run/secrets/key1 server.api_key=generate",
    '{"api_key": "env:MY_VLLM_KEY", "key": "file:/a/b", "hf_token": null, "api_key": "generate"}',
    '-H "Authorization: Bearer $MY_KEY1" -H "Authorization: Bearer $(cat /x/api_key1)"',
    'VLLM_API_KEY="$(cat /x/outputs/2026-01-01/api_key)" python1 -m vllm',
    'client = OpenAI(base_url="http://127.0.0.1:8000/v1", api_key=open("/x/y1").read().strip())',
    "    api_key=self.config.api_key_v2,  password=getpass1(), hf_token=args.hf_token1",
    "api_key must be auto, none, generate, env:NAME or file:PATH; the key itself does not belong here",
    "_SENSITIVE = ['api_key', 'hf_token', 'watermark_config'], flags ['--api-key', '--hf-token']",
    "--ssl-keyfile /etc/ssl/private/key1.pem, private_key: /etc/ssl/key1.pem",
    "the Bearer authentication scheme; bearer tokens; Basic auth",
    "9 (api_key) 10 (api_key) AKIA ASIA EURASIAN ghp_ eyJ :// @",
    f"already {MASK}: hf_***, Bearer ***, https://me:***@host.org",
]


@pytest.mark.parametrize(("text", "masked"), SHOWS_ITSELF)
def test_what_shows_itself_as_a_secret_is_masked(text: str, masked: str) -> None:
    assert mask(text, ()) == masked


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_a_secret_is_left(text: str) -> None:
    assert mask(text, ()) == text


WORDS = st.sampled_from(
    ["INFO", "tokens", "max_tokens", "key", "api_server", "password", "bearer", "hf", "sk", "loading"]
)
NUMBERS = st.one_of(st.integers(0, 10**15).map(str), st.floats(0, 1e9).map("{:.3f}".format))
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
PATHS = st.lists(st.from_regex(r"[a-z0-9_.-]{1,12}", fullmatch=True), min_size=1, max_size=5).map(
    lambda parts: "/" + "/".join(parts)
)
MODELS = st.from_regex(r"[a-z]{2,9}/(sk-|hf_)?[a-z]{2,9}(-[a-z]{1,9}|-[0-9]{1,3}b?){1,4}", fullmatch=True)
PAIRS = st.tuples(st.sampled_from(["tokens", "max_tokens", "key", "hf"]), NUMBERS).map("=".join)
ORDINARY = st.lists(st.one_of(WORDS, NUMBERS, HASHES, PATHS, MODELS, PAIRS), max_size=12).map(", ".join)


@given(ORDINARY, st.binary(min_size=16, max_size=16).map(bytes.hex))
def test_an_ordinary_line_of_a_log_is_left(line: str, secret: str) -> None:
    assume(secret not in line)

    assert mask(line, known_secrets({}, secret)) == line


SECRETS = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=8, max_size=60).filter(
    lambda text: known_secrets({}, text) == {text}
)
WRITERS: list[Callable[[str], str]] = [
    str,
    repr,
    json.dumps,
    lambda text: json.dumps(text, ensure_ascii=False),
    shlex.quote,
    quote,
    quote_plus,
]


@pytest.mark.parametrize("write", WRITERS)
@given(secret=SECRETS)
@example(secret="p'a\"s\\s/w+r%d&ü")
def test_a_known_secret_is_masked_in_every_form(write: Callable[[str], str], secret: str) -> None:
    masked = mask(f"before {write(secret)} after", [secret])

    assert re.fullmatch(r"""before ["']?\*\*\*["']? after""", masked)


@given(st.text(), st.lists(SECRETS, max_size=3))
@example("hf_SECRET12" + "a1" * 20, ["SECRET12"])
def test_a_masked_text_stays_as_it_is(text: str, secrets: list[str]) -> None:
    text += "".join(secrets)

    once = mask(text, secrets)

    assert (mask(once, secrets), any(secret in once for secret in secrets)) == (once, False)


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.lists(SECRETS), st.integers())), SECRETS)
@example({"api_key": HF, "url": "https://me:pa55@host", "h": "Authorization: Bearer abcdefgh"}, 'a"b\\c12345')
def test_masked_json_is_json(record: dict[str, object], secret: str) -> None:
    masked = json.loads(mask(json.dumps({**record, "known": secret}), [secret]))

    assert masked["known"] == MASK


def test_a_secret_that_holds_another_one_is_masked_whole() -> None:
    assert mask("x long-secret-1-and-more y", ["secret-1", "long-secret-1-and-more"]) == "x *** y"


def test_text_that_is_no_utf_8_is_masked_too() -> None:
    assert mask("a \udce4bcdefgh1 \ud800 b", ["\udce4bcdefgh1"]) == "a *** \ud800 b"


@pytest.mark.parametrize(
    ("environment", "values", "expected"),
    [
        ({"HF_TOKEN": "abcd1234"}, (), {"abcd1234"}),
        ({"HF_TOKEN": "abcd1234", "OTHER": "efgh5678", "HOME": "/home/me"}, (), {"abcd1234"}),
        ({}, ("abcd1234", None, ""), {"abcd1234"}),
        ({"HF_TOKEN": "abc1"}, ("short",), set()),
        ({"DB_PASSWORD": "Password", "X_SECRET": "changeme"}, (), set()),
        ({"X_TOKEN": "xxxxxxxxxxxx", "Y_TOKEN": "123456789012"}, (), set()),
        ({"X_TOKEN": "1234567890123456"}, (), {"1234567890123456"}),
        ({"GOOGLE_APPLICATION_CREDENTIALS": "/run/secrets/google.json"}, (), set()),
        ({"AWS_SECRET_ACCESS_KEY": "/bPxRfiCYEXAMPLEKEY/K7MDENG"}, (), {"/bPxRfiCYEXAMPLEKEY/K7MDENG"}),
        ({"X_TOKEN": " abcd1234\n"}, (), {"abcd1234"}),
    ],
)
def test_what_can_be_looked_for_counts_as_a_known_secret(
    environment: dict[str, str], values: tuple[str | None, ...], expected: set[str]
) -> None:
    assert known_secrets(environment, *values) == expected


def test_a_secret_of_several_lines_counts_as_its_long_ones() -> None:
    key = f"-----BEGIN PRIVATE KEY-----\n{'aB3d' * 20}\nshort\nwords that stand in any log\n-----END PRIVATE KEY-----\n"

    assert known_secrets({"TLS_PRIVATE_KEY": key}) == {"aB3d" * 20}
