"""The grid of a sweep: Hydra's points, with Hydra's overrides, in Hydra's order, and what Hydra composes of them."""

from __future__ import annotations

from pathlib import Path

import hydra
import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from mixvllm import compose
from mixvllm.config.load.overrides import check_overrides
from mixvllm.config.load.plan import Candidate, open_grid
from mixvllm.config.load.session import CONFIG_NAME, groups, hydra_session
from mixvllm.errors import ConfigError

PROBE = "workload=probe"

GRIDS = [
    [PROBE, "inference.max_num_seqs=64,256"],
    [PROBE, "model=qwen3_8b,demo", "inference.max_num_seqs=64,256", "inference.seed=1"],
    ["inference.max_num_seqs=64,256", "model=qwen3_8b,demo", "inference.seed=1,2", PROBE],
    [PROBE, "inference.seed=range(1,9,3)"],
    [PROBE, "model=glob(qwen3_?b)"],
    [PROBE, "model=glob([phi3*,phi4*],exclude=*medium*)"],
    [PROBE, "inference.dtype=choice(auto,float16)", "inference.gpu_memory_utilization=0.5,0.90"],
    [PROBE, "workload.prompt='a, b','c'", "inference.enforce_eager=true,null"],
    [PROBE, 'workload.prompt="it\'s",\'say "a"\''],
    [PROBE, "server.env.NCCL_DEBUG=INFO,WARN", "server.env={NCCL_IB_DISABLE: 1}"],
    [PROBE, "++server.env.NCCL_DEBUG=INFO,WARN"],
    [PROBE, "+inference.max_loras=1,2"],
    [PROBE, "inference.compilation_config={mode: 3},{mode: 0}", "inference.compilation_config.level=null"],
    [PROBE, "inference.cudagraph_capture_sizes=[1,2],[4]"],
    [PROBE, "model.served_model_name=a,[b,c]"],
    [PROBE, "experiment=qwen3_8b_latency,demo_cpu", "inference.seed=1,2"],
    [PROBE, "inference.seed=5", "inference.seed=1,2"],
    [PROBE, "inference.max_num_seqs=sort(3,1,2)"],
    [PROBE, "inference=cpu,default", "inference.max_num_batched_tokens=2K,4096"],
    [PROBE, "inference.max_num_seqs=4,8", "inference.seed=${inference.max_num_seqs}"],
    [PROBE, "model=default", "model.name=a/b,c/d"],
    [PROBE, "model=default", "model.name=a/b,c/d", "model.served_model_name=${oc.env:HOME},x"],
    ["workload=probe,probe", "generation.temperature=0,1.0"],
    [PROBE, "inference.max_num_seqs=4,8", "inference.seed='${add:${inference.max_num_seqs},1}'", "server.env.A=b"],
    [PROBE, "inference.seed=1,'${inference.max_num_seqs}'", "inference.max_num_seqs=4,'${inference.block_size}',8"],
    [PROBE, "model=default", "model.name='x-${inference.seed}','${oc.env:HOME}'", "inference.seed=1,2"],
    [PROBE, "inference.hf_overrides=null,'${server.env}'", "server.env={A: b}"],
    [PROBE, "workload.prompt='a \\${b}','$c'"],
]


ZIPPED = ["inference.seed=1,2,3", "inference.gpu_memory_utilization=0.5,0.9", "inference.max_num_seqs=10,20,30"]


def candidates(*overrides: str) -> list[Candidate]:
    with open_grid(overrides) as opened:
        return list(opened.candidates())


@pytest.mark.parametrize("overrides", GRIDS, ids=" ".join)
def test_points_are_those_of_hydras_sweeper_in_its_order(overrides: list[str]) -> None:
    with hydra_session() as loader:
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(overrides)
        expected = BasicSweeper.split_arguments(parsed, None)[0]

    assert [list(one.overrides) for one in candidates(*overrides)] == expected


@pytest.mark.parametrize("overrides", GRIDS, ids=" ".join)
def test_each_point_is_what_hydra_composes(overrides: list[str]) -> None:
    found = candidates(*overrides)
    with hydra_session() as loader:
        accepted = [check_overrides(one.overrides, groups(loader)).accepted for one in found]
        expected = [OmegaConf.to_container(hydra.compose(CONFIG_NAME, list(one)), resolve=True) for one in accepted]

    assert [one.values for one in found] == expected


@pytest.mark.parametrize("overrides", GRIDS, ids=" ".join)
def test_each_point_is_the_run_of_its_overrides(overrides: list[str]) -> None:
    found = candidates(*overrides)

    assert [one.config for one in found] == [compose(one.overrides) for one in found]


def test_keys_that_are_zipped_vary_together() -> None:
    found = candidates(PROBE, "sweep.zip=[inference.seed,inference.max_num_seqs]", *ZIPPED)

    assert [tuple(one.labels.values()) for one in found] == [
        (1, 0.5, 10),
        (1, 0.9, 10),
        (2, 0.5, 20),
        (2, 0.9, 20),
        (3, 0.5, 30),
        (3, 0.9, 30),
    ]


def test_several_zips_multiply() -> None:
    pairs = "sweep.zip=[[model,inference.seed],[inference.max_num_seqs,workload.prompt]]"

    found = candidates(
        PROBE, pairs, "model=demo,qwen3_8b", "inference.seed=1,2", "inference.max_num_seqs=3,4", "workload.prompt=a,b"
    )

    assert [tuple(one.labels.values()) for one in found] == [
        ("demo", 1, 3, "a"),
        ("demo", 1, 4, "b"),
        ("qwen3_8b", 2, 3, "a"),
        ("qwen3_8b", 2, 4, "b"),
    ]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["sweep.zip=[inference.seed,model]", "inference.seed=1,2"], "not swept"),
        (["sweep.zip=[inference.seed,model]", "inference.seed=1,2", "model=demo,qwen3_8b,phi4"], "model has 3"),
        (["sweep.zip=[inference.seed,inference.seed]", "inference.seed=1,2"], "names a key twice"),
        (["sweep.zip=3"], "sweep.zip=3: must be a list (from the command line)"),
        (["sweep.on_invalid=skp"], "did you mean skip?"),
        (["sweep.name=../x"], "sweep.name=../x"),
        (["inference.sed=1,2"], "inference.sed=1: unknown key; did you mean inference.seed?"),
        (["inference.sed=1"], "inference.sed=1: unknown key; did you mean inference.seed?"),
        (["inference.seed=interval(0,1)"], "a grid needs single values"),
        (["model=glob(nothing*)"], "stands for no value"),
        (["output_dir=a,b"], "output_dir=a,b: holds for the whole sweep"),
        (["sweep.name=a,b"], "sweep.name=a,b: holds for the whole sweep"),
        (["inference.dtype=glob(*)"], "stands for no value"),
        (["inference.seed=range(1,1000000)"], "more than 100,000 points"),
        (
            ["inference.seed=range(0,1000)", "inference.max_num_seqs=range(1,1001)"],
            "1,000,000 points: a sweep takes at most 100,000",
        ),
        (["inference.seed=1,2", "inference.max_num_seqs=)"], "cannot read 'inference.max_num_seqs=)'"),
    ],
)
def test_what_holds_for_all_points_is_refused_before_any(overrides: list[str], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        found = candidates(PROBE, *overrides)
        raise ConfigError([fault for one in found for fault in one.faults])

    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("overrides", "bad"),
    [
        (["inference.max_num_seqs=8,0"], 1),
        (["model=demo,dmo"], 1),
        (["model=default"], 0),
        (["inference.seed=1,${workload.nothing}"], 1),
        (["inference.tensor_parallel_size=2,3", "model=qwen3_8b"], 1),
        (["+inference.extra_args=3,4"], 0),
        (["inference.max_num_seqs='${div:1,0}',x"], 0),
    ],
)
def test_a_points_faults_are_those_of_its_run(overrides: list[str], bad: int) -> None:
    with open_grid([PROBE, *overrides]) as opened:
        one = list(opened.candidates())[bad]
        found = [opened.with_origin(fault, one) for fault in one.faults]
    with pytest.raises(ConfigError) as raised:
        compose(one.overrides)

    assert found == list(raised.value.faults)


def test_a_sweep_measures_where_nobody_chose_a_workload() -> None:
    found = candidates("inference.seed=1,2")

    assert [one.overrides[0] for one in found] == ["workload=bench", "workload=bench"]
    assert [one.config.workload.kind for one in found if one.config] == ["bench", "bench"]


def test_a_workload_that_was_chosen_is_kept() -> None:
    found = candidates("inference.seed=1", "workload=serve,probe")

    assert [one.config.workload.kind for one in found if one.config] == ["serve", "probe"]


def test_a_grid_of_one_point_is_a_grid() -> None:
    assert [one.labels for one in candidates(PROBE)] == [{}]


def test_values_keep_their_types_as_labels() -> None:
    found = candidates(
        PROBE, "inference.seed=1,null", "generation.temperature=0.5", "inference.enforce_eager=true,false"
    )

    assert found[0].labels == {"inference.seed": 1, "inference.enforce_eager": True}
    assert found[2].labels["inference.seed"] is None


def test_overrides_for_hydra_itself_are_no_part_of_a_point() -> None:
    with open_grid([PROBE, "hydra/launcher=basic", "hydra.job.name=x", "inference.seed=1,2"]) as opened:
        assert opened.grid.hydra == ("hydra/launcher=basic", "hydra.job.name=x")
        assert [len(one.overrides) for one in opened.candidates()] == [2, 2]


def test_options_of_the_users_folder_are_swept(tmp_path: Path) -> None:
    (tmp_path / "mine" / "model").mkdir(parents=True)
    (tmp_path / "mine" / "model" / "mine.yaml").write_text("defaults: [default]\nname: me/mine\n")

    with open_grid([PROBE, "model=demo,mine"], [tmp_path / "mine"]) as opened:
        names = [one.config.model.name for one in opened.candidates() if one.config]

    assert names[1] == "me/mine"


def test_the_settings_of_an_experiment_hold(tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    text = "# @package _global_\nsweep:\n  zip: [inference.seed, inference.max_num_seqs]\n"
    (tmp_path / "mine" / "experiment" / "paired.yaml").write_text(text)
    grid = ["experiment=paired", PROBE, "inference.seed=1,2", "inference.max_num_seqs=3,4"]

    with open_grid(grid, [tmp_path / "mine"]) as opened:
        assert [tuple(one.labels.values()) for one in opened.candidates()] == [(1, 3), (2, 4)]
