package keyref

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// envelope is an encrypted key with the given key derivation.
func envelope(t testing.TB, kdf asn1.ObjectIdentifier, params any, cipher asn1.ObjectIdentifier, iv, data []byte) []byte {
	t.Helper()
	k, err := algorithm(kdf, params)
	if err != nil {
		t.Fatal(err)
	}
	c, err := algorithm(cipher, iv)
	if err != nil {
		t.Fatal(err)
	}
	a, err := algorithm(oidPBES2, pbes2Params{k, c})
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(encryptedPrivateKeyInfo{a, data})
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: der})
}

// A key file may not ask for hours or gigabytes, nor make us crash.
func TestHostileParameters(t *testing.T) {
	salt, iv, data := make([]byte, 8), make([]byte, 16), make([]byte, 32)
	sha256 := pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256, Parameters: asn1.NullRawValue}
	for name, c := range map[string]struct {
		text []byte
		want string
	}{
		"iterations huge":   {envelope(t, oidPBKDF2, pbkdf2Params{salt, 1 << 31, 0, sha256}, oidAES256CBC, iv, data), "iterations"},
		"iterations zero":   {envelope(t, oidPBKDF2, pbkdf2Params{salt, 0, 0, sha256}, oidAES256CBC, iv, data), "iterations"},
		"iterations < 0":    {envelope(t, oidPBKDF2, pbkdf2Params{salt, -5, 0, sha256}, oidAES256CBC, iv, data), "iterations"},
		"key length":        {envelope(t, oidPBKDF2, pbkdf2Params{salt, 1, 16, sha256}, oidAES256CBC, iv, data), "key length 16, want 32"},
		"unknown prf":       {envelope(t, oidPBKDF2, pbkdf2Params{salt, 1, 0, pkix.AlgorithmIdentifier{Algorithm: oidPBES2}}, oidAES256CBC, iv, data), "want HMAC-SHA1"},
		"scrypt huge N":     {envelope(t, oidScrypt, scryptParams{salt, 1 << 40, 8, 1, 0}, oidAES256CBC, iv, data), "scrypt with N"},
		"scrypt huge r":     {envelope(t, oidScrypt, scryptParams{salt, 1 << 14, 1 << 30, 1, 0}, oidAES256CBC, iv, data), "scrypt with N"},
		"scrypt huge p":     {envelope(t, oidScrypt, scryptParams{salt, 2, 1, 1 << 30, 0}, oidAES256CBC, iv, data), "scrypt with N"},
		"scrypt odd N":      {envelope(t, oidScrypt, scryptParams{salt, 12345, 8, 1, 0}, oidAES256CBC, iv, data), "scrypt with N"},
		"scrypt negative":   {envelope(t, oidScrypt, scryptParams{salt, -2, -8, -1, 0}, oidAES256CBC, iv, data), "scrypt with N"},
		"scrypt key length": {envelope(t, oidScrypt, scryptParams{salt, 2, 1, 1, 31}, oidAES256CBC, iv, data), "key length 31, want 32"},
		"unknown kdf":       {envelope(t, oidPBES2, salt, oidAES256CBC, iv, data), "want PBKDF2 or scrypt"},
		"unknown cipher":    {envelope(t, oidPBKDF2, pbkdf2Params{salt, 1, 0, sha256}, oidPBES2, iv, data), "cipher"},
		"short iv":          {envelope(t, oidPBKDF2, pbkdf2Params{salt, 1, 0, sha256}, oidAES256CBC, iv[:4], data), "IV of 4"},
		"no data":           {envelope(t, oidPBKDF2, pbkdf2Params{salt, 1, 0, sha256}, oidAES256CBC, iv, nil), "0 encrypted bytes"},
		"half a block":      {envelope(t, oidPBKDF2, pbkdf2Params{salt, 1, 0, sha256}, oidAES256CBC, iv, data[:24]), "24 encrypted bytes"},
		"noise":             {envelope(t, oidPBKDF2, pbkdf2Params{salt, 1, 0, sha256}, oidAES256CBC, iv, data), "wrong passphrase"},
		"no structure":      {pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), "structure"},
		"dek without iv":    {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC"}, Bytes: data}), "DEK-Info has IV"},
		"dek short iv":      {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED", "DEK-Info": "AES-128-CBC,0102030405060708"}, Bytes: data}), "IV of 8"},
		"no dek":            {pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: data}), "DEK-Info \"\""},
	} {
		_, err := ParsePrivate(c.text, func() ([]byte, error) { return []byte("x"), nil })
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// Padding that is right by chance must not pass as a key.
func TestOpenCBCWantsSequence(t *testing.T) {
	c := &ciphers[2]
	key, iv := make([]byte, 32), make([]byte, 16)
	block, err := c.new(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, plain := range []string{"not a sequence\x02\x02", "\x30\x0d0123456789abc\x01", "\x30\x0c0123456789abc\x01", "\x04\x0d0123456789abc\x01", strings.Repeat("\x10", 16), strings.Repeat("\x00", 16), "0123456789abcde\x11", "0123456789abc\x02\x03\x03"} {
		data := make([]byte, 16)
		block.Encrypt(data, []byte(plain)) // one block with IV 0 is CBC
		_, err := c.openCBC(key, iv, data)
		if ok := plain[0] == 0x30 && plain[1] == 0x0d; ok != (err == nil) || !ok && !errors.Is(err, ErrPassphrase) {
			t.Errorf("%q: %v", plain, err)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		stop := errors.New("stop")
		if k, err := ParsePrivate(b, func() ([]byte, error) { return nil, stop }); (k == nil) == (err == nil) {
			t.Errorf("%v, %v", k, err)
		}
		if k, err := ParsePublic(b); (k == nil) == (err == nil) {
			t.Errorf("%v, %v", k, err)
		}
	})
}

func BenchmarkParsePrivate(b *testing.B) {
	text, err := os.ReadFile("testdata/pkcs8.pem")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := ParsePrivate(text, nil); err != nil {
			b.Fatal(err)
		}
	}
}
