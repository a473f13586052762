# Two commands for a newcomer: `make demo` and `make test`. Both call `make setup`, which is idempotent.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.setup-stamp
KERNEL_SOURCES := $(shell find submodules -type f \( -name '*.py' -o -name '*.toml' -o -name '*.h' -o -name '*.cpp' -o -name '*.cu' \) -not -path '*/build/*')
PYTHON_PATHS := train_and_render.py train_and_pose_est.py prepare_lego_ad.py prepare_subset_lego_ad.py prepare_synthetic_ad.py gaussian_splatting PAD_utils submodules tests benchmarks

.PHONY: help setup demo test lint format clean

help:
	@echo "make demo    set up, then run the main job on the embedded class 00Demo and write its report"
	@echo "make test    set up, then lint, type-check and run the test suite"
	@echo "make setup   virtual environment .venv with everything (seconds when nothing changed)"
	@echo "make format  rewrite the sources in the house style"

setup: $(STAMP)

$(STAMP): requirements.txt pyproject.toml $(KERNEL_SOURCES)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25.1"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt --group dev
	touch $@

demo: setup
	$(BIN)/python train_and_render.py -c 00Demo -data_path assets/demo -p demo

test: setup lint
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff format --check $(PYTHON_PATHS)
	$(BIN)/ruff check $(PYTHON_PATHS)
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports --no-logo --no-cache

format: setup
	$(BIN)/ruff format $(PYTHON_PATHS)
	$(BIN)/ruff check --fix $(PYTHON_PATHS)

clean:
	rm -rf .venv results_* build .pytest_cache .mypy_cache .ruff_cache
