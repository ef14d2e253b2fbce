# Every target is complete by itself: it makes the virtual environment where it is missing or out of date.
#
#   make test                  install, run the tests and the examples in the docstrings
#   make demo                  install, simulate a small genome and run the whole path on it into ./demo
#   make lint | docs | clean
#
#   make test PYTHON=python3.13 VENV=.venv313        another Python, beside the first

PYTHON ?= python3
VENV ?= .venv
DEMO_DIR ?= demo
DEMO_FLAGS ?=
PYTEST_FLAGS ?=
JOBS ?= 2

version := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
supported := $(shell $(PYTHON) -c 'import sys; print("yes" if sys.version_info >= (3, 11) else "")')
bin := $(VENV)/bin
install := $(bin)/python -m pip install --disable-pip-version-check --constraint constraints.txt --build-constraint constraints.txt
# A stamp is written only after success, so that an interrupted installation is taken up again.
installed := $(VENV)/.installed-$(version)

.PHONY: test demo lint docs clean
.NOTPARALLEL:

test: $(installed)-test
	$(bin)/python -m pytest -n $(JOBS) --dist worksteal $(PYTEST_FLAGS)

demo: $(installed)
	$(bin)/genexp demo -o $(DEMO_DIR) $(DEMO_FLAGS)

lint: $(installed)-lint
	$(bin)/ruff check
	$(bin)/ruff format --check
	$(bin)/mypy

docs: $(installed)-docs
	$(bin)/python -m sphinx -W --keep-going -b html docs docs/_build/html
	@echo "open docs/_build/html/index.html"

clean:
	rm -rf docs/_build docs/api/generated docs/user_guide/generated docs/tutorials/*.ipynb dist .coverage .mypy_cache .pytest_cache .ruff_cache

# torch comes first and by itself: it is by far the largest, and decides what the others find.
$(installed): pyproject.toml constraints.txt
ifeq ($(supported),)
	@echo "genexp_scverse needs Python 3.11 or newer, and $(PYTHON) is $(or $(version),not there): make PYTHON=python3.12" >&2
	@exit 1
endif
	@$(bin)/python -c 'import sys, pip; sys.exit("%d.%d" % sys.version_info[:2] != "$(version)")' 2>/dev/null \
		|| $(PYTHON) -m venv --clear $(VENV)
	$(bin)/python -m pip install --disable-pip-version-check --constraint constraints.txt pip
	$(install) torch
	$(install) --editable .
	@touch $@

$(installed)-%: $(installed)
	$(install) --group $*
	@touch $@
