# Everything runs in .venv, which the first target that needs it creates. `make` alone lists the targets.

VENV := .venv
PY := $(VENV)/bin/python
PYTEST_ARGS ?=
VERSION ?= 4.1.4

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help env jar demo test test-spark check check-format check-lint check-types check-scala check-goldens fix goldens bench clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | \
	  while IFS='	' read -r name text; do printf '  make %-14s %s\n' "$$name" "$$text"; done

env: ## make or refresh .venv from the pinned packages
	@scripts/make_env.sh $(VENV)

jar: env ## compile the Scala sources and make the jar, where anything changed
	@$(PY) -m spark_llm.catalyst.build

demo: env jar ## run the demo: example data, a small model on this machine's CPU, queries and what they cost
	@$(PY) -m spark_llm.demo.run

test: env jar ## run all tests (PYTEST_ARGS="tests/core -k dedup" for some)
	@echo "test: running the tests"
	@$(PY) -m pytest $(PYTEST_ARGS)

test-spark: ## run the Spark tests on another Spark: make test-spark VERSION=4.1.4
	@scripts/make_env.sh .venv-spark-$(VERSION) $(VERSION)
	@echo "test-spark: compiling the jar for Spark $(VERSION) and running the tests marked spark"
	@.venv-spark-$(VERSION)/bin/python -m spark_llm.catalyst.build
	@.venv-spark-$(VERSION)/bin/python -m pytest -m "spark and not vllm" $(PYTEST_ARGS)

check: check-format check-lint check-types check-scala check-goldens ## formatting, lint, types, Scala, golden files

check-format: env
	@echo "check: formatting of the Python files"
	@$(PY) -m ruff format --check .

check-lint: env
	@echo "check: lint of the Python files"
	@$(PY) -m ruff check --quiet .

check-types: env
	@echo "check: types"
	@$(PY) -m mypy --no-error-summary

check-scala: env
	@echo "check: Scala files, and no warning of their compiler"
	@$(PY) scripts/check_scala.py
	@$(PY) -m spark_llm.catalyst.build --strict >/dev/null

check-goldens: env
	@echo "check: golden files are fresh"
	@$(PY) tests/refresh_goldens.py --check

fix: env ## let ruff repair and format what it can
	@$(PY) -m ruff check --fix --quiet . ; $(PY) -m ruff format --quiet .

goldens: env ## write generated tables and golden texts anew; git diff shows what changed for users
	@$(PY) tests/refresh_goldens.py

bench: env jar ## run every script of benchmarks/, results into build/bench/
	@mkdir -p build/bench
	@for script in benchmarks/*.py; do \
	  [ -e "$$script" ] || { echo "bench: no benchmarks yet"; break; }; \
	  echo "bench: $$script"; \
	  $(PY) "$$script" --json "build/bench/$$(basename "$$script" .py).json" || exit 1; \
	done

clean: ## remove what was built here; the environments stay
	@rm -rf build dist spark_llm/jars spark-warehouse metastore_db derby.log artifacts
	@rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find spark_llm tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +
