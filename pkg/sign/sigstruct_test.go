package sign_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
	"github.com/enclaveos/eos/pkg/sign/keyref"
)

func signed(t testing.TB) *sgx.SigStruct {
	t.Helper()
	s := sign.New(sgx.Measurement{1, 2, 3})
	sign.SetISVFamilyID(s, [16]byte{7})
	s.ISVProdID, s.ISVSVN = 3, 4
	if err := sign.Sign(s, sign.DebugKey()); err != nil {
		t.Fatal(err)
	}
	return s
}

// fieldAt is the answer to a changed byte: the field that Verify names, or ""
// where the parser must refuse.
func fieldAt(off int) string {
	switch {
	case off < 16, 24 <= off && off < 40, 44 <= off && off < 128, off == 910, off == 911, 992 <= off && off < 1008, 1028 <= off && off < 1040:
		return "" // headers and reserved bytes
	case 16 <= off && off < 20:
		return "VENDOR"
	case 512 <= off && off < 516:
		return "EXPONENT"
	case off >= 1424:
		return "Q2"
	case off >= 1040:
		return "Q1"
	}
	return "SIGNATURE"
}

// TestEveryBitCounts flips a bit in each byte of a good SIGSTRUCT.
func TestEveryBitCounts(t *testing.T) {
	good := encode(t, signed(t))
	for off := range good {
		b := bytes.Clone(good)
		b[off] ^= 1 << (off % 8)
		want := fieldAt(off)
		s, err := sgx.ParseSigStruct(b)
		if want == "" {
			if err == nil {
				t.Errorf("byte %d: parsed", off)
			}
			continue
		}
		if err != nil {
			t.Errorf("byte %d: %v", off, err)
			continue
		}
		var fe *sign.FieldError
		if err := sign.Verify(s); !errors.As(err, &fe) {
			t.Errorf("byte %d: %v", off, err)
		} else if fe.Field != want && (fe.Field != "MODULUS" || off < 128 || off >= 512) {
			t.Errorf("byte %d: %v, want field %s", off, err, want)
		} else if code := sgx.InvalidSignature; (want == "VENDOR" || want == "EXPONENT") != (fe.Code != code) {
			t.Errorf("byte %d: EINIT code %v", off, fe.Code)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	for _, c := range []struct {
		name, field string
		change      func(*sgx.SigStruct)
	}{
		{"Q1 and Q2 exchanged", "Q1", func(s *sgx.SigStruct) { s.Q1, s.Q2 = s.Q2, s.Q1 }},
		{"zero", "EXPONENT", func(s *sgx.SigStruct) { *s = sgx.SigStruct{} }},
		{"even modulus", "MODULUS", func(s *sgx.SigStruct) { s.Modulus[0] &^= 1 }},
		{"short modulus", "MODULUS", func(s *sgx.SigStruct) { s.Modulus[383] = 0 }},
		{"modulus zero", "MODULUS", func(s *sgx.SigStruct) { s.Modulus = [384]byte{} }},
		{"exponent 65537", "EXPONENT", func(s *sgx.SigStruct) { s.Exponent = 65537 }},
		{"exponent huge", "EXPONENT", func(s *sgx.SigStruct) { s.Exponent = 1<<32 - 1 }},
		{"signature zero", "SIGNATURE", func(s *sgx.SigStruct) { s.Signature = [384]byte{} }},
		{"signature one", "SIGNATURE", func(s *sgx.SigStruct) { s.Signature = [384]byte{1} }},
		{"signature is modulus", "SIGNATURE", func(s *sgx.SigStruct) { s.Signature = s.Modulus }},
		{"signature plus modulus", "SIGNATURE", func(s *sgx.SigStruct) {
			for i := range s.Signature {
				s.Signature[i] = 0xff
			}
		}},
		{"big-endian signature", "SIGNATURE", func(s *sgx.SigStruct) { slices.Reverse(s.Signature[:]) }},
		{"Q1 zero", "Q1", func(s *sgx.SigStruct) { s.Q1 = [384]byte{} }},
		{"Q2 zero", "Q2", func(s *sgx.SigStruct) { s.Q2 = [384]byte{} }},
		{"other key's modulus", "SIGNATURE", func(s *sgx.SigStruct) {
			s.Modulus = parse(t, readFile(t, filepath.Join(edp, "sign/default.sig"))).Modulus
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := signed(t)
			c.change(s)
			var fe *sign.FieldError
			if err := sign.Verify(s); !errors.As(err, &fe) || fe.Field != c.field {
				t.Errorf("%v, want field %s", err, c.field)
			} else if !errors.Is(err, fe.Code) {
				t.Errorf("%v does not wrap %v", err, fe.Code)
			}
		})
	}
}

func TestVendorIntel(t *testing.T) {
	s := sign.New(sgx.Measurement{})
	s.Vendor = sgx.VendorIntel
	if err := sign.Sign(s, sign.DebugKey()); err != nil {
		t.Error(err)
	}
	s.Vendor = 1
	var fe *sign.FieldError
	if err := sign.Sign(s, sign.DebugKey()); !errors.As(err, &fe) || fe.Field != "VENDOR" {
		t.Errorf("VENDOR 1: %v", err)
	}
}

func rawSignature(t testing.TB, s *sgx.SigStruct, key *rsa.PrivateKey) []byte {
	t.Helper()
	d := sign.Digest(s)
	sig, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, d[:])
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

func TestJoin(t *testing.T) {
	key := sign.DebugKey()
	fields := sign.New(sgx.Measurement{9})
	good := rawSignature(t, fields, key)
	s := *fields
	if err := sign.Join(&s, &key.PublicKey, good); err != nil {
		t.Fatal(err)
	}
	want := *fields
	if err := sign.Sign(&want, key); err != nil || s != want {
		t.Errorf("joined %+v\nsigned %+v\n%v", s, want, err)
	}

	other := pemKey(t, filepath.Join(edp, "keys/key1.pem"))
	otherFields := sign.New(sgx.Measurement{8})
	turned := slices.Clone(good)
	slices.Reverse(turned)
	flipped := slices.Clone(good)
	flipped[200] ^= 4
	d := sign.Digest(fields)
	pss, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, d[:], nil)
	if err != nil {
		t.Fatal(err)
	}
	hashOfHash := sha256.Sum256(d[:])
	twice, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, hashOfHash[:])
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		pub  *rsa.PublicKey
		sig  []byte
		want string
	}{
		{"nothing", &key.PublicKey, nil, "0 bytes, want 384"},
		{"cut off", &key.PublicKey, good[:383], "383 bytes, want 384"},
		{"too long", &key.PublicKey, append(slices.Clone(good), 0), "385 bytes, want 384"},
		{"little-endian", &key.PublicKey, turned, "little-endian"},
		{"a bit flipped", &key.PublicKey, flipped, "SIGNATURE does not match"},
		{"zeros", &key.PublicKey, make([]byte, 384), "SIGNATURE"},
		{"ones", &key.PublicKey, bytes.Repeat([]byte{0xff}, 384), "not smaller than MODULUS"},
		{"other fields", &key.PublicKey, rawSignature(t, otherFields, key), "other fields, another key"},
		{"other key's signature", &key.PublicKey, rawSignature(t, fields, other), "SIGNATURE"},
		{"other public key", &other.PublicKey, good, "SIGNATURE"},
		{"PSS", &key.PublicKey, pss, "another padding"},
		{"hashed twice", &key.PublicKey, twice, "SIGNATURE"},
		{"exponent 65537", &rsa.PublicKey{N: key.N, E: 65537}, good, "public exponent is 65537, want 3"},
		{"key of 2048 bits", &rsa.PublicKey{N: new(big.Int).Rsh(key.N, 1024), E: 3}, good, "key size is 2048 bits, want 3072"},
		{"even modulus", &rsa.PublicKey{N: new(big.Int).Sub(key.N, big.NewInt(1)), E: 3}, good, "even"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := *fields
			err := sign.Join(&s, c.pub, c.sig)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
			if s != *fields {
				t.Error("the SIGSTRUCT was changed")
			}
		})
	}
}

// device is a crypto.Signer whose answer the test decides.
type device struct {
	pub crypto.PublicKey
	sig []byte
	err error
}

func (d device) Public() crypto.PublicKey                                  { return d.pub }
func (d device) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return d.sig, d.err }

func TestSignRefuses(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	unplugged := errors.New("unplugged")
	for _, c := range []struct {
		name string
		key  crypto.Signer
		want string
	}{
		{"EC", ec, "want RSA"},
		{"2048 bits", small, "key size is 2048 bits, want 3072"},
		{"exponent", pemKey(t, filepath.Join(edp, "keys/key_e65537.pem")), "public exponent is 65537, want 3"},
		{"device fails", device{&sign.DebugKey().PublicKey, nil, unplugged}, "unplugged"},
		{"device lies", device{&sign.DebugKey().PublicKey, make([]byte, 384), nil}, "SIGNATURE"},
		{"device is silent", device{&sign.DebugKey().PublicKey, nil, nil}, "0 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := sign.New(sgx.Measurement{1})
			before := *s
			if err := sign.Sign(s, c.key); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			} else if c.want == "unplugged" && !errors.Is(err, unplugged) {
				t.Errorf("%v does not wrap the device's error", err)
			}
			if *s != before {
				t.Error("the SIGSTRUCT was changed")
			}
		})
	}
}

func TestVerifyBy(t *testing.T) {
	s := signed(t)
	if err := sign.VerifyBy(s, &sign.DebugKey().PublicKey); err != nil {
		t.Error(err)
	}
	other := pemKey(t, filepath.Join(edp, "keys/key1.pem"))
	if err := sign.VerifyBy(s, &other.PublicKey); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("other key: %v", err)
	}
	s.Q1[0] ^= 1
	if err := sign.VerifyBy(s, &sign.DebugKey().PublicKey); err == nil || !strings.Contains(err.Error(), "Q1") {
		t.Errorf("broken: %v", err)
	}
}

// debugMRSigner pins the embedded key: a changed key is a changed identity.
const debugMRSigner = "87c667913b362067929d7c32a1c4fbc4143fbf801bf3ecfe60993af798f14efc"

func TestDummy(t *testing.T) {
	mr := sgx.Measurement{0xab}
	s, err := sign.Dummy(mr, sgx.XFRMLegacy|sgx.XFRMAVX)
	if err != nil {
		t.Fatal(err)
	}
	if err := sign.Verify(s); err != nil {
		t.Error(err)
	}
	if got := s.MRSigner().String(); got != debugMRSigner {
		t.Errorf("MRSIGNER %s, want %s", got, debugMRSigner)
	}
	all := sgx.Attributes{Flags: ^sgx.AttrFlags(0), XFRM: ^sgx.XFRM(0)}
	if s.Attributes != (sgx.Attributes{Flags: sgx.AttrDebug | sgx.AttrMode64Bit, XFRM: 7}) || s.AttributeMask != all ||
		s.MiscSelect != 0 || s.MiscMask != 0xffffffff || s.CETAttributesMask != 0 || s.Date != sign.DefaultDate || s.EnclaveHash != mr {
		t.Errorf("%+v", s)
	}
	again, err := sign.Dummy(mr, sgx.XFRMLegacy|sgx.XFRMAVX)
	if err != nil || *again != *s {
		t.Errorf("second dummy differs, %v", err)
	}
}

func TestGenerateKey(t *testing.T) {
	k, err := sign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Validate(); err != nil {
		t.Error(err)
	}
	if k.N.BitLen() != 3072 || k.E != 3 || len(k.Primes) != 2 {
		t.Errorf("%d bits, e = %d", k.N.BitLen(), k.E)
	}
	for _, p := range k.Primes {
		if p.BitLen() != 1536 || !p.ProbablyPrime(10) || new(big.Int).Mod(p, big.NewInt(3)).Int64() != 2 {
			t.Errorf("prime %v", p)
		}
	}
	if err := sign.Sign(sign.New(sgx.Measurement{}), k); err != nil {
		t.Error(err)
	}
	if k.N.Cmp(sign.DebugKey().N) == 0 {
		t.Error("not random")
	}
	if _, err := sign.GenerateKey(strings.NewReader("not enough")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short random source: %v", err)
	}
}

// TestOpenSSL signs the digest with the openssl program and joins the answer,
// and has the program verify a signature of ours.
func TestOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("no openssl program on PATH")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	write := func(name string, b []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run("genrsa", "-3", "-out", "key.pem", "3072")
	key, err := keyref.Load(filepath.Join(dir, "key.pem"), nil)
	if err != nil {
		t.Fatal(err)
	}
	fields := sign.New(sgx.Measurement{5})
	digest := sign.Digest(fields)
	write("digest", digest[:])
	run("pkeyutl", "-sign", "-inkey", "key.pem", "-pkeyopt", "digest:sha256", "-in", "digest", "-out", "signature")
	s := *fields
	if err := sign.Join(&s, key.Public().(*rsa.PublicKey), readFile(t, filepath.Join(dir, "signature"))); err != nil {
		t.Fatal(err)
	}
	want := *fields
	if err := sign.Sign(&want, key); err != nil || s != want {
		t.Errorf("openssl's signature differs from ours: %v", err)
	}

	if err := keyref.WritePublic(filepath.Join(dir, "pub.pem"), &sign.DebugKey().PublicKey); err != nil {
		t.Fatal(err)
	}
	write("ours", rawSignature(t, fields, sign.DebugKey()))
	write("message", fields.SignedBytes())
	run("dgst", "-sha256", "-verify", "pub.pem", "-signature", "ours", "message")
}

// FuzzVerify changes a good SIGSTRUCT: whatever the change, it is refused. (A
// patch rather than whole SIGSTRUCTs keeps the fuzzer's inputs small; random
// 1808 bytes would fail at HEADER.)
func FuzzVerify(f *testing.F) {
	good := encode(f, signed(f))
	f.Add(uint16(0), []byte{})
	f.Add(uint16(16), []byte{0x86, 0x80})
	f.Add(uint16(128), bytes.Clone(good[128:512]))
	f.Add(uint16(516), bytes.Repeat([]byte{0xff}, 384))
	f.Add(uint16(1040), []byte{1})
	f.Add(uint16(1807), []byte{1, 2})
	f.Fuzz(func(t *testing.T, off uint16, patch []byte) {
		b := bytes.Clone(good)
		for i, v := range patch {
			if at := int(off) + i; at < len(b) {
				b[at] ^= v
			}
		}
		s, err := sgx.ParseSigStruct(b)
		if err != nil {
			return
		}
		sign.Describe(s).Fields()
		err = sign.Verify(s)
		var fe *sign.FieldError
		switch same := bytes.Equal(b, good); {
		case same != (err == nil):
			t.Errorf("changed: %v, Verify: %v", !same, err)
		case err != nil && !errors.As(err, &fe):
			t.Errorf("%T: %v", err, err)
		case !bytes.Equal(encode(t, s), b):
			t.Error("encoded as other bytes")
		}
	})
}

func BenchmarkSign(b *testing.B) {
	s := sign.New(sgx.Measurement{})
	for b.Loop() {
		if err := sign.Sign(s, sign.DebugKey()); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	s := signed(b)
	for b.Loop() {
		if err := sign.Verify(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGenerateKey(b *testing.B) {
	for b.Loop() {
		if _, err := sign.GenerateKey(nil); err != nil {
			b.Fatal(err)
		}
	}
}

func ExampleJoin() {
	s := sign.New(sgx.Measurement{})
	digest := sign.Digest(s) // to the device

	device := sign.DebugKey() // stands for it here
	signature, err := device.Sign(nil, digest[:], crypto.SHA256)
	if err != nil {
		panic(err)
	}

	err = sign.Join(s, &device.PublicKey, signature)
	fmt.Println(err, sign.Verify(s))
	// Output: <nil> <nil>
}
