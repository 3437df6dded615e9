"""The package from outside: its public names, what it imports, and the wheel."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import mixvllm
from tests.fakes.interpreter import make_interpreter

ROOT = Path(__file__).parents[1]
PUBLIC = (
    *("ServeConfig", "ModelConfig", "InferenceConfig", "ServerConfig", "GenerationDefaultsConfig", "ExperimentConfig"),
    *("load_yaml_config", "merge_configs", "build_vllm_command", "start_server", "get_gpu_info", "compose"),
)


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_there_and_documented(name: str) -> None:
    assert len(inspect.getdoc(getattr(mixvllm, name)) or "") > 20


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = mixvllm.nothing


def test_the_launcher_process_imports_neither_torch_nor_vllm(tmp_path: Path) -> None:
    script = """
import json, sys
from mixvllm.cli.launch import main
code = main(sys.argv[1:])
heavy = {"torch", "vllm", "transformers", "tokenizers"} & set(sys.modules)
json.dump([code, sorted(heavy)], open("imported.json", "w"))
"""
    own = [
        "model=default",
        "model.name=m",
        f"server.python={make_interpreter(tmp_path, phase_s=0.005)}",
        "preflight=warn",
    ]

    subprocess.run([sys.executable, "-c", script, *own, "workload=probe"], check=True, capture_output=True)

    assert json.loads((tmp_path / "imported.json").read_text()) == [0, []]


def test_importing_the_package_loads_nothing_else() -> None:
    script = (
        "import mixvllm, sys; print(sorted(n for n in sys.modules if n.partition('.')[0] in ('hydra', 'pydantic')))"
    )

    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_the_launcher_runs_from_any_folder_by_its_path(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), "--cfg"], capture_output=True, text=True, cwd=tmp_path
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the source distribution, and of the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return folder


@pytest.fixture
def wheel(built: Path) -> Path:
    return next(built.glob("*.whl"))


def test_the_source_distribution_holds_all_that_the_project_says_of_itself(built: Path) -> None:
    folders = (ROOT / name for name in ("docs", "conf", "tests", "benchmarks", "packaging", ".ci"))
    found = (path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts)
    files = {path for path in found if path.is_file()}
    files |= {ROOT / name for name in ("README.md", "CHANGELOG.md", "LICENSE", "Makefile", "launch.py")}

    with tarfile.open(next(built.glob("*.tar.gz"))) as packed:
        names = {name.partition("/")[2] for name in packed.getnames()}

    assert {path.relative_to(ROOT).as_posix() for path in files} - names == set()


def test_the_newest_release_of_the_changelog_is_the_version() -> None:
    released = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert released[0] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_wheel_holds_every_option(wheel: Path) -> None:
    shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").rglob("*.yaml")}

    packed = {name.removeprefix("mixvllm/") for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".yaml")}

    assert packed == shipped


def test_the_wheel_holds_the_page_of_the_report(wheel: Path) -> None:
    page = ROOT / "mixvllm" / "report" / "page"

    packed = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("mixvllm/report/page/")}

    assert packed == {f"mixvllm/report/page/{path.name}" for path in page.iterdir()}


def test_the_installed_wheel_composes_the_same_in_another_venv_and_folder(wheel: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    site = tmp_path / "venv" / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    # The dependencies are those of this environment; the checkout itself must not be found through them.
    (site / "dependencies.pth").write_text(next(path for path in sys.path if path.endswith("site-packages")) + "\n")
    unpack = [sys.executable, "-m", "zipfile", "-e", str(wheel), str(site)]
    subprocess.run(unpack, check=True)
    script = f"""
import sys
sys.path = [p for p in sys.path if p != {str(ROOT)!r}]
import mixvllm
assert mixvllm.__file__.startswith({str(site)!r}), mixvllm.__file__
print(mixvllm.compose(["experiment=llama3_70b_node"]).model_dump_json())
"""

    done = subprocess.run([str(python), "-c", script], capture_output=True, text=True, cwd=tmp_path)

    assert done.stdout.strip() == mixvllm.compose(["experiment=llama3_70b_node"]).model_dump_json(), done.stderr
