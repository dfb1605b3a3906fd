# make demo   set up, serve the terrain example, execute it, and go on serving until Ctrl-C (ARGS=--once: then end)
# make test   set up, check code and types, build the docs, and run all tests but the longest
# make audit  look for known vulnerabilities in the pinned versions (needs the network), and for risky code
# make soak   run the longest tests: what happens when databases, Prefect, workers and clusters are away or killed

PYTHON ?= $(shell for p in python3.12 python3.13 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
# the pins are those of Python 3.12; other versions take what their wheels allow
PIP := $(BIN)/python -m pip install --quiet $(shell $(PYTHON) -c \
	'import sys; print("-c constraints.txt" if sys.version_info[:2] == (3, 12) else "")' 2>/dev/null)
ARGS ?=

.PHONY: demo test soak check docs audit benchmark clean

demo: $(VENV)/demo
	$(BIN)/python examples/terrain/demo.py $(ARGS)

test: check docs
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

check: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(VENV)/test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir $(VENV)/site

# strict: an index that knows nothing of a package would be taken for one that knows of no vulnerability
audit: $(VENV)/test
	$(BIN)/ruff check --select S --ignore S101 src examples
	$(PIP) pip-audit || { echo "pip-audit cannot be installed: the dependencies were NOT audited."; exit 1; }
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --strict --progress-spinner off || \
		{ echo "The dependencies did not pass, or were NOT audited: pip-audit says above which vulnerabilities they have," \
			"or that https://pypi.org does not tell."; exit 1; }

soak: $(VENV)/test
	$(BIN)/python -m pytest -m soak $(ARGS)

benchmark: $(VENV)/test
	$(BIN)/python benchmarks/compare.py $(ARGS)

clean:
	rm -rf $(VENV) data

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Python 3.12 or later is needed: install it, or name it by PYTHON=…"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/demo: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[examples]'
	touch $@

$(VENV)/test: $(BIN)/python pyproject.toml constraints.txt
	$(PIP) -e '.[test]'
	touch $@ $(VENV)/demo
