"""The report in a real browser."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from mixvllm.report.choice import Asked, choose_axes
from mixvllm.report.html import write_html
from mixvllm.report.pareto import pareto_front
from mixvllm.report.read import read_studies
from tests.report.browser import Opened, complaints_of, find_browser, open_page, started_browser
from tests.report.written_sweeps import write_sweep

GRID = {
    "inference.max_num_seqs": [8, 64],
    "inference.tensor_parallel_size": [1, 4],
    "workload.max_concurrency": [1, 16, 64],
}
EVIL = "a</script><img src=x onerror=alert(1)>&amp;{{data}}"

OpenReport = Callable[..., Opened]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with started_browser(find_browser()) as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a sweep with points of every verdict."""
    folder = tmp_path_factory.mktemp("report")
    verdicts = {2: "failed", 5: "invalid", 7: "missing"}
    return write_report(folder, write_sweep(folder / "night", GRID, verdicts=verdicts, num_samples=500).path)


def write_report(folder: Path, *paths: Path) -> Path:
    study = read_studies(paths)
    write_html(study, choose_axes(study, Asked()), folder / "report.html")
    return folder / "report.html"


@pytest.fixture
def opened(browser: Browser, report: Path) -> Iterator[Opened]:
    page = open_page(browser, report, permissions=["clipboard-read", "clipboard-write"])
    yield page
    page.page.context.close()


def scroll_through(opened: Opened) -> None:
    for section in ("tradeoff", "curves", "startup", "time"):
        opened.page.locator(f"#{section}").scroll_into_view_if_needed()
        opened.page.wait_for_selector(f"#{section} .main-svg")


def test_it_draws_all_charts_without_an_error_or_a_request(opened: Opened) -> None:
    scroll_through(opened)

    assert complaints_of(opened) == []
    assert opened.page.title() == "vLLM report: night"
    assert len(opened.points()) == 12


def test_its_policy_lets_nothing_out_and_nothing_in(opened: Opened) -> None:
    tried = """async () => {
        const found = [];
        document.addEventListener("securitypolicyviolation", (event) => found.push(event.effectiveDirective));
        try { await fetch("https://example.invalid/"); found.push("fetched"); } catch { /* as it should be */ }
        document.body.append(Object.assign(new Image(), { src: "https://example.invalid/x.png" }));
        const script = document.createElement("script");
        script.textContent = "window.intruded = true";
        document.body.append(script);
        await new Promise((done) => setTimeout(done, 100));
        return [window.intruded === undefined, ...found.sort()];
    }"""

    assert opened.page.evaluate(tried) == [True, "connect-src", "img-src", "script-src-elem"]


def test_failed_invalid_and_missing_points_are_listed_and_never_drawn(opened: Opened) -> None:
    scroll_through(opened)
    charts = "['tradeoff-chart', 'curve-chart']"
    drawn = opened.page.evaluate(f"{charts}.map((id) => $(id).data.flatMap((trace) => trace.customdata || []))")

    for points in drawn:
        assert sorted(at for at in points if at is not None) == [0, 1, 3, 4, 6, 8, 9, 10, 11]
    problems = opened.text("#problem-list")
    assert "1 point failed: 3 of 3 failed: CUDA out of memory." in problems
    assert "The weights do not fit into the memory of the GPU." in problems
    assert "3 of 80 requests were not answered" in problems
    assert "1 point missing: not measured yet" in problems


def test_throughput_is_of_a_gpu_until_one_asks_for_the_server(opened: Opened) -> None:
    def highest() -> float:
        return float(
            opened.page.evaluate("Math.max(...document.getElementById('tradeoff-chart').data.flatMap((t) => t.y))")
        )

    scroll_through(opened)
    per_gpu = highest()
    label = opened.text("#tradeoff-chart .ytitle")
    opened.page.uncheck("#per-gpu")

    assert "tokens/s per GPU" in label
    assert "per GPU" not in opened.text("#tradeoff-chart .ytitle")
    assert highest() > 2 * per_gpu


def test_a_chart_tells_the_value_its_interval_and_its_repeats(opened: Opened) -> None:
    told = opened.hovers("tradeoff-chart")

    assert "night#0" in told
    assert "max_concurrency=1" in told
    assert "±" in told
    assert "(n 3)" in told


def test_every_axis_has_a_unit(opened: Opened) -> None:
    scroll_through(opened)

    titles = opened.page.locator(".xtitle, .ytitle").all_text_contents()
    units = ("ms", "tokens/s", "requests", "(s)", "GiB", "%", "fraction", "W", "server run")
    assert len(titles) > 10
    assert [title for title in titles if not any(unit in title for unit in units)] == []


@pytest.mark.parametrize(
    ("text", "points"),
    [
        ("max_num_seqs=64 tensor_parallel_size=4", ["night#9", "night#10", "night#11"]),
        ("CUDA", ["night#2"]),
        ("max_concurrency>16 max_num_seqs<64", ["night#2", "night#5"]),
        ("output_tokens_per_s>0 max_concurrency=64 tensor_parallel_size=1", ["night#8"]),
        ("nothing-like-this", []),
    ],
)
def test_the_table_is_filtered(opened: Opened, text: str, points: list[str]) -> None:
    opened.page.fill("#filter", text)
    shown = f"{len(points)} of"
    opened.page.wait_for_function("(shown) => $('table-note').textContent.startsWith(shown)", arg=shown)

    assert opened.points() == points


def test_the_table_is_filtered_by_verdict(opened: Opened) -> None:
    opened.page.select_option("#verdict", "failed")

    assert opened.points() == ["night#2"]


def test_the_table_is_sorted_and_points_without_a_number_come_last(opened: Opened) -> None:
    heading = opened.page.locator("#table th button", has_text="p99_ttft_ms")
    orders = []
    for _ in range(2):
        heading.click()
        orders.append(opened.points())

    assert orders[0][:9] == orders[1][8::-1]
    assert all(set(order[9:]) == {"night#2", "night#5", "night#7"} for order in orders)
    assert opened.page.get_attribute("#table th[aria-sort]", "aria-sort") == "descending"


def test_a_command_is_copied(opened: Opened) -> None:
    opened.page.locator("#table tbody tr").nth(1).get_by_role("button", name="Copy").click()
    opened.page.wait_for_function("$('told').textContent === 'copied'")

    copied = opened.page.evaluate("navigator.clipboard.readText()")
    assert copied == (
        "python launch.py model.name=some/model inference.max_num_seqs=8 inference.tensor_parallel_size=1 "
        "workload.max_concurrency=16"
    )


def test_two_points_show_what_differs(opened: Opened) -> None:
    opened.page.select_option("#a", "0")
    opened.page.select_option("#b", "4")

    rows = opened.page.locator("#difference tbody tr").all_inner_texts()
    assert [row.split() for row in rows] == [
        ["GPUs", "of", "its", "server", "1", "4"],
        ["inference.tensor_parallel_size", "1", "4"],
        ["workload.max_concurrency", "1", "16"],
    ]
    assert "%" in opened.text("#detail")


def test_choosers_change_the_curves(opened: Opened) -> None:
    scroll_through(opened)
    opened.page.select_option("#curve-x", "inference.tensor_parallel_size")
    opened.page.select_option("#curve-y", "mean_itl_ms")
    opened.page.select_option("#curve-by", "workload.max_concurrency")

    assert opened.text("#curve-chart .xtitle") == "inference.tensor_parallel_size (GPUs)"
    assert opened.text("#curve-chart .ytitle") == "mean_itl_ms (ms)"
    assert opened.page.evaluate("$('curve-chart').data.map((trace) => trace.name)") == [
        "max_concurrency=1",
        "max_concurrency=16",
        "max_concurrency=64",
    ]


def test_a_server_over_time_is_thinned(opened: Opened) -> None:
    scroll_through(opened)
    opened.page.select_option("#time-server", "2")

    assert "GPU utilization" in opened.text("#time-charts")
    assert 40 <= opened.page.evaluate("document.querySelector('#time-charts .chart').data[0].x.length") <= 300


def test_light_and_dark(browser: Browser, report: Path) -> None:
    def papers(scheme: Any) -> list[str]:
        opened = open_page(browser, report, color_scheme=scheme)
        scroll_through(opened)
        shown = []
        for theme in ("auto", "light", "dark"):
            opened.page.select_option("#theme", theme)
            shown.append(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))
            ink = opened.page.evaluate("$('tradeoff-chart').layout.font.color")
            assert ink == opened.page.evaluate(
                "getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()"
            )
        assert complaints_of(opened) == []
        opened.page.context.close()
        return shown

    light, dark = "rgb(255, 255, 255)", "rgb(20, 23, 27)"

    assert papers("light") == [light, light, dark]
    assert papers("dark") == [dark, light, dark]


def test_the_keyboard_reaches_points_and_sorts(opened: Opened) -> None:
    opened.page.locator("#table th button", has_text="verdict").focus()
    opened.page.keyboard.press("Enter")
    opened.page.locator("#table tbody button.link").first.focus()
    first = opened.points()[0]
    opened.page.keyboard.press("Enter")

    assert first == "night#2"  # failed comes before invalid, missing and ok
    assert opened.text("#detail h3").startswith("night#2")


def test_names_stay_text_whatever_they_hold(browser: Browser, tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / EVIL.replace("/", "_"), GRID, model=EVIL, verdicts={0: "failed"}, num_samples=2)
    opened = open_page(browser, write_report(tmp_path, folder.path))
    opened.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    scroll_through(opened)
    opened.hovers("tradeoff-chart")
    opened.page.select_option("#b", "1")

    assert complaints_of(opened) == []
    assert opened.page.locator("img").count() == 0
    assert EVIL.replace("/", "_") in opened.text("h1")
    assert opened.page.evaluate("valueOf(0, 'model.name')") == EVIL


def test_a_single_point_and_a_study_without_numbers_have_a_page(browser: Browser, tmp_path: Path) -> None:
    one = {"workload.max_concurrency": [4]}
    folders = [
        write_sweep(tmp_path / "one" / "s", one, num_samples=3).path,
        write_sweep(tmp_path / "none" / "s", one, verdicts={0: "failed"}).path,
    ]
    for folder in folders:
        opened = open_page(browser, write_report(folder.parent, folder))

        assert opened.points() == ["s#0"]
        assert complaints_of(opened) == []
        opened.page.context.close()


def test_sections_without_anything_to_show_are_left_out(browser: Browser, tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", {"workload.max_concurrency": [4]})
    for server in folder.servers.iterdir():
        server.rename(tmp_path / server.name)
    opened = open_page(browser, write_report(tmp_path, folder.path))

    assert opened.page.locator("nav a").all_inner_texts() == [
        "Summary",
        "Trade-off",
        "Points",
        "One point",
        "Problems",
        "Words",
    ]
    assert [opened.page.is_visible(f"#{name}") for name in ("tradeoff", "curves", "startup", "time")] == [
        True,
        *[False] * 3,
    ]
    assert complaints_of(opened) == []


def test_printed_it_has_its_charts_in_light_colours_and_no_controls(opened: Opened) -> None:
    opened.page.select_option("#theme", "dark")
    opened.page.emulate_media(media="print")
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")

    assert not opened.page.is_visible("nav")
    assert not opened.page.is_visible("#filter")
    assert opened.page.locator("#curve-chart .main-svg").count() > 0
    assert opened.page.evaluate("$('curve-chart').layout.font.color") == "#1b1f24"
    assert len(opened.page.pdf()) > 10_000


def test_the_front_in_the_page_is_that_of_the_figures(opened: Opened) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(50):
        costs = [(float(chance.randint(0, 9)), float(chance.randint(0, 9))) for _ in range(chance.randint(0, 30))]

        assert sorted(opened.page.evaluate(f"paretoFront({json.dumps(costs)})")) == sorted(pareto_front(costs))


def test_thousands_of_points_can_be_looked_at(browser: Browser, tmp_path: Path) -> None:
    grid = {**GRID, "inference.max_num_seqs": list(range(8, 808, 8)), "workload.max_concurrency": list(range(1, 26))}
    opened = open_page(
        browser, write_report(tmp_path, write_sweep(tmp_path / "night", grid, num_repeats=1, num_samples=2).path)
    )
    scroll_through(opened)
    opened.page.fill("#filter", "max_concurrency=25 max_num_seqs=800")
    opened.page.wait_for_function("document.getElementById('table-note').textContent.startsWith('2 of 5,000')")

    assert opened.points() == ["night#4974", "night#4999"]
    assert "5,000 of 5,000 points shown" in opened.text("#tradeoff-note")
    assert opened.page.locator("#table tbody tr").count() == 2
    assert complaints_of(opened) == []
