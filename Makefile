# make play   the bundled performance, live, through the built-in instrument
# make test   the tests                     make check   the same after lint and types
# Each sets up what it needs: Debian packages (as root or with sudo, else it names them) and a virtual environment.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
OUT ?= demo
SONGS ?=
MINUTES ?= 240
RUN ?= runs/builtin
FAST := not slow and not gpu and not live

PLAY_PACKAGES := libportaudio2
TEST_PACKAGES := $(PLAY_PACKAGES) jackd2 libfluidsynth3 fluid-soundfont-gm

.PHONY: play test check lint docs lowest fuzz archive rounds test-slow test-live test-gpu goldens bench train evaluate clean
.DELETE_ON_ERROR:

play: $(VENV)/.play
	$(BIN)/specdiffd demo -O $(OUT) $(ARGS)

test: $(VENV)/.dev
	$(BIN)/pytest -q -m "$(FAST)" $(ARGS)

# The same tests as make test. Tracing them costs little: the time goes into networks and compiled loops.
check: lint
	$(BIN)/pytest -q -m "$(FAST)" --cov --cov-report=term $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages that are made from the package's types.
docs: $(VENV)/.dev
	$(BIN)/python docs/generate

# The tests with the lowest versions that pyproject.toml allows. Where PyTorch's own index cannot be reached, torch is that of make test:
# PyPI has the lowest one for NVIDIA cards alone, with gigabytes that no test needs.
LOWEST := .lowest/bin/uv pip install -q --python .lowest/bin/python --resolution lowest-direct -e '.[dev]'

lowest: .lowest/.installed
	.lowest/bin/pytest -q -m "$(FAST)" $(ARGS)

.lowest/.installed: pyproject.toml constraints.txt
	@$(call packages,$(TEST_PACKAGES))
	$(PYTHON) -m venv .lowest
	.lowest/bin/pip install -q uv
	grep '^torch==' constraints.txt >.lowest/torch.txt
	$(LOWEST) --torch-backend cpu || { .lowest/bin/pip install -q -r .lowest/torch.txt && $(LOWEST) -c .lowest/torch.txt; }
	@touch $@

test-slow: $(VENV)/.dev
	$(BIN)/pytest -q -m slow $(ARGS)

# A million damaged control messages, in some minutes; FUZZ_FRAMES=... and FUZZ_SEED=... choose others.
fuzz: $(VENV)/.dev
	$(BIN)/pytest -q -s -m slow tests/control/test_fuzz.py $(ARGS)

# Every song of a folder (SONGS=...) from its file and as through a port.
archive: $(VENV)/.dev
	SONGS=$(SONGS) $(BIN)/pytest -q -s -m slow tests/test_archive.py $(ARGS)

# Processes killed and stopped, alone and in pairs, 24 rounds on an idle and on a busy machine: an hour.
rounds: $(VENV)/.dev
	$(BIN)/pytest -q -s -m slow tests/e2e/test_rounds.py $(ARGS)

# Latency, density, endurance and likeness of live playing, in real time: forty minutes on a machine that does nothing else.
test-live: $(VENV)/.dev
	@$(call packages,fluidsynth)
	$(call judges)
	$(BIN)/pytest -q -s -m live $(ARGS)

test-gpu: $(VENV)/.dev
	$(BIN)/pytest -q -m gpu -o norecursedirs= $(ARGS)

# What the published code does, stored for the tests; its last versions that run need an environment of their own.
goldens: .goldens/.installed
	.goldens/bin/python tests/goldens/make.py

.goldens/.installed:
	$(PYTHON) -m venv .goldens
	.goldens/bin/pip install -q diffusers==0.27.2 transformers==4.40.2 huggingface-hub==0.24.7 torch==2.13.0 note-seq onnx onnxruntime 'numpy<2'
	@touch $@

# One revision taken apart: untrained weights of the final shapes, then the built-in instrument as it is played.
bench: $(VENV)/.play
	$(BIN)/specdiffd bench latency --random-weights
	$(BIN)/specdiffd bench latency
	$(BIN)/specdiffd bench engine
	$(BIN)/specdiffd bench decoder
	$(BIN)/specdiffd bench vocoder

# make train SONGS=folder-of-midi MINUTES=240; goes on where it stopped.
train: $(VENV)/.dev
	$(BIN)/specdiffd train --run $(RUN) --minutes $(MINUTES) $(addprefix --songs ,$(SONGS)) $(ARGS)

# make evaluate SONGS=folder-of-midi; basic-pitch's own requirements ask for TensorFlow, which its ONNX model does not need.
evaluate: $(VENV)/.dev
	@test -n "$(SONGS)" || { echo "make evaluate SONGS=a-folder-of-MIDI-files"; exit 2; }
	@$(call packages,musescore-general-soundfont-small)
	$(call judges)
	$(BIN)/specdiffd evaluate $(SONGS) --report $(OUT)/evaluation $(ARGS)

$(VENV)/.play: pyproject.toml constraints.txt
	@$(call packages,$(PLAY_PACKAGES))
	@$(call environment,demo)
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt
	@$(call packages,$(TEST_PACKAGES))
	@$(call environment,dev)
	@touch $@ $(VENV)/.play

clean:
	rm -rf $(VENV) .lowest build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage $(OUT)

define judges
$(BIN)/pip install -q -c constraints.txt -e '.[evaluate]'
$(BIN)/pip install -q -c constraints.txt --no-deps basic-pitch
endef

# Installs the Debian packages that are missing.
define packages
set -e; missing=; \
if ! command -v apt-get >/dev/null; then \
	echo "this is no Debian machine: make sure that it has what these packages hold: $(1)"; \
else \
	for package in $(1); do \
		dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; \
	done; \
	$(PYTHON) -c 'import ensurepip' 2>/dev/null || missing="$$missing python3-venv"; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ]; then as=; \
		elif sudo -n true 2>/dev/null || { [ -t 0 ] && command -v sudo >/dev/null; }; then as=sudo; \
		else echo "missing Debian packages, install them and try again:  apt-get install$$missing" >&2; exit 3; fi; \
		echo "installing$$missing"; \
		$$as apt-get update -qq; \
		$$as env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi; \
fi
endef

# The virtual environment with one of the extras. Without an NVIDIA card torch's CPU build is enough: gigabytes smaller.
define environment
set -e; \
test -x $(BIN)/python || $(PYTHON) -m venv $(VENV); \
index=; \
if [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && ! $(BIN)/python -c 'import torch' 2>/dev/null; then \
	url=https://download.pytorch.org/whl/cpu; \
	$(BIN)/python -c "import urllib.request; urllib.request.urlopen('$$url/torch/', timeout=5)" 2>/dev/null && index="--extra-index-url $$url"; \
	: ; \
fi; \
echo "installing specdiffd[$(1)] into $(VENV)"; \
$(BIN)/pip install -q --disable-pip-version-check $$index -c constraints.txt -e '.[$(1)]'
endef
