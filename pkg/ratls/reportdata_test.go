package ratls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// vector reads golden data that is not part of the project: from EOS_VECTORS, or from
// beside the repository.
func vector(t testing.TB, name string) []byte {
	t.Helper()
	dir := os.Getenv("EOS_VECTORS")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "vectors")
	}
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Skipf("golden data is not here (set EOS_VECTORS): %v", err)
	}
	return b
}

// basePoint is the SPKI of the P-256 key with the private key 1, as the published
// answers have it.
func basePoint(t testing.TB) []byte {
	raw := make([]byte, 32)
	raw[31] = 1
	key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		t.Fatal(err)
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	return spki
}

// gpuEvidence is the evidence of the published answers with a GPU. We read no evidence of
// GPUs; that its hash goes last is a rule that the formula must leave room for.
const gpuEvidence = "PGAE\x01 gpu evidence envelope"

func fill32(b byte) (v [32]byte) {
	for i := range v {
		v[i] = b
	}
	return v
}

// The published known answers of Enclave OS RA-TLS version 2. Facts: hash values only.
func TestReportDataPublished(t *testing.T) {
	spki := basePoint(t)
	at := time.Date(2026, 9, 4, 10, 15, 59, 0, time.UTC)
	context, hctx := fill32(0xc0), fill32(0xe1)
	gpu := sha256.Sum256([]byte(gpuEvidence))
	for _, c := range []struct {
		name string
		got  [64]byte
		want string
	}{
		{"deterministic", DeterministicReportData(spki, at),
			"fa01dc80f3f7d06d5e373a1255a8eb8d88f7978ef59724511b7058f6c638c166c79c5741e468db837ae6238af80f69b74ae1a8d5953144ff08bb9be6aa74ffd3"},
		{"deterministic, another time zone", DeterministicReportData(spki, at.In(time.FixedZone("", 3*3600+1800))),
			"fa01dc80f3f7d06d5e373a1255a8eb8d88f7978ef59724511b7058f6c638c166c79c5741e468db837ae6238af80f69b74ae1a8d5953144ff08bb9be6aa74ffd3"},
		{"deterministic, GPU", reportData(spki, []byte("2026-09-04T10:15Z"), gpu[:]),
			"ede4ca840d180b25a70bde5bffa234938f70f3e89d17f54371da4d221e1ac559e2d9cb6e789622e51bdb879f6fab3989ec61c82b6fcf176a81b44058588e48b2"},
		{"challenge", SessionReportData(spki, context, hctx),
			"a6589a1921832ec7a6fc1f8f7d3e1ed298852c1c2a71a62153d4c74f160ee468ff3a98b1c3e2c50ff428d74c756f115f10bf9dc32f14a0769ee720a9ee51726d"},
		{"challenge, GPU", reportData(spki, context[:], hctx[:], gpu[:]),
			"733486e60eef1f8e24d764988cc00e9591b6e02d38d69940f3691ead90c2664be940fbfdd4a91b032ed7cacc050378bf4bb109c8f4b2e277cd248b2fd1f9b706"},
	} {
		if got := hex.EncodeToString(c.got[:]); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
	if h := sha256.Sum256(spki); encoding.EncodeToString(h[:]) != "XNJS-wzokyQ2-vjM0QQJgbie5K1rn-niorfnGqyyfNM" {
		t.Errorf("name of the leaf: %s", encoding.EncodeToString(h[:]))
	}
}

// Every case of report data in the file, those of version 1 included.
func TestReportDataVectors(t *testing.T) {
	var file struct {
		SPKI struct{ DER string }
		V1   struct{ Cases []reportDataCase } `json:"report_data_v1"`
		V2   struct{ Cases []reportDataCase } `json:"report_data_v2"`
	}
	if err := json.Unmarshal(vector(t, "ratls/known-answers.json"), &file); err != nil {
		t.Fatal(err)
	}
	spki := unhex(t, file.SPKI.DER)
	if !bytes.Equal(spki, basePoint(t)) {
		t.Fatal("another key")
	}
	cases := append(file.V1.Cases, file.V2.Cases...)
	if len(cases) < 12 {
		t.Fatalf("only %d cases", len(cases))
	}
	for _, c := range cases {
		var binding []byte
		for _, s := range []string{c.Nonce, c.ServerChallenge, c.Binder, c.Context} {
			binding = append(binding, unhex(t, s)...)
		}
		if c.Hctx != "" {
			binding = append(binding, unhex(t, c.Hctx)...)
		}
		for _, at := range []string{c.NotBefore, c.QuoteTime} {
			if at != "" {
				when, err := ParseQuoteTime(at)
				if err != nil {
					t.Errorf("%s: %v", c.Name, err)
				}
				binding = append(binding, QuoteTime(when)...)
			}
		}
		if c.GPUEvidence != "" {
			h := sha256.Sum256(unhex(t, c.GPUEvidence))
			binding = append(binding, h[:]...)
		}
		if got := reportData(spki, binding); hex.EncodeToString(got[:]) != c.ReportData {
			t.Errorf("%s: got %x, want %s", c.Name, got, c.ReportData)
		}
	}
}

type reportDataCase struct {
	Name            string
	NotBefore       string `json:"not_before"`
	QuoteTime       string `json:"quote_time"`
	Nonce, Binder   string
	ServerChallenge string `json:"server_challenge"`
	Context, Hctx   string
	GPUEvidence     string `json:"gpu_evidence"`
	ReportData      string `json:"report_data"`
}

func TestParseQuoteTime(t *testing.T) {
	for _, s := range []string{"", "2026-09-04T10:15", "2026-09-04T10:15:00Z", "2026-9-04T10:15Z", "2026-09-04T24:15Z", "2026-02-30T10:15Z", "2026-09-04T10:15Z ", "2026-09-04t10:15Z", "2026-09-04T10:15+00:00"} {
		if _, err := ParseQuoteTime(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
	at := time.Date(2026, 9, 4, 10, 15, 0, 0, time.UTC)
	if got, err := ParseQuoteTime(QuoteTime(at.Add(59 * time.Second))); err != nil || !got.Equal(at) {
		t.Errorf("%v %v", got, err)
	}
}

// expandLabel is HKDF-Expand-Label of RFC 8446, 7.1, and export its exporter (7.5): what
// crypto/tls does, done a second time.
func expandLabel(t testing.TB, h func() hash.Hash, secret []byte, label string, context []byte, n int) []byte {
	t.Helper()
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(info, byte(6+len(label))), "tls13 "+label...)
	info = append(append(info, byte(len(context))), context...)
	out, err := hkdf.Expand(h, secret, string(info), n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func export(t testing.TB, h func() hash.Hash, master []byte, label string, context []byte) []byte {
	empty, hashed := h(), h()
	hashed.Write(context)
	secret := expandLabel(t, h, master, label, empty.Sum(nil), h().Size())
	return expandLabel(t, h, secret, "exporter", hashed.Sum(nil), 32)
}

// The published known answers of the exporter: they pin our labels.
func TestExporterPublished(t *testing.T) {
	context := make([]byte, 32)
	for i := range context {
		context[i] = 0xc0 + byte(i)
	}
	for _, c := range []struct {
		name                   string
		h                      func() hash.Hash
		master, server, client string
	}{
		{"SHA-256", sha256.New, "17f32629ff38faaa7c23496c19e7a3a28a040b896560c4e5e86186454aaf74e4",
			"907268c026c4a010af461aa5ae8113e19fbc0ed53b45bb203940e0aeec822499", "a57634d73fcaea9834b13f152de2b9d7ec1c71a47f8e8ffbbcb97a9b83b4886b"},
		{"SHA-384", sha512.New384, "2f448e34be0270ff9c8dc44f615c7b7371ce043cc830107e8c9c268e624cceb7ca6245b072fb355935f5c44c26e6a8ec",
			"91da8ee68056b2475da639b1c3ffb7ba5c21fcb2811f0c62f605f38d6926d25d", "8495d448f3742c5d59d695638b8a35486512633e47db3becf997e74c0ee5bfad"},
	} {
		master := unhex(t, c.master)
		if got := hex.EncodeToString(export(t, c.h, master, serverLabel, context)); got != c.server {
			t.Errorf("%s server: got %s, want %s", c.name, got, c.server)
		}
		if got := hex.EncodeToString(export(t, c.h, master, clientLabel, context)); got != c.client {
			t.Errorf("%s client: got %s, want %s", c.name, got, c.client)
		}
	}
}

// Both ends of a connection export the same, for each label and context another value,
// and another one than any other connection does.
func TestExporterOfConnection(t *testing.T) {
	seen := make(map[[32]byte]bool)
	for range 2 {
		ours, theirs := connection(t)
		for _, label := range []string{serverLabel, clientLabel} {
			for _, context := range [][32]byte{fill32(0), fill32(7)} {
				x, err := exported(&ours, label, context)
				if err != nil {
					t.Fatal(err)
				}
				y, err := exported(&theirs, label, context)
				if err != nil {
					t.Fatal(err)
				}
				if x != y {
					t.Errorf("%s: client %x, server %x", label, x, y)
				}
				seen[x] = true
			}
		}
	}
	if len(seen) != 8 {
		t.Errorf("%d different values of 8", len(seen))
	}
	unfinished := tls.ConnectionState{Version: tls.VersionTLS13}
	if _, err := exported(&unfinished, serverLabel, fill32(7)); err == nil {
		t.Error("exported from a connection without a handshake")
	}
}

// connection makes a TLS connection, and gives the states of client and server.
func connection(t testing.TB) (client, server tls.ConnectionState) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	t.Cleanup(func() { a.Close(); b.Close() })
	s := tls.Server(a, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, SessionTicketsDisabled: true})
	c := tls.Client(b, &tls.Config{InsecureSkipVerify: true})
	done := make(chan error, 1)
	go func() { done <- s.Handshake() }()
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return c.ConnectionState(), s.ConnectionState()
}
