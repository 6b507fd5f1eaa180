# Everything happens in .venv; the machine's own Python is left alone.
# The versions that a command installs are those of pyproject.toml, with constraints.txt on top.

VENV    := .venv
BIN     := $(VENV)/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check
# pip compiles modules on one core, this on all. Left to the first import, every start would pay for it where
# Python may not write there. Some packages hold files for newer Pythons, which no one misses.
COMPILE := $(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
RUNTIME := $(VENV)/.runtime-installed
DEV     := $(VENV)/.dev-installed
SOURCES := pyproject.toml constraints.txt $(wildcard model/kernels/*.[ch] index/*.c)

# The first of these that runs and is 3.11 or newer makes the environment; PYTHON=... names another.
PYTHONS := $(if $(PYTHON),$(PYTHON),python3.11 python3.12 python3.13 python3)

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup serve test quick lint format reference docs clean

help: ## Show this list.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(DEV) ## Create .venv with all that serving, training and testing need.

serve: $(RUNTIME) ## Serve on 127.0.0.1:8080; ARGS="--port 9000" adds options of `solomon serve`.
	$(BIN)/solomon serve $(ARGS)

test: lint ## Lint, then every test, those that drive a real server last; PYTEST="-k search" adds options.
	$(BIN)/python -m pytest $(PYTEST)

quick: $(DEV) ## The tests that start no server.
	$(BIN)/python -m pytest -m "not e2e" $(PYTEST)

lint: $(DEV) ## Check style, formatting, types and who imports whom.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV) ## Mend what ruff can mend.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

reference: $(DEV) ## Bring what is generated in docs/ up to date: settings, commands, calls, the model card.
	$(BIN)/python docs/_generate/reference.py

docs: reference ## Build the documentation into site/; DOCS=serve shows it while it is written.
	$(BIN)/mkdocs $(or $(DOCS),build --strict)

clean: ## Remove .venv and caches; collections and the model cache stay.
	rm -rf $(VENV) build site model/kernels/*.so index/*.so *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    echo "Creating $(VENV) with $$python"; \
	    $$python -m venv --clear $(VENV) && exit 0; \
	    rm -rf $(VENV); exit 1; \
	  fi; \
	done; \
	echo "Python 3.11 or newer was not found (tried: $(PYTHONS)); name one with PYTHON=..." >&2; exit 1

$(RUNTIME): $(SOURCES) | $(BIN)/python
	$(PIP) install --no-compile -c constraints.txt -e .
	$(COMPILE)
	@touch $@

$(DEV): $(SOURCES) | $(BIN)/python
	$(PIP) install --no-compile -c constraints.txt -e '.[dev,train]'
	$(COMPILE)
	@touch $(RUNTIME) $@
