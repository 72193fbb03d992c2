# make setup   a virtual environment in .venv with everything outcore needs
# make demo    a question over a real corpus, answered on this machine
# make test    all tests
# make lint    ruff and mypy

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The build of vLLM: for CUDA where a driver answers, else for the processor.
BUILD ?= $(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda || echo cpu)
READY := $(VENV)/.ready-$(BUILD)

.PHONY: setup demo test lint
.NOTPARALLEL:

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	sh setup.sh $(BIN)/python $(BUILD)
	touch $@

demo: setup
	$(BIN)/python -P bench/demo.py

# Most tests wait most of the time, and can do so side by side; the others want the machine alone.
test: setup
	$(BIN)/python -P -m pytest -m "not alone" --numprocesses 3 --dist loadgroup
	$(BIN)/python -P -m pytest -m alone

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
