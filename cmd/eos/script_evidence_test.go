package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/ratls/ratlstest"
	"github.com/enclaveos/eos/pkg/runtime/ingress"
	"github.com/enclaveos/eos/pkg/runtime/measure"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/rogpeppe/go-internal/testscript"
)

// mintEvidence is the command "evidence KIND DIR": a quote.bin in DIR with what it takes to
// verify it at attesttest.Now: bundle.json, root.pem, and a policy.json that accepts it. KIND
// is sgx, tdx, debug (an enclave), or oe, which is sgx behind Open Enclave's header.
func mintEvidence(ts *testscript.TestScript, t testing.TB, kind, dir string) {
	if kind == "leaf" {
		mintLeaf(ts, dir)
		return
	}
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
	writeEvidence(ts, dir, map[string][]byte{"quote.bin": e.Quote, "bundle.json": bundle, "policy.json": policy, "root.pem": p.Vendor.Root.PEM()})
}

// mintLeaf is "evidence leaf DIR": cert.pem as an enclave of ours shows it, good from
// attesttest.Now for a day, with bundle.json, root.pem, manifest.json, ca.pem and a policy.json about its extensions; edited.pem is not as it was signed. Its MRENCLAVE is ratlstest.Measurement("story").
func mintLeaf(ts *testscript.TestScript, dir string) {
	now := attesttest.Now
	p, err := ratlstest.New(now)
	ts.Check(err)
	ca, err := ratls.NewSelfMade("story", now)
	ts.Check(err)
	a, err := ratls.NewAttester(ratls.AttesterConfig{Quoter: p.Enclave("story"), CA: ca, Now: func() time.Time { return now }})
	ts.Check(err)
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	config, err := measure.New(measure.Leaf{Name: "core.leaf", Data: []byte("1h")}, measure.Leaf{Name: "core.servers"})
	ts.Check(err)
	root := config.Root()
	ts.Check(a.SetSubjects(ctx, ratls.Subject{Name: "story", Hosts: []string{"127.0.0.1"}, Extensions: []ratls.Extension{
		{OID: ratls.OIDConfigRoot, Value: root[:]}, {OID: append(slices.Clone(ratls.OIDAppConfig), 7), Value: []byte("tools")}, {OID: ratls.OIDAppKeySource, Value: []byte("byok:\x1b[31m")},
	}}))
	server, err := ingress.New(ingress.Options{Attester: a, Handler: http.NotFoundHandler()})
	ts.Check(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	go server.Serve(ctx, l)
	trust := p.Trust("story")
	trust.Verifier.Now = func() time.Time { return now }
	client, err := ratls.NewClient(ratls.Config{Trust: trust, Proof: ratls.ProofLeaf})
	ts.Check(err)
	conn, err := client.Dial(ctx, "tcp", l.Addr().String())
	ts.Check(err)
	defer conn.Close()
	var chain []byte
	for _, c := range conn.Peer().Chain() {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	e, err := p.Collateral(ctx, nil)
	ts.Check(err)
	bundle, err := json.Marshal(e)
	ts.Check(err)
	_, rootPEM := pem.Decode(e.TCBInfoChain) // what is behind the signer
	manifest, err := config.Manifest().AppendJSON(nil)
	ts.Check(err)
	accept := trust.Policy
	accept.Roots = attest.Any[string]()
	accept.Extensions = []attest.ExtensionRule{{OID: ratls.OIDConfigRoot, Value: attest.OneOf(string(root[:]))}}
	policy, err := json.Marshal(accept)
	ts.Check(err)
	edited := bytes.Replace(conn.Peer().Certificate().Raw, []byte("tools"), []byte("TOOLS"), 1)
	edited = append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: edited}), ca.CertificatePEM()...)
	writeEvidence(ts, dir, map[string][]byte{
		"cert.pem": chain, "bundle.json": bundle, "root.pem": rootPEM, "manifest.json": manifest, "policy.json": policy,
		"ca.pem": ca.CertificatePEM(), "edited.pem": edited,
	})
}

func writeEvidence(ts *testscript.TestScript, dir string, files map[string][]byte) {
	ts.Check(os.MkdirAll(ts.MkAbs(dir), 0o755))
	for name, b := range files {
		ts.Check(os.WriteFile(filepath.Join(ts.MkAbs(dir), name), b, 0o644))
	}
}
