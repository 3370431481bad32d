# Everything a developer or CI does. `make demo` and `make test` need Python 3.11+ with venv, and make; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SOURCES := virtagent transports tests benchmarks examples fuzz compiling bundling schema hatch_build.py

# A compiled copy of the checkout, where tests and benchmarks run compiled code and never the checkout's.
# COMPILED=build/another is another copy, for two people at once.
COMPILED ?= build/compiled
IN_COMPILED := cd $(COMPILED) && PYTHONPATH=$(CURDIR)/$(COMPILED) $(CURDIR)/$(BIN)/python
# PURE=1 measures the interpreted checkout instead.
MEASURED := $(if $(PURE),$(BIN)/python,$(IN_COMPILED))
MEASURED_TREE := $(if $(PURE),,compiled)

.PHONY: schema help demo demo-vm test test-compiled compiled wheel deb pyz test-others test-vm lint types fmt bench bench-guest bench-agent bench-peers growth counted counted-accept fuzz clean
help:
	@echo "make demo      the main job on a unix socket and a serial line: calls both ways, a followed log"
	@echo "make demo-vm   the same in a real guest under QEMU"
	@echo "make test      everything that needs no virtual machine"
	@echo "make test-others  the same on other Pythons that are here"
	@echo "make test-compiled  the same with compiled code, in a copy that make compiled keeps under build (needs a C compiler)"
	@echo "make wheel     the pure wheel and the compiled one, in dist"
	@echo "make deb       the Debian package for guests, in dist: apt install ./virtagent_*.deb there (Debian 12 and 13)"
	@echo "make pyz       dist/virtagentd.pyz, the agent in one file for guests that have Python 3.11 and nothing else"
	@echo "make test-vm   everything in real guests (says which Debian packages it needs)"
	@echo "make bench     our speed beside what is possible here, in one run (a minute or two; ARGS=--quick)"
	@echo "               benchmarks compile virtagent first; PURE=1 measures it interpreted"
	@echo "make bench-guest  in a real guest over virtio-serial, and beside Debian's qemu-ga (two minutes; ARGS=--quick)"
	@echo "make bench-agent  programs, files and memory of the agent beside Debian's qemu-ga (five minutes; ARGS=--quick)"
	@echo "make bench-peers  side by side with other libraries: makes docs/benchmarks.md (ten minutes; ARGS=--quick)"
	@echo "make growth    how cost grows with payload, calls, streams, guests and services; makes docs/growth.md (six minutes)"
	@echo "make counted   instructions, allocations and system calls per call; fails when one grew by a tenth (three minutes)"
	@echo "make counted-accept  these counts are to be kept from now on: makes their baseline and docs/counted.md"
	@echo "make schema    after a change of the agent's methods: their digest, docs/reference.md and docs/qga.md"
	@echo "make fmt lint types fuzz clean"

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "virtagent needs Python 3.11 or later; set PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python's venv module is missing: apt-get install -y python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/core: pyproject.toml | $(VENV)/python
	@test -e $(VENV)/dev || { echo "setting up $(VENV) ..."; $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[cli]'; }
	@touch $@

$(VENV)/dev: pyproject.toml | $(VENV)/python
	@echo "setting up $(VENV) with the development tools ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev,uvloop]'
	@touch $@ $(VENV)/core

demo: $(VENV)/core
	@$(BIN)/python examples/demo.py

demo-vm: $(VENV)/dev
	@$(BIN)/python tests/vm/demo.py

test: $(VENV)/dev
	@$(BIN)/python -m pytest

compiled: $(VENV)/dev
	@$(BIN)/python -m compiling tree $(COMPILED)

# The same tests with compiled code, except those that look inside what is closed then. The model checker's subject is
# not compiled.
test-compiled: compiled
	@$(IN_COMPILED) -m pytest -m "not interpreted and not slow" --deselect tests/protocol/test_hello_model.py

wheel: $(VENV)/dev
	@VIRTAGENT_COMPILE=0 $(BIN)/python -m build --wheel --no-isolation --outdir dist .
	@VIRTAGENT_COMPILE=1 $(BIN)/python -m build --wheel --no-isolation --outdir dist .

deb: $(VENV)/dev
	@$(BIN)/python -m bundling deb

pyz: $(VENV)/dev
	@$(BIN)/python -m bundling pyz

# Python 3.12 and later, as far as this machine has them; each in an environment of its own.
test-others: $(VENV)/dev
	@for version in 3.12 3.13 3.14; do \
	  other=$$(ls -d $(HOME)/.pyenv/versions/$$version.*/bin/python 2>/dev/null | tail -n 1); \
	  other=$${other:-$$(command -v python$$version || true)}; \
	  if [ -z "$$other" ] || ! "$$other" -c 'import venv, ensurepip' 2>/dev/null; then echo "Python $$version is not here"; continue; fi; \
	  echo "Python $$version"; \
	  test -x $(VENV)-$$version/bin/python || "$$other" -m venv $(VENV)-$$version || exit 1; \
	  $(VENV)-$$version/bin/python -m pip install -q --disable-pip-version-check -e '.[dev,uvloop]' || exit 1; \
	  $(VENV)-$$version/bin/python -m pytest -q -p no:cacheprovider -m "not slow" --ignore tests/vm --deselect tests/protocol/test_hello_model.py || exit 1; \
	done

test-vm: $(VENV)/dev
	@$(BIN)/python -m pytest tests/vm --run-vm -p no:hypothesispytest

lint: $(VENV)/dev
	@$(BIN)/ruff check $(SOURCES)
	@$(BIN)/ruff format --check $(SOURCES)

types: $(VENV)/dev
	@$(BIN)/mypy

fmt: $(VENV)/dev
	@$(BIN)/ruff check --fix -q $(SOURCES) || true
	@$(BIN)/ruff format -q $(SOURCES)

bench: $(VENV)/dev $(MEASURED_TREE)
	@$(MEASURED) -m benchmarks.rows $(ARGS)

# The guest gets a wheel of the same kind.
bench-guest: $(VENV)/dev $(MEASURED_TREE)
	@export VIRTAGENT_COMPILE=$(if $(PURE),0,1); $(MEASURED) -m benchmarks.guest $(ARGS)

# The agent against qemu-ga: programs, files, memory.
bench-agent: $(VENV)/dev $(MEASURED_TREE)
	@$(MEASURED) -m benchmarks.agent $(ARGS)

bench-peers: $(VENV)/dev $(MEASURED_TREE)
	@export VIRTAGENT_COMPILE=$(if $(PURE),0,1); $(MEASURED) -m benchmarks.side_by_side $(ARGS)

growth: $(VENV)/dev $(MEASURED_TREE)
	@$(MEASURED) -m benchmarks.growth $(ARGS)

# Of interpreted code; ARGS="--tree build/compiled" counts what `make compiled` made.
counted: $(VENV)/dev
	@$(BIN)/python -m benchmarks.counted $(ARGS)

counted-accept: $(VENV)/dev
	@$(BIN)/python -m benchmarks.counted --accept $(ARGS)

# After a change of the agent's methods: what its hello tells of them without loading them, and the pages on them.
schema: $(VENV)/dev
	@$(BIN)/python -m schema

fuzz: $(VENV)/dev
	@for target in fuzz/fuzz_*.py; do echo "$$target"; $(BIN)/python $$target --seconds 30; done

clean:
	@rm -rf $(VENV) $(VENV)-3.* $(VENV)-peers .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
