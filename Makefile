# Everything a newcomer needs: `make repro` (the pipeline) and `make test` (all checks).
PYTHON ?= python3
# Versions to install; CI also runs the fast tests with constraints-lowest.txt.
CONSTRAINTS ?= constraints.txt
# What `make metrics-diff` compares with.
BASE ?= HEAD
BIN := .venv/bin
# Threads that wait do not spin: on a shared machine they would starve those that work.
export OMP_WAIT_POLICY ?= PASSIVE
export PATH := $(CURDIR)/$(BIN):$(PATH)
HEADLINE := metrics/evaluate.json metrics/baseline.json
METRICS := $(HEADLINE) metrics/ingest.json metrics/train/metrics.json metrics/export.json
# What `make undo` restores.
UNDONE := params.yaml dvc.lock metrics
# Options of `make bench`.
BENCH ?= --train data/raw/names_train.csv.gz --test data/raw/names_test.csv.gz

.PHONY: repro verify bench undo retrain metrics-diff experiments test test-fast test-versions check notebook wheel fuzz clean

# DVC removes a stage's outputs before the stage can refuse a typo in params.yaml: check it first.
repro: .venv/installed
	python -m stages.core.params
	dvc repro
	@echo
	dvc metrics diff --all --targets $(HEADLINE)
	@echo "Plots:      $(BIN)/dvc plots show, then open dvc_plots/index.html"
	@echo "Ask it:     $(BIN)/onoma predict Müller Смирнов 佐藤"
	@echo "Change it:  $(BIN)/dvc exp run -S train.epochs=3, make metrics-diff; make undo goes back"

# The pipeline in a clean clone: are its results those that are committed, byte for byte?
verify: .venv/installed
	rm -rf .onoma/verify
	git clone --quiet . .onoma/verify
	cd .onoma/verify && dvc repro --force
	cd .onoma/verify && git add --all --intent-to-add && git --no-pager diff --stat --patch --exit-code
	@echo "verify: the results are byte-identical to those committed"

# The recipes and a linear SVM on the same files.
bench: .venv/installed-dev
	python -m tests.benchmarks.bench $(BENCH)

# Back to the last commit's params.yaml and results; code stays as it is. The files are written
# again, since git takes one for unchanged that was rewritten within a second at equal size.
undo: .venv/installed
	git reset --quiet HEAD -- $(UNDONE)
	git archive HEAD -- $(UNDONE) | tar -x
	@dvc checkout || { echo "undo: not in this clone's cache: make them again by \`dvc repro\`," \
		"or fetch them by \`dvc pull\` if there is a remote"; exit 1; }

# One nightly retraining, as a scheduler runs it (docs/retraining.md).
retrain: .venv/installed-dev
	onoma retrain --push

# What the metrics have become since BASE, as Markdown; ALL=1 adds each epoch.
metrics-diff: .venv/installed
	mkdir -p .onoma
	dvc metrics diff --md $(BASE) $(if $(ALL),,--targets $(METRICS)) | tee .onoma/metrics.md

# The experiments since the last commit, without the columns of single epochs.
experiments: .venv/installed
	dvc exp show --only-changed --no-pager --precision 4 \
		--drop '^(.*:)?(Created|uncalibrated.*|(train|test|validation)[._](loss|accuracy).*|step|nll|ece|macro_f1|set_size|accuracy_loss|temperature.*|bytes|.*(top3|unseen|full|group)_.*|(people|persons)_.*|same_.*|probability.*|top3.*|stages/.*|data/.*)$$'

# Three at a time: many tests wait for processes of one thread.
test: check
	pytest -n 3 --dist worksteal

# Side by side: mypy without its cache takes as long as a third of the tests.
test-fast: .venv/installed-dev
	$(MAKE) --jobs=2 check test-versions

# The fast tests alone: the tools of `check` are pinned, and judge code by the pinned versions.
test-versions: .venv/installed-dev
	pytest -n 2 --dist worksteal -m "not slow"

check: .venv/installed-dev
	ruff format --check .
	ruff check .
	mypy
	lint-imports
	actionlint
	zizmor --offline --quiet .github

# -e: the stages are run from the checkout, and `onoma` with them.
.venv/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[pipeline]'
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	touch $@

# Run docs/first-steps.ipynb and keep its outputs, without times.
notebook: .venv/installed-dev
	python -m tests.test_first_steps

# The package with the model in it: dist/onoma-VERSION-py3-none-any.whl.
wheel: .venv/installed
	@dvc status --quiet export && git diff --quiet HEAD -- dvc.lock || { echo "wheel: data/onnx is not" \
		"what the committed dvc.lock describes; run make repro and commit its results"; exit 1; }
	rm -rf build
	pip wheel --quiet --no-deps --wheel-dir dist .

# A long search for inputs that break the readers; tests/fuzz runs a short one.
fuzz: .venv/installed-dev
	python -m tests.fuzz 100000

clean:
	rm -rf .venv .checkpoints build dist dvc_plots
