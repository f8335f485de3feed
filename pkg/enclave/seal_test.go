package enclave

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
)

var (
	secret     = []byte("the cake is a lie")
	additional = []byte("name 1")
)

func mustSeal(t *testing.T, p processor, policy sgx.KeyPolicy) []byte {
	t.Helper()
	b, err := seal(p, policy, secret, additional)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSealUnseal(t *testing.T) {
	c := newChip(t, maker{})
	kss := newChip(t, maker{flags: sgx.AttrKSS, configID: 1, configSVN: 4})
	for _, policy := range []sgx.KeyPolicy{
		sgx.PolicyMREnclave, sgx.PolicyMRSigner, sgx.PolicyMRSigner | sgx.PolicyConfigID, sgx.PolicyMRSigner | sgx.PolicyKSS,
	} {
		p := c
		if policy&sgx.PolicyKSS != 0 {
			p = kss
		}
		for _, v := range []struct{ plaintext, additional []byte }{{secret, additional}, {nil, nil}, {make([]byte, 100_000), nil}} {
			b, err := seal(p, policy, v.plaintext, v.additional)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := seal(p, policy, v.plaintext, v.additional)
			if bytes.Equal(b, again) || len(b) != Overhead+len(v.plaintext) {
				t.Errorf("policy %d: %d bytes for %d, twice the same: %v", policy, len(b), len(v.plaintext), bytes.Equal(b, again))
			}
			got, err := unseal(p, b, v.additional)
			if err != nil || !bytes.Equal(got, v.plaintext) {
				t.Errorf("policy %d: %d bytes come back as %d: %v", policy, len(v.plaintext), len(got), err)
			}
		}
	}
}

// The blob is what the comment of ParseBlob says, computed without its code.
func TestBlobByTable(t *testing.T) {
	c := newChip(t, maker{})
	b := mustSeal(t, c, sgx.PolicyMRSigner)
	request := make([]byte, 512)
	copy(request, []byte{4, 0, 2, 0, 3, 0}) // seal key, MRSIGNER, ISVSVN 3
	copy(request[8:24], b[24:40])
	le.PutUint64(request[24:], 0xffffffff_fffffb0f)
	copy(request[40:72], b[72:104])
	seal, code, fault := microcode.EGetKey(c.dev, c.e, request)
	if code != 0 || fault != nil {
		t.Fatal(code, fault)
	}
	mac := func(key []byte, msg string) []byte {
		h := hmac.New(sha256.New, key)
		h.Write([]byte(msg))
		return h.Sum(nil)
	}
	block, err := aes.NewCipher(mac(mac(make([]byte, 32), string(seal[:])), "enclaveos seal v1\x01")) // RFC 5869
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	got, err := gcm.Open(nil, b[104:116], b[120:], append(bytes.Clone(b[:120]), additional...))
	if err != nil || !bytes.Equal(got, secret) {
		t.Errorf("%q, %v", got, err)
	}
	signer := c.e.SECS().MRSigner
	want := append([]byte("EOSSEAL\x01\x02\x00\x07\x00\x03\x00\x00\x00"), 5, 0, 0, 0, 0, 0, 0, 0) // INIT|MODE64BIT
	if !bytes.Equal(b[:24], want) || !bytes.Equal(b[40:72], signer[:]) {
		t.Errorf("header % x", b[:72])
	}
}

// Who opens what: the second chip tries what the first has sealed.
func TestWhoOpens(t *testing.T) {
	svn := func(n uint16) func(*sgx.SigStruct) { return func(s *sgx.SigStruct) { s.ISVSVN = n } }
	kss := func(m maker) maker { m.flags |= sgx.AttrKSS; return m }
	const (
		byImage, bySigner = sgx.PolicyMREnclave, sgx.PolicyMRSigner
		byConfig          = byImage | sgx.PolicyConfigID
	)
	for _, c := range []struct {
		what      string
		seal, try maker
		policy    sgx.KeyPolicy
		other     string // What of the OtherEnclaveError
		is        error
	}{
		{"the same image", maker{}, maker{}, byImage, "", nil},
		{"another image", maker{}, maker{page: "x"}, byImage, "MRENCLAVE", nil},
		{"another image of the signer", maker{}, maker{page: "x"}, bySigner, "", nil},
		{"another product", maker{}, maker{sign: func(s *sgx.SigStruct) { s.ISVProdID++ }}, bySigner, "ISVPRODID", nil},
		{"a debug enclave", maker{}, maker{flags: sgx.AttrDebug}, byImage, "ATTRIBUTES", nil},
		{"not a debug enclave", maker{flags: sgx.AttrDebug}, maker{}, bySigner, "ATTRIBUTES", nil},
		{"another machine", maker{}, maker{seed: 1}, byImage, "", ErrNotAuthentic},
		{"a newer version", maker{}, maker{sign: svn(4)}, bySigner, "", nil},
		{"an older version", maker{}, maker{sign: svn(2)}, bySigner, "", ErrNewer},
		{"now with KSS", maker{}, kss(maker{}), byImage, "", nil},
		{"now without KSS", kss(maker{}), maker{}, byImage, "", nil},
		{"without KSS, but with its policy", kss(maker{}), maker{}, byConfig, "ATTRIBUTES", nil},
		{"another configuration that does not matter", kss(maker{}), kss(maker{configID: 1}), byImage, "", nil},
		{"another configuration", kss(maker{}), kss(maker{configID: 1}), byConfig, "", ErrNotAuthentic},
		{"a newer configuration", kss(maker{configSVN: 1}), kss(maker{configSVN: 2}), byConfig, "", nil},
		{"an older configuration", kss(maker{configSVN: 2}), kss(maker{configSVN: 1}), byConfig, "", ErrNewer},
	} {
		t.Run(c.what, func(t *testing.T) {
			got, err := unseal(newChip(t, c.try), mustSeal(t, newChip(t, c.seal), c.policy), additional)
			var other *OtherEnclaveError
			switch {
			case c.other != "":
				if !errors.As(err, &other) || other.What != c.other || other.Sealed == other.Here {
					t.Errorf("error %v, want another %s", err, c.other)
				}
			case !errors.Is(err, c.is):
				t.Errorf("error %v, want %v", err, c.is)
			}
			if ok := c.other == "" && c.is == nil; ok != bytes.Equal(got, secret) || !ok && got != nil {
				t.Errorf("plaintext %q", got)
			}
		})
	}
}

// No bit of a blob can be changed, and no blob opens with other additional data.
func TestChangedBlobs(t *testing.T) {
	c := newChip(t, maker{})
	for _, policy := range []sgx.KeyPolicy{sgx.PolicyMREnclave, sgx.PolicyMRSigner} {
		b := mustSeal(t, c, policy)
		for bit := range 8 * len(b) {
			changed := bytes.Clone(b)
			changed[bit/8] ^= 1 << (bit % 8)
			got, err := unseal(c, changed, additional)
			if err == nil || got != nil {
				t.Errorf("bit %d of byte %d does not matter", bit%8, bit/8)
			}
			var other *OtherEnclaveError
			var blob *BlobError
			if !errors.Is(err, ErrNotAuthentic) && !errors.Is(err, ErrNewer) && !errors.As(err, &other) && !errors.As(err, &blob) {
				t.Errorf("bit %d of byte %d: error %v is of no kind", bit%8, bit/8, err)
			}
			if bit/8 >= 72 && bit/8 < 116 || bit/8 >= 120 {
				if !errors.Is(err, ErrNotAuthentic) {
					t.Errorf("byte %d: %v", bit/8, err)
				}
			}
		}
		for _, a := range [][]byte{nil, []byte("name 2"), []byte("name 1 "), []byte("name ")} {
			if _, err := unseal(c, b, a); !errors.Is(err, ErrNotAuthentic) {
				t.Errorf("additional data %q: %v", a, err)
			}
		}
	}
	newer := mustSeal(t, c, sgx.PolicyMRSigner)
	newer[24+15] = 0xff
	if _, err := unseal(c, newer, additional); !errors.Is(err, ErrNewer) {
		t.Errorf("a higher CPUSVN: %v", err)
	}
}

func TestPolicies(t *testing.T) {
	c := newChip(t, maker{})
	for policy, want := range map[sgx.KeyPolicy]bool{
		0: false, sgx.PolicyMREnclave | sgx.PolicyMRSigner: false, sgx.PolicyConfigID: false,
		sgx.PolicyMREnclave | 1<<6: false, 1 << 15: false,
		sgx.PolicyMREnclave: true, sgx.PolicyMRSigner: true,
	} {
		b, err := seal(c, policy, secret, nil)
		if errors.Is(err, ErrPolicy) == want || (b != nil) != want {
			t.Errorf("policy %d: %v", policy, err)
		}
	}
	var k *KeyError
	if _, err := seal(c, sgx.PolicyMREnclave|sgx.PolicyConfigID, secret, nil); !errors.As(err, &k) {
		t.Errorf("KSS policy without KSS: %v", err)
	}
}

func BenchmarkSeal(b *testing.B) {
	c := newChip(b, maker{})
	for b.Loop() {
		if _, err := seal(c, sgx.PolicyMREnclave, secret, additional); err != nil {
			b.Fatal(err)
		}
	}
}
