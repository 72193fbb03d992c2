# make setup   a virtual environment in .venv with everything outcore needs
# make demo    a question over a real corpus, answered on this machine
# make test    all tests
# make check   lint, types, and the tests that need no weights
# make lint    ruff and mypy

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The build of vLLM: for CUDA where a driver answers, else for the processor.
BUILD ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
READY := $(VENV)/.ready-$(BUILD)

MINOR := import sys; print("%d.%d" % sys.version_info[:2])

.PHONY: setup demo test check lint
.NOTPARALLEL:

setup: $(READY)

# Before the environment is made, which would keep the Python it was made with. It is made anew for
# another Python, and for another build: both builds of vLLM in one break it.
$(READY): pyproject.toml setup.sh
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "outcore needs Python 3.11 or later, and $(PYTHON) is $$($(PYTHON) -V 2>&1):" \
	        "make setup PYTHON=python3.12" >&2; exit 1; }
	if [ -e $(BIN)/python ] && { [ -n "$$(ls $(VENV)/.ready-* 2>/dev/null | grep -v '$@$$')" ] \
	    || [ "$$($(BIN)/python -c '$(MINOR)')" != "$$($(PYTHON) -c '$(MINOR)')" ]; }; \
	    then $(PYTHON) -m venv --clear $(VENV); else $(PYTHON) -m venv $(VENV); fi
	sh setup.sh $(BIN)/python $(BUILD)
	touch $@

demo: setup
	$(BIN)/python -P bench/demo.py

# Most tests wait most of the time, and can do so side by side; the others want the machine alone.
test: setup
	$(BIN)/python -P -m pytest -m "not alone" --numprocesses 3 --dist loadgroup
	$(BIN)/python -P -m pytest -m alone

check: lint
	$(BIN)/python -P -m pytest -m "not model and not alone" --numprocesses 3 --dist loadgroup

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
