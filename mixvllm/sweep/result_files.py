"""The results of a sweep as files: CSV, and Parquet with the type of each column."""

from __future__ import annotations

import csv
import importlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixvllm.runs.files import write_text
from mixvllm.sweep.results import Results, read_results
from mixvllm.sweep.sweep_folder import SweepFolder


@dataclass(frozen=True)
class Written:
    """What `write_results` did.

    Args:
        results: the table.
        remark: why a file was not written; None where all were.
    """

    results: Results
    remark: str | None = None


def write_results(folder: SweepFolder) -> Written:
    """Write `results.csv`, and `results.parquet` where pyarrow is installed; each is replaced whole.

    Raises:
        ConfigError: nothing was planned in `folder`.
    """
    results = read_results(folder)
    write_text(folder.results_csv, csv_text(results))
    try:
        write_parquet(results, folder.results_parquet)
    except ModuleNotFoundError:
        remark = "results.parquet is not written: pyarrow is not installed; pip install 'mixvllm[results]'"
        return Written(results, remark)
    return Written(results)


def csv_text(results: Results) -> str:
    """Return the table as CSV: floats whole, what is not there empty, `true` and `false`."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(results.columns)
    for row in results.rows:
        writer.writerow([_cell(row.get(column)) for column in results.columns])
    return file.getvalue()


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def write_parquet(results: Results, path: Path) -> None:
    """Write the table to `path` with the type of each column.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    columns = {}
    for name in results.columns:
        values = [row.get(name) for row in results.rows]
        kind = column_type(values)
        typed = [str(_cell(value)) if kind == "string" and value is not None else value for value in values]
        columns[name] = arrow.array(typed, type=getattr(arrow, f"{kind}_" if kind == "bool" else kind)())
    temporary = path.with_name(f".{path.name}")
    temporary.touch(mode=0o600)
    parquet.write_table(arrow.table(columns), temporary)
    temporary.rename(path)


def column_type(values: Iterable[Any]) -> str:
    """Return the narrowest type that takes all of `values`: bool, int64, float64, or string."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "bool"
    if kinds == {int}:
        return "int64"
    return "float64" if kinds and kinds <= {int, float} else "string"
