# Two commands do everything: `make run` and `make test`. Both put what they need into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
say = @printf '\033[1m== %s\033[0m\n' "$(1)"

.PHONY: run test check format lint types tests bench docs clean help

help:
	@echo "make run    serve the built-in demo models (ARGS='-config my.yaml' for your own)"
	@echo "make test   all checks: format, lint, types, tests"
	@echo "make bench  measure the data plane beside a direct connection and Go's ReverseProxy"
	@echo "make docs   write docs/api.md anew, after a change of the routes"

run: $(VENV)/run.ready
	$(call say,starting llamaswap; Ctrl-C stops it)
	@exec $(BIN)/python -m llamaswap $(ARGS)

test: $(VENV)/dev.ready format lint types tests
	$(call say,all checks passed)

format: $(VENV)/dev.ready
	$(call say,format)
	@$(BIN)/ruff format --check . || { echo "Some files are not formatted: run $(BIN)/ruff format ."; exit 1; }

lint: $(VENV)/dev.ready
	$(call say,lint)
	@$(BIN)/ruff check .

types: $(VENV)/dev.ready
	$(call say,types)
	@$(BIN)/mypy

tests: $(VENV)/dev.ready
	$(call say,tests)
	@$(BIN)/python -m pytest -q $(PYTEST)

bench: $(VENV)/dev.ready
	$(call say,measuring; this takes some minutes)
	@$(BIN)/python -m bench.proxy $(ARGS)

docs: $(VENV)/dev.ready
	$(call say,writing docs/api.md from the table of routes)
	@$(BIN)/python -m docs.api_reference > docs/api.md

$(VENV)/python.ready:
	$(call say,creating $(VENV))
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed, and '$(PYTHON)' is not there. Install it, or run: make PYTHON=/path/to/python3"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, '$(PYTHON)' is $$($(PYTHON) --version 2>&1). Run: make PYTHON=/path/to/newer/python3"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "Could not create $(VENV). On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' || { echo "Could not reach the package index; check the network (or a proxy) and run make again."; exit 1; }
	@touch $@

$(VENV)/run.ready: $(VENV)/python.ready pyproject.toml
	$(call say,installing llamaswap and what it stands on)
	@$(BIN)/python -m pip install --quiet --editable . || { echo "Installing failed, see above; check the network and run make again."; exit 1; }
	@touch $@

$(VENV)/dev.ready: $(VENV)/python.ready pyproject.toml
	$(call say,installing llamaswap with its test and development tools)
	@$(BIN)/python -m pip install --quiet --editable . --group dev || { echo "Installing failed, see above; check the network and run make again."; exit 1; }
	@touch $@ $(VENV)/run.ready

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/bin
