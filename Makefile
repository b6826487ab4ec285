# make demo      the whole path on this machine: two clusters, joined, every fact checked (KEEP=1 leaves it up)
# make check     format, build, unit tests, laws      make test     check + the integration suites
# make bench     meshfed beside HAProxy, Envoy and nghttpx (QUICK=1)  make soak     1,000 seeds of the simulation (SEEDS=n)
# make fuzz      each codec for a minute (EACH=seconds)              make sanitize unit tests, and suites against the proxy, by both sanitizers
# make build     the two programs into .build-release/release        make fmt      format in place      make clean
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
JOBS ?= $(shell nproc)
RELEASE := .build-release
# Most of an idle proxy's memory is pages of its own file (docs/decisions/0051): no names for others to find, equal functions once,
# short relocations, and of libstdc++ only what the Swift runtime calls.
LEAN := -Xswiftc -use-ld=lld -Xlinker --no-export-dynamic -Xlinker --icf=safe -Xlinker -z -Xlinker pack-relative-relocs \
    -Xswiftc -L -Xswiftc $(CURDIR)/$(RELEASE)/static -Xswiftc -Xclang-linker -Xswiftc -static-libgcc
FLAGS := -c release --static-swift-stdlib --scratch-path $(RELEASE) -j $(JOBS) $(LEAN)
SEEDS ?= 1000
EACH ?= 60
# Suites that `make sanitize` runs against a proxy that was built with a sanitizer: those that send it wrong bytes, and plain ones.
SANITIZED ?= http1 http2 tcp grpc failover hostile-http1 hostile-http2 hostile-grpc hostile-tcp
# The static link warns of mktemp in FoundationEssentials, which nothing here calls: that line only is taken out.
QUIET := sed -u -e '/mktemp/d'

.PHONY: help demo build check format unit test bench fuzz sanitize soak fmt clean proto install install-build

help:
	@sed -n 's/^# \(make\)/\1/p' Makefile

install:
	@integration/lib/install

install-build:
	@integration/lib/install build

build: install-build
	@echo "building the programs (release, static Swift library); a first build takes some minutes"
	@mkdir -p $(RELEASE)/static && ln -sf "$$(clang -print-file-name=libstdc++.a)" $(RELEASE)/static/libstdc++.a
	@swift build $(FLAGS) --product meshfed-proxy 2>&1 | $(QUIET) && \
	    swift build $(FLAGS) --product meshfed 2>&1 | $(QUIET) && echo "build: $$SECONDS s"

demo: install build
	@KEEP=$(KEEP) integration/demo

format: install-build
	@swift format lint --strict --parallel --configuration .swift-format \
	    $$(git ls-files --cached --others --exclude-standard '*.swift' | grep -v '\.pb\.swift$$') && echo "format: ok, $$SECONDS s"

unit: install-build
	@echo "building the tests (debug); a first build takes some minutes"
	@swift build --build-tests -j $(JOBS) 2>&1 | $(QUIET) && echo "build of the tests: $$SECONDS s"
	@swift test --skip-build --parallel 2>&1 | $(QUIET) && echo "unit tests: $$SECONDS s"

check: format unit build
	@echo "check: ok"

test: install check
	@integration/run

bench: install build
	@QUICK=$(QUICK) integration/bench/run
	@QUICK=$(QUICK) integration/bench/capture

fuzz: install-build
	@integration/lib/fuzz $(EACH)

# The simulation is slow under a sanitizer and finds nothing there that it would not find without: a few seeds.
# No leaks are looked for: the worlds that tests make hold themselves until the process ends. What the product keeps is counted by the suite ceilings.
sanitize: install build
	ASAN_OPTIONS=detect_leaks=0 MESHFED_SOAK_SEEDS=5 swift test --sanitize address --scratch-path .build-address -j $(JOBS) 2>&1 | $(QUIET)
	TSAN_OPTIONS=suppressions=$(CURDIR)/integration/lib/thread.suppressions MESHFED_SOAK_SEEDS=5 swift test --sanitize thread --scratch-path .build-thread -j $(JOBS) 2>&1 | $(QUIET)
	JOBS=$(JOBS) integration/lib/sanitize address $(SANITIZED)
	JOBS=$(JOBS) integration/lib/sanitize thread $(SANITIZED)

soak: install-build
	MESHFED_SOAK_SEEDS=$(SEEDS) swift test -c release --scratch-path .build-soak -j $(JOBS) --filter Simulation 2>&1 | $(QUIET)

fmt:
	@swift format --in-place --parallel --configuration .swift-format \
	    $$(git ls-files --cached --others --exclude-standard '*.swift' | grep -v '\.pb\.swift$$')

# For maintainers: needs protoc and the plugin of swift-protobuf.
proto:
	@Sources/Core/ControlProtocol/proto/generate

clean:
	rm -rf .build .build-*
