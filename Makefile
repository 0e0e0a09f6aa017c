# The tasks of the project. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help setup demo test soak test-aws-lc lint doc bench bench-peers quick fuzz features deny msrv sbom
.NOTPARALLEL:

# ccache, where it is installed, comes in through PATH: its folder of compiler
# names goes first. CXX stays as it is, for a changed CXX rebuilds RocksDB.
# Looked up when a command runs, because `setup` may just have installed it.
CCACHE_DIRS := /usr/lib/ccache /usr/lib/ccache/bin /usr/lib64/ccache \
	/opt/homebrew/opt/ccache/libexec /usr/local/opt/ccache/libexec

define run
@for dir in $(CCACHE_DIRS); do \
	if [ "$$SEALVEC_NO_CCACHE" != 1 ] && [ -x "$$dir/c++" ]; then PATH="$$dir:$$PATH"; break; fi; \
done; export PATH; \
echo '$$ $(strip $(1))'; $(1)
endef

help: ## list these targets
	@echo 'Targets:'
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)/  \1|\2/p' Makefile | \
		while IFS='|' read -r name text; do printf '  %-11s %s\n' "$$name" "$$text"; done

setup: ## check what the build needs; on Debian and Ubuntu install what is missing
	@sh scripts/setup.sh

demo: setup ## build the CLI and show its main job on real data
	$(call run,cargo build --release --locked --bin sealvec)
	@bash scripts/demo.sh

test: setup ## all tests, those in the documentation included
	$(call run,cargo test --release --locked --workspace)

soak: setup ## the fault suites with ten times as many cases, one under valgrind, and constant time
	@sh scripts/soak.sh

test-aws-lc: setup ## the same with AES-GCM by AWS-LC
	$(call run,cargo test --release --locked --features aws-lc)

lint: setup ## formatting and clippy, warnings refused
	$(call run,cargo fmt --check)
	$(call run,cargo clippy --release --workspace --all-targets --locked -- -D warnings)

doc: setup ## build the documentation, warnings refused
	$(call run,RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --locked)

bench: setup ## run the benchmarks
	$(call run,cargo bench --locked)

# On data of your own: make bench-peers PEERS='--vectors v.npy --queries q.npy --truth t.npy --metric euclidean'
PEERS := --vectors data/wordnet-5k.f16.npy --queries data/wordnet-queries-50.f16.npy \
	--truth data/wordnet-5k-truth-top10.i32.npy --metric cosine

bench-peers: setup ## recall and speed beside usearch and hnsw_rs, which do not encrypt
	$(call run,cargo build --release --locked --bin sealvec)
	$(call run,cargo run --release --locked --manifest-path benches/peers/Cargo.toml \
		--target-dir target/peers -- --sealvec target/release/sealvec $(PEERS))

quick: ## unit tests of the in-memory engine only; needs no RocksDB
	$(call run,cargo test --release --no-default-features --lib --locked)

FUZZ_SECONDS ?= 60
FUZZ_TARGETS ?= $(sort $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs))))

fuzz: ## libFuzzer on every target, FUZZ_SECONDS (60) each; needs nightly Rust and cargo-fuzz
	@for target in $(FUZZ_TARGETS); do \
		mkdir -p fuzz/corpus/$$target; \
		cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
			-max_total_time=$(FUZZ_SECONDS) -timeout=20 -rss_limit_mb=2048 -max_len=4096 || exit 1; \
	done

FEATURE_SETS := "--no-default-features" "--no-default-features --features rocksdb" \
	"--no-default-features --features cli" "--no-default-features --features aws-lc" \
	"--no-default-features --features metrics" "" "--all-features"

features: setup ## clippy without features, with each alone, with the default and with all
	$(call run,for set in $(FEATURE_SETS); do \
		echo "features: $${set:-default}"; cargo clippy --release --locked $$set -- -D warnings || exit 1; done)

deny: ## licences, bans, sources and advisories, by cargo-deny; needs the network
	@cargo deny --version >/dev/null 2>&1 || \
		{ echo 'cargo-deny is missing; run: cargo install cargo-deny --locked' >&2; exit 1; }
	$(call run,cargo deny --locked check)

MSRV := $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)

msrv: ## compile the library with the oldest Rust it is declared for; needs rustup
	$(call run,rustup toolchain install $(MSRV) --profile minimal)
	$(call run,cargo +$(MSRV) check --release --locked --no-default-features --lib --target-dir target/msrv)

sbom: ## write the bill of materials, sbom.cdx.json; needs Python 3.11
	$(call run,python3 scripts/sbom.py)
