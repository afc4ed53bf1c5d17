# make demo: real recordings through the bundled recogniser. make test: everything that is checked before a change lands.
PYTHON ?= python3
VENV = .venv
DATA ?= ../shared/data
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
SHELL = /bin/bash -o pipefail
SOURCES = $(shell find __init__.py runtime kernels training export bench CMakeLists.txt pyproject.toml constraints.txt \
            -type f -not -name '*.so' -not -path '*/__pycache__/*' -not -path 'bench/results/*' 2>/dev/null)

.PHONY: demo test lint ctest results clean

demo: $(VENV)/base
	$(VENV)/bin/motionrt recognize runtime/samples/*.npz

test: $(VENV)/dev lint ctest
	$(VENV)/bin/python -m pytest -c tests/pytest.ini tests

lint: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p motionrt

# the C++ core's own tests, as built for release and under the address and undefined-behaviour sanitisers
ctest: $(VENV)/dev
	$(VENV)/bin/cmake -S . -B build/release -DMOTIONRT_TESTS=ON
	$(VENV)/bin/cmake --build build/release --parallel 2
	$(VENV)/bin/ctest --test-dir build/release --output-on-failure
	$(VENV)/bin/cmake -S . -B build/sanitize -DMOTIONRT_TESTS=ON -DMOTIONRT_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug
	$(VENV)/bin/cmake --build build/sanitize --parallel 2
	$(VENV)/bin/ctest --test-dir build/sanitize --output-on-failure

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/base: $(VENV)/bin/python $(SOURCES)
	$(PIP) install -c constraints.txt .
	touch $@

$(VENV)/dev: $(VENV)/bin/python $(SOURCES)
	$(PIP) install -c constraints.txt '.[train,export,dev]'
	touch $@ $(VENV)/base

# what the README's table is made from; needs the data sets. bench/results/{thresholds,nw_ucla,leave_one_set_out}.json
# come from training runs: see the docstrings of the modules in bench/
results: $(VENV)/dev
	mkdir -p bench/results
	for name in live continuous; do \
	  $(VENV)/bin/motionrt eval $$name --data $(DATA) --json | tail -n 1 | $(PYTHON) -m json.tool > $(VENV)/$$name.json && \
	  mv $(VENV)/$$name.json bench/results || exit 1; \
	done
	$(VENV)/bin/motionrt recognize --json runtime/samples/*.npz | tail -n 1 > bench/results/samples.json
	cd $(VENV) && bin/python -m motionrt.bench.readme ../README.md ../bench/results

clean:
	rm -rf $(VENV) build dist
