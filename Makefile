# Two commands set everything up on a fresh Linux or macOS machine: `make demo` and `make test`.
# make test VENV=.venv-312 PYTHON=python3.12    another interpreter, in an environment of its own
# make test ARGS="-k onnx -x"                   more arguments for pytest
# make test JOBS=4                              files of tests that run at a time; 0 for one process without workers

VENV ?= .venv
ARGS ?=
JOBS ?= 2
# The first of these that runs and is recent enough; a version manager's stand-in may exist and not run.
PYTHON ?= $(shell for python in python3.11 python3.12 python3; do \
	"$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && echo "$$python" && break; done)

IN_VENV := "$(VENV)/bin/python"
INSTALL = $(IN_VENV) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
OFFRAMP = $(IN_VENV) -m offramp

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test reproduce lint format clean

help:  ## what each command does
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/installed  ## train, quantize, export, execute and report a small network; write a larger one and its sizes
	$(OFFRAMP) deploy care_xxs --precision float32 --precision int8
	$(OFFRAMP) export care_s0 --precision float32 --precision int8 --calibration-samples 32

test: lint  ## lint, types and every test
	OMP_NUM_THREADS=1 $(IN_VENV) -m pytest --numprocesses $(JOBS) --dist loadfile $(ARGS)

reproduce: $(VENV)/installed  ## every paper's claims over five seeds, recorded and written into docs/results.md
	$(IN_VENV) -m offramp.benchmarks.reproductions --keep
	$(IN_VENV) -m offramp.benchmarks.results

# mypy names modules after their folders, so it is shown the checkout, whatever that is called, under the package's name.
lint: $(VENV)/installed-dev  ## style, format and types
	$(IN_VENV) -m ruff check .
	$(IN_VENV) -m ruff format --check .
	@mkdir -p "$(VENV)/types" && ln -sfn "$(CURDIR)" "$(VENV)/types/offramp"
	root="$(CURDIR)"; cd "$(VENV)/types" && ../bin/python -m mypy --config-file "$$root/pyproject.toml" --cache-dir "$$root/.mypy_cache" offramp

format: $(VENV)/installed-dev  ## put every file into the one format
	$(IN_VENV) -m ruff check --select I --fix .
	$(IN_VENV) -m ruff format .

clean:  ## remove the environment, caches and build leftovers; runs/ and dist/ stay
	rm -rf .venv .venv-* build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps, written once the work is whole: a second call installs nothing unless what is to be installed has changed.
$(VENV)/made:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found; install one, or say make PYTHON=/path/to/python3.11" >&2; exit 1; }
	"$(PYTHON)" -m venv "$(VENV)"
	@touch "$@"

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/made
	$(INSTALL) --editable .
	@touch "$@"

$(VENV)/installed-dev: pyproject.toml constraints.txt | $(VENV)/made
	$(INSTALL) --editable '.[dev]'
	@touch "$(VENV)/installed" "$@"
