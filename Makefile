# Every chore is one command; each makes what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-slow lint types docs bench format clean
.DEFAULT_GOAL := test

# Two states of the environment: what the package needs, and what its development needs on top.
$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --progress-bar off -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --progress-bar off -e '.[dev]'
	touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --progress-bar off -e '.[docs]'
	touch $@

demo: $(VENV)/.core
	$(BIN)/codivide demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

types: $(VENV)/.dev
	$(BIN)/mypy

docs: $(VENV)/.docs
	$(BIN)/mkdocs build --strict

bench: $(VENV)/.dev
	$(BIN)/python benchmarks/mixture.py --out results/benchmarks/mixture.json
	$(BIN)/python benchmarks/augment.py --out results/benchmarks/augment.json
	$(BIN)/python benchmarks/step.py --out results/benchmarks/step.json

clean:
	rm -rf $(VENV) build dist site
