# Every target installs what it needs into .venv when it first runs.
#   make demo    run an example job on real text with the built-in model: no GPU, no model download
#   make test    run all tests
#   make check   run ruff and mypy
#   make chaos   fault injection: kill runs at random moments (N=100, N=50 S=s3, or I=delta; ENGINE=quick is faster)
#   make bench   run the benchmark of the README
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# The index of PyTorch's CPU build, used if pip's own configuration does not find that build.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
OUTPUT ?= phifleet-demo

# `make test`: number of processes that run test files at the same time; an engine needs 4 GB of memory.
TEST_PROCESSES ?= 2

# `make chaos`: number of faults, storage (S=s3 is an S3 server that returns errors at random), input (I=delta is a
# Delta table that gets a new version in the middle of each run), and engine.
N ?= 10
S ?= local
I ?= parquet
ENGINE ?= real

.PHONY: demo test check bench chaos clean setup

setup: $(VENV)/.installed

$(VENV)/.installed: requirements/cpu.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	@echo "installing the pinned packages (4 GB; a few minutes once)"
	@torch=$$(grep '^torch==' requirements/cpu.txt); \
	$(BIN)/pip install --quiet --no-deps "$$torch" 2>/dev/null \
	  || $(BIN)/pip install --quiet --no-deps --index-url $(TORCH_CPU_INDEX) "$$torch"
	$(BIN)/pip install --quiet --no-deps -r requirements/cpu.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.txt
	$(BIN)/pip install --quiet --no-deps -r requirements/dev.txt
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/phifleet demo --output $(OUTPUT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

chaos: $(VENV)/.installed-dev
	cd tests && ../$(BIN)/python -m chaos --kills $(N) --storage $(S) --input $(I) --engine $(ENGINE)

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/throughput.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis phifleet-demo
