# Everything runs in .venv, made on first use. The stamps keep a second call quick.
VENV ?= .venv
PYTHON ?=
# Extra groups to test with: `make test EXTRAS=dev,envs` adds every environment source.
EXTRAS ?= dev
DEMO ?= runs/demo
PYTEST ?= -n 2 --dist loadfile

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
comma := ,
DEV := $(VENV)/.installed-$(subst $(comma),-,$(EXTRAS))
SETUP := pyproject.toml constraints.txt

.PHONY: help demo install test test-learning check format bench clean

help:
	@echo "make demo           install into .venv, train from pixels, write a report"
	@echo "make test           all fast tests"
	@echo "make test-learning  train the probe tasks to their thresholds (minutes each)"
	@echo "make check          format, lint, types, fast tests"
	@echo "make bench          throughput and cost, stored in benchmarks/results"
	@echo "make install        only install; then .venv/bin/wm --help"
	@echo "make clean          remove .venv and build products; runs/ stays"

demo: $(VENV)/.installed
	@$(BIN)/wm train dreamer_v3 --env pixels/catch --preset demo --seeds 4 --out $(DEMO)
	@test -f $(DEMO)/report/index.html && echo "$(DEMO)/report/index.html"

install: $(VENV)/.installed

test: $(DEV)
	$(BIN)/python -m pytest $(PYTEST)

test-learning: $(DEV)
	$(BIN)/python -m pytest -m slow tests/learning -v

check: $(DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright wm
	$(BIN)/python -m pytest $(PYTEST)

format: $(DEV)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV)
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .ruff_cache

$(VENV)/.installed: $(SETUP) | $(BIN)/python
	@echo "installing wm into $(VENV) (one to three minutes the first time)"
	@$(PIP) -e .
	@touch $@

$(DEV): $(SETUP) | $(BIN)/python
	@echo "installing wm with $(EXTRAS) into $(VENV)"
	@$(PIP) -e '.[$(EXTRAS)]'
	@touch $@ $(VENV)/.installed

# The first Python that is new enough; PYTHON=… chooses another one.
$(BIN)/python:
	@for python in $(PYTHON) python3 python3.12 python3.11 python3.13; do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; \
	  then found=$$python; break; fi; \
	done; \
	if [ -z "$$found" ]; then \
	  echo "wm needs Python 3.11 or newer; install it, or: make demo PYTHON=/path/to/python3.11"; \
	  exit 1; \
	fi; \
	$$found -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "$$found cannot make a virtual environment; on Debian: apt install python3-venv"; \
	  exit 1; }
