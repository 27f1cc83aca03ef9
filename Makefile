# demo · test · check · bench · chaos: each does its own set-up.
PY := .venv/bin/python
.PHONY: demo test check bench chaos setup lock

setup:
	@deploy/setup.sh

demo: setup  ## the whole system on one machine; DEMO_SECONDS=90 stops by itself
	@$(PY) -m deploy.local.demo

test:  ## the whole test suite
	@deploy/setup.sh tests
	@$(PY) -m pytest

check: setup  ## lint, types, who imports whom
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

bench chaos: setup  ## AREA=<area> runs one area
	@$(PY) -m tests.$@ $(AREA)

lock: setup  ## pin the newest versions that pyproject.toml allows
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
		pyproject.toml --all-extras --group local --group dev --upgrade -o constraints.txt
