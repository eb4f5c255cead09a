# Every target makes what it needs. Start with `make demo`.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

.PHONY: help env demo test lint bench clean

help:
	@echo "make demo    find, segment and follow the objects of the bundled scene (runs/demo/)"
	@echo "make test    the tests"
	@echo "make lint    ruff, mypy, import contracts"
	@echo "make bench   how fast it is on this machine"
	@echo "make env     only the environment in $(VENV)/ (the others make it too)"

env: $(STAMP)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make env PYTHON=/path/to/python3.11")'
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@$(PY) -c 'import cv2' 2>/dev/null || { \
	    echo "This machine lacks the libraries of OpenCV's windows (Debian: libgl1 libglib2.0-0)."; \
	    echo "Installing opencv-python-headless instead: everything works but --view window."; \
	    $(PY) -m pip uninstall --quiet --yes opencv-python; \
	    $(PY) -m pip install --quiet --disable-pip-version-check opencv-python-headless; }
	@$(PY) -c 'import av, cv2, openvino, torch; print("torch", torch.__version__, "| OpenVINO", openvino.__version__.split("-")[0], "| OpenCV", cv2.__version__, "| PyAV", av.__version__)'
	@touch $(STAMP)

demo: $(STAMP)
	$(PY) -m pipeline.run --source demo --output runs/demo --save video,jsonl,mot,mots

test: $(STAMP)
	$(PY) -m pytest

lint: $(STAMP)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(STAMP)
	$(PY) -m benchmarks.throughput

clean:
	rm -rf $(VENV) runs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
