"""A sweep by one of Hydra's own launchers (`hydra/launcher=basic`, `submitit_local`, …): each point is a run by itself.

Hydra composes each point and starts it; nothing is shared, resumed or put into a table. What the points are is checked
before the first one starts, as for every sweep.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from mixvllm.cli.arguments import Arguments
from mixvllm.cli.exits import EXIT_OK
from mixvllm.cli.preflight import look_ahead
from mixvllm.cli.screen import Screen
from mixvllm.config.load.launcher import LOCAL
from mixvllm.config.load.resolvers import register_resolvers
from mixvllm.config.load.session import CONFIG_NAME, USER_CONF, shipped_conf
from mixvllm.config.schema import ExperimentConfig
from mixvllm.config.schema.sweep import SweepConfig
from mixvllm.errors import ConfigError, Fault, MixvllmError, WorkloadFailed
from mixvllm.runs.folder import RunFolder
from mixvllm.server.signals import StopSignals
from mixvllm.sweep.override import key_of
from mixvllm.sweep.plan import Plan
from mixvllm.sweep.planner import make_plan
from mixvllm.sweep.point import freeze
from mixvllm.sweep.runner import run_point
from mixvllm.vllm.installation import installation_of

_OURS = ("name", "where", "zip", "on_invalid", "fail_fast", "rerun", "skip_infeasible")

_SUBMITIT = "SUBMITIT_EXECUTOR"
"""Environment variable of the jobs of submitit."""


def run_with_hydra(arguments: Arguments) -> int:
    """Have Hydra run the sweep; return 0 where every point went well.

    Raises:
        ConfigError: points are wrong; nothing was started.
        MixvllmError: a point failed; others may have gone well.
    """
    plan = make_plan(arguments.overrides, arguments.config_dirs)
    faults = list(_without_meaning(plan))
    if faults:
        raise ConfigError(faults)
    plan.check()
    before = os.environ.get(USER_CONF)
    folders = [str(Path(folder).resolve()) for folder in arguments.config_dirs]
    os.environ[USER_CONF] = os.pathsep.join([*folders, *([before] if before else [])])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come as they are, not as an exit
    sys.argv = [sys.argv[0], "--multirun", *_overrides(plan, arguments.overrides)]
    register_resolvers()
    main = hydra.main(version_base="1.3", config_path=str(shipped_conf()), config_name=CONFIG_NAME)(run_composed)
    try:
        main()
    except MixvllmError:
        raise
    except Exception as error:
        if not type(error).__module__.startswith("submitit."):
            raise
        raise WorkloadFailed(f"a job failed\n{error}") from error
    return EXIT_OK


def _without_meaning(plan: Plan) -> Iterator[Fault]:
    usual = SweepConfig()
    for name in _OURS:
        if getattr(plan.settings, name) != getattr(usual, name):
            yield Fault(f"sweep.{name}", f"is done by hydra/launcher={LOCAL} alone", str(getattr(plan.settings, name)))


def _overrides(plan: Plan, overrides: Sequence[str]) -> list[str]:
    """Return what was typed, with the workload that the plan has where nobody chose one."""
    typed = set(map(key_of, overrides))
    chosen = [text for text in plan.points[0].overrides if key_of(text) == "workload"]
    return [*(chosen if "workload" not in typed else []), *overrides]


def run_composed(composed: DictConfig) -> dict[str, object]:
    """Run the point that Hydra composed, and return its figures, for Hydra's sweepers.

    Raises:
        MixvllmError: it failed.
        SystemExit: a signal stopped it, and with it the sweep.
    """
    try:
        return _run_composed(composed)
    except Exception:
        if _SUBMITIT in os.environ:
            traceback.print_exc()  # Hydra hands the error on, and the job's log would call it a success
        raise


def _run_composed(composed: DictConfig) -> dict[str, object]:
    values = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)
    config = ExperimentConfig.model_validate(values)
    overrides = tuple(HydraConfig.get().overrides.task)
    screen = Screen(is_serving=False, is_terminal=False)
    with StopSignals() as signals:
        point = freeze(config, overrides, installation_of(config, screen.say), screen.say)
        look_ahead(config, point.installation, point.command)
        outcome = run_point(point, RunFolder.create(config.output_dir), signals, screen)
        if outcome.error is not None:
            raise outcome.error
        if signals.exit_code is not None:
            raise SystemExit(signals.exit_code)
        return outcome.figures
