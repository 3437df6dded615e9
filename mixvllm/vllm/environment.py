"""The environment that the engine gets over the launcher's own."""

from __future__ import annotations

from collections.abc import Mapping

from mixvllm.config.schema import ExperimentConfig, ServeConfig

API_KEY_VARIABLE = "VLLM_API_KEY"
"""Variable that vLLM reads the clients' key from; the key never goes into argv, which everybody can read."""


def build_environment(config: ServeConfig, inherited: Mapping[str, str], metadata_path: str | None) -> dict[str, str]:
    """Return what is set for the engine beside what it inherits. Pure; holds no secret.

    Args:
        config: validated.
        inherited: the environment of the launcher.
        metadata_path: folder that completes the installation's metadata, see `Installation`; None where it is whole.
    """
    environment = {name: value for name, value in config.server.env.items() if value is not None}
    if isinstance(config, ExperimentConfig):
        environment |= config.workload.server_environment(config.server)
    if config.server.is_loopback and config.inference.nnodes == 1:
        # vLLM takes the address of the default route for its internal sockets: reachable from the network.
        environment.setdefault("VLLM_HOST_IP", "127.0.0.1")
    if metadata_path is not None:
        rest = environment.get("PYTHONPATH", inherited.get("PYTHONPATH"))
        environment["PYTHONPATH"] = f"{metadata_path}:{rest}" if rest else metadata_path
    return environment
