package main

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path"
	"strings"
	"testing"
)

const module = "github.com/enclaveos/eos/"

// arrows are the imports between our packages that are allowed, each with its
// reason. A package that is missing here, or an import that no row allows,
// fails the test: add a row only together with a reason that holds.
var arrows = []struct {
	from string // package below the module; the first row that matches counts
	to   string // packages that it may import, patterns separated by blanks; "" for none
	why  string
}{
	{"pkg/sgx", "", "the architecture's words: everything stands on them, they stand on nothing"},
	{"pkg/wall", "", "both sides of the wall share it, one of them inside the Go runtime"},
	{"pkg/ijson", "", "JSON in the one strict way; whoever parses it may use it"},
	{"pkg/sgx/cmac", "", "an algorithm; REPORT and EINITTOKEN carry its MACs"},
	{"pkg/sgxs", "pkg/sgx", "streams are made of the architecture's structures"},
	{"pkg/sgxs/fromelf", "pkg/sgx pkg/sgxs", "a converter writes a stream"},
	{"pkg/sgxs/diff", "pkg/sgx pkg/sgxs", "a difference is told by stream and page; whoever calls it has the symbols"},
	{"pkg/sign", "pkg/sgx", "a signature is over a measurement, wherever that is from"},
	{"pkg/sign/keyref", "pkg/sign", "a key is checked for the shape that SIGSTRUCT wants"},
	{"pkg/runner/platform", "pkg/sgx", "an interface in the architecture's words"},
	{"pkg/runner/platform/platformtest", "pkg/sgx pkg/sgx/cmac pkg/sgxs pkg/sign pkg/runner/platform", "the suite builds, signs and enters small enclaves"},
	{"pkg/runner/platform/softsgx/keyfile", "", "files that only their owner may read"},
	{"pkg/runner/platform/softsgx/microcode", "pkg/sgx pkg/sgx/cmac pkg/sign pkg/runner/platform pkg/runner/platform/softsgx/keyfile", "EINIT verifies SIGSTRUCT, EREPORT makes a MAC, a device is a file"},
	{"pkg/runner/platform/softsgx/quoting", "pkg/ijson pkg/sgx pkg/sgx/cmac pkg/sgxs pkg/sign pkg/attest pkg/attest/issue pkg/channel/wire pkg/runner/platform pkg/runner/platform/softsgx/keyfile pkg/runner/platform/softsgx/microcode", "the software quoting enclave: a report becomes a quote, as the RPC channel asks for it"},
	{"pkg/runner/platform/softsgx", "pkg/sgx pkg/sgxs/x86len pkg/runner/platform pkg/runner/platform/softsgx/microcode", "execution of what the rules allow; CPUID is found in the code"},
	{"pkg/runner", "pkg/sgx pkg/sgxs pkg/sign pkg/wall pkg/runner/platform", "loading: a stream and a signature, made to the kind of image, onto a platform"},
	{"pkg/runner/edp", "pkg/sgx pkg/runner pkg/runner/platform", "the Fortanix ABI served to a loaded enclave"},
	{"pkg/channel", "", "both sides of a ring import it, one of them inside the Go runtime"},
	{"pkg/channel/wire", "", "messages are bytes; both sides parse them"},
	{"pkg/channel/channeltest", "pkg/channel", "the hostile peer lies about cursors and lengths; what is in a frame it need not know"},
	{"pkg/runtime/kernel", "pkg/wall pkg/channel pkg/channel/wire", "the kernel inside the Go runtime: only what can live there"},
	{"pkg/runtime/quoting", "pkg/sgx pkg/enclave pkg/channel/wire pkg/runtime/rpc", "the enclave asks the host's quoting enclave"},
	{"pkg/wall/start", "", "what the host tells the runtime; both sides of the wall read it"},
	{"pkg/runtime/measure", "", "a tree of hashes; verifiers everywhere recompute it"},
	{"pkg/channel/kvwire", "pkg/channel/wire", "payloads of RPC methods; both sides parse them"},
	{"pkg/runner/kvback", "pkg/channel/wire pkg/channel/kvwire", "the host's store: bytes under the names that an enclave gives"},
	{"pkg/runtime/kvstore", "pkg/channel/wire pkg/channel/kvwire pkg/runtime/rpc", "a store with a host that is not believed: requests, and all else of its own"},
	{"pkg/runtime/seal", "pkg/sgx pkg/enclave pkg/channel/kvwire pkg/runtime/kvstore", "what the processor seals, and the store that it opens"},
	{"pkg/runtime/metric", "", "figures, and their text for whoever watches"},
	{"pkg/runtime/module", "pkg/ratls pkg/runtime/measure pkg/runtime/metric pkg/runtime/rpc pkg/runtime/seal", "what a module is and has"},
	{"pkg/runtime/wasm/abi", "pkg/ijson", "the guest interface as data: builders and engines read it"},
	{"pkg/runtime/wasm/meter", "", "a pass over a module's bytes; no engine"},
	{"pkg/runtime/wasm/wasifs", "pkg/runtime/kvstore", "files in a table of the sealed store"},
	{"pkg/runtime/wasm", "pkg/ijson pkg/manifest pkg/manifest/* pkg/ratls pkg/runtime/*", "a module: apps of a manifest over the store, with claims of their own"},
	{"pkg/runtime/helloworld", "pkg/runtime/module", "a module"},
	{"pkg/runtime/boot", "pkg/ijson pkg/wall/start pkg/enclave pkg/ratls pkg/runtime/*", "the one place where the runtime is put together"},
	{"cmd/eos-enclave", "pkg/runtime/*", "the program in a runtime image: it names the modules"},
	{"pkg/enclave", "pkg/sgx pkg/sgx/cmac pkg/channel/wire", "in the user's program: it reaches the kernel by system calls, and the host by messages"},
	{"pkg/runtime/rpc", "pkg/enclave pkg/channel/wire", "in the user's program: requests to the host, by the kernel's descriptor"},
	{"pkg/sgxs/x86len", "", "where instructions begin, for whoever scans code"},
	{"pkg/sgxs/fromgo", "pkg/sgx pkg/sgxs pkg/sgxs/x86len pkg/wall pkg/runtime/kernel", "a builder puts the kernel's sources into the program"},
	{"pkg/runner/dispatch", "pkg/channel pkg/channel/kvwire pkg/channel/wire", "the host's end of the RPC channel; which methods take turns"},
	{"pkg/runner/proxy", "pkg/channel pkg/channel/wire", "the host's end of the data channel"},
	{"pkg/runner/goenclave", "pkg/sgx pkg/sgxs pkg/channel pkg/channel/wire pkg/wall pkg/runner pkg/runner/platform pkg/runner/dispatch", "the eos ABI served to a loaded enclave; who carries its data is the caller's choice"},
	{"pkg/runner/goenclave/goenclavetest", "pkg/sgx pkg/runner/goenclave pkg/runner/platform", "a hostile host stands between the two"},
	{"pkg/manifest", "", "words about apps: the builder writes them, the runtime reads them"},
	{"pkg/manifest/payload", "pkg/manifest", "the bytes behind a runtime image, for both sides"},
	{"pkg/manifest/zstd", "", "the decoder of modules, for both sides"},
	{"pkg/manifest/toml", "pkg/manifest", "the manifest as people write it: never in an enclave"},
	{"pkg/sgxs/fromwasm", "pkg/sgx pkg/sgxs pkg/wall pkg/manifest pkg/manifest/payload pkg/manifest/zstd pkg/runtime/wasm/abi pkg/runtime/wasm/meter", "a builder puts modules behind a runtime image, after a look at what they import"},
	{"pkg/ratls", "pkg/ijson pkg/sgx pkg/attest", "clients start here: TLS whose other end is a quote's"},
	{"pkg/ratls/ratlstest", "pkg/sgx pkg/attest pkg/attest/issue pkg/ratls", "a platform for tests of programs that use it"},
	{"pkg/runtime/ingress", "pkg/ratls", "the enclave's HTTPS server; a connection is one of ratls"},
	{"pkg/attest", "pkg/sgx", "clients start here: quotes in the architecture's words, nothing else"},
	{"pkg/attest/issue", "pkg/sgx", "what a vendor makes; it shares no mistake with the verifier"},
	{"pkg/attest/attesttest", "pkg/sgx pkg/attest pkg/attest/issue", "good and broken quotes for tests of the verifier"},
	{"pkg/attest/collateral", "pkg/attest", "fetches and keeps what the verifier is handed"},
	{"pkg/attest/egoreport", "pkg/sgx pkg/attest", "results in the words of another library, which only this package imports"},
	{"cmd/eos/base", "pkg/sgxs/fromgo", "the program of runtime images, carried in eos"},
	{"cmd/eos/base/link", "cmd/eos/base pkg/sgxs/fromgo", "what puts it there"},
	{"cmd/eos/edptool", "pkg/*", "the only other place that may see everything: programs under other names"},
	{"cmd/eos/evidence", "pkg/attest pkg/ratls pkg/runtime/measure pkg/sign", "a report is about what the verifier, the certificate and the manifest say"},
	{"cmd/eos", "pkg/* cmd/eos/edptool cmd/eos/base cmd/eos/evidence", "the program"},
	{"testdata/guests", "pkg/*", "test guests, imported by tests only"},
	{"testdata/enclaves", "pkg/*", "test enclaves, imported by tests only"},
	{"bench", "pkg/* testdata/enclaves testdata/guests", "the benchmark page measures everything"},
}

// bans are imports from outside that would break a promise.
var bans = []struct{ from, to, why string }{
	{"*", "C", "the default binary is static and cgo-free"},
	{"pkg/sgx", "os", "pure structures do no I/O"},
	{"pkg/sgx", "golang.org/x/*", "standard library only"},
	{"pkg/sgxs", "golang.org/x/*", "standard library only"},
	{"pkg/runtime*", "github.com/cockroachdb/*", "the host's store is not part of an enclave"},
	{"pkg/enclave", "github.com/cockroachdb/*", "the host's store is not part of an enclave"},
	{"pkg/channel*", "github.com/cockroachdb/*", "the host's store is not part of an enclave"},
	{"cmd/eos-enclave", "github.com/cockroachdb/*", "the host's store is not part of an enclave"},
}

// match is path.Match in which a trailing "*" also matches further elements.
func match(pattern, name string) bool {
	if p, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, p)
	}
	ok, _ := path.Match(pattern, name)
	return ok
}

func TestImportArrows(t *testing.T) {
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", module+"...")
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		seen++
		from := strings.TrimPrefix(p.ImportPath, module)
		row := -1
		for i, a := range arrows {
			if row < 0 && match(a.from, from) {
				row = i
			}
		}
		if row < 0 {
			t.Errorf("%s has no row in arrows: say what it may import, and why", from)
			continue
		}
		for _, imp := range p.Imports {
			if to, ours := strings.CutPrefix(imp, module); ours && !allowed(arrows[row].to, to) {
				t.Errorf("%s imports %s; allowed: %q (%s)", from, to, arrows[row].to, arrows[row].why)
			}
			for _, b := range bans {
				if match(b.from, from) && match(b.to, imp) {
					t.Errorf("%s imports %s: %s", from, imp, b.why)
				}
			}
		}
	}
	if seen < 10 {
		t.Fatalf("go list named only %d packages", seen)
	}
}

func allowed(list, to string) bool {
	for p := range strings.FieldsSeq(list) {
		if match(p, to) {
			return true
		}
	}
	return false
}
