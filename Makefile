# `make help` lists the targets. CI runs the same ones by .ci/run.
.DEFAULT_GOAL := help
.PHONY: help setup run status doctor demo test unit fmt lint type imports check bench chaos chart \
	messages traceability clean distclean

BIN := .venv/bin
WORKERS ?= auto
CODE := libs services infra tests

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-12s %s\n", $$1, $$2}' Makefile

setup: ## install what development needs (Debian packages, .tools, .venv)
	@infra/local/bootstrap.sh test

run: ## install what is missing, then start everything: `darkroom up` (ARGS="--http-port 8081")
	@infra/local/bootstrap.sh run
	@exec $(BIN)/darkroom up $(ARGS)

status: ## how the running stack is
	@$(BIN)/darkroom status $(ARGS)

doctor: ## what this machine lacks, with the command that installs it
	@infra/local/bootstrap.sh run
	@$(BIN)/darkroom doctor $(ARGS)

demo: ## send sample studies to the running stack
	@$(BIN)/darkroom demo $(ARGS)

test: setup ## all tests but bench and chaos (WORKERS=1 for one process, ARGS for pytest)
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --ignore tests/bench --ignore tests/chaos $(ARGS)

unit: setup ## the fast tests only
	$(BIN)/pytest -n $(WORKERS) --dist loadfile tests/unit $(ARGS)

fmt: setup ## format and fix what can be fixed
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lint: setup ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: setup ## mypy --strict
	$(BIN)/mypy $(wildcard libs/*/src services/*/src infra/*/src)
	$(BIN)/mypy tests

imports: setup ## the borders between the packages
	$(BIN)/lint-imports

messages: setup ## write the messages' schemas and docs/messages.md
	$(BIN)/python -m darkroom_common.messages.contract docs/messages.md

traceability: setup ## write docs/traceability.md from the tests' marks
	$(BIN)/python -m tests.traceability

check: lint type imports test ## what must pass before a commit

bench: setup ## measurements
	$(BIN)/pytest tests/bench -p no:xdist --timeout 3600 -s $(ARGS)

chaos: setup ## the long fault tests of design/reliability.md
	$(BIN)/pytest tests/chaos -p no:xdist --timeout 3600 $(ARGS)

HELM := .tools/npm/node_modules/.bin/helm
chart: ## lint and render the Helm chart
	@infra/local/bootstrap.sh chart
	$(HELM) lint --strict infra/helm/darkroom
	$(HELM) template darkroom infra/helm/darkroom >/dev/null

clean: ## remove caches and build results
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## also remove .venv and .tools; never the data of a stack
	rm -rf .venv .tools
