# SPDX-License-Identifier: Apache-2.0
# Meson does the work; these are the short ways in. `make demo` and `make test` first install what is missing
# (tools/setup, by apt); the others expect it to be there.

BUILD ?= build
ARGS ?=

# `make test RADOS=`: without a Ceph cluster; the tests that want one are skipped.
RADOS ?= --rados

.PHONY: all setup setup-test test demo bench soak install clean format

all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@meson setup $(BUILD)

setup:
	@tools/setup $(filter --torch,$(ARGS))

setup-test: setup
	@tools/setup $(RADOS) || echo "going on without a Ceph cluster: the tests that want one are skipped"

# Everything: builds with gcc and clang, source checks, unit tests (plain, sanitized), system tests.
test: setup-test
	@tools/test $(ARGS)

# Python's pandas on 4 nodes, straight from a busy file system and through Tiercel. ARGS=--torch: PyTorch.
demo: setup
	@$(MAKE) --no-print-directory all
	@tools/demo $(ARGS)

# ARGS="NAME [--quick] [--json]"; without ARGS: the list.
bench: all
	@bench/run $(ARGS)

# The tests that find more the longer they run. ARGS=MINUTES, 10 without.
soak: setup
	@tools/soak $(ARGS)

# To /usr/local, or where `meson setup build --prefix=DIR` said; DESTDIR is honoured.
install: all
	@meson install -C $(BUILD) --no-rebuild

format:
	@tools/check-format --fix

clean:
	rm -rf build build-clang build-asan build-tsan build-fuzz build-test
