# `make test` is all that CI runs. What it needs it installs first: Python packages into .venv, and the servers that the
# tests run against into .servers. A second run installs nothing. It takes Python 3.11 or newer, and Node.js 20.6 or newer.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Older versions of pip know no groups.
GROUP := $(PIP) install 'pip>=25.1' && $(PIP) install --group
PINS := pyproject.toml requirements/dev.txt
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --custom-compile-command "make pins"

# Passed on to pytest by `unit` and `test`, and to the benchmarks by `bench`: make unit ARGS="-k append"
ARGS ?=
# Test processes. The tests of a file share one, and so the servers that it starts.
WORKERS ?= 3
# make prove HISTORIES=1000000 SEED=7
HISTORIES ?= 100000
SEED ?= 1
# make fuzz SECONDS=3600
SECONDS ?= 60
# make pins UPGRADE=--upgrade
UPGRADE ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help demo test setup format lint types layers unit prove bench fuzz pins

help: ## What there is to make
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.cli ## A tour of headstream, in a minute
	@$(BIN)/headstream demo

test: ## Everything that must pass, and how long each part of it takes
	@took=; for part in setup lint types layers unit; do \
		began=$$(date +%s); $(MAKE) --no-print-directory $$part || exit 1; \
		took="$$took $$part $$(($$(date +%s) - began)) s,"; \
	done; echo "took:$${took%,}"

setup: $(VENV)/.dev ## Install what development and tests need
	@PYTHONPATH=tests $(BIN)/python -m servers.install

format: $(VENV)/.dev ## Format the code, and mend what the linter can mend
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

lint: $(VENV)/.dev ## Check formatting and lint rules
	$(BIN)/ruff format --check
	$(BIN)/ruff check

types: $(VENV)/.dev ## Check types
	$(BIN)/mypy
	$(BIN)/mypy --allow-untyped-defs --allow-incomplete-defs --allow-untyped-calls --no-check-untyped-defs --disable-error-code annotation-unchecked tests

layers: $(VENV)/.dev ## Check that imports point down only
	$(BIN)/lint-imports

unit: setup ## Run the tests
	$(BIN)/pytest -n $(WORKERS) --dist loadfile $(ARGS)

prove: setup ## Run many hostile histories, every schedule of small cases, and interrupts at every place
	$(BIN)/headstream-sim --seed $(SEED) --histories $(HISTORIES) --jobs 0
	$(BIN)/headstream-sim --explore
	THOROUGH=1 $(BIN)/pytest tests/test_interrupting.py tests/acceptance/test_contention.py

bench: setup ## Run the benchmarks
	$(GROUP) bench
	npm install --prefix .servers/bench --no-audit --no-fund --ignore-scripts --silent @eventide/message-db@1.3.1
	$(BIN)/python -m benchmarks $(ARGS)

fuzz: $(VENV)/.dev ## Hand hostile bytes to the decoders
	$(GROUP) fuzz
	PYTHONPATH=tests $(BIN)/python -m fuzz.decoders --seconds $(SECONDS)

pins: | $(BIN)/python ## Write the pinned versions anew
	$(PIP) install uv
	$(COMPILE) $(UPGRADE) --all-extras --group dev --output-file requirements/dev.txt pyproject.toml
	$(COMPILE) $(UPGRADE) --output-file requirements/servers.txt requirements/servers.in
	cd tests/servers/node && npm install --package-lock-only --omit-lockfile-registry-resolved --ignore-scripts --no-audit --no-fund
	@! grep -n '"resolved"' tests/servers/node/package-lock.json || { echo "the lock file names a registry: remove it, then make pins again" >&2; exit 1; }

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "headstream needs Python 3.11 or newer: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)

$(VENV)/.cli: $(PINS) | $(BIN)/python
	$(PIP) install --constraint requirements/dev.txt --editable '.[cli]'
	@touch $@

$(VENV)/.dev: $(PINS) | $(BIN)/python
	$(PIP) install --requirement requirements/dev.txt
	$(PIP) install --no-deps --editable .
	@touch $@ $(VENV)/.cli
