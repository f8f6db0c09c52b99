# `make demo` and `make test` are all that a newcomer needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What a peer runs within a transaction, and must compute as every other peer does.
DETERMINISTIC := chaincode/contracts chaincode/schema chaincode/framework/context.py chaincode/framework/router.py
READY := $(VENV)/.ready
# Sites with a TLS authority of their own: uv asks the system's certificates, as pip does.
export UV_SYSTEM_CERTS := 1
export UV_NATIVE_TLS := 1

.PHONY: demo test check lint types format lock setup clean

demo: setup
	$(BIN)/medfabric demo $(ARGS)

test: setup check
	$(BIN)/python -m pytest $(ARGS)

check: lint types

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m chaincode.framework.determinism $(DETERMINISTIC)

types: setup
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(READY)

$(READY): requirements/all.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "MedFabric needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "python3 has no venv module; install it (Debian: apt-get install python3-venv)" >&2; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements/all.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

lock: setup
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --overrides requirements/overrides.txt requirements/all.in -o requirements/all.txt
	$(BIN)/uv pip compile --quiet --no-header --universal --python-version 3.11 --overrides requirements/overrides.txt requirements/chaincode.in -o requirements/chaincode.txt

bench-%: setup
	$(BIN)/python -m benchmarks $*

clean:
	rm -rf $(VENV) runs .mypy_cache .ruff_cache .pytest_cache build *.egg-info
