# Everything a user types. `make` alone does the whole run: environment, models, pipeline, report.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := all
VENV := .venv
BIN := $(VENV)/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
export PATH := $(CURDIR)/$(BIN):$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
# Where it is set, every process compiles anew what it imports: six seconds for each that trains.
unexport PYTHONDONTWRITEBYTECODE

# The first interpreter for which every pinned package has a wheel; python3, and a message, where there is none.
FITS = -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 15))'
PYTHON ?= $(shell for python in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$python $(FITS) 2> /dev/null && echo $$python && exit; done; echo python3)

# What is given on the command line (make rollouts N=3). The environment may have the same names for something else, which
# is left alone: a machine's NAME, a PORT, a MODEL that costs money.
given = $(if $(findstring command,$(origin $(1))),$($(1)))
model = $(call given,MODEL)
n = $(call given,N)
entries = $(call given,ENTRIES)
name = $(call given,NAME)
port = $(call given,PORT)
FORMAT ?= hf
ROW ?= 1

##@ Set up, and run everything
all: install models repro ## Set up and run the whole pipeline, down to the report

repro: $(VENV)/.train validate ## dvc repro: run what has changed
	@dvc repro

install: $(VENV)/.train ## The environment for all stages (packages pinned by hash)

install-data: $(VENV)/.base ## The environment for the data stages only: no torch

models: $(VENV)/.base ## Fetch the embedded models that params.yaml names (checked by hash, cached outside the project)
	@python -m distill.commands.models

help: ## This list
	@awk -F ':.*## ' '/^##@ / { printf "%s%s\n", shown++ ? "\n" : "", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  %-16s%s\n", $$1, $$2 }' $(MAKEFILE_LIST)

$(BIN)/uv: locks/uv.lock
	@"$(PYTHON)" $(FITS) || { echo "error: Python 3.11 to 3.14 is needed, and $(PYTHON) is $$("$(PYTHON)" --version 2>&1);" \
		"install one of them, or name it: make PYTHON=/usr/local/bin/python3.12"; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || { echo "error: $(PYTHON) -m venv failed; on Debian and Ubuntu:" \
		"apt-get install $(notdir $(PYTHON))-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r locks/uv.lock
	@touch $@

$(VENV)/.base: $(BIN)/uv locks/base.lock
	@$(UV) --no-deps --require-hashes -r locks/base.lock
	@touch $@

# On a Mac there is one build only. Elsewhere the CPU's where there is no NVIDIA driver: pip finds it where the machine
# offers one, else uv knows PyTorch's index; who can reach neither has a mirror of PyPI, whose build is for the newest CUDA.
$(VENV)/.train: $(VENV)/.base locks/train.lock locks/gpu.lock locks/torch.txt
	@$(UV) --no-deps --require-hashes -r locks/train.lock
	@if command -v nvidia-smi > /dev/null; then \
		$(UV) --torch-backend auto -r locks/torch.txt \
		|| { echo "PyTorch's index cannot be had: taking PyPI's build of torch"; $(UV) -r locks/torch.txt; }; \
		$(UV) --no-deps --require-hashes -r locks/gpu.lock; \
		$(BIN)/python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' 2> /dev/null \
		|| echo "torch cannot use the card, so that all runs on the CPU: its driver (nvidia-smi) may be too old"; \
	elif [ "$$(uname)" = Darwin ]; then \
		$(UV) -r locks/torch.txt; \
	else \
		sed 's/$$/+cpu/' locks/torch.txt > $(VENV)/torch-cpu.txt; \
		$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r $(VENV)/torch-cpu.txt 2> /dev/null \
		|| $(UV) --no-deps --torch-backend cpu -r $(VENV)/torch-cpu.txt \
		|| { echo "no build of torch for CPUs can be had: taking the one for CUDA, 3 GB, which runs on CPUs, too"; \
			$(UV) -r locks/torch.txt; }; \
	fi
	@touch $@

$(VENV)/.test: $(VENV)/.train locks/test.lock
	@$(UV) --no-deps --require-hashes -r locks/test.lock
	@touch $@

##@ What you write
validate: $(VENV)/.base ## Check all that you write: params.yaml, prompts, tools.py, checks.py, imported conversations, dvc.yaml
	@python -m distill.commands.validate

tools: $(VENV)/.base ## The tools as the teacher is offered them; MCP servers are asked anew
	@python -m distill.commands.tools

import: $(VENV)/.base ## Conversations that you have, into data/imported/: make import FILE=theirs.parquet (N=1000: the first ones)
	@python -m distill.commands.import_dataset $(call given,FILE) $(if $(n),-n $(n))

lock: $(BIN)/uv ## Pin the packages that pyproject.toml names; those that are pinned stay as they are
	@locks/resolve.sh

##@ The teacher
CHOICE = $(if $(model),-S 'model=$(model)') $(if $(n),-S 'teacher.n=$(n)') $(if $(entries),-S "teacher.entries='$(entries)'",$(if $(n),-S teacher.entries=null))

plan: $(VENV)/.base ## What is missing and what it would cost; asks nothing (takes N, MODEL, ENTRIES, too)
	@dvc repro prompts > /dev/null && python -m stages.teacher_rollouts --plan $(CHOICE) \
		&& python -m distill.commands.judge_cost $(CHOICE)

try: $(VENV)/.base ## Ask two prompts and read the conversations; the answers are kept for the real run
	@dvc repro prompts > /dev/null && python -m distill.commands.trial $(CHOICE)

# The plan refuses what N, MODEL and ENTRIES may have wrong; DVC would have written it into params.yaml by then.
rollouts: $(VENV)/.base validate plan ## Ask the teacher: make rollouts N=100 MODEL=gpt-5.2, or ENTRIES=0,5-9 in place of N
	@git rev-parse --quiet --verify HEAD > /dev/null \
		|| { echo "error: DVC's experiments begin at a commit, and there is none yet: git add -A && git commit -m start"; exit 1; }
	@dvc exp run $(if $(name),-n $(name)) $(CHOICE) teacher_rollouts

##@ One step after the other
data: $(VENV)/.base validate ## Up to data/train.jsonl (needs no torch)
	@dvc repro filter

train: $(VENV)/.train validate ## Up to models/adapter
	@dvc repro sft_train

evaluate: $(VENV)/.train validate ## Up to reports/evaluation.json
	@dvc repro evaluate

report: $(VENV)/.base ## reports/so_far.html from whatever there is so far
	@python -m distill.commands.report

##@ The training rows
render: $(VENV)/.base ## One training row as the student sees it, what it learns marked: make render ROW=3
	@python -m distill.commands.render $(ROW)

export: $(VENV)/.base ## data/train.jsonl for another trainer, under exports/: make export FORMAT=openai|sharegpt|hf|tokens
	@python -m distill.commands.export $(FORMAT)

##@ The student
chat: $(VENV)/.train ## Talk to the trained student, with the project's tools
	@exec python -m distill.commands.chat

serve: $(VENV)/.train ## The trained student at an OpenAI-compatible endpoint: make serve PORT=8000
	@exec python -m distill.commands.serve $(if $(port),--port $(port))

merge: $(VENV)/.train ## models/merged: base and adapter as one model (safetensors)
	@python -m distill.commands.merge

gguf: $(VENV)/.train ## models/student.gguf: the trained student for llama.cpp
	@python -m distill.commands.gguf

##@ Experiments
# A dependency is a column of its own to DVC: files are dropped, params and metrics stay.
COMPARE = dvc exp show --only-changed --md --drop '.*/|.*\.py$$|rollouts$$'

compare: $(VENV)/.base ## The experiments side by side: parameters and numbers that differ
	@$(COMPARE)

# DVC runs these in copies of what git tracks, and would leave other files out without a word. Reports are copied as well.
.tracked:
	@LC_ALL=C; [[ "$$PWD" != *[!\ -~]* ]] || { echo "error: in a folder whose path has other letters than ASCII's, DVC cannot" \
		"run experiments in copies: move the project, from $$PWD"; exit 1; }
	@untracked=$$(git ls-files --others --exclude-standard -- . ':!reports'); [ -z "$$untracked" ] || { \
		echo "error: experiments run in a copy without the files that git does not track:" $$untracked; \
		echo 'type `git add` with their names, or list in .gitignore what no stage reads'; exit 1; }

sweep: $(VENV)/.train .tracked ## One experiment per value: make sweep SET='student.learning_rate=0.0005,0.001,0.002'
	@dvc exp run --queue $(addprefix --copy-paths ,$(shell git ls-files --others --directory --exclude-standard reports)) -S '$(or $(SET),$(error SET is missing: make sweep SET=student.learning_rate=0.0005,0.001))'
	@dvc exp run --run-all
	@$(COMPARE)

ablate: $(VENV)/.train .tracked ## What a filter check does for the student: make ablate CHECK=answer
	@python -m distill.commands.ablate "$(CHECK)"

##@ Begin anew
clean: ## Remove what the pipeline made, the adapter too (bought answers and models stay; `dvc checkout` brings all back)
	@rm -rf rollouts models data/prompts.jsonl data/converted.jsonl data/train.jsonl data/rejected.jsonl \
		reports/index.html reports/so_far.html reports/evaluation.jsonl dvc_plots

distclean: clean ## Remove the environment and DVC's cache, too, from which nothing comes back
	@rm -rf $(VENV) .dvc/cache .dvc/tmp

-include develop.mk

.PHONY: .tracked $(shell sed -nE 's/^([a-z][a-z-]*):.*/\1/p' $(MAKEFILE_LIST))
