"""An application of Hydra alone, with the configuration files of mixvllm: what benchmarks put mixvllm beside."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

_APPLICATION = """\
import hydra
from omegaconf import DictConfig, OmegaConf


@hydra.main(version_base="1.3", config_path={conf!r}, config_name="config")
def main(config: DictConfig) -> None:
    {task}


main()
"""


def write_application(folder: Path, task: str = "pass") -> Path:
    """Write a program to `folder` that composes `config` and does `task`, a statement, with it; return its file."""
    file = folder / "bare.py"
    file.write_text(_APPLICATION.format(conf=str(ROOT / "conf"), task=task), encoding="utf-8")
    return file
