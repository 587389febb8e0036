# make search   find a baseline within 400M FLOPs (installs what it needs first)
# make test     the quick tests, minutes          make lint   ruff and mypy
# make test-all all tests: whole grids, kills and clusters too
# make docs     the documentation site, into site/
# PYTEST='-k name'  further options of pytest for make test
# VENV=dir      where the environment lives; PYTHON=python3.12 what it is made from

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# an environment may serve several checkouts: each installs itself into it once
CHECKOUT := $(shell printf %s "$(CURDIR)" | cksum | cut -d' ' -f1)
RUNTIME := $(VENV)/.runtime-$(CHECKOUT)
DEVELOP := $(VENV)/.develop-$(CHECKOUT)

# the tests start hundreds of processes, which would compile all modules where no bytecode is kept
test test-all: export PYTHONDONTWRITEBYTECODE :=

.PHONY: search test test-all lint docs
.DELETE_ON_ERROR:

search: $(RUNTIME)
	$(BIN)/python -m nas.search --target-flops 400M

test: $(DEVELOP)
	$(BIN)/python -m pytest -n 2 -m "not slow" $(PYTEST)

test-all: $(DEVELOP)
	$(BIN)/python -m pytest -n 2

lint: $(DEVELOP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DEVELOP)
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs site
	@echo "site/index.html"

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "Python 3.10 or newer is needed; name one by PYTHON=python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): several minutes, about 6 GB"

$(RUNTIME): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(DEVELOP): setup.cfg pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test,docs]'
	@touch $@ $(RUNTIME)
