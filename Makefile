# Every target sets up what it needs on a fresh clone, once.
#   make demo    the main job on real text, no network for the model, no GPU
#   make test    all tests            make check   ruff, mypy, imports
#   make chaos   fault injection: kills runs at random moments; N=100, or N=50 S=s3; ENGINE=quick is faster
#   make bench   the comparison of the README
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where PyTorch's CPU build comes from when pip is not already set up to find it.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
OUTPUT ?= phifleet-demo

# Number of faults, storage and engine of `make chaos`; S=s3 uses an S3 server with failing requests.
N ?= 10
S ?= local
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
	$(BIN)/python -m pytest

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

chaos: $(VENV)/.installed-dev
	cd tests && ../$(BIN)/python -m chaos --kills $(N) --storage $(S) --engine $(ENGINE)

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/throughput.py

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis phifleet-demo
