# Two commands matter: `make serve` starts Octant, `make test` is what CI runs.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
DATA_DIR ?= .octant

.PHONY: help serve test lint types contracts pytest format lock clean

help:
	@echo "make serve   start the server with the bundled model (DATA_DIR=$(DATA_DIR))"
	@echo "make test    lint, types, import contracts and all tests"
	@echo "make lint | types | contracts | pytest   one part of it"
	@echo "make format  format the code        make lock  renew the locked dependencies"

$(VENV)/python.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else \
	  "Octant needs Python 3.11 or newer, $(PYTHON) is " + sys.version.split()[0] + \
	  ". Try: make serve PYTHON=python3.11")'
	@echo "Creating a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/serve.stamp: $(VENV)/python.stamp requirements/serve.txt pyproject.toml
	@echo "Installing locked dependencies (once)"
	@$(PIP) install --require-hashes -r requirements/serve.txt
	@$(PIP) install --no-deps --editable .
	@touch $@

# torch comes first and by itself, so that nothing pulls another build of it.
$(VENV)/test.stamp: $(VENV)/serve.stamp requirements/test.txt
	@echo "Installing what the tests need: torch, transformers, optimum-intel, linters (once)"
	@$(PIP) install torch==2.13.0
	@$(PIP) install -r requirements/test.txt
	@touch $@

serve: $(VENV)/serve.stamp
	@$(BIN)/octant serve --data-dir $(DATA_DIR)

test: lint types contracts pytest

lint: $(VENV)/test.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/test.stamp
	$(BIN)/pyright

contracts: $(VENV)/test.stamp
	$(BIN)/lint-imports

pytest: $(VENV)/test.stamp
	$(BIN)/python -m pytest

format: $(VENV)/test.stamp
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

LOCK := $(BIN)/uv pip compile --quiet --python-version 3.11 --no-header --no-annotate pyproject.toml
lock: $(VENV)/python.stamp
	$(PIP) install uv
	$(LOCK) --override requirements/overrides.txt --group test --extra prepare -o requirements/test.txt
	$(LOCK) --generate-hashes -c requirements/test.txt -o requirements/serve.txt

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
