# Everything a person types. Needs make and Python 3.11 or 3.12; the rest is installed into .venv on first use.
# pip's own settings (PIP_FIND_LINKS, PIP_CERT, …) reach it through the environment.

PYTHON ?= python3.11
DATA ?= world
BUNDLE ?= bundles/$(DATA)
PORT ?= 3000
CLUSTER ?=
TESTS ?=
PYTEST_FLAGS ?= -n 2 --dist loadfile
BENCHMARKS ?= $(sort $(patsubst benchmarks/%.py,%,$(patsubst %/__main__.py,%.py,$(shell grep -l '__main__' benchmarks/*.py benchmarks/*/__main__.py 2>/dev/null))))

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

# The service framework reports its use over the network unless told not to.
export BENTOML_DO_NOT_TRACK := true

.DEFAULT_GOAL := help
.PHONY: help setup demo train customers serve bento test coverage check sizes bench lock clean distclean

help: ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@printf '\nData sets: %s\n' '$(patsubst configs/data/%.yaml,%,$(wildcard configs/data/*.yaml))'
	@printf 'Variables: DATA=%s CLUSTER=ray BUNDLE=%s PORT=%s TESTS= BENCHMARKS= PYTHON=%s\n' '$(DATA)' '$(BUNDLE)' '$(PORT)' '$(PYTHON)'

setup: $(STAMP) ## install everything into .venv (every other command does this by itself)

# The build backend is installed first, so that the second line needs no build environment of its own:
# what is installed is then exactly what constraints.txt says, and a repetition needs no network.
$(STAMP): pyproject.toml constraints.txt
	@for python in $(PYTHON) python3; do \
	  if "$$python" -c 'import ensurepip, sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; \
	  then found="$$python"; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo 'make setup: found no Python 3.11 or 3.12 with its venv module as $(PYTHON) or python3.' >&2; \
	  echo 'Install one (Debian and Ubuntu: apt-get install python3.11 python3.11-venv)' >&2; \
	  echo 'or name it: make setup PYTHON=/path/to/python3.11' >&2; \
	  exit 1; \
	fi; \
	[ -x $(BIN)/python ] || { echo "creating $(VENV) with $$("$$found" --version)"; "$$found" -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt setuptools wheel hatchling
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt --no-build-isolation -e '.[dev]'
	@touch $@

demo: $(STAMP) ## DATA=world CLUSTER=: train, judge, export, serve and ask, from events to answers
	$(BIN)/python -m demo data=$(DATA) $(if $(CLUSTER),cluster=$(CLUSTER))

train: $(STAMP) ## DATA=world: train only; further settings in ARGS="trainer.epochs=3 …"
	$(BIN)/python -m training.train data=$(DATA) $(ARGS)

customers: $(STAMP) ## DATA=docs: who will leave, whom to speak to; or telco-churn, bank, cdnow, hillstrom
	$(BIN)/python -m training.customers customers=$(if $(filter world,$(DATA)),docs,$(DATA)) $(ARGS)

serve: $(STAMP) ## BUNDLE=bundles/world: serve a bundle over HTTP on PORT
	@[ -e '$(BUNDLE)' ] || { \
	  echo 'make serve: there is no bundle at $(BUNDLE). Run "make demo DATA=$(DATA)" first, or name one: make serve BUNDLE=…' >&2; \
	  exit 1; }
	MARQUEE_BUNDLE='$(BUNDLE)' exec $(BIN)/bentoml serve serving.service:MarqueeService --host 127.0.0.1 --port $(PORT)

# The package is unpacked first, so that the bento holds it as it is imported, without training and its tower code.
bento: $(STAMP) ## build the service as a bento, for bentoml's tools: containerize, export, push
	rm -rf dist/bento
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --target dist/bento .
	cp deploy/bentofile.yaml deploy/requirements.txt dist/bento
	cd dist/bento && $(abspath $(BIN))/bentoml build

test: $(STAMP) ## run every test and every example in a docstring; TESTS=tests/unit for some of them
	$(BIN)/pytest $(PYTEST_FLAGS) $(TESTS)

coverage: $(STAMP) ## the same with branch coverage of src
	$(BIN)/pytest $(PYTEST_FLAGS) --cov --cov-report=term-missing:skip-covered $(TESTS)

check: $(STAMP) ## format, lint, types, import rules, spelling
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell

sizes: $(STAMP) ## report files and functions beyond the size budgets (a place to look, not a verdict)
	$(BIN)/python -m tests.architecture.sizes

bench: $(STAMP) ## measure every claim beside its reference; BENCHMARKS="reports" for some
	@failed=""; for name in $(BENCHMARKS); do \
	  echo "== benchmarks.$$name"; \
	  $(BIN)/python -m benchmarks.$$name --check || failed="$$failed $$name"; \
	done; \
	[ -z "$$failed" ] || { echo "outside tolerance:$$failed" >&2; exit 1; }

lock: $(STAMP) ## write what follows from other files: constraints.txt, deploy/requirements.txt, the client's messages
	@{ sed -n '/^#/p' constraints.txt; \
	   $(BIN)/python -m pip freeze --all --exclude-editable --exclude pip | sed 's/+cpu$$//' | sort -f; } > constraints.new
	@mv constraints.new constraints.txt
	@$(BIN)/python -m tests.architecture.requirements > deploy/requirements.txt
	@$(BIN)/python -m serving.api.client_messages src/marquee/client/messages
	@touch $(STAMP)

clean: ## remove caches; .venv, data, runs and bundles stay
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache .coverage dist outputs
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +

distclean: clean ## remove .venv as well
	rm -rf $(VENV)
