"""A load generator that asks for each completion in turn, and writes what the real one writes.

STAND_IN, a JSON object in the environment, says what goes wrong: `import` (fails), `threads` (starts one on import),
`status` (of the exit), `hang` (file for the process ids of a program that never ends, and of its child), `lose`
(requests that are not answered), `capacity` (request rate at which the 99th percentile of the time to the first token
is 100 ms; it grows with the rate). STAND_IN_IMPORTS is a file that gets a line by each import.
"""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

SCRIPT = json.loads(os.environ.get("STAND_IN", "{}"))

if "STAND_IN_IMPORTS" in os.environ:
    with Path(os.environ["STAND_IN_IMPORTS"]).open("a") as imports:
        imports.write(f"{os.getpid()}\n")
if SCRIPT.get("import") and "bench" not in sys.argv:
    raise ImportError("the stand-in does not want to be imported")
if SCRIPT.get("threads") and "bench" not in sys.argv:
    threading.Thread(target=threading.Event().wait, daemon=True).start()


def add_cli_args(parser):
    for name in ("base-url", "model", "tokenizer", "result-dir", "result-filename"):
        parser.add_argument(f"--{name}")
    for name in ("percentile-metrics", "metric-percentiles"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--request-rate", type=float, default=float("inf"))
    for name, default in (("num-prompts", 1000), ("output-len", 128), ("input-len", 1024), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)


def main(args):
    print(f"runs in {os.getpid()} with seed {args.seed} and greeting {os.environ.get('GREETING')}")
    if "status" in SCRIPT:
        sys.exit(SCRIPT["status"])
    if "hang" in SCRIPT:
        hang(Path(SCRIPT["hang"]))
    began = time.perf_counter()
    rows = [ask(args) for _ in range(args.num_prompts - SCRIPT.get("lose", 0))]
    lost = [{"error": "connection refused", "start": began, "ttft": 0.0}] * SCRIPT.get("lose", 0)
    write(args, rows + lost, time.perf_counter() - began)


def hang(pids):
    child = subprocess.Popen(["sleep", "600"])
    pids.with_suffix(".new").write_text(f"{os.getpid()}\n{child.pid}\n")
    pids.with_suffix(".new").rename(pids)
    time.sleep(600)


def ask(args):
    body = {"model": args.model, "prompt": [1] * args.input_len, "max_tokens": args.output_len}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"}
    request = urllib.request.Request(f"{args.base_url}/v1/completions", json.dumps(body).encode(), headers)
    start = time.perf_counter()
    try:
        with urllib.request.urlopen(request) as answer:
            usage = json.loads(answer.read())["usage"]
    except urllib.error.URLError as error:
        return {"error": str(error), "start": start, "ttft": 0.0}
    return {"start": start, "ttft": time.perf_counter() - start, "error": "", **usage}


def write(args, rows, duration):
    good = [row for row in rows if not row["error"]]
    outputs = sum(row["completion_tokens"] for row in good)
    result = {
        "date": "20260101-000000",
        "num_prompts": args.num_prompts,
        "request_rate": "inf",
        "duration": duration,
        "completed": len(good),
        "failed": len(rows) - len(good),
        "total_input_tokens": sum(row["prompt_tokens"] for row in good),
        "total_output_tokens": outputs,
        "request_throughput": len(good) / duration,
        "request_goodput": None,
        "output_throughput": outputs / duration,
        "rtfx": 0.0,
        "input_lens": [row.get("prompt_tokens", 0) for row in rows],
        "output_lens": [row.get("completion_tokens", 0) for row in rows],
        "start_times": [row["start"] for row in rows],
        "errors": [row["error"] for row in rows],
        "mean_ttft_ms": 1e3 * sum(row["ttft"] for row in good) / max(1, len(good)),
    }
    if "capacity" in SCRIPT:
        result["p99_ttft_ms"] = 100 * args.request_rate / SCRIPT["capacity"]
    Path(args.result_dir, args.result_filename).write_text(json.dumps(result))
