# Two commands set up everything on a bare machine: `make demo` and `make test`.
PYTHON ?= python3
ENV := .venv
EXTRAS ?= dev
RUN := $(ENV)/bin/python

.PHONY: demo test check docs gpu-check clean

demo: $(ENV)/ready
	$(RUN) demo.py

# All tests, a process per core, a file in one process: files share what their tests have built. One process, in which a
# debugger works too, is `python -m pytest`.
TESTS := -n auto --dist loadfile --no-loadscope-reorder

test: $(ENV)/ready
	$(RUN) -m pytest $(TESTS)

check: $(ENV)/ready
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pytest $(TESTS)
	$(MAKE) docs

# Nothing is fetched, and a warning (a link that leads nowhere, a docstring that cannot be read) is an error.
docs: $(ENV)/ready
	$(RUN) -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "open docs/_build/html/index.html"

gpu-check: $(ENV)/ready
	$(RUN) -m speed.gpu_check

$(ENV)/ready: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 to 3.14 is needed, this is " + sys.version.split()[0] + ": use make PYTHON=python3.12 ..." if not (3, 11) <= sys.version_info[:2] <= (3, 14) else 0)'
	$(PYTHON) -m venv --clear $(ENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet --editable '.[$(EXTRAS)]'
	touch $@

clean:
	rm -rf $(ENV) demo_results docs/_build docs/reference/generated
