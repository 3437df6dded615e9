# Every target that runs Python brings .venv up to date first; ARGS="..." is passed on by demo, test, test-fast and bench.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help venv demo test test-fast lint types bench clean

python := .venv/bin/python
stamp := .venv/.installed
ARGS ?=
# Most tests wait for processes rather than compute; those with a real vLLM run one after the other in one worker.
parallel := -n 4 --dist loadscope

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

$(stamp): pyproject.toml packaging/install.sh packaging/cpu-overrides.txt
	packaging/install.sh

venv: $(stamp) ## make .venv: mixvllm, its development tools, and vLLM for this machine

demo: $(stamp) ## serve a small model, ask it one question, stop; needs no GPU and downloads no model
	@run="$(python) launch.py model=demo"; \
	if [[ $$(<$(stamp)) == cpu ]]; then run+=" inference=cpu"; fi; \
	$$run workload=probe $(ARGS); \
	echo; \
	echo "What next:"; \
	echo "  serve it until Ctrl-C:   $$run"; \
	echo "  ask something else:      $$run workload=probe workload.prompt='Tell me a story.'"; \
	echo "  see every setting:       $(python) launch.py --help"

test: $(stamp) ## run all tests, those with a real vLLM too
	$(python) -m pytest $(parallel) $(ARGS)

test-fast: $(stamp) ## run the quick tests, which start no server
	$(python) -m pytest -n auto --dist loadscope -m "not engine and not slow" $(ARGS)

lint: $(stamp) ## check style, format and the direction of imports
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports

types: $(stamp) ## check types
	.venv/bin/mypy

bench: $(stamp) ## run every benchmark; ARGS=--quick for a short run
	@status=0; \
	for file in benchmarks/[!_]*.py; do \
	    [[ -e $$file ]] || continue; \
	    name=$${file##*/}; \
	    echo "benchmarks.$${name%.py}"; \
	    $(python) -m "benchmarks.$${name%.py}" $(ARGS) || status=1; \
	done; \
	exit $$status

clean: ## remove what was built, and leave .venv and outputs
	rm -rf dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -path ./.venv -prune -o -path ./outputs -prune -o -type d \( -name __pycache__ -o -name '*.egg-info' \) -print0 | xargs -0 rm -rf
