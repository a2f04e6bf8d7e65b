# Two commands do everything: `make run` and `make test`. Both put what they need into .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
COMMA := ,
say = @printf '\033[1m== %s\033[0m\n' "$(1)"

.PHONY: run test check format lint types tests ui ui-check ui-browser ui-measure screenshots bench docs soak departures audit clean help interleavings mutants scheduling-report

# Node as the build tools need it, or nothing
NODE = $(shell node -e 'const [a, b] = process.versions.node.split(".").map(Number); if (a > 22 || (a === 22 && b >= 12) || (a === 20 && b >= 19)) console.log("yes")' 2>/dev/null)
UI := llamaswap/_web/manifest.json
UI_SOURCES := $(shell find web/src web/public web/build web/index.html web/vite.config.ts web/package-lock.json -type f 2>/dev/null)
IN_BROWSER = $(and $(NODE),$(CHROMIUM))
# A script of the web UI that is asked for by name: without a browser that is an error
in-browser = @$(if $(IN_BROWSER),printf '\033[1m== %s\033[0m\n' "$(2)" && cd web && npm run --silent $(1),echo "make $@ needs Node 20.19 or newer and Chromium (Debian: apt install chromium)."; exit 1)
CHROMIUM = $(or $(LLAMASWAP_CHROMIUM),$(firstword $(wildcard /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome)))

help:
	@echo "make run    serve the built-in demo models (ARGS='-config my.yaml' for your own)"
	@echo "make test   all checks: format, lint, types, tests"
	@echo "make soak   ten minutes of traffic, crashes, reloads; then nothing may be left"
	@echo "make departures  ten thousand requests given up at random moments; nothing of them may stay"
	@echo "make ui     build the web UI (make run does it when Node is there)"
	@echo "make audit  look dependencies up in the database of known vulnerabilities"
	@echo "make bench  measure the data plane beside a direct connection and Go's ReverseProxy"
	@echo "make docs   write docs/api.md and docs/configuration.md anew, after a change of routes or keys"

run: $(VENV)/run.ready ui
	$(call say,starting llamaswap; Ctrl-C stops it)
	@exec $(BIN)/python -m llamaswap $(ARGS)

test: $(VENV)/dev.ready format lint types ui-check tests ui-browser
	$(call say,all checks passed)

# The web UI is built when it is missing or older than its source, and Node is there.
ui:
ifeq ($(NODE),yes)
	@$(MAKE) --no-print-directory $(UI) || { test -e $(UI) || echo "The web UI could not be built (see above); /ui/ says so, everything else works."; }
else
	@test -e $(UI) || echo "The web UI is not built: install Node 20.19 or newer (https://nodejs.org) and run make ui. Everything else works without it."
endif

$(UI): $(UI_SOURCES) web/node_modules/.ready
	$(call say,building the web UI)
	@cd web && npm run --silent build -- --logLevel warn

web/node_modules/.ready: web/package-lock.json
	$(call say,installing what the web UI is built with)
	@cd web && npm ci --silent || { echo "npm ci failed, see above; check the network and run make again."; exit 1; }
	@touch $@

ui-check: $(if $(NODE),$(UI))
ifeq ($(NODE),yes)
	$(call say,types$(COMMA) lint and unit tests of the web UI$(COMMA) sizes)
	@cd web && npm run --silent types && npm run --silent lint && npm test --silent && npm run --silent size
else
	@test -z "$(LLAMASWAP_REQUIRE_ALL)" || { echo "Node 20.19 or newer is required here and is not there."; exit 1; }
	@echo "LEFT OUT: all checks of the web UI (types, lint, unit tests, sizes, browser). They need Node 20.19 or newer."
endif

ui-browser: $(VENV)/dev.ready $(if $(NODE),$(UI))
ifneq ($(IN_BROWSER),)
	$(call say,the web UI in a browser)
	@cd web && npm run --silent browser
else
	@test -z "$(LLAMASWAP_REQUIRE_ALL)" || { echo "Node and Chromium are required here, and one of them is not there."; exit 1; }
	@echo "LEFT OUT: the browser checks of the web UI. They need Node 20.19 or newer and Chromium (Debian: apt install chromium)."
endif

screenshots: $(VENV)/dev.ready $(if $(NODE),$(UI))
	$(call in-browser,screenshots,writing web/screenshots)

ui-measure: $(VENV)/dev.ready $(if $(NODE),$(UI))
	$(call in-browser,measure,measuring the web UI; this takes some minutes)

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
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile $(PYTEST)

bench: $(VENV)/dev.ready
	$(call say,measuring; this takes some minutes)
	@$(BIN)/python -m bench.proxy $(ARGS)
	@$(BIN)/python -m bench.logs

departures: $(VENV)/dev.ready
	$(call say,clients that leave; this takes some minutes)
	@LLAMASWAP_DEPARTURES=$(or $(DEPARTURES),10000) $(BIN)/python -m pytest -q -rP --log-level=INFO tests/integration/test_departures.py

soak: $(VENV)/dev.ready
	$(call say,ten minutes of everything at once; SOAK_SECONDS= and SEED= change it)
	@$(BIN)/python -m tests.integration.soak --seconds $(or $(SOAK_SECONDS),600) $(if $(SEED),--seed $(SEED))

docs: $(VENV)/dev.ready
	$(call say,writing docs/api.md and docs/configuration.md)
	@$(BIN)/python -m docs.api_reference > docs/api.md
	@$(BIN)/python -m docs.config_reference > docs/configuration.md

audit: $(VENV)/dev.ready
	$(call say,known vulnerabilities of dependencies)
	@$(BIN)/python packaging/audit.py

interleavings: $(VENV)/dev.ready
	$(call say,going through every order of events; this takes minutes)
	@$(BIN)/python -m tests.property.interleavings --deep

mutants: $(VENV)/dev.ready
	$(call say,seeding faults into the schedulers; this takes minutes)
	@$(BIN)/python -m bench.mutants

scheduling-report: $(VENV)/dev.ready
	$(call say,playing all scenarios and writing docs/scheduling.md)
	@$(BIN)/python -m bench.scheduling_report

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
	rm -rf llamaswap/_web web/node_modules web/screenshots
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis bench/bin
