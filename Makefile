# Sets up .venv and wraps the tickmart command. Needs Python 3.11 to 3.13 and make 3.81 or newer.
#
#   make run ARGS="--json"          arguments for the command
#   make PYTHON=/path/to/python3.12 the Python for .venv
#
# make turns every failure into exit code 2. If the code matters (`tickmart run`: 1 failed, 3 partial), call
# .venv/bin/tickmart after `make setup`.

SHELL = /bin/sh
ALL = not kills and not s3_strict and not browser and not engine and not freqtrade and not metricflow and not infra and not spark
MARKERS = not slow and $(ALL)
# Workers take whole files in the order of collection, so that what a file shares is made once; one worker: WORKERS=0.
WORKERS ?= auto
# A worker that crashes ends the tests: with `--dist loadfile`, pytest-xdist 3.8 waits forever for its replacement.
PARALLEL = -n $(WORKERS) --dist loadfile --no-loadscope-reorder --max-worker-restart 0
PYTHON ?=
ARGS ?=
export PYTHON
# Python reads these before it runs any of our code.
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP
# Without bytecode each of the tests' many processes would compile every library again (7 s more for Great Expectations).
unexport PYTHONDONTWRITEBYTECODE

# A marker file's name has the checksum of what was installed and where. A changed lock, a changed entry point or a moved
# folder therefore installs again, an interrupted install leaves no marker, and touching files does nothing.
checksum = $(shell { cat $(1) pyproject.toml bin/tickmart; pwd -P; } | cksum | tr ' ' '-')
RUNTIME = .venv/.runtime-$(call checksum,requirements.lock)
DEVELOPMENT = .venv/.development-$(call checksum,requirements-dev.lock)
SITE = .venv/site/.installed-$(call checksum,docs/requirements.lock)
INFRA = .venv/infra/.installed-$(call checksum,infra/requirements.lock)
SPARK = .venv/spark/.installed-$(call checksum,orchestration/engines/requirements-spark.lock)
SAIL = .venv/sail/.installed-$(call checksum,orchestration/engines/requirements-sail.lock)
NOTEBOOKS = .venv/notebooks/.installed-$(call checksum,notebooks/requirements.lock)

.PHONY: help setup setup-dev setup-spark setup-sail run up demo secrets check test test-all test-slow test-release test-s3 test-freqtrade test-metricflow test-spark test-browser test-engine test-infra lint \
  lint-python lint-types lint-sql lint-rest lint-terms unit coverage notebooks bench docs docs-site diagram

help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: $(RUNTIME) ## .venv with the locked dependencies (every target does it when needed)

setup-dev: $(DEVELOPMENT)

setup-spark: $(SPARK) ## Spark beside .venv, for `tickmart build` (750 MB; needs Java 17 or 21)

setup-sail: $(SAIL) ## Sail beside .venv, for `tickmart build` (650 MB)

run: setup ## refresh once: sources, bronze, raw, dbt, checks
	@.venv/bin/tickmart run $(ARGS)

up: setup ## everything: Postgres, Dagster, dashboard; Ctrl-C stops it
	@.venv/bin/tickmart up $(ARGS)

demo: setup ## the same offline, on simulated markets, without keys
	@.venv/bin/tickmart demo $(ARGS)

secrets: ## .env with random passwords for docker compose; existing values are kept
	@docker/make_secrets.sh .env

check: setup-dev ## before each commit: lint, types and the tests without servers
	@$(MAKE) --no-print-directory -j 2 lint unit

unit: setup-dev
	@.venv/bin/python -m pytest -q $(PARALLEL) -m "$(MARKERS) and not servers" $(ARGS)

coverage: setup-dev ## the tests without servers, with the coverage of the pure modules and its floor
	@.venv/bin/python -m pytest -q $(PARALLEL) -m "$(MARKERS) and not servers" --cov --cov-report=term:skip-covered $(ARGS)

test: setup-dev ## the ordinary tests, a worker per core
	@.venv/bin/python -m pytest $(PARALLEL) -m "$(MARKERS)" $(ARGS)

test-all: setup-dev ## test and test-slow at once: a worker makes what a file or a session shares once
	@.venv/bin/python -m pytest $(PARALLEL) -m "$(ALL)" $(ARGS)

test-slow: setup-dev ## the tests that take longer than about 20 seconds
	@.venv/bin/python -m pytest $(PARALLEL) -m "slow and $(ALL)" $(ARGS)

test-release: setup-dev ## before a release: hundreds of kills, and random examples (hours)
	@.venv/bin/python -m pytest $(PARALLEL) --hypothesis-profile thorough -m "kills or examples" $(ARGS)

test-browser: setup-dev ## every page in headless Chromium (Debian: apt install chromium)
	@.venv/bin/python -m pytest -m browser $(ARGS)

test-engine: setup-dev ## the Compose stack on a Docker engine: up, load, kill, down and up again
	@.venv/bin/python -m pytest -m engine $(ARGS)

test-infra: setup-dev $(INFRA) ## Terraform's modules with checkov's rules (installed in an environment of their own, 460 MB)
	@.venv/bin/python -m pytest -m infra tests/infra $(ARGS)

test-freqtrade: setup-dev ## freqtrade reads exports (installs it in an environment of its own, 600 MB)
	@.venv/bin/python -m pytest -m freqtrade $(ARGS)

test-metricflow: setup-dev ## MetricFlow queries the metrics (installs it in an environment of its own, 120 MB)
	@.venv/bin/python -m pytest -m metricflow $(ARGS)

test-spark: setup-dev $(SPARK) $(SAIL) ## the models on Spark and Sail, compared with Postgres (needs Java 17 or 21)
	@.venv/bin/python -m pytest -m "spark and not slow" tests/engines $(ARGS)

test-s3: setup-dev ## the lake on a second, stricter S3 server (OpenStack Swift, Linux)
	@.venv/bin/python -m pytest -m "s3_strict" $(ARGS)

lint: setup-dev lint-python lint-types lint-sql lint-rest lint-terms ## ruff, mypy, import contracts, sqlfluff, terms; Dockerfiles, shell scripts, workflows

lint-python: setup-dev
	@.venv/bin/ruff check --quiet .
	@.venv/bin/ruff format --check --quiet .

lint-types: setup-dev
	@.venv/bin/mypy --no-error-summary
	@.venv/bin/lint-imports --no-logo > .venv/lint-imports.log || { cat .venv/lint-imports.log; exit 1; }

lint-sql: setup-dev
	@.venv/bin/sqlfluff lint --disable-progress-bar dbt_project

lint-terms: setup-dev
	@.venv/bin/python docs/check_terms.py

lint-rest: setup-dev
	@.venv/bin/hadolint Dockerfile tests/compose/*.Dockerfile
	@PATH="$$PWD/.venv/bin:$$PATH"; if command -v shellcheck > /dev/null; then \
	  shellcheck bin/tickmart docker/*.sh tests/compose/*.sh infra/*.sh .github/*.sh .ci/run; \
	else echo "shell scripts are not checked: shellcheck has no wheel for this machine (Debian: apt install shellcheck)" >&2; fi
	@.venv/bin/zizmor --offline --quiet .github/workflows

notebooks: $(NOTEBOOKS) ## executes the notebooks on simulated markets; pages in notebooks/build; fails if a cell fails
	@.venv/bin/python notebooks/execute.py $(ARGS)

bench: setup-dev ## speed, each stage beside its limit or a peer in the same run
	@.venv/bin/python benchmarks/bench.py $(ARGS)

docs: setup ## serves the dbt documentation with its lineage until Ctrl-C
	@.venv/bin/tickmart docs $(ARGS)

docs-site: $(SITE) ## the documentation site in docs-site/, with tables of all marts and checks; fails on a broken link
	@.venv/bin/python docs/generate.py docs/generated
	@NO_MKDOCS_2_WARNING=1 .venv/site/bin/mkdocs build --quiet
	@echo "docs-site/index.html"

diagram: docs/images/architecture.svg ## the architecture picture (Debian: apt install graphviz)

docs/images/architecture.svg: docs/architecture.dot
	@dot -Tsvg $< -o $@

$(SITE): | setup
	@folder=.venv/site; lock=docs/requirements.lock; $(make_own_environment)

$(INFRA): | setup
	@folder=.venv/infra; lock=infra/requirements.lock; $(make_own_environment)

$(SPARK): | setup
	@folder=.venv/spark; lock=orchestration/engines/requirements-spark.lock; $(make_own_environment)

$(SAIL): | setup
	@folder=.venv/sail; lock=orchestration/engines/requirements-sail.lock; $(make_own_environment)

$(NOTEBOOKS): | setup
	@folder=.venv/notebooks; lock=notebooks/requirements.lock; $(make_own_environment)

# The development lock contains the runtime lock, so it needs no second install.
$(DEVELOPMENT):
	@$(make_venv)
	@lock=requirements-dev.lock; $(install)
	@touch $(RUNTIME) $(DEVELOPMENT)

$(RUNTIME):
	@$(make_venv)
	@lock=requirements.lock; $(install)
	@touch $(RUNTIME)

# An environment beside the one of tickmart, for a tool that must not weigh on it.
define make_own_environment
echo "Installing $$lock into $$folder"; \
.venv/bin/python -m venv --clear $$folder && \
{ PATH="$$PWD/.venv/bin:$$PATH" $$folder/bin/python -I orchestration/install_dependencies.py $$lock > $$folder/install.log 2>&1 || \
  { tail -n 30 $$folder/install.log >&2; exit 1; }; } && \
touch $@
endef

# Keeps a .venv that belongs to this folder (the path in its pip) and to a supported Python.
define make_venv
supported='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))'; \
if .venv/bin/python -c "$$supported" 2>/dev/null && grep -qF "$$(pwd -P)/.venv/bin/" .venv/bin/pip; then exit 0; fi; \
found=''; seen=''; \
for candidate in "$$PYTHON" python3 python3.13 python3.12 python3.11; do \
  [ -n "$$candidate" ] || continue; \
  version=$$("$$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue; \
  if "$$candidate" -c "$$supported"; then found=$$candidate; break; fi; \
  seen="$$seen $$candidate is $$version;"; \
done; \
if [ -z "$$found" ]; then \
  echo "tickmart needs Python 3.11, 3.12 or 3.13, found:$${seen:- none;} install one (Debian: apt install python3 python3-venv, macOS: brew install python@3.13) or name it: make PYTHON=/path/to/python3.12" >&2; \
  exit 1; \
fi; \
if ! "$$found" -c 'import ensurepip, venv' 2>/dev/null; then \
  echo "$$found ($$version) cannot make virtual environments: install that part of it, on Debian and Ubuntu: apt install python$$version-venv" >&2; \
  exit 1; \
fi; \
echo "Making .venv with Python $$version ($$found)"; \
"$$found" -m venv --clear .venv
endef

# PIP_USER: a user's "user = true" cannot work in a virtual environment; all other settings of pip apply.
define install
echo "Installing $$lock into .venv: ten seconds to three minutes, up to 1.6 GB of disk (log: .venv/install.log)"; \
rm -f .venv/.runtime-* .venv/.development-*; \
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1; \
{ .venv/bin/python -I orchestration/install_dependencies.py $$lock && \
  .venv/bin/python -I -m pip install --no-deps --no-build-isolation --config-settings editable_mode=compat -e .; \
} > .venv/install.log 2>&1 || { tail -n 30 .venv/install.log >&2; echo "the installation failed; the whole log: .venv/install.log" >&2; exit 1; }; \
grep -h '^uv cannot be used' .venv/install.log >&2 || true
endef
