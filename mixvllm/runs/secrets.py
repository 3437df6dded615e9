"""Secrets: which ones there are, where they stand in a text, and the text without them.

Found in two ways. By value: what the environment and the configuration hold, in every form that it is written in.
By pattern: what shows by its form, or by the name beside it, that it is a secret; a second line of defence, which would
rather miss one than hit what is harmless: counts, hashes, paths, model names, code in a traceback.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from urllib.parse import quote, quote_plus

MASK = "***"

MIN_CHARS = 8
"""A shorter value is no secret that could be found: it stands in any log by chance."""

_MIN_LINE_CHARS = 20  # of a secret with several lines, e.g. a private key
_MIN_DISTINCT = 4  # characters; fewer are a ruler or a placeholder
_MIN_DIGITS = 16  # shorter numbers are counts and sizes
_COMMON = frozenset(("anonymous", "changeme", "disabled", "generate", "localhost", "password", "required", "undefined"))


def known_secrets(environment: Mapping[str, str], *values: str | None) -> frozenset[str]:
    """Return the values of variables whose names are a secret's, and `values`, as far as they can be looked for.

    Left out is what would be found where it is harmless: shorter than `MIN_CHARS`, a common word, a short number, a
    placeholder of few different characters, the path of a file. A secret of several lines counts as its long lines.
    """
    from mixvllm.config.schema.server import is_secret_name  # noqa: PLC0415 - who only masks need not wait for Pydantic

    named = {value for name, value in environment.items() if is_secret_name(name) and not _is_path(name, value)}
    return frozenset(line for value in (*named, *values) if value for line in _lines(value) if _is_findable(line))


def mask(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with each of `secrets`, in whatever form, and what looks like a secret, replaced by `***`. Pure.

    Masked again it stays as it is, and JSON stays JSON.
    """
    data, forms = text.encode("utf-8", "surrogatepass"), forms_of(secrets)
    while spans := find_secrets(data, forms):
        data = _replaced(data, spans)
    return data.decode("utf-8", "surrogatepass")


def forms_of(secrets: Iterable[str]) -> frozenset[bytes]:
    """Return the forms that `secrets` are written in: as they are, and as in a URL, JSON, Python and a shell."""
    return frozenset(form for secret in secrets for text in _forms(secret) for form in _encoded(text))


def find_secrets(data: bytes, forms: Iterable[bytes], start: int = 0) -> list[tuple[int, int]]:
    """Return where secrets begin and end in `data`, in order, without overlaps.

    Args:
        data: text, in UTF-8 or anything like it.
        forms: of the known ones, see `forms_of`.
        start: where to begin; what stands before it is only looked back at.
    """
    found = [span for form in forms for span in _spans_of(form, data, start)]
    lowered = data.lower()
    for patterns, text in ((_BY_FORM, data), (_BY_NAME, lowered)):
        found += [match.span(match.lastindex or 0) for one in patterns for match in one.finditer(text, start)]
    return _merged(span for span in found if data.count(b"*", *span) < span[1] - span[0])


def _is_path(name: str, value: str) -> bool:
    is_often_a_file = any(word in name.upper() for word in ("CREDENTIAL", "PRIVATE"))
    return is_often_a_file and value.startswith(("/", "~/", "./"))


def _lines(value: str) -> list[str]:
    """Return `value`, or the lines of it that could not be anything else, without the blanks around them."""
    lines = value.strip().splitlines()
    if len(lines) <= 1:
        return [line.strip() for line in lines]
    return [line for line in map(str.strip, lines) if len(line) >= _MIN_LINE_CHARS and not re.search(r"\s|^--", line)]


def _is_findable(value: str) -> bool:
    is_count = value.isdecimal() and len(value) < _MIN_DIGITS
    is_random = len(value) >= MIN_CHARS and len(set(value)) >= _MIN_DISTINCT
    return is_random and value.lower() not in _COMMON and not is_count


def _forms(secret: str) -> set[str]:
    quoted = shlex.quote(secret)
    return {
        secret,
        quote(secret, safe="", errors="replace"),
        quote(secret, safe="/", errors="replace"),
        quote_plus(secret, errors="replace"),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        repr(secret)[1:-1],
        quoted[1:-1] if quoted != secret else secret,
    }


def _encoded(text: str) -> Iterator[bytes]:
    """Yield `text` as UTF-8, and as the environment and file names have it where they hold what is no UTF-8."""
    yield text.encode("utf-8", "surrogatepass")
    with suppress(UnicodeEncodeError):
        yield text.encode("utf-8", "surrogateescape")


def _replaced(data: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    parts, end = [], 0
    for begin, stop in spans:
        parts += [data[end:begin], MASK.encode()]
        end = stop
    return b"".join([*parts, data[end:]])


def _spans_of(form: bytes, data: bytes, start: int) -> Iterator[tuple[int, int]]:
    at = data.find(form, start)
    while at >= 0:
        yield at, at + len(form)
        at = data.find(form, at + 1)


def _merged(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((begin, end))
    return merged


# The patterns. A group holds the secret itself. Each begins with a literal, which is looked for at the speed of memory;
# what must not stand before it is looked back at. None takes more than linear time, whatever a request had logged.
# `*` counts as part of a secret: of one that was half there when it was overwritten, the rest is still to be found.

_HAS_DIGIT = r"(?=[^\s\"',;]{0,199}?[0-9*])"


def _token(literal: str, rest: str) -> re.Pattern[bytes]:
    """Return the pattern of tokens that begin with `literal`, at the beginning of a word."""
    return re.compile(rf"{literal}(?<![\w-]{literal}){rest}".encode())


_BY_FORM = (
    # Hugging Face: letters and digits alone, unlike a name such as hf_transfer_something_long
    _token("hf_", r"(?=[a-z]{0,40}[A-Z0-9*])([A-Za-z0-9*]{20,})"),
    # OpenAI and others: a run of 16 letters and digits with both, unlike a name such as sk-learn-random-forest-2024
    _token("sk-", r"(?=[\w*-]{0,200}?(?=[A-Za-z*]{0,15}[0-9*])(?=[0-9]{0,15}[A-Za-z*])[A-Za-z0-9*]{16})([\w*-]{20,})"),
    *(_token(begin, r"([A-Z0-9]{16})(?![A-Za-z0-9])") for begin in ("AKIA", "ASIA")),  # AWS
    _token("gh[pousr]_", r"([A-Za-z0-9*]{30,})"),  # GitHub
    _token("github_pat_", r"([\w*]{22,})"),
    _token("glpat-", r"([\w*-]{20,})"),  # GitLab
    _token("nvapi-", r"([\w*-]{40,})"),  # NVIDIA
    _token("eyJ", r"([\w-]{10,}\.eyJ[\w-]{10,}\.[\w*-]{10,}|\*{20,}[\w-]+)"),  # JSON web tokens
    # URLs: the password of user:password@, and a long token without a user
    re.compile(
        rb"""://(?:[^\s/?#@:"'<>]{0,256}:(?!\$)([^\s/?#"'<>,;()]{1,256})@(?!sha256:)(?=[\w\[])|([\w*.~%-]{20,256})@)"""
    ),
)


def _named(word: str, *before: str) -> re.Pattern[bytes]:
    """Return the pattern of secrets by their name: `word` with one of `before` in front, or alone; in lower case."""
    names = [f"(?<={begin}[_-]{word})|(?<={begin}{word})" for begin in before]
    flags = [f"(?<=--{begin}[_-]{word})" for begin in before] or [f"(?<=--{word})"]
    name, flag = (f"(?:{'|'.join(alternatives)})" for alternatives in (names or [""], flags))
    source = r"env:|file:|(?:generate|none|null|auto|true|false)\b|[~.]{0,2}/|\$|<"
    code = r"[a-z_]\w*[.(\[]"
    plain = r"""([^\s"'&,;|()\[\]{}<>$\\]{8,})"""
    quoted = rf"""{name}\\?["']\s{{0,8}}[:=]\s{{0,8}}\[?\\?["'](?!{source})([^"'\\\n]{{8,}})"""
    assigned = rf"""{name}[ \t]?[:=][ \t]?\\?["']?(?!{source}|{code}){_HAS_DIGIT}{plain}"""
    flagged = rf"""{flag}(?:=|[ \t]+|\\?["'],\s{{0,8}}\\?["'])["']?(?!{source}|-){_HAS_DIGIT}{plain}"""
    return re.compile(f"{word}(?:{quoted}|{assigned}|{flagged})".encode())


_TOKENS = ("hf", "hub", "api", "access", "auth", "oauth", "bearer", "refresh", "session", "security", "id", "github")
_BY_NAME = (
    _named("key", "api", "access", "secret", "private", "signing", "encryption"),
    _named("token", *_TOKENS),
    _named("secret", "client", "app", "api", "auth", "shared", "webhook", "consumer"),
    _named("password"),
    _named("passwd"),
    _named("passphrase"),
    re.compile(rf"bearer[ \t]+(?:{_HAS_DIGIT}|(?=[\w.~+/=*-]{{24}}))([\w.~+/=*-]{{8,}})".encode()),
    re.compile(
        rb"""authorization["'\\]{0,2}[ \t]?[:=,][ \t]?b?["'\\]{0,2}(?:bearer|basic|token)[ \t]+([^\s"'$,;\\]{8,})"""
    ),
)
