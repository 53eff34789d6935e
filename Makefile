# Every target uses .venv, which is made when it is missing and refreshed when the lock or pyproject.toml changed.
#   make demo ARGS="--pods 2000"         options of krm demo
#   make test TESTS=tests/unit JOBS=0    some of the tests, in one process
#   make lock UPGRADE=1                  the newest versions that pyproject.toml allows
#   PYTHON=/path/to/python make ...      the interpreter that .venv is made with

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
ARGS ?=
TESTS ?= tests
# Two processes share the tests, each with a Redis of its own; JOBS=0 runs them one after the other in this one.
JOBS ?= 2
SHARED = -n $(JOBS)
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --quiet \
	$(if $(UPGRADE),--upgrade)

.PHONY: help
help: ## what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

.PHONY: runtime dev
runtime:
	@.ci/environment demo
dev:
	@.ci/environment dev

.PHONY: demo
demo: runtime ## a simulated cluster, its own Redis, all workers and the API; Ctrl-C ends it
	@$(BIN)/krm demo $(ARGS)

.PHONY: test servers
servers: dev
	@$(BIN)/python -m tests.servers
test: servers ## all tests that CI runs
	$(BIN)/python -m pytest $(SHARED) --dist loadfile -m "not bench and not faults" $(TESTS) $(ARGS)

.PHONY: check format-check lint types imports coverage
check: format-check lint types imports coverage ## format, lint, types, import contracts, coverage of what decides by its own tests
format-check: dev
	$(BIN)/ruff format --check .
lint: dev
	$(BIN)/ruff check .
types: dev
	$(BIN)/mypy
imports: dev
	$(BIN)/lint-imports
# Generated cases are fewer here: make test has them all.
# The coverage counts the tests of the store against a real Redis too: without one there is little to see of it.
coverage: dev
	KRM_TEST_CASES=$(or $(KRM_TEST_CASES),1000) $(BIN)/python -m pytest -q $(SHARED) -m "not bench and not faults" -k "not tls" \
		tests/unit/test_merge.py tests/unit/objects tests/unit/store tests/unit/workers tests/unit/schema/test_models.py \
		$(wildcard tests/integration/store) --cov --cov-report=term-missing:skip-covered

.PHONY: bench
bench: dev ## side-by-side benchmarks as a table of ratios, written to docs/benchmarks.md with a plot
	KRM_BENCH_DOCS=1 $(BIN)/python -m pytest -q -s -n 0 -m bench tests/bench $(ARGS)

.PHONY: faults
faults: dev ## faults, load and fuzzing, an hour at most; FAULTS_SCALE=full is the long one
	$(BIN)/python -m pytest -q $(SHARED) -m faults tests/faults tests/integration/client $(ARGS)

# MINUTES: for how long.
MINUTES ?= 60
.PHONY: soak
soak: dev ## 200 changes a second and a fault a minute for MINUTES=60; memory and descriptors
	$(BIN)/python -m tests.faults.soak --minutes $(MINUTES) $(ARGS)

.PHONY: manifests
manifests: dev ## write deploy/ anew
	$(BIN)/python -m krm.manifests deploy

.PHONY: format
format: dev ## rewrite the code as make check wants it
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

.PHONY: ui
ui: dev ## build the page at / anew after a change in ui/ (needs Node.js 20 or newer and npm)
	cd ui && npm ci --no-audit --no-fund && npm run format && npm run build
	$(BIN)/python -m tests.ui

.PHONY: lock
lock: dev ## renew requirements/ after a change of pyproject.toml
	$(COMPILE) --extra demo --group dev -o requirements/dev.txt
	$(COMPILE) --extra demo --group editable -c requirements/dev.txt --no-annotate -o requirements/demo.txt
	$(COMPILE) --extra server -c requirements/dev.txt --no-annotate -o requirements/server.txt
	$(subst pyproject.toml,--group pyproject.toml:editable,$(COMPILE)) -c requirements/dev.txt --no-annotate -o requirements/build.txt

.PHONY: clean
clean: ## remove all that the other targets made
	rm -rf .venv .venv.lock .cache .servers .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
