# Each target sets up all that it needs: a virtual environment, and calservice in it.
#   make demo    a simulated program from ramps to mosaics, on a local Dask cluster
#   make test    the whole test suite
#   make peer-tests   the official package's own unit tests, on our step classes
#   make lint    formatting, linting, types

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && { echo $$p; break; }; done)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.calservice-ready
JOBS ?= 2

.PHONY: demo test test-quick peer-tests lint format bench clean venv

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { \
		echo "calservice needs Python 3.11, 3.12 or 3.13, and found none. Install it, for example:"; \
		echo "    apt-get install python3 python3-venv      (Debian, Ubuntu)"; \
		echo "    dnf install python3.12                    (Fedora, RHEL)"; \
		echo "    brew install python@3.12                  (macOS)"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. Install the missing part:"; \
		echo "    apt-get install python3-venv              (Debian, Ubuntu)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing calservice into $(VENV); the first time takes some minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@echo "compiling the kernels"
	@$(BIN)/python -m calservice.kernels
	@touch $@

demo: $(STAMP)
	$(BIN)/calservice demo demo-output

test: $(STAMP)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup

test-quick: $(STAMP)
	$(BIN)/python -m pytest -m 'not official and not cluster'

# The official package's unit tests of our steps, of step infrastructure, and of pipelines with steps of ours in them.
PEERS := jwst.dq_init jwst.saturation jwst.superbias jwst.linearity jwst.dark_current jwst.jump jwst.ramp_fitting \
	$(addprefix jwst.,group_scale firstframe lastframe reset rscd gain_scale charge_migration guider_cds) \
	$(addprefix jwst.,refpix emicorr persistence picture_frame clean_flicker_noise) \
	jwst.stpipe jwst.lib.tests.test_suffix \
	$(addprefix jwst.pipeline.tests.test_calwebb_,detector1 dark guider)
# Further ones whose outputs are named by our suffixes.
NAMED_PEERS := jwst.outlier_detection.tests.test_fileio $(addprefix jwst.pipeline.tests.test_calwebb_,image2 image3 coron3)
PEER_PYTEST = $(BIN)/python -m pytest -c tests/peer/pytest.ini -p tests.peer.plugin -n $(JOBS) \
	--rootdir=$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

peer-tests: $(STAMP)
	$(PEER_PYTEST) --pyargs $(PEERS) $(NAMED_PEERS)
	$(PEER_PYTEST) --peer-base=calservice --pyargs $(PEERS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python benchmarks/bench_stage1_kernels.py

clean:
	rm -rf $(VENV) demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
