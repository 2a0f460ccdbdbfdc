# Two commands matter: `make demo` and `make test`. Each sets up everything it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-servers coverage lint soak bench docs clean

install: $(VENV)/.installed
	@echo "Installed: $(BIN)/infergraph. Next: source $(BIN)/activate && infergraph --help"

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit("infergraph needs Python 3.11 or newer; this is " + sys.version.split()[0] + " (choose another: make PYTHON=python3.12 …)") if sys.version_info < (3, 11) else 0'
	@echo "Setting up $(VENV); the first time this takes a minute or two."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.python pyproject.toml
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.demo: $(VENV)/.installed
	@echo "Installing what the demo needs: scikit-learn, and a Chinese word segmenter with its model …"
	@$(BIN)/python -m pip install --quiet --editable '.[knowledge,triples]' --group demo
	@touch $@

$(VENV)/.test: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --group test --group lint
	$(BIN)/python -m pip install --quiet --no-deps 'kserve>=0.15' 'mlserver>=1.6'
	@touch $@

# KEEP=1 leaves the last server running at the end.
demo: $(VENV)/.demo
	$(BIN)/python examples/digits/demo.py
	$(BIN)/python examples/knowledge/demo.py $(if $(KEEP),--keep)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What `lint` does and the tests; the slow ones run side by side. Those that need a server beside us come last.
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python tests/side_by_side.py
	$(MAKE) test-servers

$(VENV)/.servers: $(VENV)/.test
	@$(BIN)/python -m pip install --quiet --group servers
	@touch $@

# The tests marked `servers`, with what they need: Ray clusters and PostgreSQL servers of their own, on this machine.
test-servers: $(VENV)/.servers
	$(BIN)/python -m pytest -m servers $$(grep -rl 'mark.servers' tests --include='test_*.py')

# The same tests, and the lines that none of them reached. Takes about half as long again.
coverage: $(VENV)/.test
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage report --skip-covered --sort=cover

# Kills server, driver and workers of the task engine at random moments, and judges what is left. KILLS=200 by default.
# MACHINES=3 does it, and more, to machines that share their tasks in PostgreSQL; FAULTS=200 by default.
soak: $(VENV)/.test
	$(if $(MACHINES),$(BIN)/python -m benchmarks.soak_shared --machines $(MACHINES) --faults $(or $(FAULTS),200),\
	$(BIN)/python -m benchmarks.soak --kills $(or $(KILLS),200))

$(VENV)/.bench: $(VENV)/.demo
	@$(BIN)/python -m pip install --quiet --group bench
	@touch $@

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks.run

# The site, in site/: open site/index.html; no network is needed to read it.
docs: $(VENV)/.test
	$(BIN)/python docs/generate.py
	$(BIN)/sphinx-build -q -W --keep-going -b html docs site

clean:
	rm -rf $(VENV)
