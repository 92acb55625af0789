# The two commands a newcomer needs: `make serve` and `make test`. Both set up .venv by themselves.
# `make soak` runs the races, the kills and the random histories of money many times over, which
# takes most of an hour; `make simulate` runs the service through thousands of misfortunes in ten
# minutes; `make mutants` says which planted bugs the tests catch, in another half of an hour.
# `make benchmarks BENCH=DIR` measures everything in the README; it takes a quarter of
# an hour, and wants the machine for itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
MINISTACK := .venv-ministack/.installed-1.5.33

.PHONY: serve test soak simulate mutants lint format types benchmarks clean

serve: $(READY)  ## an upscaling service on http://127.0.0.1:8000, its data in ./data
	$(BIN)/enlarger serve --data data

test: $(READY) $(MINISTACK) lint types  ## everything CI checks
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile

soak: $(READY) $(MINISTACK)  ## races, kills and histories of money, many times over
	$(BIN)/python -m pytest --races 10 --kills 40 --histories 1000 tests/test_survival.py \
		tests/storage tests/jobs/test_money.py \
		-k "kill_9 or processes_never_oversell or breaks_money"

simulate: $(READY)  ## 20,000 histories of faults and crashes, each from a seed
	$(BIN)/python -m tests.simulation

mutants: $(READY)  ## which planted bugs the tests catch
	$(BIN)/python -m tests.mutants

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(READY)
	$(BIN)/mypy

benchmarks: $(READY)  ## every figure, as tables and under benchmarks/results/
	$(BIN)/python -m benchmarks.quality --bench $(BENCH)
	$(BIN)/python -m benchmarks.speed
	$(BIN)/python -m benchmarks.encoding --pictures $(BENCH)/Kodak24
	$(BIN)/python -m benchmarks.memory --stand-in
	$(BIN)/python -m benchmarks.seams --bench $(BENCH)/Kodak24
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.creative
	$(BIN)/python -m benchmarks.service
	$(BIN)/python -m benchmarks.delivery
	$(BIN)/python -m benchmarks.streams
	$(BIN)/python -m benchmarks.cold_start
	$(BIN)/python -m benchmarks.costs

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[engine,dev]'
	touch $(READY)

$(MINISTACK):  # plays DynamoDB and S3 in the tests; it pins what boto3 needs to other releases
	$(PYTHON) -m venv .venv-ministack
	.venv-ministack/bin/pip install --quiet --disable-pip-version-check ministack==1.5.33
	touch $@

clean:
	rm -rf $(VENV) .venv-ministack .mypy_cache .ruff_cache .pytest_cache *.egg-info
