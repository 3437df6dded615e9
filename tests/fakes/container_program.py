"""The program behind `containers.make_program`: run as `container_program.py PATH_OF_PROGRAM ARGUMENTS…`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path, PurePosixPath

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
APPTAINER_VALUES = {"--bind": "--bind", "-B": "--bind", "--home": "--home", "-H": "--home", "--env": "--env"}
APPTAINER_FLAGS = ("--cleanenv", "-e", "--nv", "--rocm", "--no-home", "--containall", "--contain")
PYXIS_VALUES = ("--container-image", "--container-mounts", "--container-env")
PYXIS_FLAGS = ("--container-mount-home", "--no-container-mount-home", "--container-writable", "--container-readonly")
SRUN_FLAGS = ("--overlap",)
SRUN_VALUES = ("--nodes", "--ntasks", "--export", "--cpus-per-task", "--nodelist", "--mem", "--mpi")


def refuse(words: str) -> None:
    sys.stderr.write(f"FATAL:   {words}\n")
    sys.exit(255)


def parse_apptainer(words: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    if not words or words[0] != "exec":
        refuse(f"unknown command {words[:1]}")
    options: dict[str, list[str]] = {}
    rest = words[1:]
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        name, _, value = word.partition("=")
        if name in APPTAINER_VALUES:
            options.setdefault(APPTAINER_VALUES[name], []).append(value or rest.pop(0))
        elif word in APPTAINER_FLAGS:
            options.setdefault(word, [])
        else:
            refuse(f"unknown flag: {word}")
    return options, rest


def parse_srun(words: list[str]) -> tuple[dict[str, list[str]], list[str], list[str]]:
    options: dict[str, list[str]] = {}
    own: list[str] = []
    rest = list(words)
    while rest and rest[0].startswith("-"):
        word = rest.pop(0)
        name, is_valued, value = word.partition("=")
        if name in PYXIS_VALUES and is_valued:
            options[name] = [value]
        elif word in PYXIS_FLAGS:
            options[word] = []
        elif word in SRUN_FLAGS or (name in SRUN_VALUES and is_valued):
            own.append(word)
        else:
            refuse(f"unrecognized option '{word}'")
    return options, own, rest


def read_mounts(texts: list[str]) -> list[tuple[str, str]]:
    mounts = []
    for text in texts:
        for one in text.split(","):
            source, *rest = one.split(":")
            if rest[1:] not in ([], ["ro"], ["rw"]):
                refuse(f"while parsing bind path: {one}")
            if not Path(source).exists():
                refuse(f"container creation failed: mount {source}: no such file or directory")
            mounts.append((source, rest[0] if rest else source))
    return mounts


def seen(word: str, mounts: list[tuple[str, str]], image: str) -> str:
    """Return `word` as the host has it; refuse a path of the host that is not in the container."""
    if not word.startswith("/"):
        return word
    for source, target in sorted(mounts, key=lambda mount: -len(mount[1])):
        if PurePosixPath(word).is_relative_to(target):
            return str(Path(source) / PurePosixPath(word).relative_to(target))
    if Path(word).exists() and not PurePosixPath(word).is_relative_to(image):
        refuse(f"{word} is not in the container")
    return word


def clean_environment(prefix: str, home: str, image: str) -> dict[str, str]:
    inside = {name.removeprefix(prefix): value for name, value in os.environ.items() if name.startswith(prefix)}
    return {**inside, "PATH": f"{image}/bin:/usr/bin:/bin", "HOME": home}


def note(program: Path, **facts: object) -> None:
    with (program.parent / "calls").open("a") as file:
        file.write(json.dumps(facts) + "\n")


def run(argv: list[str], environment: dict[str, str]) -> int:
    """Run `argv` as a child and forward signals to it, as apptainer's own parent process does."""
    child = subprocess.Popen(argv, env=environment)
    for number in FORWARDED:
        signal.signal(number, lambda number, _frame: child.send_signal(number))
    status = child.wait()
    return status if status >= 0 else 128 - status


def apptainer(program: Path, words: list[str]) -> int:
    options, rest = parse_apptainer(words)
    image, *command = rest
    if not Path(image).exists():
        refuse(f"could not open image {image}: no such file or directory")
    home, _, home_inside = options.get("--home", [os.environ.get("HOME", "/root")])[0].partition(":")
    mounts = read_mounts(options.get("--bind", [])) + (read_mounts(options["--home"]) if "--home" in options else [])
    prefix = "SINGULARITYENV_" if program.name == "singularity" else "APPTAINERENV_"
    is_clean = "--cleanenv" in options
    environment = clean_environment(prefix, home_inside or home, image) if is_clean else dict(os.environ)
    note(program, options=options, image=image, command=command, environment=environment)
    argv = [seen(word, mounts, image) for word in command]
    for name in ("TMPDIR", "HF_HOME", "VLLM_CACHE_ROOT"):
        if name in environment:
            environment[name] = seen(environment[name], mounts, image)
    return run(argv, environment)


def srun(program: Path, words: list[str]) -> int:
    real = os.environ.get("PYXIS_REAL_SRUN")
    if real is not None and not any(word.startswith("--container-") for word in words):
        return run([real, *words], dict(os.environ))
    options, own, command = parse_srun(words)
    image = options["--container-image"][0]
    if image.startswith("/") and not Path(image).exists():
        refuse(f"pyxis: no such image {image}")
    mounts = read_mounts(options.get("--container-mounts", []))
    names = options.get("--container-env", [""])[0].split(",")
    environment = {**os.environ, "PATH": f"{image}/bin:/usr/bin:/bin", "HOME": "/root"}
    environment |= {name: os.environ[name] for name in names if name in os.environ}
    note(program, options=options, image=image, command=command, environment=environment)
    argv = [seen(word, mounts, image) for word in command]
    if real is not None:
        argv, environment["PATH"] = [real, *own, *argv], f"{image}/bin:{os.environ['PATH']}"
    return run(argv, environment)


if __name__ == "__main__":
    called = Path(sys.argv[1])
    sys.exit((srun if called.name == "srun" else apptainer)(called, sys.argv[2:]))
