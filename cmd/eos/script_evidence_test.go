package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/rogpeppe/go-internal/testscript"
)

// mintEvidence is the command "evidence KIND DIR": a quote.bin in DIR with what it takes to
// verify it at attesttest.Now: bundle.json, root.pem, and a policy.json that accepts it. KIND
// is sgx, tdx, debug (an enclave), or oe, which is sgx behind Open Enclave's header.
func mintEvidence(ts *testscript.TestScript, t testing.TB, kind, dir string) {
	p := attesttest.New(t)
	switch kind {
	case "sgx", "oe":
	case "tdx":
		p = attesttest.NewTDX(t)
	case "debug":
		p.Report.Attributes.Flags |= sgx.AttrDebug
	default:
		ts.Fatalf("evidence %s: no such kind", kind)
	}
	e := p.Mint()
	if kind == "oe" {
		e.Quote = attest.AppendOEReport(nil, attest.OERemote, e.Quote)
	}
	bundle, err := json.Marshal(e.Collateral)
	ts.Check(err)
	accept := p.Policy()
	accept.Roots = attest.OneOf(p.Vendor.Root.Cert.Subject.CommonName)
	policy, err := json.Marshal(accept)
	ts.Check(err)
	for name, b := range map[string][]byte{"quote.bin": e.Quote, "bundle.json": bundle, "policy.json": policy, "root.pem": p.Vendor.Root.PEM()} {
		ts.Check(os.MkdirAll(ts.MkAbs(dir), 0o755))
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(dir), name), b, 0o644))
	}
}
