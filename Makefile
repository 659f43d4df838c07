# The front door. `make` lists the targets; each makes or refreshes .venv first and says so.
SHELL := /bin/bash
PYTHON ?= python3
export LEDGERLINE_HOME ?= $(CURDIR)/.ledgerline
export DAGSTER_HOME ?= $(LEDGERLINE_HOME)/dagster
RUN := .venv/bin/python
.DEFAULT_GOAL := help
.PHONY: help demo demo-real servers doctor dev ask where new-project test bench stop clean lock base tools

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: base  ## filings in, a gated model live, on this machine alone (ARCHIVE=<folder> for real filings)
	@$(RUN) -m cli demo $(if $(ARCHIVE),--archive "$$ARCHIVE")

demo-real: tools  ## the demo on OpenSearch, Gremlin Server, PostgreSQL, MLflow and S3, compared with the embedded one
	@$(RUN) -m cli demo-real $(if $(ARCHIVE),--archive "$$ARCHIVE")

servers: tools  ## these servers and AWS by moto, until Ctrl-C, and the variables that point the platform at them
	@$(RUN) -m cli servers

doctor: base  ## try every port that is configured for real: what works, and what to do about the rest
	@$(RUN) -m cli doctor

dev: base  ## the Dagster UI on http://127.0.0.1:3000 (PORT=... for another port)
	@$(RUN) -m cli dev $(if $(PORT),--port "$$PORT")

# Their dollars are money: make must not expand them on the way to the command.
unexport MENTION TEXT
ask: export ASK_MENTION = $(value MENTION)
ask: export ASK_TEXT = $(value TEXT)
ask: base  ## which ticker is meant: make ask MENTION="Facebook" TEXT="..." AS_OF=2017-07-25
	@$(RUN) -m cli ask --mention="$$ASK_MENTION" --text="$$ASK_TEXT" --as-of="$$AS_OF"

unexport FILING
where: export WHERE_FILING = $(value FILING)
where: base  ## where a filing is, and why: make where FILING=0000320193-25-000001 (DAY=... for one that is not known)
	@$(RUN) -m cli where --day="$$DAY" -- "$$WHERE_FILING"

unexport NAME
new-project: export NEW_PROJECT = $(value NAME)
new-project: base  ## a working model project with tests: make new-project NAME=churn
	@$(RUN) -m cli new-project -- "$$NEW_PROJECT"

test: tools  ## every check and test: ruff, mypy, import-linter, pytest
	@$(RUN) -m ruff check . && $(RUN) -m ruff format --check .
	@.venv/bin/lint-imports
	@$(RUN) -m mypy
	@$(RUN) -m pytest -n 2 --dist loadfile $(PYTEST)

bench: tools  ## every benchmark, each ending in one line of JSON
	@$(RUN) -m benchmarks

stop: base  ## stop the embedded SageMaker server and its endpoints
	@$(RUN) -m local_sagemaker stop

clean: stop  ## stop the servers and remove all state (.ledgerline)
	@rm -rf -- "$(LEDGERLINE_HOME)" && echo "removed $(LEDGERLINE_HOME)"

lock:  ## resolve constraints.txt anew (PYTHONS="python3.10 python3.11 ...")
	@$(PYTHON) cli/lock.py $(PYTHONS)

base:
	@$(PYTHON) cli/bootstrap.py

tools:
	@$(PYTHON) cli/bootstrap.py aws dev
