PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check lint types wheel bench study venv clean

venv: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml scripts/install.py
	$(PYTHON) scripts/install.py $(VENV)
	touch $@

demo: venv  ## the self-taught loop on this machine, then its table and report
	$(BIN)/pairgen run self-taught --iters 5

test: venv  ## the whole test suite
	$(BIN)/python -m pytest

check: lint types

lint: venv
	$(BIN)/ruff check .

types: venv
	$(BIN)/mypy

wheel: venv  ## build the wheel and test it without the source tree
	$(BIN)/python scripts/test_wheel.py

bench: venv
	$(BIN)/python benchmarks/judge_throughput.py
	$(BIN)/python benchmarks/row_cost.py
	$(BIN)/python benchmarks/trainer.py

study: venv  ## the recorded study: curves with the random-filter control and the oracle
	$(BIN)/python benchmarks/study.py

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache
