# Builds everything in .venv; each target brings what it needs. `make` alone lists the targets.
#
#   make demo PYTHON=python3.12     another interpreter, 3.10 or newer
#   make test ARGS="-k digits -x"   arguments for pytest
#   make test JOBS=0                in one process, as a debugger needs it
#   make fuzz PROGRAMS=2000 LAUNCHED=50 SEED=7

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
PROGRAMS ?= 20000
LAUNCHED ?= 500
FRAMES ?= 1000000
SEED   ?=
JOBS   ?= 2
EXTRAS ?= test
KERNELS := $(wildcard mpc_runtime/kernels/*.pyx mpc_runtime/kernels/*.px[di] mpc_runtime/kernels/src/*)

# What pyproject.toml says that a build needs. Kept in the environment, where it serves every later build too; pip would
# fetch and unpack all of it for one build only
BUILDING := $(shell sed -n '/^requires = /{s/^[^[]*.//;s/].*//;s/,//g;p;}' pyproject.toml)

# A build of its own beside the ordinary one; the tests import it because PYTHONPATH names it first
SANITIZED := build/sanitized
SANITIZED_TESTS := $(addprefix tests/mpc_runtime/,kernels gates/test_operands.py analysis/test_verify.py) tests/fuzz/test_plans.py \
    -k "not conv2d_layers and not forced_variants and (not gates_leave_them or backwards or broadcast) \
    and (not gaps_between_their or read_only) and (not over_block_bounds or spread)"
# Large layers take long; forced variants import the ordinary build; of the layouts, those with the oddest strides

.PHONY: help compiled demo test sanitize fuzz lint bench docs dist install clean

help:
	@echo "make demo      classify handwritten digits privately: dealer, two parties and two data owners on this machine"
	@echo "make test      run the tests"
	@echo "make sanitize  run the tests of kernels, gates and plans on a build that stops at the first wrong access to memory"
	@echo "make fuzz      run random programs against their meaning, mutated sources, plans and frames: some 50 minutes; SEED=N repeats a run"
	@echo "make lint      check style and types"
	@echo "make bench     measure this machine's kernels and models"
	@echo "make docs      build the documentation into site/; open site/index.html"
	@echo "make dist      build the source distribution and wheels into dist/, and try them where there is no compiler"
	@echo "make clean     remove everything that was built"

demo: compiled
	$(BIN)/python -m examples.digits.demo

test: compiled
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadgroup $(ARGS)

# Python frees little at its end, so leaks are not looked for; with malloc small objects, too, are guarded on both sides
sanitize: $(VENV)/installed
	MPC_SANITIZE=1 $(BIN)/python setup.py --quiet build_py --build-lib $(SANITIZED) \
	    build_ext --build-lib $(SANITIZED) --build-temp build/sanitized-objects
	MPC_SANITIZE=1 PYTHONPATH="$(CURDIR)/$(SANITIZED)" PYTHONMALLOC=malloc \
	    ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
	    LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	    $(BIN)/python -m pytest -o pythonpath="$(SANITIZED) ." --numprocesses $(JOBS) --dist loadgroup \
	    $(or $(ARGS),$(SANITIZED_TESTS))

fuzz: $(VENV)/installed
	$(BIN)/python -m tests.fuzz --programs $(PROGRAMS) --launched $(LAUNCHED) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.mutations --sources $(PROGRAMS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.plans --plans $(PROGRAMS) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.services --kills 100 $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.services --kills 100 --refill $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.training --kills 50 $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.frames --cases $(FRAMES) $(if $(SEED),--seed $(SEED))
	$(BIN)/python -m tests.fuzz.namespaces

lint: $(VENV)/installed-for-development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" cython-lint mpc_runtime

bench: $(VENV)/installed
	$(BIN)/mpcc bench

docs: $(VENV)/installed-for-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(VENV)/installed-for-publishing
	.ci/dist $(BIN)/python

install: compiled

# Each server is a process that imports the runtime: where Python writes no bytecode (PYTHONDONTWRITEBYTECODE), all of
# them would compile it anew
compiled: $(VENV)/installed
	@$(BIN)/python -m compileall -q mpc_runtime compiler dsl examples tests

# The first lines turn what a bare machine may lack into a sentence instead of a traceback or a page of compiler output.
$(VENV)/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) was not found. Install Python 3.10 or newer, or name one: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "make: Python 3.10 or newer is needed, $(PYTHON) is $$($(PYTHON) -V 2>&1). Name another one: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "make: $(PYTHON) cannot make virtual environments. On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || { echo "make: Python.h, which the kernels are compiled with, was not found. On Debian and Ubuntu: sudo apt-get install python3-dev"; exit 1; }
	@command -v $${CC:-cc} >/dev/null || { echo "make: no C compiler ($${CC:-cc}) was found. On Debian and Ubuntu: sudo apt-get install gcc; on macOS: xcode-select --install"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml setup.py $(KERNELS) | $(VENV)/bin/python
	@echo "Installing into $(VENV) and compiling the kernels: about a minute, again only when they change"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(BUILDING)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[$(EXTRAS)]"
	@touch $@

# What is installed already is kept: only the packages that an extra adds are fetched, and no kernel is compiled again
$(VENV)/installed-for-development: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "mpc-runtime[dev]"
	@touch $@

$(VENV)/installed-for-publishing: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "mpc-runtime[dist]"
	@touch $@

$(VENV)/installed-for-docs: pyproject.toml $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "mpc-runtime[docs]"
	@touch $@

clean:
	rm -rf $(VENV) site build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find mpc_runtime/kernels \( -name '*.so' -o -name '*.dylib' \) -delete
	rm -f $(patsubst %.pyx,%.c,$(filter %.pyx,$(KERNELS)))
	find . -name __pycache__ -prune -exec rm -rf {} +
