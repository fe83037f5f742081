# make train | make test | make lint | make docs | make figures, each from a bare clone: the environment comes first.
PYTHON ?= python3
VENV ?= .venv
TRAIN_CONFIG ?= configs/man/resnet20_k10_digits.py
TRAIN_ARGS ?=
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-mman
DOCS_STAMP := $(VENV)/.installed-docs
SOURCES := requirements.txt $(wildcard requirements/*.txt) pyproject.toml setup.py mman/version.py

.DEFAULT_GOAL := help
.PHONY: help install train test test-full lint docs figures clean

help:
	@echo 'make train  train $(TRAIN_CONFIG) (TRAIN_CONFIG, TRAIN_ARGS)'
	@echo 'make test   run the fast tests, minutes (PYTEST_ARGS, PYTEST_WORKERS)'
	@echo 'make test-full  run the rest of the tests'
	@echo 'make lint   check style with ruff'
	@echo 'make docs   build the documentation into docs/_build/html'
	@echo 'make figures  draw the pictures of the documentation anew, minutes'
	@echo 'make clean  remove caches; $(VENV) and work_dirs stay'

install: $(STAMP)

$(STAMP): $(SOURCES)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
	"error: PYTHON=$(PYTHON) is Python %d.%d; mman needs 3.11 or later" % v[:2])'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -r requirements.txt -r requirements/tests.txt
	$(BIN)/python -m pip install --no-deps -r requirements/tests-no-deps.txt
	$(BIN)/python -m pip install --no-deps --no-build-isolation -e .
	@touch $@

# The networks of a trial are too small for threads, which also wait for each other at full speed
# where other work takes their core; OMP_NUM_THREADS=N before make changes it.
train: $(STAMP)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python tools/train.py $(TRAIN_CONFIG) $(TRAIN_ARGS)

# One thread a worker: workers and the processes of the dist tests would otherwise each start one
# thread a core. A file stays on one worker, so what its tests share is made once.
test: TIER := not full
test-full: TIER := full
test test-full: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist loadfile -m '$(TIER)' $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Sphinx is for this target alone.
$(DOCS_STAMP): $(STAMP) requirements/docs.txt
	$(BIN)/python -m pip install -r requirements.txt -r requirements/docs.txt
	@touch $@

# Every page is read anew, so that a warning is told again, and a warning is an error.
docs: $(DOCS_STAMP)
	$(BIN)/python -W ignore::UserWarning -m sphinx -q -E -W --keep-going docs docs/_build/html
	@echo 'built docs/_build/html/index.html'

# The trainings are too small for threads, as in make train.
figures: $(STAMP)
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python docs/figures/make_figures.py

clean:
	rm -rf build docs/_build mman.egg-info .pytest_cache .ruff_cache
