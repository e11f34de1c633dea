# Verbs for people and for CI. Everything happens inside .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PACKAGES := core profiling engines calibration compression distillation pipeline agent controller cli

.PHONY: demo dev test check fuzz soak bindings torch gpu clean

demo: $(VENV)/.run
	$(BIN)/edgewright demo

dev: $(VENV)/.dev

test: $(VENV)/.dev
	PYTHONSAFEPATH=1 $(BIN)/python -Im pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p $(VENV)/typing && ln -sfn "$(CURDIR)" $(VENV)/typing/edgewright
	cd $(VENV)/typing && ../bin/mypy --config-file edgewright/pyproject.toml $(PACKAGES:%=-p edgewright.%)
	PYTHONSAFEPATH=1 $(BIN)/lint-imports

# The real bindings of each TensorRT release, and TensorRT-RTX: without them the tests that need them are skipped.
bindings: $(VENV)/.dev
	.ci/tensorrt-bindings

# PyTorch, for distillation: 200 MB where pip is set up for its CPU wheels, several GB where it brings CUDA. Without it its tests are skipped.
torch: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --editable '.[distill]'

# What only a machine with an NVIDIA GPU can run.
gpu: $(VENV)/.dev
	PYTHONSAFEPATH=1 $(BIN)/python -Im pytest -m gpu

$(VENV)/.venv:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/.run: $(VENV)/.venv setup.cfg
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[images,controller]'
	touch $@

$(VENV)/.dev: $(VENV)/.venv setup.cfg
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/.run

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache

# A million spoilt inputs for every parser, and as many reads of drivers that tear; goes on where an earlier call was ended.
fuzz: $(VENV)/.dev
	$(BIN)/python benchmarks/reliability.py fuzz --seconds 86400
	EDGEWRIGHT_FUZZ_READS=1000000 PYTHONSAFEPATH=1 $(BIN)/python -Im pytest tests/profiling/test_odd_trees.py -q -k fuzzed

# Three agents for an hour under random faults: kills, bad links, dead brokers. SOAK_SECONDS=300 takes five minutes.
SOAK_SECONDS ?= 3600
soak: $(VENV)/.dev
	$(BIN)/python benchmarks/reliability.py soak --seconds $(SOAK_SECONDS)
