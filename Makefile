# make demo                    three recognizers on the same clips, in one picture; about five minutes after installation
# make demo VOICES=synthetic   the same without a download: otherwise it fetches 182 MB of real voices, if it can
# make demo VOICES=https://…   the same archive of real voices from another address
# make demo DATA=DIR           the same on your clips: a folder of one-word folders; OUT=FOLDER if demo-DIR holds others
# make test                    style, types and the whole test suite
# make coverage                the test suite, and the share of the lines that it runs
# make docs                    the documentation's site, in build/site
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/$(if $(filter Windows_NT,$(OS)),Scripts,bin)
DATA ?=
VOICES ?=
OUT ?= demo$(if $(DATA),-$(notdir $(patsubst %/,%,$(firstword $(DATA)))))

.PHONY: demo test coverage docs clean

demo: $(VENV)/demo-ready
	$(BIN)/harken demo --out $(OUT) $(foreach folder,$(DATA),--data $(folder)) $(if $(VOICES),--voices $(VOICES))

test: $(VENV)/test-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal

coverage: $(VENV)/test-ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --dist worksteal --cov --cov-report=term:skip-covered

docs: $(VENV)/docs-ready
	$(BIN)/python tools/write_reference.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "harken needs Python 3.11 or later: make PYTHON=python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { echo "python3 lacks venv: on Debian, apt install python3-venv" >&2; rm -rf $(VENV); exit 2; }
	touch $@

# pip would compile every module of every package, which takes 40 seconds; --no-compile leaves that to the first import.
$(VENV)/demo-ready: $(VENV)/made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[train,synth,serve]'
	touch $@

$(VENV)/test-ready: $(VENV)/made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[train,synth,flac,serve,notebook,own,wyoming,hub,docs,dev]'
	touch $@ $(VENV)/demo-ready $(VENV)/docs-ready

$(VENV)/docs-ready: $(VENV)/made pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --no-compile --constraint constraints.txt --editable '.[docs]'
	touch $@

clean:
	rm -rf $(VENV) demo demo-* .pytest_cache .mypy_cache .ruff_cache .coverage
