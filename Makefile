# What to type. `make run` and `make test` need nothing but Debian, make and Rust; they install the rest.

CARGO ?= cargo
SEEDS ?= 1000
MINUTES ?= 10
HANDOVERS ?= 50
# What no client may wait longer for.
HANDOVER_BAR_MS ?= 50
TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV := target/clients
CLIENTS_SECONDS ?= 10
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: build run test conformance-long subscribers clients page-test check lint simulate fuzz limits handover soak chaos checker-test faults bench bench-large bench-latency \
    bench-memory bench-observed bench-handshakes bench-storms bench-report bench-regress bench-record perf strace flamegraph deb release release-pgo clean need-cargo

build: need-cargo
	$(CARGO) build --release --locked
	@mkdir -p bin
	@cp -f $(TARGET)/release/redis-cluster-proxy bin/.new && mv -f bin/.new bin/redis-cluster-proxy

# A cluster of six on ports 7001-7006 and the proxy on 8088, until Ctrl-C. PROXY_FLAGS='-max-procs 2' adds flags. With TLS=1
# clients, proxy and nodes speak TLS.
run: need-cargo
	@bash tests/support/demo.sh --check-ports
	@bash tests/support/install.sh redis-server openssl
	@$(MAKE) --no-print-directory build
	@TLS=$(TLS) bash tests/support/demo.sh bin/redis-cluster-proxy $(PROXY_FLAGS)

# Most tests wait for servers most of the time, so that four at once are right for two processors.
test: need-cargo
	@bash tests/support/install.sh redis-server openssl iproute2
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(CARGO) test --locked
	@$(MAKE) --no-print-directory clients

# A million commands through redis-cli --pipe.
conformance-long: need-cargo
	@bash tests/support/install.sh redis-server openssl
	$(CARGO) test --locked --test it connect:: -- --ignored

# 10,000 subscribers of one channel.
subscribers: need-cargo
	@bash tests/support/install.sh redis-server openssl
	ulimit -n $$(ulimit -H -n) && $(CARGO) test --locked --test it pubsub:: -- --ignored --nocapture

# The status page in a headless Chromium; the screenshots lie in target/page.
page-test: need-cargo $(VENV)/node/ready
	@bash tests/support/install.sh redis-server chromium
	$(CARGO) test --locked --test it page:: -- --include-ignored --nocapture

# Client libraries and programs that live by one, through the proxy: cargo ignores those of other languages, as they
# need more than cargo. make clients CLIENTS_SECONDS=60 lets the programs work for a minute each.
clients: need-cargo $(VENV)/ready $(VENV)/node/ready
	@bash tests/support/install.sh redis-server openssl
	CLIENTS_SECONDS=$(CLIENTS_SECONDS) $(CARGO) test --locked --test it clients:: -- --include-ignored --test-threads=2

$(VENV)/ready: tests/clients/requirements.txt
	@bash tests/support/install.sh python3 python3-venv
	@rm -rf $(VENV) && mkdir -p target
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r tests/clients/requirements.txt
	@touch $@

$(VENV)/node/ready: tests/clients/package.json tests/clients/package-lock.json | $(VENV)/ready
	@bash tests/support/install.sh nodejs npm
	@rm -rf $(VENV)/node && mkdir -p $(VENV)/node && cp tests/clients/package*.json $(VENV)/node
	cd $(VENV)/node && npm install --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

lint: need-cargo
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --no-default-features -- -D warnings

check: lint test

# Many seeds of the simulation: make simulate SEEDS=100000
simulate: need-cargo
	SIMULATION_SEEDS=$(SEEDS) $(CARGO) test --locked --test simulation -- --nocapture

# Hostile bytes against every parser, a whole proxy and TLS, and what each byte costs; the same bytes to a redis-server and to the
# proxy: make fuzz MINUTES=10 (for each target; they run side by side).
fuzz: need-cargo
	@bash tests/support/install.sh redis-server openssl
	RUST_TEST_THREADS=16 FUZZ_SECONDS=$$(($(MINUTES) * 60)) FUZZ_SEED=$${FUZZ_SEED:-$$(date +%s)} $(CARGO) test --locked --test fuzz -- --nocapture

# What clients may take of the process: descriptors, memory, time before they log in; values of 512 MB; clients that have no end;
# with the figures of each, of the binary that PROXY_BINARY names if there is one. It takes
# about nine minutes.
limits: need-cargo
	@bash tests/support/install.sh redis-server
	ulimit -n $$(ulimit -H -n) && HUGE_MIB=512 PIPELINE=1000000 DEAF=200 DRIBBLERS=5000 SLOW_SECONDS=60 LIMITS_BARS=1 \
	    $(CARGO) test --locked --test it -- --nocapture --test-threads=1 limits:: huge:: endless::

# One process takes over from the other, so many times, under load; what the longest wait of a client was: make handover HANDOVERS=50
handover: need-cargo
	@bash tests/support/install.sh redis-server
	HANDOVERS=$(HANDOVERS) HANDOVER_BAR_MS=$(HANDOVER_BAR_MS) $(CARGO) test --locked --test it handover::load -- --nocapture

# Long work in little time; each minute is 100,000 connections and 10,000,000 operations: make soak MINUTES=10
soak: need-cargo
	@bash tests/support/install.sh redis-server
	SOAK_MINUTES=$(MINUTES) $(CARGO) test --locked --test it soak:: -- --ignored --nocapture

# The real proxy and real nodes, everything that goes wrong, every reply checked: make chaos MINUTES=10; with TLS=1 over TLS.
chaos: need-cargo
	@bash tests/support/install.sh redis-server openssl iproute2
	$(if $(TLS),TEST_TLS=1) CHAOS_SECONDS=$$(($(MINUTES) * 60)) $(CARGO) test --locked --test chaos -- --nocapture

# Builds with one bug each: is each of them found?
checker-test: need-cargo
	@bash tests/support/install.sh redis-server openssl iproute2
	@CARGO=$(CARGO) bash tests/chaos/checker.sh

# One test for each fault by its number, with its figures; tests/it/fault_catalogue.rs tells what can be set: make faults KILLS=50
faults: need-cargo
	@bash tests/support/install.sh redis-server openssl iproute2
	$(CARGO) test --locked --test it fault_catalogue:: -- --include-ignored --nocapture --test-threads=1

# One table: direct, HAProxy, nutcracker and this proxy; bench/README.md tells the options.
bench: build
	@bash tests/support/install.sh redis-server python3 haproxy nutcracker
	@bash tests/support/install.sh linux-perf || echo "without perf: system calls are counted by strace, if it is there"
	@python3 bench/run.py
	@python3 bench/large.py

# Only the rows for requests and replies of many elements.
bench-large: build
	@bash tests/support/install.sh redis-server python3 haproxy
	@python3 bench/large.py

# Latency under a steady rate, beside a direct connection; memory of idle clients, and the time to start.
bench-latency bench-memory: build
	@bash tests/support/install.sh redis-server python3
	@python3 bench/$(@:bench-%=%).py

# What it costs the workers that somebody looks: a scrape each second and three viewers, against nobody.
bench-observed: build
	@bash tests/support/install.sh redis-server python3 valgrind
	@bash tests/support/install.sh linux-perf || bash tests/support/install.sh strace
	@python3 bench/observed.py

# Storms of new connections, beside HAProxy and nutcracker.
bench-storms: build
	@bash tests/support/install.sh redis-server python3 haproxy nutcracker
	@python3 bench/storms.py

# TLS handshakes and idle TLS clients, beside HAProxy and stunnel.
bench-handshakes: build
	@bash tests/support/install.sh redis-server python3 openssl haproxy stunnel4
	@python3 bench/handshakes.py

# Draws the graph of the README from the figures of JSON=file, which `JSON=file make bench` writes.
bench-report:
	@bash tests/support/install.sh python3
	@python3 bench/report.py $(JSON) dist/docs/speed.svg

# Has a change made the proxy dearer? Instructions per command beside those recorded; with BASE=commit, beside another commit,
# and system calls as well.
bench-regress: need-cargo
	@bash tests/support/install.sh python3 valgrind $(if $(BASE),redis-server strace)
	@CARGO=$(CARGO) python3 bench/regress.py $(if $(BASE),against $(BASE))

# Records what `make bench-regress` compares with.
bench-record: need-cargo
	@bash tests/support/install.sh python3 valgrind
	@CARGO=$(CARGO) python3 bench/regress.py record

# Where the running release spends its time, and its system calls, under load.
perf strace: build
	@bash tests/support/install.sh redis-server python3 $(if $(filter perf,$@),linux-perf,strace)
	@python3 bench/under_load.py $@

# A picture of it, from the profile that the proxy takes of itself: bin/flamegraph-get-p16.svg.
flamegraph: build
	@bash tests/support/install.sh redis-server python3
	@python3 bench/under_load.py flamegraph

# A Debian package in target/debian, looked at by lintian if it is there.
deb: need-cargo
	@bash tests/support/install.sh binutils dpkg-dev
	@CARGO=$(CARGO) bash dist/debian/build.sh

# Archives of the binary without symbols and of its symbols, a static build if musl is there, and checksums, in target/release-files.
release: need-cargo
	@bash tests/support/install.sh binutils
	@CARGO=$(CARGO) bash dist/release.sh

# The same with profile-guided optimization: an instrumented build serves the loads of the bench first.
release-pgo: need-cargo
	@bash tests/support/install.sh binutils redis-server python3 openssl
	@CARGO=$(CARGO) bash dist/profile-guided.sh

clean: need-cargo
	$(CARGO) clean
	rm -rf bin target bench/__pycache__ bench/contenders/__pycache__

need-cargo:
	@command -v $(CARGO) >/dev/null || { \
	    echo "cargo is not on the PATH: install Rust 1.88 or later with rustup, then open a new shell" >&2; exit 1; }
