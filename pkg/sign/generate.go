package sign

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"math/big"
	"sync"
)

// GenerateKey makes a signer's key: RSA of 3072 bits with exponent 3, which
// crypto/rsa does not make. Random bytes are taken from random; nil means
// crypto/rand.
func GenerateKey(random io.Reader) (*rsa.PrivateKey, error) {
	if random == nil {
		random = rand.Reader
	}
	e := big.NewInt(Exponent)
	one := big.NewInt(1)
	for {
		p, err := generatePrime(random)
		if err != nil {
			return nil, err
		}
		q, err := generatePrime(random)
		if err != nil {
			return nil, err
		}
		// FIPS 186-5 A.1.3: p and q differ in their first 100 bits.
		if new(big.Int).Sub(p, q).BitLen() <= KeyBits/2-100 {
			continue
		}
		p1, q1 := new(big.Int).Sub(p, one), new(big.Int).Sub(q, one)
		gcd := new(big.Int).GCD(nil, nil, p1, q1)
		lambda := new(big.Int).Mul(p1, q1)
		lambda.Quo(lambda, gcd)
		k := &rsa.PrivateKey{
			PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: Exponent},
			D:         new(big.Int).ModInverse(e, lambda),
			Primes:    []*big.Int{p, q},
		}
		k.Precompute()
		if err := k.Validate(); err != nil {
			return nil, fmt.Errorf("generate key: %w", err)
		}
		return k, CheckKey(&k.PublicKey)
	}
}

// smallPrimes is the product of the odd primes that a candidate is first
// tried against, and spares nine of ten the costly test.
var smallPrimes = sync.OnceValue(func() *big.Int {
	p := big.NewInt(1)
	for n := int64(3); n < 2000; n += 2 {
		if b := big.NewInt(n); b.ProbablyPrime(0) {
			p.Mul(p, b)
		}
	}
	return p
})

// generatePrime returns a prime p of 1536 bits, the two highest of them set so
// that a product of two has 3072, and p mod 3 = 2 so that 3 has an inverse
// modulo p-1.
func generatePrime(random io.Reader) (*big.Int, error) {
	var b [KeySize / 2]byte
	p, r, three, one := new(big.Int), new(big.Int), big.NewInt(3), big.NewInt(1)
	for {
		if _, err := io.ReadFull(random, b[:]); err != nil {
			return nil, fmt.Errorf("generate key: random bytes: %w", err)
		}
		b[0] |= 0xc0
		b[len(b)-1] |= 1
		p.SetBytes(b[:])
		if r.Mod(p, three).Int64() != 2 || r.GCD(nil, nil, r.Mod(smallPrimes(), p), p).Cmp(one) != 0 {
			continue
		}
		// 20 rounds and a Lucas test: an error is less likely than 2^-128
		// by far for random candidates of this size (FIPS 186-5 B.3).
		if p.ProbablyPrime(20) {
			return p, nil
		}
	}
}
