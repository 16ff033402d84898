# One folder, one virtual environment; every target does its own set-up.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
SOURCES := jmed jobs tests

.PHONY: demo test lint bench chaos clean

demo: $(VENV)/.installed  ## teach a tiny model in three stages and examine each in Japanese and English
	$(BIN)/python -m jmed.data.demo --output_dir runs/demo/data
	$(BIN)/python -m jmed.models.tiny --demo --output_dir runs/demo/tiny
	$(BIN)/python jobs/finetune.py --config configs/demo/base.yaml
	$(BIN)/python jobs/finetune.py --config configs/demo/pretrain.yaml
	$(BIN)/python jobs/finetune.py --config configs/demo/instruct.yaml
	$(BIN)/python jobs/evaluate.py --config configs/demo/exam.yaml
	$(BIN)/python jobs/evaluate.py --config configs/demo/exam.yaml --model.path runs/demo/pretrain/model \
	    --output_dir runs/demo/exam-pretrain
	$(BIN)/python jobs/evaluate.py --config configs/demo/exam.yaml --model.path runs/demo/pretrain/model \
	    --model.quantization nf4 --model.adapter runs/demo/instruct/adapter --output_dir runs/demo/exam-instruct
	$(BIN)/python -m jmed.report runs/demo/exam-base runs/demo/exam-pretrain runs/demo/exam-instruct
	$(BIN)/python jobs/compare.py --config configs/demo/compare.yaml

test: lint  ## lint, types and all tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

bench: $(VENV)/.installed-dev  ## inference beside its peers, as ratios
	$(BIN)/python -m pytest tests/perf -s

chaos: $(VENV)/.installed-dev  ## over a hundred faults thrown at both jobs on a real cluster, results compared with undisturbed runs
	$(BIN)/python -m tests.chaos

clean:
	rm -rf $(VENV) runs build *.egg-info .pytest_cache .mypy_cache .ruff_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	    { echo "jmed needs Python 3.11 to 3.13: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) --editable ".[dev]"
	touch $@
