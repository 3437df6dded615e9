"""Wraps commands in a runtime: argv and environment, from what they would be on the host."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from mixvllm.config.schema import ServeConfig
from mixvllm.config.schema.runtime import RuntimeConfig
from mixvllm.runtime import inside, step
from mixvllm.runtime.caches import hub_home
from mixvllm.runtime.modules import modules_argv
from mixvllm.runtime.mounts import PATH_VARIABLES, Mount, folder_mounts, named_mounts, needed_mounts
from mixvllm.runtime.variables import apptainer_environment, apptainer_prefix, engine_variables, srun_environment

_HOME_INSIDE = "/mixvllm/home"
_PROGRAM_INSIDE = "/mixvllm/inside.py"
_NVIDIA, _AMD = Path("/dev/nvidiactl"), Path("/dev/kfd")


@dataclass(frozen=True)
class Wrapped:
    """A command to start.

    Args:
        argv: arguments, shape (n,), program first.
        environment: whole.
    """

    argv: tuple[str, ...]
    environment: dict[str, str]


@dataclass(frozen=True)
class Wrapper:
    """What commands of one configuration are wrapped in.

    Args:
        runtime: its section.
        caches: folder of the host for home and compile cache.
        mounts: what each of them sees of the host.
        variables: names of what each of them gets of the environment, beside what every engine reads.
    """

    runtime: RuntimeConfig
    caches: str = ""
    mounts: tuple[Mount, ...] = ()
    variables: tuple[str, ...] = field(default=())

    @classmethod
    def of(cls, config: ServeConfig, cache_folder: Path) -> Wrapper:
        """Return what the engine of `config` is wrapped in.

        Args:
            cache_folder: the launcher's, for what `runtime.cache_dir` does not say.
        """
        runtime = config.runtime
        if not runtime.is_container:
            return cls(runtime)
        caches = runtime.cache_dir or str(cache_folder / "runtime")
        variables = (*config.server.env, *runtime.pass_env)
        return cls(runtime, caches, (*named_mounts(runtime), *needed_mounts(config)), variables)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return the wrapper that `record` holds, as `record` wrote it."""
        return cls(
            runtime=RuntimeConfig.model_validate(record["runtime"]),
            caches=record["caches"],
            mounts=tuple(Mount(**mount) for mount in record["mounts"]),
            variables=tuple(record["variables"]),
        )

    @property
    def record(self) -> dict[str, Any]:
        """This as JSON has it: what runs on another node is wrapped there, by what is there."""
        return {
            "runtime": self.runtime.model_dump(mode="json"),
            "caches": self.caches,
            "mounts": [asdict(mount) for mount in self.mounts],
            "variables": list(self.variables),
        }

    @property
    def variable_prefix(self) -> str:
        """What stands before a variable's name in the environment of the program that makes the container."""
        return apptainer_prefix(self.runtime.program) if self.runtime.kind == "apptainer" else ""

    def server(self, argv: Sequence[str], environment: Mapping[str, str]) -> Wrapped:
        """Return the command that runs the server `argv`, and takes the signals that are for vLLM.

        Args:
            argv: as it is inside.
            environment: of the engine, whole, as it would be on the host.
        """
        if self.runtime.kind != "pyxis":
            return self.program(argv, environment)
        shim = Mount(inside.__file__, _PROGRAM_INSIDE, is_read_only=True)
        wrapped = self.program([self.runtime.interpreter, _PROGRAM_INSIDE, *argv], environment, mounts=[shim])
        return Wrapped((sys.executable, "-I", "-S", step.__file__, *wrapped.argv), wrapped.environment)

    def program(
        self,
        argv: Sequence[str],
        environment: Mapping[str, str],
        *,
        mounts: Iterable[Mount] = (),
        variables: Iterable[str] = (),
    ) -> Wrapped:
        """Return the command that runs a program that may be ended at any moment.

        Args:
            argv: as it is inside.
            environment: whole, as it would be on the host.
            mounts: what it sees of the host besides.
            variables: what it gets of the environment besides.
        """
        if self.runtime.kind == "local":
            return Wrapped(tuple(argv), dict(environment))
        if self.runtime.kind == "modules":
            return Wrapped(tuple(modules_argv(self.runtime, argv, environment)), dict(environment))
        own = self._inside(environment, variables)
        own["PYTHONNOUSERSITE"] = "1"  # packages of your home are for another Python
        known = [*self.mounts, *mounts]
        seen = _distinct([*known, *folder_mounts(own, known)])
        if self.runtime.kind == "apptainer":
            outer = apptainer_environment(environment, own, self.runtime.program)
            return Wrapped((*self._apptainer(seen), *argv), outer)
        outer = srun_environment(environment, own)
        return Wrapped((*self._srun(seen, own, environment), *argv), outer)

    def make_folders(self, environment: Mapping[str, str]) -> None:
        """Make what the engine finds mounted and may not be there yet."""
        if not self.caches:
            return
        if self.runtime.kind == "apptainer" and not self.runtime.mount_home:
            Path(self.caches, "home").mkdir(parents=True, exist_ok=True)
        own = self._inside(environment)
        for mount in folder_mounts(own, self.mounts):
            if mount.source != own.get("TMPDIR"):
                Path(mount.source).mkdir(parents=True, exist_ok=True)

    def _inside(self, environment: Mapping[str, str], variables: Iterable[str] = ()) -> dict[str, str]:
        """Return the variables inside. Where nothing is kept, as for a question, no folder is named either."""
        own = engine_variables({**self._caches(environment), **environment}, (*self.variables, *variables))
        return {name: value for name, value in own.items() if self.caches or name not in PATH_VARIABLES}

    def _caches(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return where caches are that the environment does not name."""
        if not self.caches:
            return {}
        return {"HF_HOME": str(hub_home(environment)), "VLLM_CACHE_ROOT": f"{self.caches}/vllm"}

    def _apptainer(self, mounts: Iterable[Mount]) -> list[str]:
        runtime = self.runtime
        home = [] if runtime.mount_home else ["--no-home"]
        if self.caches and not runtime.mount_home:
            home = ["--home", f"{self.caches}/home:{_HOME_INSIDE}"]
        binds = [word for mount in mounts for word in ("--bind", mount.text)]
        image = str(runtime.image)
        return [runtime.program, "exec", "--cleanenv", *home, *self._gpu(), *binds, *runtime.options, image]

    def _gpu(self) -> list[str]:
        gpu = self.runtime.gpu
        if gpu == "auto":
            gpu = "nvidia" if _NVIDIA.exists() else "amd" if _AMD.exists() else "none"
        return {"nvidia": ["--nv"], "amd": ["--rocm"]}.get(gpu, [])

    def _srun(self, mounts: Iterable[Mount], variables: Mapping[str, str], environment: Mapping[str, str]) -> list[str]:
        """Return an srun that runs one task beside this process, with all cores and GPUs of the job on its node."""
        runtime, node, cores = self.runtime, environment.get("SLURMD_NODENAME"), environment.get("SLURM_CPUS_PER_TASK")
        words = ",".join(mount.text for mount in mounts)
        return [
            *("srun", "--overlap", "--nodes=1", "--ntasks=1", "--mem=0", "--export=ALL"),
            *([f"--nodelist={node}"] if node else []),
            *([f"--cpus-per-task={cores}"] if cores else []),
            f"--container-image={runtime.image}",
            "--container-mount-home" if runtime.mount_home else "--no-container-mount-home",
            *([f"--container-mounts={words}"] if words else []),
            f"--container-env={','.join(sorted(variables))}",
            *runtime.options,
        ]


def _distinct(mounts: Iterable[Mount]) -> list[Mount]:
    """Return one mount for each place; the first counts."""
    by_target: dict[str, Mount] = {}
    for mount in mounts:
        by_target.setdefault(mount.target, mount)
    return list(by_target.values())
