package boot

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/ratls"
	"github.com/enclaveos/eos/pkg/wall/start"
)

// What is told at the first start holds from then on.
func TestRestart(t *testing.T) {
	d := new(disk)
	first := serve(t, d, testConfig())
	if got := first.ask(t, first.client(t), "PUT", "/attestation-servers", "Bearer "+token, `{"servers":[{"url":"https://a.example"}]}`); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	root := first.manifest(t, first.client(t)).Root

	again := testConfig()
	again.Operator = "" // it need not be said again
	second := serve(t, d, again)
	if second.ca.Hash() != first.ca.Hash() || second.manifest(t, second.client(t)).Root != root {
		t.Error("another configuration after a restart")
	}

	// The operator replaces the CA.
	ca := newCA(t)
	if got := second.ask(t, second.client(t), "PUT", "/ca", "Bearer "+token, caJSON(t, ca)); got.StatusCode != 200 {
		t.Fatal(got.body)
	}
	got := second.ask(t, second.client(t), "GET", "/healthz", "", "")
	if chain := got.peer.Chain(); !bytes.Equal(chain[1].Raw, ca.Certificate().Raw) {
		t.Errorf("the chain is still that of %s", chain[1].Subject)
	}
	if second.manifest(t, second.client(t)).Root == root {
		t.Error("the root says nothing of the CA")
	}
	third := testConfig()
	third.CA = caText(t, ca)
	if r, err := New(t.Context(), options(newPlatform(t), d, third, io.Discard)); err != nil || r.ca.Hash() != ca.Hash() {
		t.Errorf("with the CA that it has: %v", err)
	}

	for what, c := range map[string]struct {
		change func(*start.Config)
		want   string
	}{
		"another CA":       {func(c *start.Config) { c.CA = caText(t, newCA(t)) }, "eos ca rotate"},
		"no CA":            {func(c *start.Config) { c.CA = &start.CA{Chain: "x", Key: "y"} }, "PEM"},
		"another operator": {func(c *start.Config) { c.Operator = strings.Repeat("0", 64) }, "--operator-token"},
	} {
		config := testConfig()
		c.change(config)
		if _, err := New(t.Context(), options(newPlatform(t), d, config, io.Discard)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
	without := new(disk)
	config := testConfig()
	config.Operator = ""
	serve(t, without, config)
	if _, err := New(t.Context(), options(newPlatform(t), without, testConfig(), io.Discard)); err == nil || !strings.Contains(err.Error(), "without an operator") {
		t.Errorf("an operator later: %v", err)
	}
	// A first start that was cut off waits for an operator.
	half := &disk{sections: map[string][]byte{}}
	if _, err := New(t.Context(), options(newPlatform(t), half, config, io.Discard)); err == nil || !strings.Contains(err.Error(), "--operator-token") || len(half.Sections()) > 0 {
		t.Errorf("nobody is sealed as the operator: %v", err)
	}
	if r, err := New(t.Context(), options(newPlatform(t), half, testConfig(), io.Discard)); err != nil || r.operator == nil || half.Sections()[sectionOperator] == nil {
		t.Errorf("a first start that goes on: %v", err)
	}
	for section, bad := range map[string]string{sectionCAKey: "", sectionCACert: "x", sectionOperator: "short", sectionServers: "x", sectionEgress: "x"} {
		torn := &disk{sections: maps.Clone(d.sections)}
		torn.sections[section] = []byte(bad)
		if _, err := New(t.Context(), options(newPlatform(t), torn, testConfig(), io.Discard)); err == nil || !strings.Contains(err.Error(), "sealed configuration") {
			t.Errorf("section %s is %q: %v", section, bad, err)
		}
	}
}

// Whom apps trust outside is said once, and modules are told.
func TestAuthoritiesAreSealed(t *testing.T) {
	bundle := func() []byte {
		der, err := start.AuthoritiesOfPEM(newCA(t).CertificatePEM())
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	theirs := bundle()
	config := testConfig()
	config.EgressCAs = theirs
	d := new(disk)
	for _, said := range [][]byte{theirs, nil, theirs} {
		config.EgressCAs = said
		r, err := New(t.Context(), options(newPlatform(t), d, config, io.Discard))
		if err != nil || len(r.egress) == 0 || !bytes.Equal(d.Sections()[sectionEgress], theirs) {
			t.Errorf("with %d bytes: %v", len(said), err)
		}
	}
	config.EgressCAs = bundle()
	if _, err := New(t.Context(), options(newPlatform(t), d, config, io.Discard)); err == nil || !strings.Contains(err.Error(), "--egress-ca names others") {
		t.Errorf("others: %v", err)
	}
	without := new(disk)
	if r, err := New(t.Context(), options(newPlatform(t), without, testConfig(), io.Discard)); err != nil || r.egress != nil {
		t.Errorf("none: %v", err)
	}
	if _, err := New(t.Context(), options(newPlatform(t), without, config, io.Discard)); err == nil || !strings.Contains(err.Error(), "--egress-ca names others") {
		t.Errorf("later: %v", err)
	}
}

// A CA that has ended is refused where it can be, and locks nobody out where it is late.
func TestCAEnds(t *testing.T) {
	old, err := ratls.NewSelfMade("old", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	root, err := ratls.NewRoot("root", time.Now().Add(-3*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	ended, err := root.NewIntermediary("ended", time.Now().Add(-2*time.Hour), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	config := testConfig()
	config.CA = caText(t, ended)
	if _, err := New(t.Context(), options(newPlatform(t), new(disk), config, io.Discard)); err == nil || !strings.Contains(err.Error(), "is valid from") {
		t.Errorf("at the first start: %v", err)
	}

	d := new(disk)
	if err := d.Update(t.Context(), func(s map[string][]byte) error {
		s[sectionOperator], _ = hex.DecodeString(tokenHash())
		return putCA(s, ended)
	}); err != nil {
		t.Fatal(err)
	}
	e := serve(t, d, testConfig())
	got := e.ask(t, e.client(t), "PUT", "/ca", "Bearer "+token, caJSON(t, ended))
	if got.StatusCode != 400 || !strings.Contains(got.body, "is valid from") || !bytes.Equal(d.Sections()[sectionCACert], ended.CertificatePEM()) {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got.peer.Certificate().Issuer.CommonName != caName || !strings.Contains(e.log.String(), "the CA is of no use") {
		t.Errorf("issued by %s: %s", got.peer.Certificate().Issuer, e.log)
	}
	if got := e.ask(t, e.client(t), "PUT", "/ca", "Bearer "+token, caJSON(t, old)); got.StatusCode != 200 {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := e.ask(t, e.client(t), "GET", "/healthz", "", ""); got.peer.Certificate().Issuer.CommonName != "old" {
		t.Errorf("issued by %s", got.peer.Certificate().Issuer)
	}
}

// What cannot be sealed does not happen.
func TestNotSealed(t *testing.T) {
	d := new(disk)
	e := serve(t, d, testConfig())
	c := e.client(t)
	root := e.manifest(t, c).Root
	d.mu.Lock()
	d.broken = errors.New("the disk is full of /secret/paths")
	d.mu.Unlock()
	for path, body := range map[string]string{"/attestation-servers": `{"servers":[{"url":"https://a.example"}]}`, "/ca": caJSON(t, newCA(t))} {
		got := e.ask(t, c, "PUT", path, "Bearer "+token, body)
		if got.StatusCode != 500 || got.body != `{"error":"internal error"}`+"\n" {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
	if got := e.manifest(t, e.client(t)).Root; got != root {
		t.Error("the configuration has changed nevertheless")
	}
	if _, err := New(t.Context(), options(newPlatform(t), &disk{broken: d.broken}, testConfig(), io.Discard)); !errors.Is(err, d.broken) {
		t.Errorf("at the first start: %v", err)
	}
}
