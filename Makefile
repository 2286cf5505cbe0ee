# Everything a fresh clone needs. `make help` lists the targets.

PYTHON ?= $(firstword $(shell command -v python3 python3.14 python3.13 python3.12 python3.11))
BIN := .venv/bin
WORKERS ?= $(shell cores=$$(nproc 2>/dev/null || echo 2); [ $$cores -gt 8 ] && echo 16 || echo $$((2 * cores)))
RACES ?= 20000

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup tools demo test lint types imports unit safety fuzz soak mutate clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

setup: ## make .venv/ with the reaper command in it (nothing to do when it is up to date)
	@test -n "$(PYTHON)" || { echo "setup: no python3 on PATH: install python3 (3.11 or newer)" >&2; exit 1; }
	@$(PYTHON) -m devtools.environment

tools: setup ## find, fetch or build the real servers and programs that tests use
	@$(BIN)/python -m devtools.tools

demo: setup ## show a whole run against a real registry on this machine
	@$(BIN)/python -m devtools.demo

test: lint types imports unit ## everything that has to pass

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## mypy, strict
	$(BIN)/mypy

imports: setup ## the contracts between the layers
	$(BIN)/lint-imports

unit: tools ## all tests, on every core twice: many of them wait for servers
	$(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal

safety: tools ## more races with pushes (RACES=pushes) and all the kills, of which `make test` has some
	REAPER_RACES=$(RACES) REAPER_KILLS=all $(BIN)/pytest --numprocesses $(WORKERS) --dist worksteal tests/safety

fuzz: setup ## look longer for input that reaper does not expect
	HYPOTHESIS_PROFILE=thorough $(BIN)/pytest tests/fuzz tests/config/test_fuzz.py tests/core

soak: tools ## run the daemon against a real registry with pushers, faults and restarts (SOAK=seconds)
	@$(BIN)/python -m devtools.soak $(if $(SOAK),--seconds $(SOAK))

mutate: setup ## break reaper/core in thousands of small ways and see what no test notices (MUTANTS="reaper.core.plan.*")
	HYPOTHESIS_PROFILE=mutation nice $(BIN)/mutmut run --max-children 1 $(MUTANTS)
	@$(BIN)/mutmut results --all true | awk -F '[.: ]+' \
		'$$NF != "checked" { all[$$4]++; killed[$$4] += $$NF == "killed" || $$NF == "timeout" } \
		END { for (module in all) print module, killed[module] "/" all[module] }' | sort

clean: ## remove .venv/ and what the checks leave behind
	rm -rf .venv build dist mutants .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
