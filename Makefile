# Everything a person types. `make demo` and `make test` set up all they need, on a machine with CPython 3.11.
# FLYWHEEL_GPU=1 in front takes the pins for a CUDA machine instead of the CPU ones.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash

PYTHON ?= $(firstword $(foreach p,python3.11 python3 python,$(shell \
	$(p) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' >/dev/null 2>&1 && echo $(p))))
KIND := $(if $(filter-out 0,$(FLYWHEEL_GPU)),gpu,cpu)
VENV := .venv
BIN := $(VENV)/bin
# Written last: an environment that was interrupted half way is not taken for a finished one.
READY := $(VENV)/.ready-$(KIND)
UNFINISHED := $(VENV)/.unfinished

BIND ?= 127.0.0.1
PREFECT_PORT ?= 4200
MLFLOW_PORT ?= 5000

.PHONY: help env demo test check bench up

help:  ## list what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY)  ## create .venv from the pinned requirements (the others do it when need be)

demo: $(READY)  ## run the demo: two correction rounds on support tickets, end to end
	$(BIN)/flywheel demo

test: $(READY)  ## run the tests, all but those marked slow or gpu
	$(BIN)/python -m pytest

check: $(READY)  ## lint, formatting, types, the rules of imports and of data, and what is installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_import_rule.py tests/test_data_is_not_code.py
	$(BIN)/python requirements/audit.py $(KIND)

bench: $(READY)  ## run every benchmark
	@set -e; for file in benchmarks/[a-z]*.py; do \
		name=$$(basename $$file .py); echo "== $$name"; $(BIN)/python -m benchmarks.$$name; done

up: $(READY)  ## start the Prefect server, the MLflow server and workers, and deploy; Ctrl-C stops them
	@$(BIN)/python -m deployments.up --prefect-port $(PREFECT_PORT) --mlflow-port $(MLFLOW_PORT) --host $(BIND) $(if $(ENV_FILE),--env-file $(ENV_FILE))

# An environment that works is kept: `venv` over one that another Python made would mix the two.
$(READY): requirements/$(KIND).txt requirements/install.py pyproject.toml
	@if [ -e $(UNFINISHED) ] || ! $(BIN)/python -c 'import pip, ssl' >/dev/null 2>&1; then rm -rf $(VENV); fi
	@rm -f $(VENV)/.ready-*
	@if [ ! -e $(VENV) ]; then \
		if [ -z "$(PYTHON)" ]; then \
			echo "This needs CPython 3.11 and none was found as python3.11, python3 or python." >&2; \
			echo "Install it, or say where it is: make PYTHON=/path/to/python3.11 ..." >&2; exit 1; fi; \
		$(PYTHON) -m venv $(VENV) || { \
			echo "$(PYTHON) cannot make virtual environments (Debian, Ubuntu: apt install python3.11-venv)." >&2; \
			rm -rf $(VENV); exit 1; }; fi
	@touch $(UNFINISHED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' requirements/$(KIND).txt)"
	$(BIN)/python requirements/install.py $(KIND)
	@# Compiled once and kept beside the code; the first round would wait for it.
	$(BIN)/python -c 'from tasks.duplicates import near_duplicates as join; join({"a": "one two", "b": "one two"}, 0.5)'
	@rm -f $(UNFINISHED) && touch $@
