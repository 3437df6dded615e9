"""The load generator and the questions to the vLLM in an image: by that image, not by the launcher's own vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from mixvllm import ExperimentConfig, ModelConfig, ServeConfig
from mixvllm.config.schema import RuntimeConfig
from mixvllm.errors import ConfigError, EngineNotFound
from mixvllm.server.command import release_for, server_command
from mixvllm.vllm.installation import installation_of
from mixvllm.workload.generator import LoadGenerator, generator_environment, generator_wrapper
from tests.fakes.containers import make_image, make_release
from tests.fakes.interpreter import SITE
from tests.runtime.conftest import calls
from tests.workload.conftest import STAND_IN


def config_in(image: Path, **inference: object) -> ServeConfig:
    return ServeConfig(
        model=ModelConfig(name="some/model"),
        inference={"extra_args": inference},  # type: ignore[arg-type]
        runtime=RuntimeConfig(kind="apptainer", image=str(image)),
    )


def test_the_vllm_of_the_image_is_found(programs: Path, tmp_path: Path) -> None:
    found = installation_of(config_in(make_release(tmp_path / "image", "0.33.1", [])))

    assert (found.python, found.version, found.distribution) == ("python3", "0.33.1", "vllm")


def test_arguments_are_checked_against_the_release_in_the_image(programs: Path, tmp_path: Path) -> None:
    config = config_in(make_release(tmp_path / "image", "0.33.1", ["--new-in-this-one"]), new_in_this_one="x")

    argv = server_command(config, installation_of(config)).argv

    assert argv[-2:] == ("--new-in-this-one", "x")


def test_an_argument_that_the_image_does_not_take_is_refused(programs: Path, tmp_path: Path) -> None:
    config = config_in(make_release(tmp_path / "image", "0.33.1", ["--max-num-seqs"]), new_in_this_one="x")

    with pytest.raises(ConfigError, match="new_in_this_one"):
        server_command(config, installation_of(config))


def test_an_image_is_asked_once_until_it_changes(programs: Path, tmp_path: Path) -> None:
    image = make_release(tmp_path / "image", "0.33.1", ["--first"])
    config = config_in(image, first="x")
    names = []
    for flag in ("--first", "--second"):
        installation = installation_of(config)
        for _ in range(2):
            names.append(sorted(release_for(config, installation, lambda _line: None).arguments))
        make_release(image, "0.33.1", ["--first", flag.replace("first", "second")])

    assert [("second" in each) for each in names] == [False, False, True, True]
    assert len(calls(programs)) == 4  # twice: which vLLM, and what it takes


def test_an_image_without_vllm_is_refused(programs: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    python = image / "bin" / "python3"
    python.write_text('#!/bin/sh\nexec /usr/bin/python3 -I -S "$@"\n')

    with pytest.raises(EngineNotFound, match=r"vLLM is not installed for python3 in runtime.kind=apptainer"):
        installation_of(config_in(image))


def test_the_load_generator_runs_in_the_image_and_its_result_comes_out(programs: Path, tmp_path: Path) -> None:
    image = make_image(tmp_path / "image")
    python = image / "bin" / "python3"
    python.write_text(python.read_text().replace(str(SITE), str(STAND_IN)))
    config = ExperimentConfig(
        model=ModelConfig(name="some/model"),
        workload={"kind": "bench"},  # type: ignore[arg-type]
        runtime=RuntimeConfig(kind="apptainer", image=str(image), pass_env=["STAND_IN*"]),
    )
    installation = installation_of(config)
    environment = {**generator_environment(config, installation), "STAND_IN": '{"lose": 1}'}
    folder = tmp_path / "measured"
    folder.mkdir()

    with LoadGenerator(installation, environment, folder, wrapper=generator_wrapper(config)) as generator:
        argv = ["--result-dir", str(folder), "--result-filename", "result.json", "--num-prompts", "1"]
        ended = generator.run(argv, folder / "log", 30, lambda: False, environment={"OPENAI_API_KEY": "of-clients"})

    assert (ended.status, generator.cold_reason) == (0, "its vLLM is in another runtime"), (folder / "log").read_text()
    call = calls(programs)[-1]
    assert call["command"][:5] == ["python3", "-m", "vllm.entrypoints.cli.main", "bench", "serve"]
    assert call["environment"]["OPENAI_API_KEY"] == "of-clients"
    assert "VLLM_API_KEY" not in call["environment"]
    assert (folder / "result.json").is_file()
