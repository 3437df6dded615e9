"""Conditions over the keys of a point: `inference.max_num_seqs >= workload.max_concurrency and model.name != 'a/b'`.

A small language: comparisons, `and`, `or`, `not`, `in`, arithmetic on numbers, lists, literals, dotted keys. Whatever
else Python's grammar has is refused with its column; nothing is ever called, so no text can do harm.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mixvllm.config import keys
from mixvllm.config.faults import show_value, unknown_key
from mixvllm.config.schema.fields import human_int_value, is_human_int
from mixvllm.errors import ConfigError, Fault

KEY = "sweep.where"

_MAX_CHARS = 2000
_MAX_DEPTH = 100
_NAMES = {"true": True, "false": False, "null": None}
_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_ORDER: dict[type[ast.cmpop], tuple[str, Callable[[Any, Any], bool]]] = {
    ast.Lt: ("<", operator.lt),
    ast.LtE: ("<=", operator.le),
    ast.Gt: (">", operator.gt),
    ast.GtE: (">=", operator.ge),
}
_WORDS = {
    ast.Call: "nothing can be called",
    ast.Subscript: "an entry is named with a dot: server.env.NAME",
    ast.Is: "write == instead of is",
    ast.IsNot: "write != instead of is not",
    ast.Pow: "there is no **",
    ast.IfExp: "there is no if: write and, or, not",
}
_ALLOWED = "comparisons, and, or, not, in, + - * / // %, numbers, 'text', [lists], true, false, null, keys"


@dataclass(frozen=True)
class Where:
    """A condition that was read.

    Args:
        text: as written.
    """

    text: str
    _tree: ast.expr

    def holds(self, values: Mapping[str, Any], labels: Mapping[str, Any]) -> bool:
        """Whether the condition is true of a point.

        Args:
            values: the configuration as nested mappings.
            labels: the swept keys; a swept group has the name of its option.

        Raises:
            ConfigError: it cannot be told of these values, e.g. null is compared with a number.
        """
        return _truth(self._tree, _Point(self.text, values, labels))


@dataclass(frozen=True)
class _Point:
    text: str
    values: Mapping[str, Any]
    labels: Mapping[str, Any]

    def value(self, key: str) -> Any:
        if key in self.labels and key not in keys.fields():
            return self.labels[key]
        node: Any = self.values
        for part in key.split("."):
            node = node.get(part) if isinstance(node, Mapping) else None
        return node

    def error(self, message: str) -> ConfigError:
        return ConfigError([Fault(KEY, message, self.text)])


def parse_where(text: str, swept: tuple[str, ...] = ()) -> Where:
    """Return the condition that `text` says.

    Args:
        text: as in `sweep.where`.
        swept: keys that have more than one value; a group among them may be named.

    Raises:
        ConfigError: it is no such condition; every part that is refused, with its column.
    """
    stripped = text.strip()
    if len(stripped) > _MAX_CHARS:
        raise ConfigError([Fault(KEY, f"longer than {_MAX_CHARS} characters")])
    try:
        tree = ast.parse(stripped, mode="eval").body
    except SyntaxError as error:
        raise ConfigError(
            [Fault(KEY, f"column {error.offset or 1}: {error.msg}; known are {_ALLOWED}", text)]
        ) from None
    except (ValueError, RecursionError, MemoryError):
        raise ConfigError([Fault(KEY, "cannot be read: nested too deeply, or not text", text)]) from None
    faults = [Fault(KEY, f"column {_column(node, stripped)}: {words}", text) for node, words in _refused(tree, swept)]
    if faults:
        raise ConfigError(faults)
    return Where(text, tree)


def _column(node: ast.expr, text: str) -> int:
    """Return the column of `node`, from 1, in characters; Python counts bytes."""
    return len(text.encode()[: node.col_offset].decode(errors="replace")) + 1


def _refused(node: ast.expr, swept: tuple[str, ...], depth: int = 0) -> Iterator[tuple[ast.expr, str]]:
    """Yield the parts of `node` that are not in the language, each with what to write instead."""
    if depth > _MAX_DEPTH:
        yield node, "nested too deeply"
        return
    if isinstance(node, ast.Name | ast.Attribute):
        key = _key(node)
        problem = _WORDS[ast.Call] if key is None else _key_problem(key, swept)
        if problem:
            yield node, problem
        return
    problem = _problem(node)
    if problem:
        yield node, problem
        return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            yield from _refused(child, swept, depth + 1)


def _problem(node: ast.expr) -> str | None:
    if isinstance(node, ast.Constant):
        is_known = node.value is None or isinstance(node.value, bool | int | float | str)
        return None if is_known else f"not known here; known are {_ALLOWED}"
    if isinstance(node, ast.BinOp):
        return None if type(node.op) in _ARITHMETIC else _words(node.op)
    if isinstance(node, ast.Compare):
        wrong = [one for one in node.ops if isinstance(one, ast.Is | ast.IsNot)]
        return _words(wrong[0]) if wrong else None
    if isinstance(node, ast.UnaryOp):
        return _words(node.op) if isinstance(node.op, ast.Invert) else None
    return None if isinstance(node, ast.BoolOp | ast.List | ast.Tuple) else _words(node)


def _words(node: ast.AST) -> str:
    return _WORDS.get(type(node), f"not known here; known are {_ALLOWED}")


def _key(node: ast.expr) -> str | None:
    """Return the dotted key that `node` is; None where it is an attribute of something else."""
    if isinstance(node, ast.Name):
        return node.id
    parent = _key(node.value) if isinstance(node, ast.Attribute) else None
    return f"{parent}.{node.attr}" if parent and isinstance(node, ast.Attribute) else None


def _key_problem(key: str, swept: tuple[str, ...]) -> str | None:
    if key in _NAMES or key in keys.fields() or key in swept:
        return None
    if key in keys.sections():
        return f"{key} is a section: name a key of it"
    return None if keys.mapping_of(key) else f"{key}: {unknown_key(key)}"


def _truth(node: ast.expr, point: _Point) -> bool:
    value = _value(node, point)
    if isinstance(value, bool):
        return value
    raise point.error(f"{ast.unparse(node)} is {show_value(value)}, neither true nor false: compare it with something")


def _value(node: ast.expr, point: _Point) -> Any:
    return _VALUES[type(node)](node, point)


def _key_value(node: ast.expr, point: _Point) -> Any:
    key = _key(node) or ""
    return _NAMES[key] if key in _NAMES else point.value(key)


def _decided(node: ast.BoolOp, point: _Point) -> bool:
    decide = all if isinstance(node.op, ast.And) else any
    return decide(_truth(one, point) for one in node.values)


def _signed(node: ast.UnaryOp, point: _Point) -> Any:
    if isinstance(node.op, ast.Not):
        return not _truth(node.operand, point)
    number = _number(node.operand, point)
    return -number if isinstance(node.op, ast.USub) else number


def _calculated(node: ast.BinOp, point: _Point) -> Any:
    left, right = _number(node.left, point), _number(node.right, point)
    try:
        return _ARITHMETIC[type(node.op)](left, right)
    except (ZeroDivisionError, OverflowError) as error:
        raise point.error(f"{ast.unparse(node)}: {error}") from None


def _number(node: ast.expr, point: _Point) -> int | float:
    value = _as_number(_value(node, point))
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise point.error(f"{ast.unparse(node)} is {show_value(value)}, which is no number to calculate with")
    return value


def _compared(node: ast.Compare, point: _Point) -> bool:
    operands = [node.left, *node.comparators]
    return all(
        _pair_holds(op, left, right, point) for op, left, right in zip(node.ops, operands, operands[1:], strict=False)
    )


def _pair_holds(op: ast.cmpop, left: ast.expr, right: ast.expr, point: _Point) -> bool:
    a, b = _alike(_value(left, point), _value(right, point))
    if isinstance(op, ast.Eq | ast.NotEq):
        return bool(a == b) is isinstance(op, ast.Eq)
    try:
        if isinstance(op, ast.In | ast.NotIn):
            return (a in b) is isinstance(op, ast.In)
        words, compare = _ORDER[type(op)]
        return compare(a, b)
    except TypeError:
        words = "in" if isinstance(op, ast.In | ast.NotIn) else words
        texts = f"{ast.unparse(left)} is {show_value(a)}, {ast.unparse(right)} is {show_value(b)}"
        raise point.error(f"{texts}: {words} cannot compare them") from None


def _alike(a: Any, b: Any) -> tuple[Any, Any]:
    """Return both as numbers where one is a number and the other a number with a suffix, as vLLM reads it: 8K."""
    if isinstance(a, int | float) and isinstance(b, str):
        return a, _as_number(b)
    if isinstance(b, int | float) and isinstance(a, str):
        return _as_number(a), b
    return (_as_number(a), _as_number(b)) if _is_suffixed(a) and _is_suffixed(b) else (a, b)


def _is_suffixed(value: Any) -> bool:
    return isinstance(value, str) and is_human_int(value)


def _as_number(value: Any) -> Any:
    return human_int_value(value) if _is_suffixed(value) else value


_VALUES: dict[type[ast.expr], Callable[[Any, _Point], Any]] = {
    ast.Constant: lambda node, _point: node.value,
    ast.Name: _key_value,
    ast.Attribute: _key_value,
    ast.List: lambda node, point: [_value(entry, point) for entry in node.elts],
    ast.Tuple: lambda node, point: [_value(entry, point) for entry in node.elts],
    ast.BoolOp: _decided,
    ast.UnaryOp: _signed,
    ast.BinOp: _calculated,
    ast.Compare: _compared,
}
