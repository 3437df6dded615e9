"""The known failures of a vLLM server, by theme; their texts are those of vLLM 0.32 where it words them."""

from mixvllm.vllm.failures.catalogue import machine, memory, model, parallel, processes, settings
from mixvllm.vllm.failures.catalogue.entry import Failure

CATALOGUE: tuple[Failure, ...] = (
    *settings.FAILURES,
    *model.FAILURES,
    *memory.FAILURES,
    *parallel.FAILURES,
    *machine.FAILURES,
    *processes.FAILURES,
)

__all__ = ["CATALOGUE"]
