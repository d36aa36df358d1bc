# Two commands: `make demo` shows it, `make test` checks it. Both need nothing but Rust and say what else they set up.
CARGO ?= cargo

QRES_SIM_SEEDS ?= 1000000
QRES_SIM_FIRST ?= 0
SOAK_SECONDS ?= 3600
IMAGE ?= localhost/qres-swarm:dev
# Some of the steps of k8s-test, all if empty.
STEPS ?=

.PHONY: help demo demo-attack conformance test test-aarch64 otel-test bench fuzz sim soak mutants build install image k8s-test tools audit doc lint fmt stubs clean

help: ## This list.
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## The daemon and the CLI, for use: target/release/qres-daemon and target/release/qres.
	$(CARGO) build --release --workspace --bin qres-daemon --bin qres

install: ## qres-daemon and qres into cargo's bin folder.
	$(CARGO) install --locked --path crates/daemon
	$(CARGO) install --locked --path crates/cli

image: ## A container image from nothing but static programs; IMAGE names it. Needs musl-tools and buildah, podman or docker.
	scripts/image.sh $(IMAGE)

k8s-test: ## The chart and the image on a real Kubernetes. Needs root, Go, Python; the first run builds for half an hour.
	scripts/k8s/test.sh $(STEPS)

demo: ## One bootstrap node, three nodes, three trainers, real data; about a minute after the build.
	$(CARGO) build --workspace --bins
	target/debug/qres-demo --out target/demo/accuracy.svg

demo-attack: ## Eight nodes, two of them liars: the plain mean against the default rules, seven attacks; some minutes.
	$(CARGO) build --workspace --bins
	target/debug/qres-demo attack --out target/demo/attack.svg

test: ## Everything that must hold. Needs Rust; Go and Python for the tests of grpcurl and of the Python client.
	scripts/test.sh

otel-test: ## Traces, metrics, dashboard and alerts with a real OpenTelemetry Collector (built with Go) and Prometheus (Debian's).
	scripts/otel.sh

tools: ## What the tests use beside Rust: grpcurl (with Go) and a Python environment, both below .cache/.
	scripts/tools.sh

test-aarch64: ## The tests that pin bits, on aarch64 and on x86-64 without and with AVX2, by qemu. Needs qemu-user and a cross compiler.
	scripts/processors.sh

conformance: ## The aggregation rules against Flower, ByzFL and NumPy, which pip installs. Needs Python.
	scripts/conformance.sh

bench: ## The figures of the README, as ratios to a limit measured in the same run (release build).
	scripts/bench.sh

fuzz: ## Looks for bytes that break a reader of foreign bytes, FUZZ_SECONDS (60) a target. Needs a C++ compiler.
	fuzz/run.sh

sim: ## A million simulated runs of the round machine (8 hours on two cores). QRES_SIM_FIRST and QRES_SIM_SEEDS choose a part.
	QRES_SIM_FIRST=$(QRES_SIM_FIRST) QRES_SIM_SEEDS=$(QRES_SIM_SEEDS) $(CARGO) test -p qres-fed --test sim -- --nocapture

soak: ## Four nodes make ten rounds a second, SOAK_SECONDS (3600), in a release build: memory, files and tasks may not grow.
	QRES_SOAK_SECONDS=$(SOAK_SECONDS) $(CARGO) test --release --workspace --test soak -- --nocapture

mutants: ## Breaks the round machine in one place at a time and expects the tests to notice. Needs Python; half an hour.
	scripts/mutants.sh

audit: ## Licences, sources and known weaknesses of what is linked in. Installs cargo-deny; needs the network.
	command -v cargo-deny > /dev/null || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check

doc: ## The code's documentation, private items included, without a warning: target/doc/qres_node/index.html.
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --document-private-items

lint: ## Formatting and lints, as CI runs them.
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

stubs: ## Generates the Python client's stubs again from proto/.
	scripts/tools.sh
	clients/python/generate.sh .cache/venv/bin/python

clean: ## Everything built or set up here.
	$(CARGO) clean
	rm -rf .cache
