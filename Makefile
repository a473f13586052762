# Two commands for a newcomer: `make demo` and `make test`. Both set up the virtual environment .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
RUN_STAMP := .venv/.run-stamp
TEST_STAMP := .venv/.test-stamp
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
KERNEL_SOURCES := $(shell find submodules -type f \( -name '*.py' -o -name '*.toml' -o -name '*.h' -o -name '*.cpp' -o -name '*.cu' \) -not -path '*/build/*')
PYTHON_PATHS := $(wildcard *.py) gaussian_splatting PAD_utils submodules tests benchmarks

.PHONY: help setup setup-test demo station test lint format clean

help:
	@echo "make demo    set up, then run the main job on the embedded class 00Demo and write its report"
	@echo "make station set up, then serve inspections of the demo class at http://127.0.0.1:8000 (trained first if need be)"
	@echo "make test    set up, also the tools for tests, then lint, type-check and run the test suite"
	@echo "make setup   virtual environment .venv with what a run needs (seconds when nothing changed)"
	@echo "make format  rewrite the sources in the house style"

setup: $(RUN_STAMP)

setup-test: $(TEST_STAMP)

$(RUN_STAMP): requirements.txt $(KERNEL_SOURCES)
	@echo "1/3 virtual environment .venv"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) "pip>=25.1"
	@df -Pk . | awk 'NR == 2 && $$4 < 8e6 { printf "warning: only %.1f GB are free here; the packages take up to 7\n", $$4 / 1e6 }'
	@echo "2/3 packages of requirements.txt (PyTorch is most of it; the first time this downloads for minutes)"
	@grep -v '^\./' requirements.txt > .venv/packages.txt && $(PIP) -r .venv/packages.txt
	@echo "3/3 our kernels, compiled for this machine (about a minute)"
	@$(PIP) ./submodules/diff-gaussian-rasterization ./submodules/simple-knn
	@touch $@

$(TEST_STAMP): $(RUN_STAMP) pyproject.toml
	@echo "tools for the tests"
	@$(PIP) --group dev
	@touch $@

demo: setup
	$(BIN)/python train_and_render.py -c 00Demo -data_path assets/demo -p demo

DEMO_RESULT := assets/demo/results_demo_0/00Demo/inspector/inspector.json

$(DEMO_RESULT): | setup
	$(BIN)/python train_and_render.py -c 00Demo -data_path assets/demo -p demo

station: setup $(DEMO_RESULT)
	@$(PIP) --group station
	$(BIN)/python -m PAD_utils.station --data_path assets/demo -c 00Demo -p demo

test: setup-test lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

lint: setup-test
	$(BIN)/ruff format --check $(PYTHON_PATHS)
	$(BIN)/ruff check $(PYTHON_PATHS)
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports --no-logo --no-cache

format: setup-test
	$(BIN)/ruff format $(PYTHON_PATHS)
	$(BIN)/ruff check --fix $(PYTHON_PATHS)

clean:
	rm -rf .venv results_* build .pytest_cache .mypy_cache .ruff_cache
