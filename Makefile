# make help lists what there is. Packages that are missing are installed by apt; nothing else leaves the folder.
.DEFAULT_GOAL := help
SHELL := /bin/sh
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

RELEASE := $(or $(CARGO_TARGET_DIR),target)/release
PLUGINS := $(or $(XDG_DATA_HOME),$(HOME)/.local/share)/gstreamer-1.0/plugins
NEXTEST := $(shell cargo nextest --version >/dev/null 2>&1 && echo yes)

# 64-bit Arm, where the Rust installation has its standard library.
ARM := aarch64-unknown-linux-gnu
ARM_STD := $(wildcard $(shell rustc --print target-libdir --target $(ARM) 2>/dev/null))

# Data for tests that cannot be part of the repository; its tests are skipped, visibly, where it is absent.
SHARED := $(or $(URETINEX_SHARED),../shared)

.PHONY: help deps build demo test check test-arm test-data test-kernels test-training test-video tensorrt-wheels test-rust test-pipelines fuzz bench bench-video picture install uninstall deb test-deb test-archive test-fleet test-page soak clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 24

deps: ## Install missing system packages (apt)
	@.ci/install

build: deps ## target/release/libgsturetinex.so, target/release/uretinex and target/release/uretinex-service
	cargo build --release --locked --workspace --bins --lib
	cargo build --release --locked --package uretinex-cli --examples

demo: build ## A dark clip through the element, before/after pictures in demo/; INPUT=clip.mp4 takes yours
	pipelines/demo.sh $(if $(INPUT),"$(INPUT)")

# One build for all of it: the pipelines run what the Rust tests have to build anyway, instead of a second, optimised build.
test: deps ## Everything but make check: pipelines and README, GPU kernels, training, Rust tests
	cargo fmt --all --check
	cargo build --locked --workspace --all-targets
	URETINEX_BUILD=debug pipelines/test.sh
	$(MAKE) --no-print-directory test-kernels
	$(MAKE) --no-print-directory test-training
	$(MAKE) --no-print-directory test-video BUILD=debug
	$(MAKE) --no-print-directory test-rust

check: deps ## Format, clippy and rustdoc without warnings
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	@if [ -n "$(ARM_STD)" ]; then cargo check --locked --package uretinex --target $(ARM); else \
		echo "SKIPPED: cargo check for $(ARM): rustup target add $(ARM)"; fi

test-arm: ## The engine's tests as 64-bit Arm code under QEMU (minutes)
	@if [ -n "$(ARM_STD)" ]; then \
		.ci/install qemu-user gcc-aarch64-linux-gnu libc6-arm64-cross && \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
		CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
		cargo test --locked --package uretinex --lib --target $(ARM) -- cpu::; \
	else echo "SKIPPED: tests for $(ARM): rustup target add $(ARM)"; fi

test-pipelines: build ## The scripts of pipelines/ and what README.md says
	pipelines/test.sh

test-kernels: deps ## The shipped PTX against the kernels' sources; fetches NVIDIA's compiler library (PyPI) once
	@.ci/install python3-pip
	/usr/bin/python3 src/gpu/kernels/build.py check

test-training: deps ## The tests of training/; without PyTorch those that need it are skipped. PYTHON=python3 takes yours
	@.ci/install python3-pytest
	$(or $(PYTHON),/usr/bin/python3) -B -m pytest -q -rs training

test-data: deps
	@if [ -d "$(SHARED)/official/ckpt" ]; then \
		.ci/install python3-numpy python3-onnx && \
		/usr/bin/python3 tests/authors_pack.py "$(SHARED)/official/ckpt" target/authors-pack; \
	else echo "SKIPPED: no checkpoint of the authors in $(SHARED); its golden tests will be skipped"; fi
	@tests/tensorrt_wheels.sh lean || echo "SKIPPED: no lean TensorRT from PyPI; its tests will be skipped"

tensorrt-wheels: deps ## NVIDIA's TensorRT from PyPI (600 MB) for tests that are skipped without
	tests/tensorrt_wheels.sh lean full

ifeq ($(NEXTEST),yes)
test-rust: test-data ## Unit, integration and documentation tests
	cargo test --locked --workspace --doc
	cargo nextest run --locked --workspace
else
test-rust: test-data
	cargo test --locked --workspace
endif

# What `make fuzz` runs, and for how long.
TARGETS := wire onnx manifest engine_file frame picture
SECONDS := 600

fuzz: deps ## Fuzz what reads bytes from outside, ten minutes each; TARGETS=onnx SECONDS=60 take others (fuzz/README.md)
	@.ci/install g++
	@cargo fuzz --version >/dev/null 2>&1 || cargo install --locked cargo-fuzz
	@for target in $(TARGETS); do \
		mkdir -p fuzz/corpus/$$target && \
		cargo fuzz run --release --debug-assertions --sanitizer none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(SECONDS) -rss_limit_mb=2048 -timeout=60 || exit 1; \
	done

bench: build ## How fast the network runs here
	$(RELEASE)/uretinex bench --model lite
	$(RELEASE)/uretinex bench --model full --frames 5
	$(RELEASE)/uretinex bench --backend identity --size 1920x1080 --frames 100

# Numbers and pictures for Python; where they are absent the check is skipped, visibly.
BUILD := release
VIDEO := GST_PLUGIN_PATH=$(or $(CARGO_TARGET_DIR),target)/$(BUILD) python3 benches/video --data $(SHARED)/data

test-video: ## The element on two clips of camera footage: no worse than frame by frame (numpy and opencv-python-headless)
	@if python3 -c "import numpy, cv2" 2>/dev/null; then $(VIDEO) --short; else \
		echo "SKIPPED: figures of video: pip install -r benches/video/requirements.txt"; fi

bench-video: build ## Figures of docs/video.md, on clips in ../shared (half an hour)
	$(VIDEO)

# Tools and Python packages that a few targets need; nothing else uses them.
TOOLS := target/tools

deb: build ## A package for this Debian or Ubuntu, in target/debian (cargo-deb is built once)
	@[ -x $(TOOLS)/bin/cargo-deb ] || cargo install --locked --quiet --root $(TOOLS) cargo-deb
	packaging/debian/stage.sh
	PATH="$(abspath $(TOOLS))/bin:$$PATH" cargo deb --no-build --locked --package uretinex-cli --output target/debian/

test-deb: deb ## The package in a bare Debian 12: lintian, install, use, purge (debootstrap; needs root)
	@.ci/install lintian debootstrap
	packaging/debian/test.sh "$$(ls -t target/debian/*.deb | head -n 1)"

# venv NAME REQUIREMENTS: a Python environment under target/, made once.
define venv
	@[ -x target/$(1)/bin/python ] || { .ci/install python3-venv && /usr/bin/python3 -m venv --system-site-packages target/$(1); }
	@target/$(1)/bin/pip install --quiet --disable-pip-version-check -r $(2) || echo "SKIPPED: pip install -r $(2)"
endef

test-archive: build ## pipelines/archive.py on a Ray cluster of two workers (Ray from PyPI, 300 MB; minutes)
	$(call venv,archive-venv,pipelines/archive-requirements.txt)
	@if target/archive-venv/bin/python -c "import ray, tqdm" 2>/dev/null; then target/archive-venv/bin/python pipelines/test_archive.py ray; \
	else echo "SKIPPED: pipelines/archive.py on a cluster: no Ray"; fi

test-fleet: ## Kubernetes manifests against published schemas, Containerfiles against a linter (PyPI, 300 MB)
	$(call venv,fleet-venv,packaging/kubernetes/requirements.txt)
	@if target/fleet-venv/bin/python -c "import kubernetes_validate, cloudcoil" 2>/dev/null; then \
		target/fleet-venv/bin/python packaging/kubernetes/check.py; \
	else echo "SKIPPED: manifests and Containerfiles: no checkers from PyPI"; fi

test-page: ## The service's web page in a real browser (Debian's Chromium and Selenium)
	@if .ci/install chromium chromium-driver python3-selenium; then \
		cargo build --locked --package uretinex-service --package uretinex-cli --bins --examples && \
		URETINEX_BUILD=debug /usr/bin/python3 -B service/tests/page.py; \
	else echo "SKIPPED: the page in a browser: apt has no chromium, chromium-driver or python3-selenium"; fi

# How long `make soak` takes.
MINUTES := 10

soak: build ## The service with six cameras for ten minutes, one of which dies each minute; MINUTES=2 is shorter
	/usr/bin/python3 -B service/tests/soak.py --minutes $(MINUTES)

picture: demo ## Make the README's picture, docs/before-after.jpg, from the demonstration
	gst-launch-1.0 -q filesrc location=demo/before-after.png ! pngdec ! videoconvert ! jpegenc quality=88 \
		! filesink location=docs/before-after.jpg

install: build ## Put the plugin where GStreamer looks for this user's
	install -D -m 644 $(RELEASE)/libgsturetinex.so "$(PLUGINS)/libgsturetinex.so"
	gst-inspect-1.0 --exists --atleast-version=0.0 uretinexenhance
	@echo "uretinexenhance is installed in $(PLUGINS)"

uninstall: ## Undo make install
	rm -f "$(PLUGINS)/libgsturetinex.so"

clean: ## Remove what was built and the demo
	cargo clean
	rm -rf demo
