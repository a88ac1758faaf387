# `make demo` and `make test` need nothing but Python 3.11 or newer; both make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint types bench clean help system-packages

help:  ## Say what there is.
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$@ -m pip install --quiet --upgrade pip

$(VENV)/.installed: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable .
	touch $@

$(VENV)/.installed-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --editable '.[dev]'
	touch $@ $(VENV)/.installed

demo: $(VENV)/.installed  ## Run the embedded study for real; ends with the report's path.
	$(BIN)/synthtrial run digits

# Real data that a few tests read where it is. They say so loudly where they have to skip.
FASHION := /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz

system-packages:
	@if [ ! -e $(FASHION) ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt() { timeout 180 apt-get -qq "$$@" >/dev/null 2>&1 </dev/null; }; \
		get() { apt install -y --no-install-recommends dataset-fashion-mnist; }; \
		get || { apt update && get; } || \
			echo "Debian's dataset-fashion-mnist cannot be installed; tests that need it are skipped."; \
	fi

test: $(VENV)/.installed-dev system-packages  ## Run every test.
	$(BIN)/python -m pytest -n 2

lint: $(VENV)/.installed-dev  ## Style, formatting and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev  ## Strict types.
	$(BIN)/mypy

check: lint types test  ## What CI runs.

bench: $(VENV)/.installed-dev  ## Measure our overhead: grids, GAN steps, images into shards.
	$(BIN)/python benchmarks/grid_overhead.py
	$(BIN)/python benchmarks/gan_step.py
	$(BIN)/python benchmarks/synthesis.py

clean:  ## Remove the virtual environment and caches; results are kept.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
