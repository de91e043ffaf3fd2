# POSIX make and sh; Debian and macOS. `make help` lists what there is.
.POSIX:
.SUFFIXES:

PYTHON =
VENV = .venv
TOOLS = .venv-tools
AUDIT = .venv-audit
PEERS = bench/.venv-peers
ARCH = arm64
RUNTIME = python3.13
BUILD = .aws-sam/build
BUILD_PYTHON = $(TOOLS)/bin/python
FOR_HOST = 0
BENCH_ARGS =
PYTEST_ARGS = --numprocesses 2 --dist loadfile --no-loadscope-reorder
RATE = 20
F = RouteFunction
E = events/route.sqs.one_job.json

ENVIRONMENT = PYTHON="$(PYTHON)" sh tools/environment
SAM = $(TOOLS)/bin/sam
OFFLINE = SAM_CLI_TELEMETRY=0 AWS_DEFAULT_REGION=us-east-1

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1|/p' Makefile | awk -F'|' '{printf "make %-12s %s\n", $$1, $$2}'

setup: $(VENV)/.setup ## .venv with the `slackwater` command and the embedded cloud

setup-test: $(VENV)/.setup-test ## the same, and what the tests need

demo: setup ## the whole product on this machine, from files to receipts
	$(VENV)/bin/slackwater demo

test: setup-test $(TOOLS)/.setup ## all tests that need no Docker: unit, integration (embedded cloud), infrastructure, e2e
	$(VENV)/bin/python -m pytest $(PYTEST_ARGS)

test-iam: setup-test ## the functions' roles: enough for what the product does, and no more (embedded cloud, IAM enforced)
	SLACKWATER_TEST_IAM=1 $(VENV)/bin/python -m pytest tests/iam $(PYTEST_ARGS)

test-e2e: setup-test $(TOOLS)/.setup ## the built functions: by `sam deploy`, by Lambda's runtime interface, by Docker where there is one
	SLACKWATER_TEST_DEPLOY=1 $(VENV)/bin/python -m pytest tests/e2e

lint: $(TOOLS)/.setup setup-test ## ruff, mypy, import-linter, sam validate, cfn-lint (the workflow too)
	$(TOOLS)/bin/ruff check .
	$(TOOLS)/bin/mypy --python-executable $(VENV)/bin/python layers/slackwater/slackwater cli/slackwater_cli local
	PYTHONPATH=layers/slackwater:cli:. $(TOOLS)/bin/lint-imports
	$(OFFLINE) $(SAM) validate --lint --template template.yaml
	$(OFFLINE) $(SAM) validate --lint --template satellite.yaml
	$(TOOLS)/bin/python tools/lint_workflow.py

audit: $(AUDIT)/.setup ## checkov over both templates; what is skipped has its reason in .checkov.yaml or the template
	BC_SKIP_MAPPING=TRUE $(AUDIT)/bin/checkov --config-file .checkov.yaml

costs: setup-test ## docs/costs.md: what the stack costs, by counted requests and list prices
	$(VENV)/bin/python -m bench.costs --write docs/costs.md

bench-on-demand: setup-test $(PEERS)/.setup ## the engine beside LiteLLM, boto3 and TensorZero, against a neutral fake (three quarters of an hour)
	$(VENV)/bin/python -m bench.on_demand --peers $(PEERS)/bin/python $(BENCH_ARGS)

bench-infrastructure: setup-test ## what the infrastructure costs for 1,000 calls, as a part of the model's price
	$(VENV)/bin/python -m bench.infrastructure

build: $(TOOLS)/.setup ## what goes to AWS, in .aws-sam/build (ARCH=arm64 or x86_64)
	ARCH=$(ARCH) RUNTIME=$(RUNTIME) FOR_HOST=$(FOR_HOST) PYTHON="$$PWD/$(BUILD_PYTHON)" $(OFFLINE) $(SAM) build --template template.yaml \
		--build-dir $(BUILD) --cache-dir $(BUILD)-cache --parameter-overrides Architecture=$(ARCH) Runtime=$(RUNTIME)
	sh tools/built_for $(BUILD)/template.yaml Architecture=$(ARCH) Runtime=$(RUNTIME)

build-local: setup $(TOOLS)/.setup ## the same for this machine's processor and Python, in .aws-sam/local/build
	@case "$$(uname -m)" in arm64|aarch64) arch=arm64 ;; *) arch=x86_64 ;; esac; \
	runtime=$$($(VENV)/bin/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
	$(MAKE) build ARCH=$$arch RUNTIME=$$runtime FOR_HOST=1 BUILD=.aws-sam/local/build BUILD_PYTHON=$(VENV)/bin/python

deploy-local: build-local ## that build by `sam deploy` into an embedded cloud that stays, as an account with nothing in it
	@$(VENV)/bin/slackwater local up --empty --rate $(RATE)
	@unset AWS_PROFILE AWS_SESSION_TOKEN; eval "$$($(VENV)/bin/slackwater local env)"; export SAM_CLI_TELEMETRY=0 SAM_CLI_POLL_DELAY=0.5; \
	$(SAM) deploy --config-env local-satellite --region us-west-2 && $(SAM) deploy --config-env local
	@echo 'now:  eval "$$($(VENV)/bin/slackwater local env)"; $(VENV)/bin/slackwater check'

invoke: setup $(TOOLS)/.setup ## one function in AWS's own image, by Docker (F=RouteFunction E=events/...)
	@$(VENV)/bin/slackwater local invoke $(F) --event $(E) --check
	@case "$$(uname -m)" in arm64|aarch64) arch=arm64 ;; *) arch=x86_64 ;; esac; \
	$(MAKE) build ARCH=$$arch BUILD=.aws-sam/invoke/build >&2
	@$(VENV)/bin/slackwater local invoke $(F) --event $(E) --build .aws-sam/invoke/build --runtime $(RUNTIME) --sam $(SAM)

clean: ## everything that can be made again, the environments included
	rm -rf $(VENV) $(TOOLS) $(AUDIT) $(PEERS) .aws-sam .local .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache slackwater.egg-info slackwater-demo
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

$(VENV)/.setup: pyproject.toml
	@$(ENVIRONMENT) $(VENV) --editable .
	@touch $@

$(VENV)/.setup-test: $(VENV)/.setup
	@$(ENVIRONMENT) $(VENV) --editable '.[test]'
	@touch $@

$(TOOLS)/.setup: tools/requirements.txt
	@$(ENVIRONMENT) $(TOOLS) --requirement tools/requirements.txt
	@touch $@

$(PEERS)/.setup: bench/on_demand_lib/peers.txt
	@$(ENVIRONMENT) $(PEERS) --requirement bench/on_demand_lib/peers.txt
	@touch $@

$(AUDIT)/.setup: tools/audit-requirements.txt
	@$(ENVIRONMENT) $(AUDIT) --requirement tools/audit-requirements.txt
	@touch $@

.PHONY: bench-infrastructure bench-on-demand help setup setup-test demo test test-iam test-e2e lint audit costs build build-local deploy-local invoke clean
