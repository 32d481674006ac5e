# make demo, make dev, make test, make lint, make bench: each sets up what it needs in .venv (PYTHON is 3.11 or 3.12)
PYTHON ?= python3
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet

.PHONY: demo dev test test-fast lint bench fuzz clean

# The library as a user gets it: a built wheel, not the source tree.
.venv/installed: pyproject.toml constraints.txt CMakeLists.txt $(shell find aecodec cli -type f -not -path '*/__pycache__/*')
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	rm -rf .venv/wheel
	$(PIP) torch
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir .venv/wheel .
	$(PIP) .venv/wheel/aecodec-*.whl
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall .venv/wheel/aecodec-*.whl
	touch $@

.venv/developer: .venv/installed
	$(PIP) "$$(ls .venv/wheel/aecodec-*.whl)[dev]"
	touch $@

dev: .venv/developer

demo: .venv/installed
	$(BIN)/python -m bench demo tests/data/coffee.png --out demo

test: .venv/developer
	$(BIN)/python -P -m pytest

test-fast: .venv/developer
	$(BIN)/python -P -m pytest -m "not slow"

lint: .venv/developer
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/developer
	$(BIN)/python -m bench speed --codecs aecodec,jpeg,webp,avif,jxl --sizes 0.4,2,12

# The entropy coder under libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer (Debian: clang), SECONDS=600 for longer;
# then 100,000 mutated files through decode().
fuzz: SECONDS ?= 60
fuzz: .venv/developer
	cmake -S . -B build/fuzz -DAECODEC_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++ > /dev/null
	cmake --build build/fuzz
	mkdir -p build/fuzz/corpus
	build/fuzz/fuzz_rans -max_total_time=$(SECONDS) -max_len=1024 -timeout=2 -print_final_stats=1 build/fuzz/corpus
	$(BIN)/python -P tests/mutations.py

clean:
	rm -rf .venv build demo
