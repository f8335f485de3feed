package cmac

import (
	"encoding/hex"
	"testing"
)

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The four examples of RFC 4493 section 4, and of SP 800-38B appendix D.1.
const (
	rfcKey = "2b7e151628aed2a6abf7158809cf4f3c"
	rfcMsg = "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51" +
		"30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)

func TestRFC4493(t *testing.T) {
	key, msg := [Size]byte(unhex(t, rfcKey)), unhex(t, rfcMsg)
	for _, v := range []struct {
		n   int
		mac string
	}{
		{0, "bb1d6929e95937287fa37d129b756746"},
		{16, "070a16b46b4d4144f79bdd9dd04a287c"},
		{40, "dfa66747de9ae63030ca32611497c827"},
		{64, "51f0bebf7e3b9d92fc49741779363cfe"},
	} {
		got := Sum(key, msg[:v.n])
		if hex.EncodeToString(got[:]) != v.mac {
			t.Errorf("%d bytes: %x, want %s", v.n, got, v.mac)
		}
		if !Verify(key, msg[:v.n], got) {
			t.Errorf("%d bytes: own MAC refused", v.n)
		}
		for i := range got {
			bad := got
			bad[i] ^= 1
			if Verify(key, msg[:v.n], bad) {
				t.Errorf("%d bytes: MAC with byte %d changed is accepted", v.n, i)
			}
		}
	}
}

// Subkey generation, RFC 4493 section 4: K1 and K2 of the example key.
func TestDouble(t *testing.T) {
	l := [Size]byte(unhex(t, "7df76b0c1ab899b33e42f047b91b546f"))
	k1 := double(l)
	if got := hex.EncodeToString(k1[:]); got != "fbeed618357133667c85e08f7236a8de" {
		t.Errorf("K1 is %s", got)
	}
	k2 := double(k1)
	if got := hex.EncodeToString(k2[:]); got != "f7ddac306ae266ccf90bc11ee46d513b" {
		t.Errorf("K2 is %s", got)
	}
}

func TestSumKeepsMessage(t *testing.T) {
	msg := unhex(t, rfcMsg)
	Sum([Size]byte(unhex(t, rfcKey)), msg)
	if hex.EncodeToString(msg) != rfcMsg {
		t.Error("Sum changed its input")
	}
}

func BenchmarkReportBody(b *testing.B) {
	msg := make([]byte, 384)
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		Sum([Size]byte{}, msg)
	}
}
