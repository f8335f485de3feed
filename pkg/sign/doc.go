// Package sign makes and checks SIGSTRUCTs, the signed identity of an enclave.
//
// A SIGSTRUCT says which measurement (ENCLAVEHASH) may start, with which
// attributes, as which product and version, and who says so. The processor
// accepts one kind of key only: RSA of 3072 bits with public exponent 3. The
// SHA-256 of the modulus as stored is MRSIGNER.
//
//	s := sign.New(mr)                      // the fields, to be changed at will
//	err := sign.Sign(s, key)               // key: any crypto.Signer
//
// or, when the key is in a device that eos cannot talk to, in two steps:
//
//	d := sign.Digest(s)                    // 32 bytes: give them to the device
//	err := sign.Join(s, pub, signature)    // 384 bytes, big-endian, as it answers
//
// The device signs the digest with RSASSA-PKCS1-v1_5, for example
//
//	openssl pkeyutl -sign -inkey key.pem -pkeyopt digest:sha256 -in digest -out signature
//
// Both ways end in Verify: a SIGSTRUCT that the processor would refuse is
// never handed back as signed.
//
// # No CONFIGID and CONFIGSVN here
//
// CONFIGID and CONFIGSVN are fields of SECS (SDM 38.7) that whoever loads the
// enclave chooses; SIGSTRUCT (SDM 38.13) has no such fields and the signature
// does not cover them. What a signer can say about them is ATTRIBUTES.KSS:
// with that bit and its mask set, the enclave starts only with key separation
// and sharing on, and with it off both must be zero. ISVEXTPRODID and
// ISVFAMILYID want KSS too.
package sign
