# Everything runs from .venv, which is made when it is missing or out of date.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test slow faults fuzz lint setup clean

run: setup
	$(BIN)/lakh up --nodes 1000 --instance-type trn2.48xlarge --submit examples/training-job.yaml

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadgroup

slow: setup
	$(BIN)/python -m pytest -m slow

# Rounds of the fault harness from a seed on; see docs/reliability.md.
ROUNDS ?= 50
SEED ?= 1
TOPOLOGY ?= all
faults: setup
	$(BIN)/python -m tests.faults --rounds $(ROUNDS) --seed $(SEED) --topology $(TOPOLOGY)

# Every property test of FUZZED with other examples each time, TIMES as many as in `make test`; see docs/reliability.md.
TIMES ?= 10
FUZZED ?= tests
fuzz: setup
	LAKH_FUZZ=$(TIMES) $(BIN)/python -m pytest -n 2 --dist loadgroup -m 'hypothesis and not slow' $(FUZZED)

lint: setup
	$(BIN)/ruff check src tests
	$(BIN)/ruff format --check src tests
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(VENV)/.done

$(VENV)/.done: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@

clean:
	rm -rf $(VENV) build dist
