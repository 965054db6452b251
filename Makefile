# One command a chore. `make quickstart` and `make test` set everything up by themselves.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints/tensorflow-2.20.txt
BIN := $(VENV)/bin
# A file of tests belongs to one process; each takes up to 3 GiB.
WORKERS ?= -n auto --maxprocesses 4 --dist loadfile
STAMP := $(VENV)/.installed-$(notdir $(CONSTRAINTS))

.PHONY: quickstart test test-all lint docs bench smoke constraints clean

quickstart: $(STAMP)
	$(BIN)/python examples/quickstart.py $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest $(WORKERS) $(ARGS)

test-all: $(STAMP)
	$(BIN)/python -m pytest -m "" $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The documents are true: links, files and command lines exist, docs/cli.md is what the commands say.
docs: $(STAMP)
	$(BIN)/python scripts/check_docs.py
	$(BIN)/python scripts/cli_reference.py --check

# Every file of benchmarks/ with a short setting; ARGS="serving_load" for one of them.
bench: $(STAMP)
	scripts/bench.sh $(BIN)/python $(ARGS)

# The next TensorFlow line: its constraints resolve, and train, export and serve work with it.
smoke:
	$(MAKE) --no-print-directory test VENV=.venv-tf2.21 CONSTRAINTS=constraints/tensorflow-2.21.txt ARGS="-m smoke"

# Resolves the versions in constraints/ again, after a change of the dependencies or to move to newer ones.
constraints:
	$(PYTHON) -m venv .venv-uv
	.venv-uv/bin/python -m pip install --quiet --progress-bar off --upgrade uv
	scripts/constraints.sh .venv-uv/bin/uv 2.20 2.21

# The package and everything it is tested with, at the versions of the constraints file.
$(STAMP): pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --progress-bar off --upgrade pip
	$(BIN)/python -m pip install --progress-bar off --quiet -c $(CONSTRAINTS) -e ".[dev]"
	touch $(STAMP)

clean:
	rm -rf $(VENV) .venv-uv .venv-tf2.21 runs build dist *.egg-info
