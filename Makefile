# `make` lists what there is. Everything runs in .venv, which makes itself from the lock file.
# Paths are relative throughout: the repository may lie in a folder with spaces in its name.

PYTHON ?= python3
ARGS ?=

VENV := .venv
STAMP := $(VENV)/.installed
# As seen from backend/, where every tool runs.
PY := ../$(VENV)/bin/python
# Schemathesis and what it needs, which nothing else does, is installed when it is first asked for.
FUZZ_VENV := .venv-fuzz
FUZZ_STAMP := $(FUZZ_VENV)/.installed

MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help
.SUFFIXES:
.DELETE_ON_ERROR:
# The targets use the same folders and terminal: `make -j` changes nothing.
.NOTPARALLEL:
.PHONY: help run demo test check lock openapi format bench fuzz clean reset

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile

run: $(STAMP) ## Start everything: database, cache, mail catcher and the API (PORT=8000)
	@cd backend && exec $(PY) -m devserver

demo: $(STAMP) ## Show a booking race, live, in the terminal
	@cd backend && exec $(PY) -m devserver.demo $(ARGS)

test: $(STAMP) ## Run the tests (ARGS="-k holds" picks some)
	@cd backend && exec $(PY) -m pytest $(ARGS)

check: $(STAMP) ## Lint, format, types, architecture, migrations, OpenAPI, lock file
	@cd backend && $(PY) -m ruff check
	@cd backend && $(PY) -m ruff format --check
	@cd backend && $(PY) -m mypy
	@cd backend && $(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'
	@cd backend && $(PY) -m devserver.checks

format: $(STAMP) ## Format the code and fix what can be fixed
	@cd backend && $(PY) -m ruff check --fix
	@cd backend && $(PY) -m ruff format

bench: $(STAMP) ## Measure the hot paths
	@cd backend && exec $(PY) -m benchmarks $(ARGS)

fuzz: $(FUZZ_STAMP) ## Fuzz the API by its OpenAPI document, as each role (ARGS="customer --cases 500")
	@cd backend && exec ../$(FUZZ_VENV)/bin/python -m fuzzing $(ARGS)

lock: $(STAMP) ## Write the lock files anew from pyproject.toml (ARGS=--upgrade for newer versions)
	@cd backend && $(PY) -m devserver.lock $(ARGS)

openapi: $(STAMP) ## Write docs/openapi anew from the code
	@cd backend && $(PY) -m devserver.snapshot

clean: ## Remove the virtual environments and all caches; the data stays
	@rm -rf $(VENV) $(FUZZ_VENV) backend/build backend/.mypy_cache backend/.ruff_cache backend/.pytest_cache
	@rm -rf backend/.hypothesis backend/.import_linter_cache
	@find backend -name __pycache__ -type d -prune -exec rm -rf {} +

reset: ## Remove the local data: the next `make run` starts with an empty database
	@rm -rf .data

# The stamp is written last, so an installation that was interrupted starts anew.
$(STAMP): backend/requirements-dev.txt
$(FUZZ_STAMP): backend/requirements-fuzz.txt
$(STAMP) $(FUZZ_STAMP):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed; '$(PYTHON)' is not. Try: make PYTHON=python3.12" >&2; \
		exit 1; }
	@echo "Installing into $(@D) (only when the lock file has changed) ..."
	@"$(PYTHON)" -m venv --clear $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check \
		--require-hashes -r $<
	@touch $@
