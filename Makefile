# One command a chore. `make quickstart` and `make test` set everything up by themselves.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints/tensorflow-2.20.txt
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-$(notdir $(CONSTRAINTS))

.PHONY: quickstart test test-all lint bench docs constraints smoke clean

quickstart: $(STAMP)
	$(BIN)/python examples/quickstart.py $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(ARGS)

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "" $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The package and everything it is tested with, at the versions of the constraints file.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --progress-bar off --upgrade pip
	$(BIN)/python -m pip install --progress-bar off --quiet -c $(CONSTRAINTS) -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) runs build dist *.egg-info
