"""argv as `vllm serve` reads it: any flag is taken, a few are understood."""

import json
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

_NUMBER = re.compile(r"-?\d+(\.\d+)?$")
_MULTIPLIERS = {"k": 10**3, "K": 2**10, "m": 10**6, "M": 2**20, "g": 10**9, "G": 2**30}
_LISTS = {"served_model_name", "api_key"}


@dataclass(frozen=True)
class ServeArguments:
    """What the fake needs of argv; `given` holds all of it, by vLLM's names."""

    given: dict[str, object]
    model: str
    host: str
    port: int
    served_model_names: tuple[str, ...]
    shutdown_timeout_s: float
    max_model_len: int
    max_num_seqs: int
    tensor_parallel_size: int
    api_keys: tuple[str, ...]
    nnodes: int
    node_rank: int
    master_addr: str
    master_port: int
    is_headless: bool


def parse_serve_arguments(
    argv: list[str], environ: Mapping[str, str], unknown_flags: Iterable[str] = ()
) -> ServeArguments:
    """Return the arguments of `serve MODEL ...`, or exit 2 with the real parser's words.

    Args:
        argv: without the program.
        environ: `VLLM_API_KEY` is read; `--api-key` replaces it, as in the real one.
        unknown_flags: flags to refuse, such as `--no-such-flag`.
    """
    if not argv or argv[0] != "serve":
        _exit_with_usage("main.py", f"argument subparser: invalid choice: {argv[:1]}")
    positional, flags = _split_flags(argv[1:])
    _refuse_unknown(flags, set(unknown_flags))
    given: dict[str, object] = dict.fromkeys(("model_tag", "model"), positional[0]) if positional else {}
    given |= {_get_name(flag): _read_value(flag, values) for flag, values in flags}
    model = str(given.get("model", "Qwen/Qwen3-0.6B"))
    return ServeArguments(
        given=given,
        model=model,
        # The real default is every interface; a test stays on this machine.
        host=str(given.get("host", "127.0.0.1")),
        port=_read_int(given, "port", 8000),
        served_model_names=_read_names(given, "served_model_name") or (model,),
        shutdown_timeout_s=_read_int(given, "shutdown_timeout", 0),
        max_model_len=_read_int(given, "max_model_len", 4096),
        max_num_seqs=_read_int(given, "max_num_seqs", 256),
        tensor_parallel_size=_read_int(given, "tensor_parallel_size", 1),
        api_keys=_read_names(given, "api_key") or tuple(filter(None, [environ.get("VLLM_API_KEY")])),
        nnodes=_read_int(given, "nnodes", 1),
        node_rank=_read_int(given, "node_rank", 0),
        master_addr=str(given.get("master_addr", "127.0.0.1")),
        master_port=_read_int(given, "master_port", 29501),
        is_headless=given.get("headless") is True,
    )


def _split_flags(tokens: list[str]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """Return what stands before the first flag, and each flag with the tokens that follow it."""
    positional: list[str] = []
    flags: list[tuple[str, list[str]]] = []
    for token in tokens:
        if token.startswith("-") and not _NUMBER.match(token):
            flag, equals, value = token.partition("=")
            flags.append((flag, [value] if equals else []))
        else:
            (flags[-1][1] if flags else positional).append(token)
    return positional, flags


def _refuse_unknown(flags: list[tuple[str, list[str]]], unknown_flags: set[str]) -> None:
    unknown = [" ".join([flag, *values]) for flag, values in flags if flag in unknown_flags]
    if unknown:
        _exit_with_usage("main.py", f"unrecognized arguments: {' '.join(unknown)}")


def _get_name(flag: str) -> str:
    """Return the argument a flag sets: `tensor_parallel_size` for `--tensor-parallel-size` and `-tp`."""
    short = {"-tp": "tensor_parallel_size", "-pp": "pipeline_parallel_size", "-dp": "data_parallel_size"}
    name = short.get(flag, flag.lstrip("-").replace("-", "_"))
    return name.removeprefix("no_")


def _read_value(flag: str, values: list[str]) -> object:
    if not values:
        return not flag.startswith("--no-")
    read = [_read_scalar(value) for value in values]
    return read if len(read) > 1 or _get_name(flag) in _LISTS else read[0]


def _read_scalar(text: str) -> object:
    return json.loads(text) if _NUMBER.match(text) else text


def _read_int(given: dict[str, object], name: str, default: int) -> int:
    """Return a number, also one that is written as the real parser allows: 4k is 4000, 4K is 4096."""
    text = str(given.get(name, default))
    if text in ("auto", "-1"):
        return default
    if text[-1:] in _MULTIPLIERS and text[:-1].isdigit():
        return int(text[:-1]) * _MULTIPLIERS[text[-1]]
    if not text.isdigit():
        _exit_with_usage("main.py serve", f"argument --{name.replace('_', '-')}: invalid int value: {text!r}")
    return int(text)


def _read_names(given: dict[str, object], name: str) -> tuple[str, ...]:
    values = given.get(name, [])
    return tuple(map(str, values)) if isinstance(values, list) else ()


def _exit_with_usage(program: str, message: str) -> NoReturn:
    print(
        "usage: main.py [-h] [-v]\n"
        "               {chat,complete,serve,launch,bench,collect-env,download-kernels,preload,run-batch,snapshot}\n"
        f"               ...\n{program}: error: {message}",
        file=sys.stderr,
        flush=True,
    )
    raise SystemExit(2)
