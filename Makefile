# Everything a contributor does. A bare machine needs python3 (3.11 or later), make and PyPI.
PYTHON ?= python3
UV := .tools/uv/bin/uv
BIN := .venv/bin
export UV_PYTHON_DOWNLOADS := never

.PHONY: help setup demo test lint types check format bench lock clean

help:
	@grep -E '^## ' $(MAKEFILE_LIST) | sed 's/^## //'

## make setup   the environment alone (demo and test do it themselves)
setup: .venv/.ready

$(UV):
	$(PYTHON) -c 'import sys; sys.exit("Assay needs Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv .tools/uv
	.tools/uv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r tools.lock

.venv/.ready: requirements-dev.lock tools.lock pyproject.toml | $(UV)
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .venv
	$(UV) pip sync --quiet --require-hashes --compile-bytecode --python $(BIN)/python requirements-dev.lock
	$(UV) pip install --quiet --no-deps --no-build-isolation --python $(BIN)/python --editable .
	$(BIN)/python -m compileall -q agents api cli cubes flows
	touch $@

## make demo    three hospitals, five models, real patient data, every gate: about two minutes
demo: setup
	$(BIN)/assay demo $(ARGS)

## make test    all tests; those that need a server that is not here skip, and say how to get it
test: setup
	$(BIN)/pytest -n auto $(ARGS)

## make lint    format, lint, import rules
lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

## make types   static types, strict
types: setup
	$(BIN)/mypy

## make check   lint and types
check: lint types

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

## make bench   speed, as ratios against a floor measured in the same run
bench: setup
	@for script in tests/bench/bench_*.py; do \
	    echo "== $$script"; \
	    if grep -q __main__ $$script; then $(BIN)/python $$script; else $(BIN)/pytest -q -s -n 0 $$script; fi || exit 1; \
	done

## make lock    resolve again: versions and hashes, no addresses
lock: $(UV)
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	    pyproject.toml -o requirements.lock
	$(UV) pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	    --group dev --group build pyproject.toml -c requirements.lock -o requirements-dev.lock
	grep -A 40 '^uv==' requirements.lock | awk 'NR > 1 && !/^    / {exit} /^(uv|    --hash)/' | sed '$$ s/ \\$$//' > tools.lock

clean:
	rm -rf .venv .tools build .mypy_cache .ruff_cache .import_linter_cache
