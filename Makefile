# Two commands to know: `make study` and `make test`. Each first builds its own virtual environment from
# requirements.lock. No system package is needed: every pin has a wheel, and no compiler is called.
VENV   := .venv
READY  := $(VENV)/.ready
RUN    := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
PIP    := bin/python -m pip --disable-pip-version-check install -qq
EXTRAS := .[demo,site,dev,cluster]
# Whole files go to two processes, in the order of tests/conftest.py.
SPREAD := -n 2 --dist loadfile --no-loadscope-reorder
PYTHON ?= python3.11

# The first of these that runs, is 3.11 or newer and can make virtual environments.
FIND_PYTHON = for python in $(PYTHON) python3 python; do \
	"$$python" -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; python=; done; \
	[ -n "$$python" ] || { echo "No Python 3.11 or newer that can make virtual environments was found. Install one \
	(on Debian: python3.11 and python3.11-venv), or name yours: make PYTHON=python3.12" >&2; exit 1; }

.DEFAULT_GOAL := help
.PHONY: study test test-papers test-faults site lab calibrate clean lock help

help:
	@echo "make study   run every paper's notebook on the demo corpora, then build reports/site/index.html"
	@echo "make test    run the library notebooks and the tests"
	@echo "make test-papers  run notebooks by the command (whole papers in small, sweeps, the essays); the whole site"
	@echo "make test-faults  kill runs at random, fill disks, change thousands of files (most of an hour)"
	@echo "make site    rebuild the site from the existing reports"
	@echo "make lab     open the notebooks in JupyterLab"
	@echo "make calibrate  simulate studies: how often do our intervals hold the truth?"
	@echo "make lock    update requirements.lock from pyproject.toml"
	@echo "make clean   remove the environment, the site, the demo runs and the tools' caches"

study: $(READY)
	@echo "Running the study on the demo corpora, then building the site"
	@$(RUN) ser-study study

# Both halves always run, so that pytest's summary is there, and last, even when a notebook fails. Notebooks put
# what they try into temporary folders; these lie in one that goes at the end, as pytest's do after three runs.
# pytest also holds the notebooks clean and the modules in step with them (tests/test_house.py).
test: $(READY)
	@failed=0; rooms=$$(mktemp -d); trap 'rm -rf "$$rooms"' EXIT; \
	echo "Running the library notebooks, top to bottom"; \
	TMPDIR="$$rooms" $(RUN) nbdev-test nbs --n-workers 2 || failed=1; \
	echo "Running the tests"; \
	$(RUN) python -m pytest $(SPREAD) tests || failed=1; \
	exit $$failed

# `make study` runs every paper as it stands; here they run small, and what they leave is looked at. So are
# sweeps, the essays that read committed runs, and the whole site.
test-papers: $(READY)
	@echo "Running the tests of whole papers"
	@$(RUN) python -m pytest -m "papers and not faults" $(SPREAD) tests

# CI runs FAULTS="faults and not papers": whole papers that are killed take half an hour.
FAULTS ?= faults
test-faults: $(READY)
	@echo "Running the long tests of faults"
	@$(RUN) python -m pytest -m "$(FAULTS)" $(SPREAD) tests

site: $(READY)
	@echo "Building the site from reports/"
	@$(RUN) ser-study site

calibrate: $(READY)
	@echo "Simulating studies (minutes on two cores)"
	@$(RUN) ser-study benchmark 05

lab: $(READY)
	@$(RUN) jupyter lab nbs

# The stamp is written last: the next command resumes an interrupted set-up.
$(READY): requirements.lock pyproject.toml
	@$(FIND_PYTHON); \
	echo "Setting up $(VENV) with $$python from requirements.lock (about 2.7 GB; minutes the first time)"; \
	[ -x $(VENV)/bin/python ] || "$$python" -m venv $(VENV)
	@$(VENV)/$(PIP) -r requirements.lock
	@$(VENV)/$(PIP) --no-deps -e .
	@touch $@

# torch is asked for by its exact version and by pip: a range, or another installer, takes the CUDA build where a CPU
# build is offered. For the same reason the pins carry no hashes and no +cpu: which build it is differs by machine.
# "3.11" means 3.11.0 to pip: the pins install on every Python we promise, whichever one resolves them.
lock:
	@$(FIND_PYTHON); \
	echo "Resolving $(EXTRAS) (minutes)"; \
	fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && \
	"$$python" -m venv "$$fresh" && \
	"$$fresh"/$(PIP) --dry-run --ignore-installed --report "$$fresh"/report --target "$$fresh"/none \
		--python-version 3.11 --only-binary :all: torch==2.13.0 "$(EXTRAS)" && \
	"$$python" -c 'import json, sys; found = [p["metadata"] for p in json.load(open(sys.argv[1]))["install"]]; \
		print("# Made by: make lock. Wheels for Python 3.11 and $(EXTRAS)"); \
		print(*sorted((m["name"] + "==" + m["version"].split("+")[0] for m in found if m["name"] != "ser_study"), key=str.lower), sep="\n")' \
		"$$fresh"/report > "$$fresh"/lock && \
	cp "$$fresh"/lock requirements.lock && echo "requirements.lock: $$(grep -c == requirements.lock) pins"

# .cache stays: features and fits of real corpora take hours to make. Remove it by hand to start from nothing.
clean:
	@rm -rf $(VENV) reports/site reports/*/demo* reports/sweeps/*/demo* build dist *.egg-info .pytest_cache .hypothesis
	@find nbs ser_study tests \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +
	@echo "Removed the environment, the site and the demo runs. Kept .cache (models, features and fits)."
