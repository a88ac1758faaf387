# `make demo` and `make test` need nothing but Python 3.11 or newer; both make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check lint types bench clean help

help:  ## Say what there is.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@

demo: $(STAMP)  ## Run the embedded study for real; ends with the report's path.
	$(BIN)/synthtrial run digits

test: $(STAMP)  ## Run every test.
	$(BIN)/python -m pytest -n 2

lint: $(STAMP)  ## Style, formatting and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(STAMP)  ## Strict types.
	$(BIN)/mypy

check: lint types test  ## What CI runs.

bench: $(STAMP)  ## Measure our overhead beside other ways to run a grid.
	$(BIN)/python benchmarks/grid_overhead.py

clean:  ## Remove the virtual environment and caches; results are kept.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
