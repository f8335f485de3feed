package keyref_test

import (
	"bytes"
	"crypto/rsa"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
)

const passphrase = "correct horse"

func give(pass string) keyref.PassphraseFunc {
	return func(string) ([]byte, error) { return []byte(pass), nil }
}

// noPassphrase fails the test if somebody asks.
func noPassphrase(t *testing.T) keyref.PassphraseFunc {
	return func(ref string) ([]byte, error) {
		t.Errorf("%s: asked for a passphrase", ref)
		return nil, errors.New("asked")
	}
}

func data(name string) string { return filepath.Join("testdata", name) }

func load(t *testing.T, ref string, pass keyref.PassphraseFunc) *rsa.PrivateKey {
	t.Helper()
	k, err := keyref.Load(ref, pass)
	if err != nil {
		t.Fatal(err)
	}
	return k.(*rsa.PrivateKey)
}

var plain = []string{"pkcs1.pem", "pkcs8.pem", "pkcs1-with-text.pem", "pkcs8-crlf.pem", "pkcs8-after-public.pem"}

func encrypted(t testing.TB) []string {
	t.Helper()
	var names []string
	for _, g := range []string{"pbkdf2-*.pem", "scrypt-*.pem", "legacy-*.pem"} {
		m, err := filepath.Glob(data(g))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range m {
			names = append(names, filepath.Base(f))
		}
	}
	if len(names) != 13 {
		t.Fatalf("%d encrypted keys in testdata", len(names))
	}
	return names
}

// TestLoad opens one key in all its forms, as openssl wrote them.
func TestLoad(t *testing.T) {
	want := load(t, data("pkcs1.pem"), noPassphrase(t))
	for _, name := range plain {
		if k := load(t, data(name), noPassphrase(t)); !k.Equal(want) {
			t.Errorf("%s: another key", name)
		}
		if k := load(t, "file:"+data(name), nil); !k.Equal(want) {
			t.Errorf("file:%s: another key", name)
		}
	}
	for _, name := range encrypted(t) {
		t.Run(name, func(t *testing.T) {
			asked := 0
			k := load(t, data(name), func(ref string) ([]byte, error) {
				asked++
				if ref != data(name) {
					t.Errorf("asked for %q", ref)
				}
				return []byte(passphrase), nil
			})
			if !k.Equal(want) || asked != 1 {
				t.Errorf("another key, or asked %d times", asked)
			}
			for _, wrong := range []string{"", "correct hors", "correct horse ", "\x00"} {
				if _, err := keyref.Load(data(name), give(wrong)); !errors.Is(err, keyref.ErrPassphrase) {
					t.Errorf("passphrase %q: %v", wrong, err)
				}
			}
			if _, err := keyref.Load(data(name), nil); !errors.Is(err, keyref.ErrEncrypted) {
				t.Errorf("no passphrase: %v", err)
			}
			gone := errors.New("no terminal")
			if _, err := keyref.Load(data(name), func(string) ([]byte, error) { return nil, gone }); !errors.Is(err, gone) {
				t.Errorf("asking fails: %v", err)
			}
		})
	}
}

func TestLoadRefuses(t *testing.T) {
	dir := t.TempDir()
	pkcs8, err := os.ReadFile(data("pkcs8.pem"))
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	bad := bytes.Replace(pkcs8, []byte("MII"), []byte("MIM"), 1)
	for _, c := range []struct{ ref, want string }{
		{filepath.Join(dir, "missing.pem"), "no such file (make a key with: eos keygen " + filepath.Join(dir, "missing.pem") + ")"},
		{dir, "is a directory"},
		{"", "no such file"},
		{"pkcs11:object=key", "unknown kind of key reference \"pkcs11\""},
		{"file:" + filepath.Join(dir, "x"), "no such file"},
		{data("public.pem"), "is a public key; signing needs the private key"},
		{data("public-pkcs1.pem"), "is a public key"},
		{data("wrong-certificate.pem"), "it is a certificate"},
		{data("wrong-2048.pem"), "key size is 2048 bits, want 3072 (make one with: eos keygen)"},
		{data("wrong-e65537.pem"), "public exponent is 65537, want 3"},
		{data("wrong-ec.pem"), "is of kind ECDSA, want RSA of 3072 bits with exponent 3"},
		{data("wrong-ed25519.pem"), "is of kind ED25519, want RSA"},
		{data("wrong-openssh.pem"), "it is an OpenSSH key (convert a copy: ssh-keygen"},
		{data("wrong-pkcs1.der"), "it is DER, not PEM (convert it: openssl pkey -inform DER"},
		{data("wrong-pkcs8.der"), "it is DER, not PEM"},
		{data("wrong-encrypted.der"), "it is DER, not PEM"},
		{data("unsupported-pbe-sha1-3des.pem"), "encryption not supported: algorithm 1.2.840.113549.1.12.1.3, want PBES2 (convert it: openssl pkcs8 -topk8"},
		{data("unsupported-legacy-camellia128.pem"), "DEK-Info \"CAMELLIA-128-CBC\", want AES-CBC or DES-EDE3-CBC (convert it:"},
		{write("empty", nil), "the file is empty"},
		{write("garbage", []byte("no key at all\n")), "no PEM key in it"},
		{write("cut", pkcs8[:len(pkcs8)/2]), "broken or cut off"},
		{write("bad", bad), "bad private key"},
		{write("big", bytes.Repeat([]byte("x"), 2<<20)), "more than 1048576 bytes"},
	} {
		t.Run(c.ref, func(t *testing.T) {
			_, err := keyref.Load(c.ref, noPassphrase(t))
			var ke *keyref.Error
			if !errors.As(err, &ke) || ke.Ref != c.ref {
				t.Fatalf("%T: %v", err, err)
			}
			if !strings.HasPrefix(err.Error(), "key "+c.ref+": ") || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%q, want %q", err, c.want)
			}
		})
	}
}

func TestLoadPublic(t *testing.T) {
	want := &load(t, data("pkcs1.pem"), nil).PublicKey
	for _, name := range append([]string{"public.pem", "public-pkcs1.pem"}, plain...) {
		if pub, err := keyref.LoadPublic(data(name)); err != nil || !pub.Equal(want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"legacy-aes256.pem":      "give the public key: openssl pkey -in testdata/legacy-aes256.pem -pubout",
		"scrypt-aes-256-cbc.pem": "give the public key",
		"wrong-2048.pem":         "key size is 2048 bits",
		"wrong-ec.pem":           "ECDSA",
		"wrong-certificate.pem":  "certificate",
		"wrong-pkcs8.der":        "DER",
		"missing":                "no such file",
	} {
		if _, err := keyref.LoadPublic(data(name)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestWarnExposed(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	b, err := os.ReadFile(data("pkcs8.pem"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, warned := range map[os.FileMode]bool{0o600: false, 0o400: false, 0o620: false, 0o640: true, 0o604: true, 0o644: true} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		var got []string
		l := keyref.Loader{Warn: func(m string) { got = append(got, m) }}
		if _, err := l.Load(path); err != nil {
			t.Fatal(err)
		}
		if (len(got) == 1) != warned || warned && !strings.Contains(got[0], "chmod 600 "+path) {
			t.Errorf("mode %#o: %q", mode, got)
		}
	}
}

// TestWrite writes and reads keys; in parallel, one of many writers wins.
func TestWrite(t *testing.T) {
	key := sign.DebugKey()
	for _, pass := range []string{"", "pässwörd"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "key.pem")
		if err := keyref.Write(path, key, []byte(pass)); err != nil {
			t.Fatal(err)
		}
		st, err := os.Stat(path)
		if err != nil || runtime.GOOS != "windows" && st.Mode() != 0o600 {
			t.Errorf("mode %v, %v", st.Mode(), err)
		}
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := bytes.Contains(before, []byte("ENCRYPTED")); got != (pass != "") {
			t.Errorf("encrypted: %v", got)
		}
		if k := load(t, path, give(pass)); !k.Equal(key) {
			t.Error("another key came back")
		}
		if pass != "" {
			if _, err := keyref.Load(path, give("x")); !errors.Is(err, keyref.ErrPassphrase) {
				t.Error(err)
			}
		}
		err = keyref.Write(path, key, nil)
		if err == nil || !strings.Contains(err.Error(), "never overwritten") || !errors.As(err, new(*keyref.Error)) {
			t.Errorf("overwriting: %v", err)
		}
		if err := keyref.WritePublic(path, &key.PublicKey); err == nil {
			t.Error("overwritten by a public key")
		}
		if after, err := os.ReadFile(path); err != nil || !bytes.Equal(before, after) {
			t.Errorf("changed, %v", err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
			t.Errorf("left behind: %v, %v", files, err)
		}
	}

	dir := t.TempDir()
	pub := filepath.Join(dir, "pub.pem")
	if err := keyref.WritePublic(pub, &key.PublicKey); err != nil {
		t.Fatal(err)
	}
	if k, err := keyref.LoadPublic(pub); err != nil || !k.Equal(&key.PublicKey) {
		t.Error(err)
	}

	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = keyref.Write(filepath.Join(dir, "race.pem"), key, nil) })
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d writers of one file won: %v", won, errs)
	}
	load(t, filepath.Join(dir, "race.pem"), nil)
}

func TestWriteRefuses(t *testing.T) {
	key := sign.DebugKey()
	dir := t.TempDir()
	small := load1(t, data("wrong-e65537.pem"))
	if err := keyref.Write(filepath.Join(dir, "k"), small, nil); err == nil || !strings.Contains(err.Error(), "exponent") {
		t.Errorf("wrong key: %v", err)
	}
	if err := keyref.Write(filepath.Join(dir, "no/such/k"), key, nil); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("no directory: %v", err)
	}
	if err := keyref.Write(dir, key, nil); err == nil {
		t.Error("wrote over a directory")
	}
	if err := os.Symlink(filepath.Join(dir, "target"), filepath.Join(dir, "link")); err == nil {
		if err := keyref.Write(filepath.Join(dir, "link"), key, nil); err == nil {
			t.Error("wrote through a dangling link")
		}
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) > 1 {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

// load1 parses without the checks of Load.
func load1(t *testing.T, path string) *rsa.PrivateKey {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := keyref.ParsePrivate(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	return k.(*rsa.PrivateKey)
}

// TestOpenSSLReads has the openssl program open what Write writes.
func TestOpenSSLReads(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl program on PATH")
	}
	for _, pass := range []string{"", passphrase} {
		path := filepath.Join(t.TempDir(), "key.pem")
		if err := keyref.Write(path, sign.DebugKey(), []byte(pass)); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(openssl, "rsa", "-in", path, "-passin", "pass:"+pass, "-check", "-traditional").CombinedOutput()
		if err != nil || !strings.Contains(string(out), "RSA key ok") {
			t.Fatalf("%v: %s", err, out)
		}
		k, err := keyref.ParsePrivate(out, nil)
		if err != nil || !sign.DebugKey().Equal(k) {
			t.Errorf("openssl read another key: %v", err)
		}
	}
}

// A loaded key signs.
func TestLoadedKeySigns(t *testing.T) {
	k, err := keyref.Load(data("scrypt-aes-256-cbc.pem"), give(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	s := sign.New(sgx.Measurement{1})
	if err := sign.Sign(s, k); err != nil {
		t.Fatal(err)
	}
	pub, err := keyref.LoadPublic(data("public.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := sign.VerifyBy(s, pub); err != nil {
		t.Error(err)
	}
}
