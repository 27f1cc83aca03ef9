# demo · test · quick · check · docs · bench · chaos: each does its own set-up.
PY := .venv/bin/python
PYTEST := $(PY) -m pytest -n 3 --no-loadscope-reorder
MEASURED := $(if $(COVERAGE),--cov --cov-report=)
PRINT_COVERAGE = $(if $(COVERAGE),echo "Branch coverage: $$($(PY) -m coverage report --format=total) %")
.PHONY: demo test quick check docs bench chaos setup lock

setup:
	@deploy/setup.sh

demo: setup  ## the whole system on one machine; DEMO_SECONDS=90 stops by itself
	@$(PY) -m deploy.local.demo

test:  ## the whole test suite; COVERAGE=on measures and prints the branch coverage
	@deploy/setup.sh tests
	@$(PYTEST) $(MEASURED)
	@$(PRINT_COVERAGE)

quick: setup  ## the tests that need no Spark, broker, database or browser; COVERAGE=on as above
	@$(PYTEST) -m "not servers" $(MEASURED)
	@$(PRINT_COVERAGE)

check: setup  ## lint, types, who imports whom
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

docs: setup  ## the documentation site, in build/site; a broken link fails
	@.venv/bin/uv pip install --quiet --python $(PY) -c constraints.txt --group docs
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "The documentation is in build/site; to search it: $(PY) -m http.server -b 127.0.0.1 -d build/site"

bench chaos: setup  ## AREA=<area> runs one area
	@$(PY) -m tests.$@ $(AREA)

lock: setup  ## pin the newest versions that pyproject.toml allows
	@.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --no-annotate --no-header \
		pyproject.toml --all-extras --group local --group dev --group docs --upgrade -o constraints.txt
