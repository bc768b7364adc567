# Every chore is one command; each makes what it needs first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Compiled once: pytest takes 9 s in each worker to prepare the tests, and a process that a test starts compiles codivide.
unexport PYTHONDONTWRITEBYTECODE

# What takes seconds, a process or a browser is for `make test`; what takes minutes for `make test-slow`.
FAST := not (slow or long or process or browser)

.PHONY: demo test test-fast test-slow test-faults test-min coverage lint types docs bench numbers format clean
.DEFAULT_GOAL := test

# Two states of the environment: what the package needs, and what its development needs on top.
$(VENV)/.core: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --progress-bar off -e .
	touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --progress-bar off -e '.[dev]'
	touch $@

# An environment of its own with the lowest versions that pyproject.toml claims.
$(VENV)-min/.test: pyproject.toml constraints-min.txt
	test -x $(VENV)-min/bin/python || $(PYTHON) -m venv $(VENV)-min
	PIP_CONSTRAINT=$(CURDIR)/constraints-min.txt \
	  $(VENV)-min/bin/python -m pip install --quiet --progress-bar off -e '.[test]'
	touch $@

$(VENV)/.docs: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet --progress-bar off -e '.[docs]'
	touch $@

demo: $(VENV)/.core
	$(BIN)/codivide demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-fast: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "$(FAST)" --durations 20

# The fast tests again, with the share of lines that they run; below the floor of pyproject.toml it fails.
coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -n 2 -m "$(FAST)" --durations 20 --cov --cov-report term:skip-covered

test-slow: $(VENV)/.dev
	$(BIN)/python -m pytest -m slow

# Kills, full disks (as root), damaged files, signals and odd surroundings, really made; the table of docs/reliability.md.
test-faults: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults --out results/faults.json

test-min: $(VENV)-min/.test
	$(VENV)-min/bin/python -m pytest -n 2 -m "$(FAST)" --durations 20 -W ignore::DeprecationWarning

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python docs/words.py
	$(BIN)/python -m tests.holes

numbers: $(VENV)/.dev
	$(BIN)/python benchmarks/make_numbers.py

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
	rm -rf $(VENV) $(VENV)-min build dist site .coverage
