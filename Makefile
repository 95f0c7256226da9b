# `make demo` and `make test` do all the set-up they need in .venv. See CONTRIBUTING.md.

PYTHON ?= python3
VENV   := .venv
PIP    := $(VENV)/bin/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt
MINUTES ?= 2
OUT    ?=

.PHONY: demo test check clean

demo: $(VENV)/.ready            ## train a recurrent network on the source code of Python's standard library
	$(VENV)/bin/carousel train python-stdlib --minutes $(MINUTES) $(if $(OUT),--out $(OUT))

test: $(VENV)/.ready-dev        ## the tests that need nothing but this machine
	$(VENV)/bin/python -m pytest

check: $(VENV)/.ready-dev       ## style and types
	$(VENV)/bin/ruff check
	$(VENV)/bin/ruff format --check
	$(VENV)/bin/pyright

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Carousel needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Carousel and PyTorch into $(VENV) (a minute or two, once) ..."
	@$(PIP) --editable .
	@touch $@

$(VENV)/.ready-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing Carousel, PyTorch and the test tools into $(VENV) (a minute or two, once) ..."
	@$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.ready

clean:                          ## remove what the commands above made, your runs/ excepted
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis dist build
