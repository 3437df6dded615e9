"""Puts the user's own config folders before the shipped ones, so that their options are found first.

Every Hydra application of the environment imports this module: it stays tiny, and outside mixvllm it does nothing.
"""

import os
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin


class UserFoldersPlugin(SearchPathPlugin):
    """Reads folders from MIXVLLM_CONF, separated as in PATH."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        folders = os.environ.get("MIXVLLM_CONF", "").split(os.pathsep)
        for folder in reversed([folder for folder in folders if folder]):
            search_path.prepend(provider="mixvllm-user", path=Path(folder).resolve().as_uri(), anchor="main")
