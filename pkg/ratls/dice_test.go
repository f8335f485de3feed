package ratls

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/attest"
)

func foreignCert(t testing.TB, name string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(vector(t, "certs/ccc-ra-tls/"+name))
	if block == nil {
		t.Fatal("no PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func extension(cert *x509.Certificate, oid string) []byte {
	for _, e := range cert.Extensions {
		if e.Id.String() == oid {
			return e.Value
		}
	}
	return nil
}

// Certificates of three other implementations. Facts about them are from the file's
// ORIGIN: our reader must find the bindings good, and our client must refuse them.
func TestForeignCertificates(t *testing.T) {
	for _, c := range []struct {
		file, quote, mrenclave, claims string
		claim                          string // a further claim
		names                          []string
	}{
		{"gramine-cert.pem", "5cfdb51d1d4394645fce76a0aa706df6e3bfd8f1a1a3b1ccb918019955311500", "0866e7ca11b9f4efe4bf39b2607f4e1299f111920d96d95719080f01b62b7585",
			"", "", []string{"DICE", "Gramine's old form"}},
		{"intel-sgxsdk-cert.pem", "b7a497862ef279e3311dca3fed14f7fa45e622a4f81301af09322a1ba6b9d78f", "09e218a4be9dadbf7cdc82c45497d6d4f676d3b75445fc37a376f0b65b47de6a",
			"", "", []string{"DICE", "Intel SGX SDK's old form"}},
		{"rats-tls-cert.pem", "45ec124b7169b803dcdc270a23f15e1d6add0d21c9e96128ae536e54e2bd195f", "38e1b40b8c68186f359c97ecb6a89965d9d8638f2df06fbe18e84d79a266c041",
			"key_1", "value_1\x00", []string{"DICE"}},
	} {
		t.Run(c.file, func(t *testing.T) {
			cert := foreignCert(t, c.file)
			value := extension(cert, "2.23.133.5.4.9")
			d, err := DICEOf(cert)
			if err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(d.Quote); hex.EncodeToString(sum[:]) != c.quote {
				t.Errorf("quote %x", sum)
			}
			q, err := attest.ParseQuote(d.Quote)
			if err != nil {
				t.Fatal(err)
			}
			if got := q.Report.MREnclave; hex.EncodeToString(got[:]) != c.mrenclave {
				t.Errorf("MRENCLAVE %x", got)
			}
			if c.claims != "" && string(d.claim(c.claims)) != c.claim {
				t.Errorf("claim %q", d.claim(c.claims))
			}
			if again, _ := d.AppendBinary(nil); !bytes.Equal(again, value) {
				t.Error("the bytes do not come out again")
			}
			if len(d.Claims) == 1 { // then it is what we would have made
				if again, _ := newDICEWith(cert, d).AppendBinary(nil); !bytes.Equal(again, value) {
					t.Error("we make other bytes")
				}
			}

			other := *cert
			other.RawSubjectPublicKeyInfo = basePoint(t)
			if _, err := DICEOf(&other); err == nil || !strings.Contains(err.Error(), "another key") {
				t.Errorf("with another key: %v", err)
			}

			trust := Trust{
				Verifier:   &attest.Verifier{Roots: attest.IntelRoots(), Now: func() time.Time { return cert.NotAfter.Add(-time.Hour) }},
				Collateral: noCollateral,
			}
			_, err = VerifyCertificate(t.Context(), []*x509.Certificate{cert}, trust)
			refused, step := (*RefusedError)(nil), (*attest.Error)(nil)
			if !errors.As(err, &refused) || !errors.As(err, &step) || step.Step != StepEvidence {
				t.Fatalf("our verifier: %v", err)
			}
			for _, name := range c.names {
				if !strings.Contains(err.Error(), name) {
					t.Errorf("%q does not name %q", err, name)
				}
			}
			trust.Verifier = &attest.Verifier{Roots: attest.IntelRoots(), Now: func() time.Time { return cert.NotAfter.Add(time.Hour) }}
			if _, err = VerifyCertificate(t.Context(), []*x509.Certificate{cert}, trust); !errors.As(err, &step) || step.Step != StepDates {
				t.Errorf("expired: %v", err)
			}
		})
	}
}

// newDICEWith is our evidence about the key of cert with the hash algorithm that d has.
func newDICEWith(cert *x509.Certificate, d *DICE) *DICE {
	return newDICE(cert.RawSubjectPublicKeyInfo, d.Quote)
}

func TestGramineQuoteOf(t *testing.T) {
	cert := foreignCert(t, "gramine-cert.pem")
	quote, err := GramineQuoteOf(cert)
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(quote); hex.EncodeToString(sum[:]) != "b8a62c5b2592816e0a5a9339af032024057bed817b6c0a6b85e8404f04d04749" {
		t.Errorf("quote %x", sum)
	}
	other := *cert
	other.RawSubjectPublicKeyInfo = basePoint(t)
	step := (*attest.Error)(nil)
	if _, err := GramineQuoteOf(&other); !errors.As(err, &step) || step.Step != StepBinding {
		t.Errorf("with another key: %v", err)
	}
	if _, err := GramineQuoteOf(foreignCert(t, "rats-tls-cert.pem")); !errors.As(err, &step) || step.Step != StepEvidence {
		t.Errorf("in a certificate without it: %v", err)
	}
}

// A claims buffer next to another quote must not pass.
func TestForeignQuotesSwapped(t *testing.T) {
	a, b := foreignCert(t, "gramine-cert.pem"), foreignCert(t, "rats-tls-cert.pem")
	x, err := DICEOf(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := DICEOf(b)
	if err != nil {
		t.Fatal(err)
	}
	x.Quote = y.Quote
	swapped := *a
	swapped.Extensions = append(swapped.Extensions[:0:0], a.Extensions...)
	for i, e := range swapped.Extensions {
		if e.Id.Equal(OIDDICE) {
			swapped.Extensions[i].Value, _ = x.AppendBinary(nil)
		}
	}
	step := (*attest.Error)(nil)
	if _, err := DICEOf(&swapped); !errors.As(err, &step) || step.Step != StepBinding {
		t.Errorf("the quote of another certificate: %v", err)
	}
}

func TestDICERoundTrip(t *testing.T) {
	spki, quote := basePoint(t), bytes.Repeat([]byte("q"), 5000)
	d := newDICE(spki, quote)
	b, _ := d.AppendBinary([]byte("x"))
	b = b[1:]
	p, err := ParseDICE(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p.Quote, quote) || p.ReportData() != DICEReportData(spki) || p.CheckKey(spki) != nil {
		t.Error("another value came back")
	}
	if rd := p.ReportData(); !bytes.Equal(rd[32:], make([]byte, 32)) {
		t.Error("the second half of the report data is not zero")
	}
	for i := range b {
		if _, err := ParseDICE(b[:i]); err == nil {
			t.Fatalf("the first %d bytes are taken", i)
		}
	}
}

func TestDICERefusals(t *testing.T) {
	quote, spki := []byte("q"), basePoint(t)
	entry := func(alg uint64, n int) []byte {
		return appendCBORString(appendCBOR(appendCBOR(nil, cborArray, 2), cborUint, alg), cborBytes, make([]byte, n))
	}
	claims := func(n uint64, kv ...[]byte) []byte {
		b := appendCBOR(nil, cborMap, n)
		for i := 0; i < len(kv); i += 2 {
			b = appendCBORString(appendCBORString(b, cborText, kv[i]), cborBytes, kv[i+1])
		}
		return b
	}
	name := []byte(claimPubkeyHash)
	evidence := func(claims []byte) []byte {
		b := appendCBOR(appendCBOR(nil, cborTag, diceTag), cborArray, 2)
		return appendCBORString(appendCBORString(b, cborBytes, quote), cborBytes, claims)
	}
	good := evidence(claims(1, name, entry(1, 32)))
	if _, err := ParseDICE(good); err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{
		"another tag":            append([]byte{0xd9, 0xea, 0x61}, good[3:]...),
		"a long tag":             append([]byte{0xda, 0, 0, 0xea, 0x60}, good[3:]...),
		"three items":            append([]byte{0xd9, 0xea, 0x60, 0x83}, good[4:]...),
		"an indefinite array":    append([]byte{0xd9, 0xea, 0x60, 0x9f}, good[4:]...),
		"bytes behind":           append(bytes.Clone(good), 0),
		"no claims":              evidence(claims(0)),
		"not the claim":          evidence(claims(1, []byte("nonce"), entry(1, 32))),
		"the claim twice":        evidence(claims(2, name, entry(1, 32), name, entry(1, 32))),
		"fewer claims than said": evidence(claims(2, name, entry(1, 32))),
		"more claims than said":  evidence(claims(1, name, entry(1, 32), []byte("n"), nil)),
		"claims without end":     evidence(claims(1 << 62)),
		"a text for a value":     evidence(append(claims(1)[:1], appendCBORString(appendCBORString(nil, cborText, name), cborText, entry(1, 32))...)),
		"too long":               evidence(append(claims(1, name, entry(1, 32)), make([]byte, maxDICESize)...)),
	} {
		if d, err := ParseDICE(b); err == nil {
			t.Errorf("%s: taken as %v", what, d)
		}
	}
	for what, e := range map[string][]byte{
		"unknown hash": entry(2, 32), "a short hash": entry(1, 31), "a hash of zeros": entry(1, 32), "empty": nil,
		"behind": append(entry(1, 32), 0), "not an array": {0xa0},
	} {
		d, err := ParseDICE(evidence(claims(1, name, e)))
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if err := d.CheckKey(spki); err == nil {
			t.Errorf("%s: the key is taken", what)
		}
	}
}

func FuzzParseDICE(f *testing.F) {
	b, _ := newDICE(basePoint(f), []byte("quote")).AppendBinary(nil)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDICE(b)
		if err != nil {
			return
		}
		if again, _ := d.AppendBinary(nil); !bytes.Equal(again, b) {
			t.Errorf("%x became %x", b, again)
		}
		_ = d.CheckKey(b)
	})
}

func noCollateral(context.Context, *attest.Quote) (*attest.Collateral, error) {
	return nil, errors.New("none here")
}
