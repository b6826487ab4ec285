# make demo    the whole path on this machine: two clusters, joined, every fact checked (KEEP=1 leaves it up)
# make check   format, build, unit tests            make test    check + the integration suites
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
JOBS ?= $(shell nproc)
RELEASE := .build-release
FLAGS := -c release --static-swift-stdlib --scratch-path $(RELEASE) -j $(JOBS)
SEEDS ?= 1000
# The static link warns of mktemp in FoundationEssentials, which nothing here calls: that line only is taken out.
QUIET := sed -u -e '/mktemp/d'

.PHONY: help demo build check format unit test bench fuzz sanitize soak fmt clean proto install install-build

help:
	@sed -n 's/^# //p' Makefile

install:
	@integration/lib/install

install-build:
	@integration/lib/install build

build: install-build
	@echo "building the programs (release, static Swift library); a first build takes some minutes"
	@swift build $(FLAGS) --product meshfed 2>&1 | $(QUIET)
	@swift build $(FLAGS) --product meshfed-proxy 2>&1 | $(QUIET)

demo: install build
	@KEEP=$(KEEP) integration/demo

format:
	@swift format lint --strict --recursive --parallel --configuration .swift-format Package.swift \
	    $$(git ls-files --cached --others --exclude-standard '*.swift' | grep -v -e '\.pb\.swift$$' -e '^Package\.swift$$')
	@echo "format: ok"

unit: install-build
	@echo "building and running the unit tests (debug)"
	@swift build --build-tests -j $(JOBS) 2>&1 | $(QUIET)
	@begun=$$SECONDS; swift test --skip-build --parallel 2>&1 | $(QUIET) && echo "unit tests: $$((SECONDS - begun)) s"

check: format unit build
	@echo "check: ok"

test: install check
	@integration/run

bench: install build
	@integration/bench/run

fuzz: install-build
	@integration/lib/fuzz

sanitize: install-build
	swift test --sanitize address --scratch-path .build-address -j $(JOBS) 2>&1 | $(QUIET)
	swift test --sanitize thread --scratch-path .build-thread -j $(JOBS) 2>&1 | $(QUIET)

soak: install-build
	MESHFED_SEEDS=$(SEEDS) swift test -c release -Xswiftc -enable-testing --scratch-path .build-soak --filter Simulation 2>&1 | $(QUIET)

fmt:
	@swift format --in-place --recursive --parallel --configuration .swift-format Package.swift Sources Tests

proto:
	@Sources/Core/ControlProtocol/proto/generate

clean:
	rm -rf .build .build-*
