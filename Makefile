# make demo: real recordings through the bundled recogniser. make test: everything that is checked before a change lands.
PYTHON ?= python3
VENV = .venv
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
SOURCES = $(shell find __init__.py runtime kernels training export bench CMakeLists.txt pyproject.toml -type f \
            -not -name '*.so' -not -path '*/__pycache__/*' 2>/dev/null)

.PHONY: demo test lint ctest clean

demo: $(VENV)/base
	$(VENV)/bin/motionrt recognize runtime/samples/*.npz

test: $(VENV)/dev lint ctest
	$(VENV)/bin/python -m pytest -c tests/pytest.ini tests

lint: $(VENV)/dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	cd $(VENV) && bin/mypy --config-file ../pyproject.toml -p motionrt

# the C++ core's own tests, as built for release and under the address and undefined-behaviour sanitisers
ctest:
	cmake -S . -B build/release -DMOTIONRT_TESTS=ON
	cmake --build build/release --parallel 2
	ctest --test-dir build/release --output-on-failure
	cmake -S . -B build/sanitize -DMOTIONRT_TESTS=ON -DMOTIONRT_SANITIZE=ON -DCMAKE_BUILD_TYPE=Debug
	cmake --build build/sanitize --parallel 2
	ctest --test-dir build/sanitize --output-on-failure

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/base: $(VENV)/bin/python $(SOURCES)
	$(PIP) install -c constraints.txt .
	touch $@

$(VENV)/dev: $(VENV)/bin/python $(SOURCES) constraints.txt
	$(PIP) install -c constraints.txt '.[train,export,dev]'
	touch $@ $(VENV)/base

clean:
	rm -rf $(VENV) build dist
