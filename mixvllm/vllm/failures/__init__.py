"""Why a vLLM server failed, read from its log and its exit status: the cause, where it shows, and what mends it."""

from mixvllm.vllm.failures.diagnose import diagnose
from mixvllm.vllm.failures.diagnosis import UNCLASSIFIED, Diagnosis, FailureKind

__all__ = ["UNCLASSIFIED", "Diagnosis", "FailureKind", "diagnose"]
