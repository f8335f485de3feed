package ratls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write testdata/session.json anew")

// sessionVector is one answer to a challenge and whether it must be accepted. Secrets
// are exporter master secrets of TLS_AES_128_GCM_SHA256.
type sessionVector struct {
	Name       string `json:"name"`
	Says       string `json:"says"` // what happened
	Leg        string `json:"leg"`  // whose evidence it is: server or client
	LeafSPKI   string `json:"leaf_spki"`
	Context    string `json:"context"`
	Secret     string `json:"exporter_master_secret"` // of the verifier's end
	ReportData string `json:"quote_report_data"`
	Accept     bool   `json:"accept"`
}

// sessionVectors makes the content of testdata/session.json. Each refused vector is what
// an attacker can get out of honest enclaves, or a near miss in the formula.
func sessionVectors(t testing.TB) []sessionVector {
	key := func(n byte) []byte {
		raw := make([]byte, 32)
		raw[31] = n
		k, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
		if err != nil {
			t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		return spki
	}
	server, client, attacker := key(1), key(2), key(3)
	context, other := fill32(0xc0), fill32(0xc1)
	secret, elsewhere := fill32(0x51), fill32(0x52)
	answer := func(spki []byte, context [32]byte, secret [32]byte, label string) [64]byte {
		return reportData(spki, context[:], export(t, sha256.New, secret[:], label, context[:]))
	}
	var vs []sessionVector
	add := func(name, says, leg string, leaf []byte, rd [64]byte, accept bool) {
		vs = append(vs, sessionVector{name, says, leg, hex.EncodeToString(leaf), hex.EncodeToString(context[:]), hex.EncodeToString(secret[:]), hex.EncodeToString(rd[:]), accept})
	}
	hctx := export(t, sha256.New, secret[:], serverLabel, context[:])
	add("server", "the server's answer in this session", "server", server, answer(server, context, secret, serverLabel), true)
	add("client", "the client's answer in this session", "client", client, answer(client, context, secret, clientLabel), true)
	add("relay", "the challenge was passed on to the enclave in another session, with a stolen key of its", "server", server, answer(server, context, elsewhere, serverLabel), false)
	add("relay-own-leaf", "the attacker shows his own leaf and passes the challenge on", "server", attacker, answer(server, context, elsewhere, serverLabel), false)
	add("relay-same-secret", "the right session and another key than the leaf's", "server", attacker, answer(server, context, secret, serverLabel), false)
	add("replay-challenge", "the answer to another challenge in this session", "server", server, answer(server, other, secret, serverLabel), false)
	add("replay-session", "the answer to the same challenge in an earlier session", "server", server, answer(server, context, elsewhere, serverLabel), false)
	add("reflection", "what the client has proven comes back as the server's", "server", client, answer(client, context, secret, clientLabel), false)
	add("reflection-same-key", "the same, by an enclave that is both with one key", "server", server, answer(server, context, secret, clientLabel), false)
	add("reflection-to-server", "what the server has proven comes back as the client's", "client", client, answer(client, context, secret, serverLabel), false)
	add("peer-label", "the label of another protocol", "server", server, answer(server, context, secret, serverLabel+"-peer-server"), false)
	add("deterministic", "the quote of a leaf", "server", server, DeterministicReportData(server, time.Date(2026, 9, 4, 10, 15, 0, 0, time.UTC)), false)
	add("no-exporter", "the challenge alone", "server", server, reportData(server, context[:]), false)
	add("no-challenge", "the exporter alone", "server", server, reportData(server, hctx), false)
	add("swapped", "exporter first", "server", server, reportData(server, hctx, context[:]), false)
	add("no-context-in-exporter", "the exporter without the challenge as its context", "server", server,
		reportData(server, context[:], export(t, sha256.New, secret[:], serverLabel, nil)), false)
	add("dice", "the quote of the interoperable form", "server", server, DICEReportData(server), false)
	add("zero", "no report data", "server", server, [64]byte{}, false)
	return vs
}

// The vectors say what our formula says: about the labels, with an exporter written here a
// second time.
func TestSessionVectors(t *testing.T) {
	const file = "testdata/session.json"
	vs := sessionVectors(t)
	b, err := json.MarshalIndent(vs, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, '\n')
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b) {
		t.Errorf("%s is not what the generator makes: go test -run SessionVectors -update", file)
	}
	if err := json.Unmarshal(have, &vs); err != nil {
		t.Fatal(err)
	}
	labels := map[string]string{"server": serverLabel, "client": clientLabel}
	accepted := 0
	for _, v := range vs {
		context := [32]byte(unhex(t, v.Context))
		hctx := export(t, sha256.New, unhex(t, v.Secret), labels[v.Leg], context[:])
		want := SessionReportData(unhex(t, v.LeafSPKI), context, [32]byte(hctx))
		if got := hex.EncodeToString(want[:]) == v.ReportData; got != v.Accept {
			t.Errorf("%s (%s): accepted %v", v.Name, v.Says, got)
		}
		if v.Accept {
			accepted++
		}
	}
	if accepted != 2 || len(vs) < 18 {
		t.Errorf("%d of %d vectors are good", accepted, len(vs))
	}
}
