# `make demo` and `make test` need nothing but Python 3.11 or newer; both make .venv first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-faults check lint types bench coverage devslurm-up devslurm-down clean help system-packages

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

# What a few tests need of Debian: real data, SLURM, a browser and Prometheus. They say so loudly
# where they have to skip.
FASHION := /usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz
SLURM := slurmctld slurmd srun munged slurmdbd mariadbd ip
SLURM_PACKAGES := slurmctld slurmd slurm-client munge slurmdbd mariadb-server-core iproute2

system-packages:
	@PATH="$$PATH:/usr/sbin:/sbin"; \
	apt() { timeout 180 apt-get -qq "$$@" >/dev/null 2>&1 </dev/null; }; \
	get() { apt install -y --no-install-recommends "$$@"; }; \
	need() { get "$$@" || { apt update && get "$$@"; } || \
		echo "Debian's $$* cannot be installed; tests that need it are skipped."; }; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		[ -e $(FASHION) ] || need dataset-fashion-mnist; \
		for program in $(SLURM); do \
			command -v $$program >/dev/null || { need $(SLURM_PACKAGES); break; }; \
		done; \
		for program in chromium prometheus; do \
			command -v $$program >/dev/null || need $$program; \
		done; \
	fi

test: $(VENV)/.installed-dev system-packages  ## Run every test but those of `test-faults`.
	$(BIN)/python -m pytest -n 2

test-faults: $(VENV)/.installed-dev system-packages  ## Kill, cut off and starve running studies; the longest runs on clusters.
	$(BIN)/python -m pytest -m faults $(FAULTS) tests/slurm tests/ray tests/cluster tests/work tests/test_driver.py

lint: $(VENV)/.installed-dev  ## Style, formatting and the direction of imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev  ## Strict types.
	$(BIN)/mypy

check: lint types test  ## What CI runs.

bench: $(VENV)/.installed-dev  ## Measure our overhead: grids, GAN steps, images into shards and to the loop, records, SLURM.
	$(BIN)/python benchmarks/grid_overhead.py
	$(BIN)/python benchmarks/gan_step.py
	$(BIN)/python benchmarks/synthesis.py
	$(BIN)/python benchmarks/prepare.py
	$(BIN)/python benchmarks/feed.py
	$(BIN)/python benchmarks/records.py
	$(BIN)/python benchmarks/slurm_overhead.py

coverage: $(VENV)/.installed-dev  ## Show on simulated studies that the intervals hold what they say.
	$(BIN)/python benchmarks/coverage.py

devslurm-up:  ## Start a private SLURM cluster; prints what a shell must export.
	@$(PYTHON) cluster/devslurm/devslurm.py up

devslurm-down:  ## End it and remove all of it.
	@$(PYTHON) cluster/devslurm/devslurm.py down

clean:  ## Remove the virtual environment and caches; results are kept.
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
