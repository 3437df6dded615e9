"""The `runtime` section: what the engine's command is wrapped in, and the rules of each kind."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from mixvllm.config.schema.fields import LAUNCHER_ONLY, Section, Word
from mixvllm.config.schema.inference import InferenceConfig
from mixvllm.config.schema.model import ModelConfig
from mixvllm.config.schema.server import ServerConfig
from mixvllm.errors import Fault

_MOUNT = re.compile(r"(?P<source>[^:,]+)(:(?P<target>/[^:,]*))?(:(ro|rw))?")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\*?")
_CONTAINERS = ("apptainer", "pyxis")
_USED_BY = {
    "python": ("modules", *_CONTAINERS),
    "version": ("modules", *_CONTAINERS),
    "modules": ("modules",),
    "module_init": ("modules",),
    "image": _CONTAINERS,
    "program": ("apptainer",),
    "mounts": _CONTAINERS,
    "mount_home": _CONTAINERS,
    "pass_env": _CONTAINERS,
    "cache_dir": _CONTAINERS,
    "gpu": ("apptainer",),
    "options": _CONTAINERS,
}


def _mount(value: str) -> str:
    found = _MOUNT.fullmatch(value)
    if found and found["source"].startswith("/"):
        return value
    raise ValueError("must be HOST[:CONTAINER][:ro], both whole paths; ${oc.env:HOME} for your home")


def _variable(value: str) -> str:
    if _NAME.fullmatch(value):
        return value
    raise ValueError("must be the name of a variable, or its beginning with a *: UCX_*")


_Mount = Annotated[str, AfterValidator(_mount)]
_Variable = Annotated[str, AfterValidator(_variable)]


class RuntimeConfig(Section):
    """Where the engine finds its vLLM: an interpreter of this machine, environment modules, or a container."""

    kind: Annotated[Literal["local", "modules", "apptainer", "pyxis"], LAUNCHER_ONLY] = "local"
    """local: the interpreter `server.python`. modules: one after `module load`. apptainer: one in an image, also with
    SingularityCE. pyxis: one in an image, by srun with the plugin pyxis (enroot), inside a job of Slurm."""
    python: Annotated[Word | None, LAUNCHER_ONLY] = None
    """Interpreter inside, by name or path; null = python3."""
    version: Annotated[Word | None, LAUNCHER_ONLY] = None
    """Release of the vLLM inside, where it is not to be asked, e.g. since the login node has no apptainer; null = it is
    asked, but for pyxis outside a job, where the supported release is taken for it."""
    modules: Annotated[list[Word], LAUNCHER_ONLY] = Field(default_factory=list)
    """What `module load` gets, in this order."""
    module_init: Annotated[Word | None, LAUNCHER_ONLY] = None
    """Shell file that defines `module`; null = that of the Lmod or Environment Modules of this machine."""
    image: Annotated[Word | None, LAUNCHER_ONLY] = None
    """Image: for apptainer a file (.sif) or an unpacked folder; for pyxis a file (.sqsh) or a name in a registry."""
    program: Annotated[Word, LAUNCHER_ONLY] = "apptainer"
    """Program that runs images: apptainer, singularity, or a path of one."""
    mounts: Annotated[list[_Mount], LAUNCHER_ONLY] = Field(default_factory=list)
    """Folders and files of the host, each HOST[:CONTAINER][:ro]. The model, a tokenizer, caches and temporary files are
    mounted besides, at the same path."""
    mount_home: Annotated[bool, LAUNCHER_ONLY] = False
    """Let the engine see your home folder; else apptainer gives it one below `cache_dir`."""
    pass_env: Annotated[list[_Variable], LAUNCHER_ONLY] = Field(default_factory=list)
    """Further variables of the host that the engine gets, by name, or by beginning: UCX_*."""
    cache_dir: Annotated[Word | None, LAUNCHER_ONLY] = None
    """Folder of the host for the engine's compile cache and home; null = ~/.cache/mixvllm/runtime."""
    gpu: Annotated[Literal["auto", "nvidia", "amd", "none"], LAUNCHER_ONLY] = "auto"
    """Whose GPUs apptainer gives to the engine; auto = what this machine has."""
    options: Annotated[list[str], LAUNCHER_ONLY] = Field(default_factory=list)
    """Further options of `apptainer exec`, or of pyxis' srun."""

    @property
    def is_container(self) -> bool:
        """Whether the engine sees another file system than the launcher."""
        return self.kind in _CONTAINERS

    @property
    def interpreter(self) -> str:
        """The interpreter inside; of no meaning for `local`."""
        return self.python or "python3"


def runtime_faults(
    runtime: RuntimeConfig, model: ModelConfig, inference: InferenceConfig, server: ServerConfig
) -> Iterator[Fault]:
    """Yield what does not go together with the runtime."""
    yield from _only_what_it_uses(runtime)
    yield from _what_it_needs(runtime)
    if runtime.kind != "local" and server.python is not None:
        yield Fault("server.python", f"is for runtime=local; runtime.kind={runtime.kind} has runtime.python")
    if not runtime.is_container:
        return
    for key, path in (("model.name", model.name), ("model.tokenizer", model.tokenizer or "")):
        if path.startswith(("./", "../", "~")):
            yield Fault(key, "must be a whole path in a container, as it is there", path)
    if inference.nnodes > 1 and inference.distributed_executor_backend == "ray":
        words = "must not be ray over several nodes in a container: Ray's processes would be outside of it; null = mp"
        yield Fault("inference.distributed_executor_backend", words, "ray")


def _only_what_it_uses(runtime: RuntimeConfig) -> Iterator[Fault]:
    for name, kinds in _USED_BY.items():
        default = RuntimeConfig.model_fields[name].get_default(call_default_factory=True)
        if runtime.kind not in kinds and getattr(runtime, name) != default:
            advice = "; server.python names another interpreter" if name == "python" else ""
            yield Fault(f"runtime.{name}", f"has no meaning with runtime.kind={runtime.kind}{advice}")


def _what_it_needs(runtime: RuntimeConfig) -> Iterator[Fault]:
    if runtime.kind == "modules" and not runtime.modules:
        yield Fault("runtime.modules", "must be given: runtime.modules=[NAME]")
    if runtime.is_container and runtime.image is None:
        yield Fault("runtime.image", "must be given: runtime.image=/path/of/vllm.sif")
    if runtime.kind == "apptainer" and "://" in (runtime.image or ""):
        pull = f"{runtime.program} pull vllm.sif {runtime.image}"
        yield Fault("runtime.image", f"must be a file: {pull} makes it, once, not in each start", runtime.image)
