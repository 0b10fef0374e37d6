# Each target installs what it needs on a machine with Rust and a C compiler, and says what is missing on any other.
SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# One target folder for all checkouts of a user: the engine's libraries are compiled once.
export TIDEWHEEL_CACHE ?= $(if $(XDG_CACHE_HOME),$(XDG_CACHE_HOME),$(HOME)/.cache)/tidewheel
export CARGO_TARGET_DIR ?= $(TIDEWHEEL_CACHE)/target
# `sudo -E` leaves the user's HOME, and not the user's PATH, where rustup has put cargo.
export PATH := $(if $(CARGO_HOME),$(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

EXAMPLE := examples/web-analytics
# For targets that root runs: what it makes in the caches of the user behind `sudo -E` is the user's.
GIVE_BACK := trap scripts/give-back.sh EXIT
# Everything at once, as `make test` does: a package alone has other features, and would compile the engine's libraries once more.
BUILD := cargo build --release --locked --workspace --all-targets
SIMULATION := scripts/test.sh --test it seeds_that_are_asked_for -- --ignored --nocapture

.PHONY: help
help: ## Show the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' Makefile | expand -t 22

.PHONY: demo
demo: ## Play 6,000 real events through the example and show the windows
	@scripts/prerequisites.sh
	$(BUILD)
	$(CARGO_TARGET_DIR)/release/tidewheel dev $(EXAMPLE) --send $(EXAMPLE)/clicks.ndjson.gz --until-idle

.PHONY: test
test: ## Run every test; as root, for those on a real Kubernetes
	@$(GIVE_BACK); scripts/prerequisites.sh tests && scripts/test.sh $(TEST)

.PHONY: replay
replay: ## Play the story of a SEED of the simulation, and tell the shortest one that fails like it
	@scripts/prerequisites.sh
	@TIDEWHEEL_SEED=$${SEED:?say which: make replay SEED=17} $(SIMULATION)

.PHONY: soak
soak: ## Kill a hundred workers and stop servers, and compare results with a batch query: about 20 minutes. Or simulate so many SEEDS
ifdef SEEDS
	@scripts/prerequisites.sh
	@TIDEWHEEL_SEEDS=$(SEEDS) $(SIMULATION)
else
	@scripts/prerequisites.sh servers
	@TIDEWHEEL_SOAK_KILLS=$${TIDEWHEEL_SOAK_KILLS:-100} scripts/test.sh --test it soak:: -- --nocapture
endif

.PHONY: chaos
chaos: ## Kill, hold, cut off and fill up whatever runs on a cluster with three brokers, 200 times: about an hour
	@$(GIVE_BACK); scripts/prerequisites.sh cluster && TIDEWHEEL_CHAOS_KILLS=$${TIDEWHEEL_CHAOS_KILLS:-200} scripts/test.sh --test it chaos:: -- --nocapture

.PHONY: image
image: ## Make the image of the program without any registry, as an archive
	@$(GIVE_BACK); scripts/prerequisites.sh && $(BUILD) && $(CARGO_TARGET_DIR)/release/tidewheel-cluster image

.PHONY: cluster
cluster: ## Make a real Kubernetes here, with Kafka, PostgreSQL and the operator; as root, or with Docker and kind
	@$(GIVE_BACK); scripts/prerequisites.sh some_cluster && $(BUILD) && $(CARGO_TARGET_DIR)/release/tidewheel-cluster up --prepare

.PHONY: cluster-demo
cluster-demo: ## Apply the example to that cluster, send its events, and show the rows
	@scripts/cluster-demo.sh

.PHONY: cluster-down
cluster-down: ## Put the cluster away, in whatever state it is
	@$(GIVE_BACK); test -x $(CARGO_TARGET_DIR)/release/tidewheel-cluster || $(BUILD)
	@$(CARGO_TARGET_DIR)/release/tidewheel-cluster down

.PHONY: check
check: ## Check format, lints, documentation, licences and advisories
	@scripts/prerequisites.sh rustfmt clippy
	@scripts/check.sh

# Measurements that need nobody else's programs.
WITHOUT_PEERS := decode log ingest memory worker latency bounded growth acknowledged

.PHONY: bench
bench: ## Measure the engine, the log, ingestion, and whole roles on a real Kafka and PostgreSQL, beside what people use today
	@scripts/prerequisites.sh servers
	@$(if $(filter $(WITHOUT_PEERS),$(BENCH)),,scripts/peers.sh)
	@$(BUILD)
	@$(CARGO_TARGET_DIR)/release/tidewheel-bench $(BENCH)
