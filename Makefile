# Builds everything in .venv; each target brings what it needs. `make` alone lists the targets.
#
#   make demo PYTHON=python3.12     another interpreter, 3.10 or newer
#   make test ARGS="-k digits -x"   arguments for pytest
#   make fuzz PROGRAMS=2000 LAUNCHED=50 SEED=7

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
PROGRAMS ?= 20000
LAUNCHED ?= 500
FRAMES ?= 1000000
SEED   ?=
KERNELS := $(wildcard mpc_runtime/kernels/*.pyx mpc_runtime/kernels/*.px[di] mpc_runtime/kernels/src/*)

.PHONY: help demo test fuzz lint bench docs install clean

help:
	@echo "make demo    classify handwritten digits privately: dealer, two parties and two data owners on this machine"
	@echo "make test    run the tests"
	@echo "make fuzz    run random programs against their meaning, mutated sources, plans and frames: some 50 minutes; SEED=N repeats a run"
	@echo "make lint    check style and types"
	@echo "make bench   measure this machine's kernels and models"
	@echo "make docs    build the documentation into site/; open site/index.html"
	@echo "make clean   remove everything that was built"

demo: $(VENV)/installed
	$(BIN)/python -m examples.digits.demo

test: $(VENV)/installed
	$(BIN)/python -m pytest $(ARGS)

fuzz: $(VENV)/installed
	$(BIN)/python -m tests.fuzz --programs $(PROGRAMS) --launched $(LAUNCHED) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.mutations --sources $(PROGRAMS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.plans --plans $(PROGRAMS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.services --kills 100 $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.frames --cases $(FRAMES) $(if $(SEED),--seed $(SEED))

lint: $(VENV)/installed-for-development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint mpc_runtime

bench: $(VENV)/installed
	$(BIN)/mpcc bench

docs: $(VENV)/installed-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

install: $(VENV)/installed

# The first lines turn what a bare machine may lack into a sentence instead of a traceback or a page of compiler output.
$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) was not found. Install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: Python 3.10 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "make: Python.h, which the kernels are compiled with, was not found. On Debian and Ubuntu: sudo apt-get install python3-dev"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "make: no C compiler ($${CC:-cc}) was found. On Debian and Ubuntu: sudo apt-get install gcc; on macOS: xcode-select --install"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml setup.py $(KERNELS) | $(VENV)/bin/python
	@echo "Installing into $(VENV) and compiling the kernels: about two minutes, again only when they change"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[test]"
	@touch $@

# What is installed already is kept: only the packages that an extra adds are fetched, and no kernel is compiled again
$(VENV)/installed-for-development: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "mpc-runtime[dev]"
	@touch $@

$(VENV)/installed-for-docs: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "mpc-runtime[docs]"
	@touch $@

clean:
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find mpc_runtime/kernels \( -name '*.so' -o -name '*.dylib' \) -delete
	rm -f $(patsubst %.pyx,%.c,$(filter %.pyx,$(KERNELS)))
	find . -name __pycache__ -prune -exec rm -rf {} +
