package sign_test

import (
	"crypto/rand"
	"math/big"
	"testing"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sign"
)

// naiveQ1Q2 is the text of SDM 38.13, letter by letter.
func naiveQ1Q2(s, n *big.Int) (q1, q2 *big.Int) {
	square := new(big.Int).Exp(s, big.NewInt(2), nil)
	q1 = new(big.Int).Div(square, n)
	cube := new(big.Int).Exp(s, big.NewInt(3), nil)
	qsn := new(big.Int).Mul(new(big.Int).Mul(q1, s), n)
	return q1, new(big.Int).Div(new(big.Int).Sub(cube, qsn), n)
}

func TestQ1Q2(t *testing.T) {
	one := big.NewInt(1)
	check := func(s, n *big.Int) {
		t.Helper()
		q1, q2 := sign.Q1Q2(s, n)
		w1, w2 := naiveQ1Q2(s, n)
		if q1.Cmp(w1) != 0 || q2.Cmp(w2) != 0 {
			t.Errorf("Q1Q2(%v, %v) = %v, %v, want %v, %v", s, n, q1, q2, w1, w2)
		}
		if q1.BitLen() > n.BitLen() || q2.BitLen() > n.BitLen() {
			t.Errorf("Q1Q2(%v, %v) is longer than n", s, n)
		}
	}
	for n := int64(1); n < 60; n += 2 {
		for s := range n {
			check(big.NewInt(s), big.NewInt(n))
		}
	}
	top := new(big.Int).Lsh(one, 3071)
	for _, n := range []*big.Int{
		new(big.Int).Add(top, one),                         // the least modulus
		new(big.Int).Sub(new(big.Int).Lsh(one, 3072), one), // the greatest
		sign.DebugKey().N,
	} {
		for _, bits := range []uint{1, 8, 1535, 1536, 1537, 2048, 3064, 3070} {
			check(new(big.Int).Lsh(one, bits), n) // small s: Q1, Q2 with zeros above
		}
		check(new(big.Int), n)
		check(new(big.Int).Sub(n, one), n)
		for range 20 {
			s, err := rand.Int(rand.Reader, n)
			if err != nil {
				t.Fatal(err)
			}
			check(s, n)
		}
	}
}

// TestLeadingZeros signs until each of SIGNATURE, Q1 and Q2 has had a zero
// high byte, where careless code writes a number that is too short.
func TestLeadingZeros(t *testing.T) {
	var sig, q1, q2 bool
	s := sign.New(sgx.Measurement{})
	for s.SWDefined < 6000 && !(sig && q1 && q2) {
		s.SWDefined++
		if err := sign.Sign(s, sign.DebugKey()); err != nil {
			t.Fatal(err)
		}
		sig = sig || s.Signature[383] == 0
		q1 = q1 || s.Q1[383] == 0
		q2 = q2 || s.Q2[383] == 0
	}
	if !sig || !q1 || !q2 {
		t.Errorf("no zero high byte in %d signatures: %v %v %v", s.SWDefined, sig, q1, q2)
	}
}

func BenchmarkQ1Q2(b *testing.B) {
	n := sign.DebugKey().N
	s := new(big.Int).Sub(n, big.NewInt(12345))
	for b.Loop() {
		sign.Q1Q2(s, n)
	}
}
