# Everything a newcomer needs: `make repro` (the pipeline) and `make test` (all checks).
PYTHON ?= python3
BIN := .venv/bin
# Threads that wait do not spin: on a shared machine they would starve those that work.
export OMP_WAIT_POLICY ?= PASSIVE
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: repro test test-fast check fuzz clean retrain metrics-diff

repro: .venv/installed
	dvc repro
	dvc metrics show metrics/evaluate.json metrics/baseline.json

# One nightly retraining, as a scheduler runs it (docs/retraining.md).
retrain: .venv/installed-dev
	onoma retrain --push

# What the metrics have become since BASE, as Markdown.
BASE ?= HEAD
metrics-diff: .venv/installed
	mkdir -p .onoma
	dvc metrics diff --md $(BASE) | tee .onoma/metrics.md

# Two at a time: most tests wait for processes of one thread.
test: check
	pytest -n 2 --dist worksteal

test-fast: check
	pytest -m "not slow"

check: .venv/installed-dev
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	actionlint

# -e: the stages are run from the checkout, and `onoma` with them.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# A long search for inputs that break the readers; tests/fuzz runs a short one.
fuzz: .venv/installed-dev
	python -m tests.fuzz 200000

clean:
	rm -rf .venv .checkpoints
