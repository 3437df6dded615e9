"""Which points of two studies belong together, what changed, and what cannot be compared."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from mixvllm.errors import ConfigError
from mixvllm.report.compare import compare
from mixvllm.report.compare_change import change_of
from mixvllm.report.compare_json import json_text
from mixvllm.report.compare_limits import read_limits
from mixvllm.report.compare_text import breach_lines, markdown_lines, text_lines
from mixvllm.report.metrics import metric_of
from mixvllm.report.study import Study, StudyPoint
from tests.report.studies import repeats, study


def point(values: list[float], seeds: list[int] | None = None, metric: str = "p99_ttft_ms") -> StudyPoint:
    return study("s", [({}, repeats({metric: values}, seeds))]).points[0]


def grid(name: str, level: float, *, model: str = "m", **asked: Any) -> Study:
    """Two points, at two loads, whose throughput is about `level`."""
    values = [level, level * 1.01, level * 0.99]
    points = [
        ({"model.name": model, "workload.max_concurrency": load, **asked}, repeats({"output_tokens_per_s": values}))
        for load in (1, 8)
    ]
    return study(name, points)


def refused(a: Study, b: Study, **options: Any) -> str:
    with pytest.raises(ConfigError) as error:
        compare(a, b, **options)
    return str(error.value)


def test_the_interval_of_two_means_is_welchs() -> None:
    """4.41 degrees of freedom, t = 2.677, by integration of the density."""
    change = change_of(point([10.0, 11, 12, 13]), point([20.0, 22, 24, 26]), "p99_ttft_ms")

    assert change is not None
    half = 2.6771735784 * math.sqrt(5 / 3 / 4 + 20 / 3 / 4)
    assert (change.difference, change.is_paired) == (11.5, False)
    assert (change.low, change.high) == (pytest.approx(11.5 - half, rel=0.002), pytest.approx(11.5 + half, rel=0.002))


def test_repeats_of_the_same_seeds_are_paired_by_seed_not_by_number() -> None:
    change = change_of(point([100, 200, 300], [0, 1, 2]), point([312, 101, 205], [2, 0, 1]), "p99_ttft_ms")

    assert change is not None
    half = 4.302652730 * math.sqrt(31 / 3)  # t(0.975, 2); differences 1, 5, 12: standard deviation sqrt(31)
    assert change.is_paired
    assert (change.low, change.high) == (pytest.approx(6 - half), pytest.approx(6 + half))


def test_repeats_of_other_seeds_are_not_paired() -> None:
    change = change_of(point([1, 2, 3], [0, 1, 2]), point([1, 2, 3], [0, 1, 3]), "p99_ttft_ms")

    assert change is not None
    assert not change.is_paired


@pytest.mark.parametrize(
    ("metric", "b", "verdict"),
    [
        ("p99_ttft_ms", [20, 20.1, 20.2], "worse"),
        ("p99_ttft_ms", [5, 5.1, 5.2], "better"),
        ("output_tokens_per_s", [20, 20.1, 20.2], "better"),
        ("output_tokens_per_s", [5, 5.1, 5.2], "worse"),
        ("num_prompts", [20, 20.1, 20.2], "differs"),
        ("p99_ttft_ms", [10.05, 10.2, 10.1], "no clear difference"),
        ("p99_ttft_ms", [20], "no clear difference"),
    ],
)
def test_a_verdict_needs_an_interval_without_0_and_a_known_direction(metric: str, b: list[float], verdict: str) -> None:
    change = change_of(point([10, 10.1, 10.2], metric=metric), point(b, metric=metric), metric)

    assert change is not None
    assert change.verdict == verdict


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("p99_e2el_ms", False),
        ("median_itl_ms", False),
        ("total_tokens_per_s", True),
        ("request_goodput_per_s", True),
        ("std_ttft_ms", None),
        ("num_completed", None),
        ("server.kv_cache_usage_max_fraction", None),
    ],
)
def test_the_name_of_a_metric_tells_what_is_better(metric: str, expected: bool | None) -> None:
    assert metric_of(metric).is_higher_better is expected


def test_points_are_paired_by_what_they_ask_for_whatever_their_order() -> None:
    a, b = grid("a", 100), grid("b", 100)

    found = compare(a, Study(b.points[::-1], b.sources))

    assert [(pair.a.index, pair.b.index) for pair in found.pairs] == [(0, 0), (1, 1)]
    assert (found.keys, found.side_keys) == (("workload.max_concurrency",), ())


def test_a_key_that_differs_on_all_points_is_named_and_pairs_are_made_by_the_rest() -> None:
    found = compare(grid("a", 100, **{"inference.dtype": "bfloat16"}), grid("b", 100, **{"inference.dtype": "float16"}))

    assert [(key.key, key.a, key.b) for key in found.side_keys] == [("inference.dtype", ("bfloat16",), ("float16",))]
    assert len(found.pairs) == 2
    assert "dtype: bfloat16 in A, float16 in B" in text_lines(found)


def test_a_key_that_one_of_two_sweeps_of_ours_does_not_have_is_unset_there() -> None:
    found = compare(grid("a", 100), grid("b", 100, **{"inference.extra": 1}))

    assert [(key.key, key.a, key.b) for key in found.side_keys] == [("inference.extra", (None,), (1,))]


def test_a_whole_number_is_equal_to_the_same_one_with_a_point() -> None:
    found = compare(grid("a", 100, **{"generation.top_p": 1}), grid("b", 100, **{"generation.top_p": 1.0}))

    assert found.side_keys == ()


def test_points_that_one_side_alone_has_are_told() -> None:
    a, b = grid("a", 100), grid("b", 100)

    found = compare(a, Study(b.points[1:], b.sources))

    assert [one.index for one in found.only_a] == [0]
    assert "1 point is in A alone: a#0" in found.remarks


def test_without_a_common_point_they_do_not_compare() -> None:
    points = [
        ({"workload.max_concurrency": load, "inference.max_num_seqs": seqs}, repeats({"x_ms": [1.0, 2]}))
        for load, seqs in ((1, 8), (8, 16), (1, 16), (8, 8))
    ]

    words = refused(study("a", points[:2]), study("b", points[2:]))

    assert "no point in common" in words
    assert "workload.max_concurrency, inference.max_num_seqs" in words


def test_points_that_are_not_told_apart_do_not_compare() -> None:
    measured = repeats({"p99_ttft_ms": [1.0, 2]})
    a = study("a", [({"inference.max_num_seqs": number}, measured) for number in (8, 16)])
    b = study("b", [({"inference.max_num_seqs": 32}, measured)])

    words = refused(a, b)

    assert "a#0 and a#1 of A differ in inference.max_num_seqs alone" in words


@pytest.mark.parametrize(
    "key", ["workload.kind", "workload.dataset_name", "workload.random_input_len", "workload.sharegpt_output_len"]
)
def test_other_work_does_not_compare_unless_forced(key: str) -> None:
    a, b = grid("a", 100, **{key: "x"}), grid("b", 100, **{key: "y"})

    assert f"{key}: x in A, y in B: other work" in refused(a, b)
    assert len(compare(a, b, force=True).pairs) == 2


def test_requests_of_another_length_do_not_compare_whatever_was_written_down() -> None:
    values = {"num_completed": [8.0, 8], "p99_ttft_ms": [1.0, 2]}
    a = study("a", [({"model.name": "m"}, repeats({**values, "total_input_tokens": [256.0, 256]}))])
    b = study("b", [({"model.name": "m"}, repeats({**values, "total_input_tokens": [512.0, 512]}))])

    assert "32 and 64 input tokens a request" in refused(a, b)


def test_a_cpu_does_not_compare_with_a_gpu_unless_forced() -> None:
    measured = repeats({"p99_ttft_ms": [1.0, 2]})
    a, b = (study(name, [({}, measured)], num_gpus=num) for name, num in (("a", 0), ("b", 2)))

    assert "a#0 ran on a CPU and b#0 ran on GPUs" in refused(a, b)
    assert compare(a, b, force=True).environment["GPUs"] == ("0", "2")


def test_without_a_common_metric_they_do_not_compare() -> None:
    a, b = study("a", [({}, repeats({"x": [1.0]}))]), study("b", [({}, repeats({"y": [1.0]}))])

    assert refused(a, b) == "no metric is in both: A has x, B has y"


def test_a_side_without_a_good_repeat_says_why() -> None:
    assert "e.g. failed: 1 of 1 failed: out of memory" in refused(study("a", [({}, ())]), grid("b", 1))


def test_another_vllm_and_another_commit_are_named() -> None:
    a = grid("a", 100)
    measured = [(one.config | {}, one.repeats) for one in a.points]
    del measured
    sides = [
        Study(a.points, tuple(type(s)(**{**vars(s), "versions": {"vllm": v}, "git": {"commit": c}}) for s in a.sources))
        for v, c in (("0.31.0", "a" * 40), ("0.32.0", "b" * 40))
    ]

    found = compare(*sides)

    assert found.environment == {
        "version of vllm": ("0.31.0", "0.32.0"),
        "git commit": ("a" * 12, "b" * 12),
    }


@pytest.mark.parametrize(
    ("text", "b", "is_met"),
    [
        ("p99_ttft_ms>+5%", [120, 121, 119], True),
        ("p99_ttft_ms>5%", [120, 121, 119], True),
        ("p99_ttft_ms>+50%", [120, 121, 119], False),
        ("p99_ttft_ms>+5%", [90, 150, 120], False),  # the interval holds +5 %
        ("p99_ttft_ms>+5%", [120], True),  # a single repeat has none
        ("p99_ttft_ms>+5%", [104], False),
        ("p99_ttft_ms>+10", [120, 121, 119], True),
        ("p99_ttft_ms > +30", [120, 121, 119], False),
        ("p99_ttft_ms<-5%", [80, 81, 79], True),
        ("p99_ttft_ms<-5%", [120, 121, 119], False),
        ("p99_ttft_ms>-5%", [100, 101, 99], True),  # is not lower by 5 %, as was asked for
    ],
)
def test_a_condition_is_met_where_the_whole_interval_is_beyond_it(text: str, b: list[float], is_met: bool) -> None:
    sides = [
        study(name, [({}, repeats({"p99_ttft_ms": values}))]) for name, values in (("a", [99.0, 100, 101]), ("b", b))
    ]
    limits = read_limits([text])
    found = compare(*sides, limits=limits)

    breaches = list(found.breaches(limits))

    assert bool(breaches) is is_met
    assert len(breach_lines(found, breaches)) == len(breaches)


def test_a_condition_is_met_where_b_has_no_numbers_of_a_point_that_a_has() -> None:
    limits = read_limits(["output_tokens_per_s<-5%"])
    b = grid("b", 100)
    lost = Study((b.points[0], study("b", [({}, ()), ({}, ())]).points[1]), b.sources)
    lost = Study(
        (lost.points[0], type(lost.points[1])(**{**vars(lost.points[1]), "config": b.points[1].config})), b.sources
    )

    found = compare(grid("a", 100), lost, limits=limits)
    breaches = list(found.breaches(limits))

    assert breach_lines(found, breaches) == [
        "failed: output_tokens_per_s<-5%: B has no good repeat (max_concurrency=8)",
    ]


@pytest.mark.parametrize("text", ["", "p99_ttft_ms", "p99_ttft_ms>=5%", "p99_ttft_ms>five", ">5%", "p99_ttft_ms>5%%"])
def test_what_is_no_condition_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="must be METRIC>LIMIT"):
        read_limits([text])


def test_an_unknown_metric_in_a_condition_is_refused_and_the_nearest_are_named() -> None:
    words = refused(grid("a", 1), grid("b", 1), limits=read_limits(["output_token_per_s<0"]))

    assert words == ("--fail-on=output_token_per_s: no metric that both sides have; did you mean output_tokens_per_s?")


def test_over_all_points_the_ratios_have_their_geometric_mean() -> None:
    a, b = grid("a", 100), grid("b", 200)
    half = Study((b.points[0], grid("b", 50).points[1]), b.sources)

    overall = compare(a, half).overall("output_tokens_per_s")

    assert overall.percent == pytest.approx(0)
    assert overall.verdicts == {"better": 1, "worse": 1}


@pytest.mark.parametrize("width", [40, 80, 200])
def test_tables_keep_to_the_width(width: int) -> None:
    found = compare(grid("a", 100, **{"inference.max_num_seqs": 4}), grid("b", 1e5, **{"inference.max_num_seqs": 8}))

    tables = [line for line in text_lines(found, width) if "better" in line and ":" not in line]

    assert len(tables) == 2
    assert all(len(line) <= width for line in tables)


def test_markdown_is_a_table_for_each_metric() -> None:
    lines = markdown_lines(compare(grid("a|x", 100), grid("b", 200)))

    assert lines[0] == "**A** a\\|x (sweep)  "
    assert "| max_concurrency | A | B | change | verdict |" in lines
    assert "| 8 | 100 | 200 | +100.0 ±4.2 % | better |" in lines


def test_json_has_every_pair_with_every_metric() -> None:
    found = compare(grid("a", 100), grid("b", 200))

    told = json.loads(json_text(found, []))

    assert [pair["labels"] for pair in told["pairs"]] == [
        {"workload.max_concurrency": 1},
        {"workload.max_concurrency": 8},
    ]
    change = told["pairs"][0]["metrics"]["output_tokens_per_s"]
    assert (change["difference"], change["verdict"], change["is_paired"]) == (100.0, "better", False)
    assert change["ci95_low"] < 100 < change["ci95_high"]


def test_of_many_points_the_largest_changes_are_shown() -> None:
    sides = [
        study(
            name,
            [
                (
                    {"workload.seed": n},
                    repeats({"p99_ttft_ms": [100 + n * factor, 100.1 + n * factor, 99.9 + n * factor]}),
                )
                for n in range(5000)
            ],
        )
        for name, factor in (("a", 0.0), ("b", 1.0))
    ]

    lines = text_lines(compare(*sides))

    at = next(number for number, line in enumerate(lines) if line.startswith("seed"))
    assert lines[at + 1].split()[0] == "4999"
    assert "… and 4980 points with smaller changes; --all shows them" in lines
