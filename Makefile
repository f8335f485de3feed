# make demo   an app in an enclave: built, signed, run, verified, called; from a fresh clone
# make demo-edp   the same for an ELF program of the Fortanix SGX ABI
# make test   everything that must hold before a change goes in
# make bench  every figure beside its baseline
#
# Both install what they need: a C compiler (apt, only if missing and only as
# root) and, for the tests, staticcheck into bin/.

SHELL       := /bin/bash
GO          ?= go
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
FUZZTIME    ?= 1s

.PHONY: runtime all demo demo-edp guests test bench build format vet lint race fuzz portable clean
all: build

build: runtime
	CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -o bin/eos ./cmd/eos

# The program of runtime images, which eos carries. Without it everything still
# compiles, and eos builds a runtime from source.
runtime:
	CGO_ENABLED=0 $(GO) run ./cmd/eos/base/link

demo: build
	@.ci/need curl curl
	@.ci/demo

demo-edp: build
	@.ci/need gcc gcc libc6-dev
	@.ci/demo-edp

# The tool chains of the WASM modules that the tests use, beside Go: clang with
# wasi-libc, Debian's rustc, AssemblyScript.
guests:
	@.ci/need /usr/include/wasm32-wasi/stdio.h clang lld wasi-libc libclang-rt-14-dev-wasm32
	@.ci/need /usr/lib/rustlib/wasm32-wasi rustc libstd-rust-dev-wasm32
	@.ci/need npm npm
	@cd testdata/guests/assemblyscript && test -e node_modules/.bin/asc || npm ci --no-audit --no-fund --ignore-scripts --loglevel=error

test: format vet lint race fuzz portable
	@echo "all tests passed"

bench:
	@.ci/need gcc gcc libc6-dev
	CGO_ENABLED=0 $(GO) run ./bench

format:
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt these files:"; echo "$$out"; exit 1; fi

# Go leaves packages below testdata out of ./...; HIDDEN names them again,
# without the programs there that are modules of their own.
HIDDEN = $(shell find . -path '*/testdata/*' -type d -execdir test -e {}/go.mod \; -prune -o -path '*/testdata/*' -name '*.go' -printf '%h\n' | sort -u)

vet:
	$(GO) vet ./... $(HIDDEN)

bin/staticcheck-$(lastword $(subst @, ,$(STATICCHECK))):
	GOBIN=$(CURDIR)/bin $(GO) install $(STATICCHECK)
	mv bin/staticcheck $@

lint: bin/staticcheck-$(lastword $(subst @, ,$(STATICCHECK)))
	$< ./... $(HIDDEN)

# The race detector wants cgo; the test enclaves want a C compiler; one story
# of the command line signs with openssl; a browser draws the page of a report.
# Without GORACE every eos of a story would sleep a second at its end.
race: runtime guests
	@.ci/need gcc gcc libc6-dev
	@.ci/need openssl openssl
	@.ci/need chromium-headless-shell chromium-headless-shell
	GORACE=atexit_sleep_ms=0 CGO_ENABLED=1 $(GO) test -race -timeout 10m ./... $(HIDDEN)

fuzz:
	@GO=$(GO) .ci/fuzz $(FUZZTIME)

# What clients and build machines use must compile where they are.
portable:
	set -e; for os in windows darwin; do \
	  GOOS=$$os CGO_ENABLED=0 $(GO) build ./pkg/sgx/... ./pkg/sgxs/... ./pkg/sign/...; done
	set -e; for target in windows/amd64 darwin/arm64 linux/arm64 js/wasm wasip1/wasm; do \
	  GOOS=$${target%/*} GOARCH=$${target#*/} CGO_ENABLED=0 $(GO) build ./pkg/sgx/... ./pkg/attest/... ./pkg/ratls/...; done
	CGO_ENABLED=0 $(GO) build ./...

clean:
	rm -rf bin cmd/eos/base/program/eos-enclave.zst
