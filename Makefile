# Every target sets itself up: Python environments, dependencies, the native build.
#
#   .venv          the oldest supported Python (3.11, with zarr 3.1) or else the default python3
#   .venv-newest   Python 3.13 or 3.12 (or 3.14) with the newest zarr, where there is one
#
# One abi3 wheel is built and installed into both. Useful variables:
#
#   PYTHON, PYTHON_NEWEST   the interpreters, when the search should not choose them
#   PYTEST_ARGS             more arguments for pytest, e.g. PYTEST_ARGS="-k sharding"
#   PYTEST_JOBS             processes that pytest uses (2)
#   PROFILE                 cargo profile of the wheel: release, or dev for quick rebuilds
#   FUZZ_ARGS, BENCH_ARGS, PLOT_ARGS, BENCH_RUST_ARGS, BENCH_CHECK_ARGS, CONFORMANCE_ARGS, DEMO_ARGS
#   CONFORMANCE_VENV        environment for `make conformance` (.venv-newest)
#   REQUIRE_SERVERS         not empty: a server that cannot be installed for the tests is an error

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.NOTPARALLEL:
.DEFAULT_GOAL := help

ifndef PYTHON
PYTHON := $(shell scripts/find_python.sh oldest)
endif
ifndef PYTHON_NEWEST
PYTHON_NEWEST := $(shell scripts/find_python.sh newest)
endif

PROFILE ?= release
PYTEST_JOBS ?= 2
PYTEST_ARGS ?=
FUZZ_ARGS ?=
BENCH_ARGS ?=
BENCH_RUST_ARGS ?=
BENCH_CHECK_ARGS ?=
PLOT_ARGS ?=
CONFORMANCE_ARGS ?=
DEMO_ARGS ?=

# Intermediate build results are kept in the user's cache, so that a fresh clone builds quickly;
# finished ones are in ./target, so that two clones never take each other's.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/wazarr
export CARGO_BUILD_BUILD_DIR ?= $(CACHE)/target
# Servers that tests start, where later clones find them too.
export WAZARR_TEST_SERVERS ?= $(CACHE)/servers
export RUSTUP_AUTO_INSTALL := 0
# The base interpreter and not an environment's: its path stays the same from clone to clone.
export PYO3_PYTHON := $(PYTHON)
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PYTHONDONTWRITEBYTECODE := 1

ONLY_ONE := $(if $(PYTHON_NEWEST),$(if $(filter $(PYTHON),$(PYTHON_NEWEST)),yes,),yes)
VENVS := .venv $(if $(ONLY_ONE),,.venv-newest)
# The environment for everything that runs once.
MAIN_VENV := $(lastword $(VENVS))
CONFORMANCE_VENV ?= $(MAIN_VENV)

WHEELS := build/wheel
SOURCES := Cargo.toml Cargo.lock pyproject.toml README.md LICENSE \
	$(shell find src python -type f ! -name '*.pyc' ! -name '*.so' 2>/dev/null)
INSTALLED := $(VENVS:%=%/.installed)

help:  ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' Makefile

# --- setting up ----------------------------------------------------------------------------------

.PHONY: toolchain
toolchain:
	@test -n "$(PYTHON)" || { echo "no Python 3.11 or newer was found; set PYTHON=..." >&2; exit 1; }
	@version=$$(cargo --version 2>/dev/null | awk '{ print $$2 }') || true; \
	test -n "$$version" || { echo "cargo was not found; Rust 1.95 or newer is needed" >&2; exit 1; }; \
	printf '%s\n' 1.95.0 "$$version" | sort -CV \
	|| { echo "Rust 1.95 or newer is needed, found $$version" >&2; exit 1; }

.venv/.dependencies .venv-newest/.dependencies: pyproject.toml scripts/requirements.py | toolchain
	python="$(if $(findstring newest,$@),$(PYTHON_NEWEST),$(PYTHON))"; \
	echo "== $(@D): $$("$$python" --version)"; \
	$(@D)/bin/python -c '' 2>/dev/null || "$$python" -m venv --clear $(@D); \
	$(@D)/bin/python scripts/requirements.py run dev > $(@D)/.requirements; \
	$(@D)/bin/python -m pip install --quiet -r $(@D)/.requirements; \
	touch $@

.venv-newest/.bench .venv/.bench: %/.bench: %/.dependencies
	$*/bin/python scripts/requirements.py bench > $*/.requirements-bench
	$*/bin/python -m pip install --quiet -r $*/.requirements-bench
	touch $@

$(WHEELS)/.built-$(PROFILE): $(SOURCES) | toolchain .venv/.dependencies
	rm -rf $(WHEELS)
	.venv/bin/maturin build --locked --profile $(PROFILE) --interpreter "$(PYTHON)" --out $(WHEELS)
	touch $@

.venv/.installed .venv-newest/.installed: %/.installed: $(WHEELS)/.built-$(PROFILE) %/.dependencies
	$*/bin/python -m pip install --quiet --force-reinstall --no-deps $(WHEELS)/*.whl
	touch $@

.PHONY: dev
dev: $(INSTALLED)  ## Make both environments and install the native build into them
	@for venv in $(VENVS); do \
		$$venv/bin/python -c 'import sys, wazarr, zarr; print(sys.argv[1], "has Python", sys.version.split()[0], "zarr", zarr.__version__, "wazarr", wazarr.__version__)' $$venv; \
	done

# --- showing -------------------------------------------------------------------------------------

.PHONY: demo
demo: $(MAIN_VENV)/.installed  ## Read and write a real satellite image the ways people do, checked and timed
	@$(MAIN_VENV)/bin/python examples/demo.py $(DEMO_ARGS)
	@echo
	@$(MAIN_VENV)/bin/python examples/sentinel2/demo.py $(DEMO_ARGS)

.PHONY: bench
bench: $(MAIN_VENV)/.installed $(MAIN_VENV)/.bench  ## Time us against the other pipelines, interleaved
	$(MAIN_VENV)/bin/python benches/python/suite.py $(BENCH_ARGS)

.PHONY: bench-plots
bench-plots: $(MAIN_VENV)/.bench  ## Draw the last `make bench`, as PNG and SVG
	$(MAIN_VENV)/bin/python benches/python/plots.py $(PLOT_ARGS)

.PHONY: bench-readme
bench-readme: $(MAIN_VENV)/.bench  ## Put the tables and the chart of the last `make bench` into README.md and the guide
	$(MAIN_VENV)/bin/python benches/python/plots.py --readme docs/images
	$(MAIN_VENV)/bin/python scripts/fill_readme.py README.md build/bench/main.md docs/images/ratios-main.png
	$(MAIN_VENV)/bin/python scripts/fill_readme.py docs/guides/wasm-codecs.md build/bench/wasm.md

.PHONY: bench-rust
bench-rust: toolchain  ## Time codecs, scatter and planning without Python, beside rival libraries
	cargo bench --locked --no-default-features --bench codecs --bench copies --bench scatter --bench planning -- $(BENCH_RUST_ARGS)

.PHONY: bench-check
bench-check: toolchain  ## Instructions per chunk against benches/instructions.json, counted by valgrind
	python3 scripts/bench_check.py $(BENCH_CHECK_ARGS)

# --- checking ------------------------------------------------------------------------------------

.PHONY: fmt
fmt: .venv/.dependencies  ## Format Rust and Python
	cargo fmt
	.venv/bin/ruff format
	.venv/bin/ruff check --fix --exit-zero --quiet

.PHONY: lint
lint: $(MAIN_VENV)/.installed  ## Formatting, clippy, links of the documentation, ruff, mypy, stubs against the native module
	cargo fmt --check
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	cargo clippy --locked --all-targets -- -D warnings
	@$(MAKE) --no-print-directory docs
	$(MAIN_VENV)/bin/ruff format --check
	$(MAIN_VENV)/bin/ruff check
	$(MAIN_VENV)/bin/mypy
	$(MAIN_VENV)/bin/python -m mypy.stubtest --mypy-config-file pyproject.toml wazarr._native

# Runs pytest twice in each environment: first what can share the machine, then what cannot.
define run_pytest
for venv in $(VENVS); do \
	export WAZARR_ZARR_TESTS=$$(scripts/zarr_sources.sh $$venv/bin/python build/zarr); \
	export WAZARR_NUMCODECS_WASM=$$(scripts/numcodecs_wasm.sh $$venv/bin/python build/numcodecs-wasm); \
	$$venv/bin/python -c 'import sys, zarr; print("== pytest: Python", sys.version.split()[0], "with zarr", zarr.__version__, flush=True)'; \
	$$venv/bin/python -m pytest -n $(PYTEST_JOBS) -m 'not serial$(1)' $(PYTEST_ARGS); \
	status=0; $$venv/bin/python -m pytest -m 'serial$(1)' $(PYTEST_ARGS) || status=$$?; \
	test $$status -eq 0 -o $$status -eq 5; \
done
endef

.PHONY: both
both:
ifneq ($(ONLY_ONE),)
	@echo "**********************************************************************" >&2
	@echo "** ONLY ONE PYTHON: $(PYTHON)" >&2
	@echo "** The tests are for two: 3.11 with zarr 3.1, and 3.12 or 3.13 with the" >&2
	@echo "** newest zarr. Set PYTHON and PYTHON_NEWEST if they are elsewhere." >&2
	@echo "**********************************************************************" >&2
	@test -z "$(REQUIRE_BOTH)"
endif
ifneq ($(REQUIRE_BOTH),)
	@"$(PYTHON)" -c 'import sys; assert sys.version_info[:2] == (3, 11), sys.version'
endif

.PHONY: test-servers
test-servers: $(MAIN_VENV)/.dependencies  ## Install Azurite (npm) and fake-gcs-server (Go) for the tests, once
	@REQUIRE_SERVERS="$(REQUIRE_SERVERS)" $(MAIN_VENV)/bin/python -m tests.servers.install

.PHONY: test
test: both $(INSTALLED) test-servers  ## Rust tests without Python, then pytest under both Pythons
	cargo test --locked --no-default-features --features remote
	@$(call run_pytest, and not slow)
	@$(MAKE) --no-print-directory both REQUIRE_BOTH=

.PHONY: test-all
test-all: both $(INSTALLED) test-servers  ## The same with the slow tests
	cargo test --locked --no-default-features --features remote
	@$(call run_pytest,)
	@$(MAKE) --no-print-directory both REQUIRE_BOTH=

.PHONY: conformance
conformance: $(CONFORMANCE_VENV)/.installed  ## zarr-python's own test suite under our pipeline
	@sources=$$(scripts/zarr_sources.sh $(CONFORMANCE_VENV)/bin/python build/zarr); \
	echo "== conformance: $$(basename $$sources)"; \
	WAZARR_ZARR_TESTS=$$sources \
		$(CONFORMANCE_VENV)/bin/python -m tests.conformance.run_zarr_suite $(CONFORMANCE_ARGS)

.PHONY: fuzz
fuzz: $(MAIN_VENV)/.installed  ## Random operations against numpy and the default pipeline
	$(MAIN_VENV)/bin/python -m tests.fuzz.differential $(FUZZ_ARGS)

.PHONY: unsafe
unsafe: toolchain  ## Scatter and gather, exhaustive small cases, under miri or valgrind
	scripts/check_unsafe.sh

.PHONY: check
check: lint test conformance  ## What to run before a merge

# --- shipping ------------------------------------------------------------------------------------

.PHONY: wheel
wheel: $(WHEELS)/.built-$(PROFILE)  ## Build the wheel into dist/ and run the demo from it in a clean environment
	mkdir -p dist
	rm -rf dist/*.whl build/clean-venv
	cp $(WHEELS)/*.whl dist/
	"$(or $(PYTHON_NEWEST),$(PYTHON))" -m venv build/clean-venv
	build/clean-venv/bin/python -m pip install --quiet dist/*.whl
	cd build && clean-venv/bin/python $(CURDIR)/examples/demo.py --quick
	@ls -l dist/*.whl

.PHONY: docs
docs: toolchain  ## Rust documentation of the engine, into target/doc
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
		cargo doc --locked --no-deps --document-private-items

.PHONY: clean
clean:  ## Remove everything made here; the build cache stays (make clean-cache)
	rm -rf build dist target .venv .venv-newest .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: clean-cache
clean-cache:  ## Remove the build cache as well
	rm -rf "$(CACHE)"
