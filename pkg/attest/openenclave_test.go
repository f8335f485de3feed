package attest_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"

	"github.com/enclaveos/eos/pkg/attest"
	"github.com/enclaveos/eos/pkg/attest/attesttest"
)

func TestOEReport(t *testing.T) {
	b := attest.AppendOEReport([]byte("x"), attest.OERemote, []byte("quote"))[1:]
	if !bytes.Equal(b, []byte("\x01\x00\x00\x00\x02\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00quote")) {
		t.Errorf("%q", b)
	}
	typ, content, err := attest.ParseOEReport(b)
	if err != nil || typ != attest.OERemote || string(content) != "quote" || !attest.IsOEReport(b) {
		t.Errorf("%v %q %v", typ, content, err)
	}
	for n := range b {
		if _, _, err := attest.ParseOEReport(b[:n]); err == nil {
			t.Errorf("the first %d bytes parse", n)
		}
	}
	for off, val := range map[int]byte{0: 2, 3: 1, 4: 3, 8: 4, 15: 1} {
		bad := bytes.Clone(b)
		bad[off] = val
		if _, _, err := attest.ParseOEReport(bad); err == nil {
			t.Errorf("byte %d = %d: accepted", off, val)
		}
	}
	if _, _, err := attest.ParseOEReport(append(b, 0)); err == nil {
		t.Error("a byte behind it")
	}
	if attest.IsOEReport(attesttest.New(t).Mint().Quote) {
		t.Error("a quote is taken for a report")
	}
}

// oeCert makes a certificate as EGo does, self-signed, with an extension.
func oeCert(t *testing.T, extra ...pkix.Extension) func(key *ecdsa.PrivateKey) *x509.Certificate {
	return func(key *ecdsa.PrivateKey) *x509.Certificate {
		template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "EGo"}, NotAfter: attesttest.Now, ExtraExtensions: extra}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		return cert
	}
}

func TestOECertificate(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][64]byte{"EGo": attest.EGoReportData(spki), "Open Enclave": attest.OpenEnclaveReportData(spki)} {
		p := attesttest.New(t)
		p.Report.ReportData = data
		e := p.Mint()
		quote, err := attest.QuoteOfOECertificate(oeCert(t, attest.OEExtension(e.Quote))(key))
		if err != nil || !bytes.Equal(quote, e.Quote) {
			t.Errorf("%s: %v", name, err)
		}
	}

	other := attesttest.New(t).Mint().Quote
	report := attesttest.New(t).Mint().Quote[48:][:432]
	for name, c := range map[string]struct {
		extra []pkix.Extension
		want  attest.Step
	}{
		"no extension": {nil, attest.StepQuote},
		"another key":  {[]pkix.Extension{attest.OEExtension(other)}, attest.StepBinding},
		"local":        {[]pkix.Extension{{Id: attest.OIDOpenEnclave, Value: attest.AppendOEReport(nil, attest.OELocal, report)}}, attest.StepQuote},
		"no header":    {[]pkix.Extension{{Id: attest.OIDOpenEnclave, Value: other}}, attest.StepQuote},
		"no quote":     {[]pkix.Extension{attest.OEExtension([]byte("quote"))}, attest.StepQuote},
	} {
		_, err := attest.QuoteOfOECertificate(oeCert(t, c.extra...)(key))
		var e *attest.Error
		if !errors.As(err, &e) || e.Step != c.want {
			t.Errorf("%s: %v, want step %s", name, err, c.want)
		}
	}
}

func FuzzOEReport(f *testing.F) {
	f.Add(attest.AppendOEReport(nil, attest.OERemote, []byte("quote")))
	f.Add(attest.AppendOEReport(nil, attest.OELocal, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if typ, content, err := attest.ParseOEReport(b); err == nil && !bytes.Equal(attest.AppendOEReport(nil, typ, content), b) {
			t.Fatal("other bytes")
		}
	})
}
