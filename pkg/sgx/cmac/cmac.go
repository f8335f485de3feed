// Package cmac is AES-CMAC with a 128-bit key (RFC 4493, NIST SP 800-38B): the
// MAC of a REPORT and of an EINITTOKEN.
package cmac

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

// Size is the size of a key and of a MAC in bytes.
const Size = aes.BlockSize

// Sum returns the AES-CMAC of msg under key.
func Sum(key [Size]byte, msg []byte) [Size]byte {
	c, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err) // a 16-byte key is always accepted
	}
	var x [Size]byte // the CBC chain
	for len(msg) > Size {
		subtle.XORBytes(x[:], x[:], msg[:Size])
		c.Encrypt(x[:], x[:])
		msg = msg[Size:]
	}
	last := subkey(c)
	if len(msg) < Size {
		last = double(last)
		last[len(msg)] ^= 0x80
	}
	subtle.XORBytes(last[:], last[:], msg)
	subtle.XORBytes(x[:], x[:], last[:])
	c.Encrypt(x[:], x[:])
	return x
}

// Verify reports in constant time whether mac is the AES-CMAC of msg under key.
func Verify(key [Size]byte, msg []byte, mac [Size]byte) bool {
	want := Sum(key, msg)
	return subtle.ConstantTimeCompare(want[:], mac[:]) == 1
}

// subkey returns K1, for a message of whole blocks; double(K1) is K2.
func subkey(c cipher.Block) [Size]byte {
	var l [Size]byte
	c.Encrypt(l[:], l[:])
	return double(l)
}

// double multiplies by x in GF(2^128), without a branch on the secret bit.
func double(b [Size]byte) [Size]byte {
	msb := b[0] >> 7
	for i := range Size - 1 {
		b[i] = b[i]<<1 | b[i+1]>>7
	}
	b[Size-1] = b[Size-1]<<1 ^ 0x87&-msb
	return b
}
