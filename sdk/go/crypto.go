package eos

// Hash is an algorithm of Digest and HMAC.
type Hash int32

// The algorithms.
const (
	SHA256 Hash = 1
	SHA384 Hash = 2
	SHA512 Hash = 3
)

// KeyKind is what a key is for.
type KeyKind int32

// The kinds of keys.
const (
	AES256    KeyKind = 1 // Encrypt, Decrypt
	ECDSAP256 KeyKind = 2 // Sign, Verify
	ECDSAP384 KeyKind = 3 // Sign, Verify
	HMACKey   KeyKind = 4 // HMAC, VerifyHMAC
)

// Digest hashes data.
func Digest(h Hash, data []byte) ([]byte, error) { return output(digest(int32(h), string(data))) }

// Keys have names, are the app's own and stay in the host.

// GenerateKey makes a key.
func GenerateKey(kind KeyKind, name string) error { return done(keyGenerate(int32(kind), name)) }

// ImportKey stores a key of kind AES256 or HMACKey.
func ImportKey(kind KeyKind, name string, raw []byte) error {
	return done(keyImport(int32(kind), name, string(raw)))
}

// HasKey reports whether there is a key of that name.
func HasKey(name string) (bool, error) { return yes(keyExists(name)) }

// DeleteKey deletes a key and reports whether there was one.
func DeleteKey(name string) (bool, error) { return yes(keyDelete(name)) }

// PublicKey returns the public part of a key, a SubjectPublicKeyInfo in DER.
func PublicKey(name string) ([]byte, error) { return output(keyPublic(name)) }

// Encrypt seals data with AES-256-GCM. The nonce, in front of the result, is the
// host's.
func Encrypt(key string, aad, data []byte) ([]byte, error) {
	return output(encrypt(key, "", string(aad), string(data)))
}

// Decrypt is the inverse of Encrypt.
func Decrypt(key string, aad, data []byte) ([]byte, error) {
	return output(decrypt(key, "", string(aad), string(data)))
}

// Sign signs data, which the host hashes, and returns the signature in DER.
func Sign(key string, data []byte) ([]byte, error) { return output(sign(key, string(data))) }

// Verify reports whether a signature is one of data.
func Verify(key string, data, signature []byte) (bool, error) {
	return yes(verify(key, string(data), string(signature)))
}

// HMAC makes a tag of data.
func HMAC(h Hash, key string, data []byte) ([]byte, error) {
	return output(hmac(int32(h), key, string(data)))
}

// VerifyHMAC reports whether a tag is one of data, in constant time.
func VerifyHMAC(h Hash, key string, data, tag []byte) (bool, error) {
	return yes(hmacVerify(int32(h), key, string(data), string(tag)))
}

// Random fills b with random bytes of the processor.
func Random(b []byte) error {
	const most = 64 << 10
	for len(b) > 0 {
		n := min(len(b), most)
		if err := done(random(b[:n])); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// SealKey returns 32 bytes that only this app's code in this enclave can have.
func SealKey() ([]byte, error) { return output(sealKey()) }
