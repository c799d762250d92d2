PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo playground test torture soak errors fuzz check benchmark clean

help: ## show this help
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(VENV)/.complete ## create .venv with all that run, test and check need

# Stamps come last: an installation that was broken off is taken up again by the next make.
$(VENV)/.complete: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

# What a run and the demo need; a third less to install than all.
$(VENV)/.demo: requirements.txt setup.py
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or newer is needed; this is " + sys.version.split()[0] + \
		". Name another one: make PYTHON=python3.12") if sys.version_info < (3, 10) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c requirements.txt --editable '.[demo]'
	touch $@

demo: $(VENV)/.demo ## back up a live topic on this machine: no account, no Java
	$(BIN)/python -m pipelines.demo

playground: venv ## a Pulsar cluster and a bucket on this machine, until Ctrl-C, to try rules on (needs Java and Maven)
	$(BIN)/python -m transforms.testing.fetch
	$(BIN)/python -m transforms.testing.playground

# Test processes, each with servers of its own: about 3 GB and one core each.
TESTERS := 2

test: venv ## all tests, against a real Pulsar broker and a real Flink (needs Java and Maven)
	$(BIN)/python -m transforms.testing.fetch
	$(BIN)/python -m pytest --numprocesses=$(TESTERS) --dist=loadgroup --no-loadscope-reorder

SEED := 1

torture: venv ## the tests of tests/torture, and of many at one store, in full; SEED=N repeats one (needs Java and Maven; two hours)
	$(BIN)/python -m transforms.testing.fetch
	$(BIN)/python -m pytest tests/torture tests/pipelines/rules/test_store_at_once.py --torture --seed=$(SEED)

MINUTES := 30

soak: venv ## a stream under kills for half an hour, its memory plotted; MINUTES=N, SEED=N (needs Java and Maven)
	$(BIN)/python -m transforms.testing.fetch
	$(BIN)/python -m benchmarks.stream_soak --minutes=$(MINUTES) --seed=$(SEED) --output=build/soak

SECONDS := 600

fuzz: venv ## inputs at random for all that reads things from outside; ten minutes, or SECONDS=N; SEED=N repeats
	$(BIN)/python -m tests.fuzz --seconds=$(SECONDS) $(if $(filter command line,$(origin SEED)),--seed=$(SEED))

errors: venv ## the table of wrong inputs, and what is said of each (needs Java and Maven; three minutes)
	$(BIN)/python -m transforms.testing.fetch
	$(BIN)/python -m tests.pipelines.wrong_inputs

check: venv ## style, types, and what is in deploy/ (needs Maven the first time)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m deploy.check

ARGS :=

benchmark: venv ## what a backup costs beside a bare loop of the client; ARGS=--readme (needs Java and Maven; 40 minutes)
	$(BIN)/python -m transforms.testing.fetch
	$(BIN)/python -m benchmarks.backup_speed $(ARGS)

clean: ## delete .venv and what tools left here; fetched servers stay in the cache
	rm -rf $(VENV) *.egg-info build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
