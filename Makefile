# Two commands are all that a newcomer needs: `make train` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: train test test-all lint docs clean
.DEFAULT_GOAL := test

train: $(READY)
	$(BIN)/torch-direct train --out runs/train

test: lint
	$(BIN)/pytest --numprocesses auto --maxprocesses 8 -m "not slow"

test-all: lint
	$(BIN)/pytest --numprocesses auto --maxprocesses 8

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)
	$(BIN)/sphinx-build --fail-on-warning --quiet docs build/docs
	@echo build/docs/index.html

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,test]'
	touch $@

clean:
	rm -rf $(VENV) runs build
