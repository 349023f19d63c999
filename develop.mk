# What develops distill itself: its examples, tests and benchmarks, which a project made by `make new` has not.

##@ Projects
new: ## A project of your own, without the example: make new DIR=../mine
	@python3 -m distill.commands.new "$(DIR)"

example-large: $(VENV)/.train ## The larger example, in build/two_step: a 1.5B teacher, four tools, questions in two steps
	@python examples/workspace.py two_step
	@cd build/two_step && python -m distill.commands.models && dvc repro

browser-example: $(VENV)/.base ## A teacher with a real browser, in build/browser, down to data/train.jsonl (takes MODEL, too)
	@python examples/workspace.py browser $(if $(MODEL),model=$(MODEL))
	@cd build/browser && python -m browser.server --install && dvc repro filter

##@ What develops distill itself
lint: $(VENV)/.test ## Style and types
	@ruff check .
	@ruff format --check .
	@mypy

test: $(VENV)/.test ## The tests
	@python -m pytest -n $$(python -c 'from distill.machine.cores import cores; print(cores() + 1)') --maxprocesses 8 \
		--dist loadfile --no-loadscope-reorder

bench-dvc: $(VENV)/.test ## What a no-op `dvc repro` costs, against `true` as every command
	@python -m benchmarks.dvc_noop

bench-training: $(VENV)/.test ## Tokens per second of training, against plain TRL
	@python -m benchmarks.training

bench-report: $(VENV)/.test ## Seconds to write and to open a report of 10,000 rollouts
	@python -m benchmarks.report_open

INSPECT := .peers/inspect/bin/python

$(INSPECT): | $(BIN)/uv
	@$(BIN)/uv venv --quiet --clear .peers/inspect
	@$(BIN)/uv pip install --quiet --python $@ inspect-ai==0.3.285 openai==3.57.0

bench-teacher: $(VENV)/.test $(INSPECT) ## What buying rollouts costs, against an ideal and inspect-ai (ONLY="rollouts wide")
	@python -m benchmarks.teacher $(ONLY)

bench-tools: $(VENV)/.test ## What the tool loop adds to the waits for teacher and tools
	@python -m benchmarks.tools

DATATROVE := .peers/datatrove/bin/python

$(DATATROVE): | $(BIN)/uv
	@$(BIN)/uv venv --quiet --clear .peers/datatrove
	@$(BIN)/uv pip install --quiet --python $@ datatrove==0.10.1 jsonschema==4.26.0 orjson==3.13.0 \
		regex==2026.11.19 tokenizers==0.23.3 xxhash==3.8.2

bench-dataset: $(VENV)/.test $(DATATROVE) ## What filtering costs, against a bare loop and datatrove (ROWS=1000000)
	@python -m benchmarks.dataset $(ROWS)

bench-rendering: $(VENV)/.test ## What rendering every turn in its serving context costs, against the whole row once
	@python -m benchmarks.rendering

bench-browser: $(VENV)/.test ## Memory and CPU of 1, 2, 4 and 8 browsers side by side
	@python -m benchmarks.browser

deps: $(VENV)/.base ## Write into dvc.yaml which files each stage's results depend on
	@python tests/closure.py
