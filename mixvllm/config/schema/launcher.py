"""Options of the launchers of a sweep: `hydra/launcher=…`, `hydra.launcher.NAME=VALUE`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from mixvllm.config.schema.fields import PositiveInt, Section

_OURS = ("array", "error", "open-mode", "ntasks", "output", "signal", "time", "wrap")
"""Options of sbatch that follow from other keys, or that a job of ours cannot go without."""


def _each_once(gpus: list[int | str]) -> list[int | str]:
    if len({str(gpu) for gpu in gpus}) < len(gpus):
        raise ValueError("must name each GPU once: two servers on one would measure each other")
    return gpus


def _one_line(text: str) -> str:
    if "\n" in text or "\r" in text:
        raise ValueError("must be one line")
    return text


def _not_ours(given: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
    for name, value in given.items():
        option = name.replace("_", "-")
        if not option.replace("-", "").isalnum() or option.startswith("-"):
            raise ValueError(f"must have names of sbatch options without dashes before them: not {name!r}")
        if option in _OURS:
            raise ValueError(f"must not hold {name}: the launcher sets it; timeout_min, signal_delay_s say when")
        _one_line(str(value))
    return given


def _before_the_end(signal_delay_s: int, info: ValidationInfo) -> int:
    timeout_min = info.data.get("timeout_min")
    if isinstance(timeout_min, int) and 60 * timeout_min <= 2 * signal_delay_s:
        raise ValueError(f"must be less than half of timeout_min={timeout_min}: else no time is left to measure")
    return signal_delay_s


_NonNegativeInt = Annotated[int, Field(ge=0)]
_Text = Annotated[str, Field(min_length=1), AfterValidator(_one_line)]
_Line = Annotated[str, AfterValidator(_one_line)]
_Auto = Literal["auto"]


class LocalLauncherConfig(Section):
    """A sweep on this machine."""

    gpus: Literal["auto"] | Annotated[list[int | str], Field(min_length=1), AfterValidator(_each_once)] = "auto"
    """Those that may be used; auto = all that are visible."""
    slots: PositiveInt = 1
    """On a machine without GPUs: servers that run at once, each on its share of the cores."""


class SlurmLauncherConfig(Section):
    """A sweep, or one run, as jobs of a Slurm cluster. What is null is left to the cluster."""

    kind: Literal["slurm"] = "slurm"
    """Whose options these are, also in a file of yours that extends them."""
    wait: bool = True
    """Stay and show the jobs until all have ended; false = return with their ids."""
    partition: _Text | None = None
    """Where jobs queue; several: a,b."""
    account: _Text | None = None
    """Who is charged."""
    qos: _Text | None = None
    """Quality of service."""
    reservation: _Text | None = None
    """Nodes that were set aside."""
    wckey: _Text | None = None
    """Key of the accounting."""
    constraint: _Text | None = None
    """Features that nodes must have: a100&nvlink."""
    nodelist: _Text | None = None
    """Nodes that must be among those of each job."""
    exclude: _Text | None = None
    """Nodes that must not."""
    exclusive: Literal[True, False, "user", "mcs"] = False
    """Have nodes for oneself; user, mcs = share them with nobody else."""
    dependency: _Text | None = None
    """What must have happened before: afterok:123."""
    job_name: _Text | None = None
    """What squeue shows; null = the name of the sweep."""
    comment: _Text | None = None
    """What the accounting keeps."""
    mail_user: _Text | None = None
    """Who is told."""
    mail_type: _Text | None = None
    """Of what: BEGIN,END,FAIL,REQUEUE."""
    gpus_per_node: _Auto | _NonNegativeInt = "auto"
    """GPUs of a server; auto = tensor x pipeline x data parallel size, none for a vLLM that runs on the CPU."""
    gpu_type: _Text | None = None
    """Their type, as the cluster names it: a100."""
    gres: _Text | None = None
    """Instead of gpus_per_node, where a cluster wants it; gpu and gpu:a100 get the number."""
    cpus_per_task: _Auto | PositiveInt = "auto"
    """Cores of a server with its load generator; auto = 4 and 2 for each GPU."""
    mem_gb: _Auto | Annotated[float, Field(gt=0)] | None = "auto"
    """Memory of each node; auto = from the weights where their size is known, else left to the cluster."""
    timeout_min: _Auto | PositiveInt = "auto"
    """Minutes of each job; auto = from the workload. What is not done by then is gone on with in the next one."""
    array_parallelism: PositiveInt = 256
    """Jobs of one array that run at once."""
    signal_delay_s: Annotated[int, Field(ge=10), AfterValidator(_before_the_end)] = Field(120, validate_default=True)
    """Seconds before its end at which a job stops its server, keeps what is done and goes back into the queue."""
    max_requeues: _NonNegativeInt = 10
    """How often a job goes back into the queue, whatever for: its time, preemption, a lost node."""
    modules: list[_Text] = Field(default_factory=list)
    """Loaded before, by module load."""
    setup: list[_Line] = Field(default_factory=list)
    """Lines of shell before the job."""
    teardown: list[_Line] = Field(default_factory=list)
    """Lines of shell after it."""
    srun_args: list[_Text] = Field(default_factory=list)
    """Further arguments of srun."""
    additional_parameters: Annotated[dict[str, str | int | float | bool], AfterValidator(_not_ours)] = Field(
        default_factory=dict
    )
    """Any other option of sbatch by its name: {nice: 100, licenses: 'a:1'}."""
