package keyref

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des" // old keys are read, none is written so
	"crypto/md5" // the old PEM encryption is made of it
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1" // PBKDF2's default hash
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"strings"

	"golang.org/x/crypto/scrypt"
)

// ErrUnsupported is wrapped by errors on an encryption that we do not know.
var ErrUnsupported = errors.New("encryption not supported")

// Bounds of what a key file may ask of us: the times of opening a key stay
// below a minute and the memory below 300 MiB.
const (
	maxIterations   = 20_000_000
	maxScryptMemory = 256 << 20
	maxScryptP      = 64
)

var (
	oidPBES2      = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 13}
	oidPBKDF2     = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 5, 12}
	oidScrypt     = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 11591, 4, 11}
	oidHMACSHA256 = asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 9}
	oidAES256CBC  = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 42}
)

// prf is a pseudorandom function of PBKDF2 (RFC 8018 B.1).
var prfs = []struct {
	oid asn1.ObjectIdentifier
	new func() hash.Hash
}{
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 7}, sha1.New},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 8}, sha256.New224},
	{oidHMACSHA256, sha256.New},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 10}, sha512.New384},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 2, 11}, sha512.New},
}

// A blockCipher in CBC mode (RFC 8018 B.2), with its name in old PEM files.
type blockCipher struct {
	oid     asn1.ObjectIdentifier // nil: not in PBES2
	dek     string
	keySize int
	new     func(key []byte) (cipher.Block, error)
}

var ciphers = []blockCipher{
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 2}, "AES-128-CBC", 16, aes.NewCipher},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 1, 22}, "AES-192-CBC", 24, aes.NewCipher},
	{oidAES256CBC, "AES-256-CBC", 32, aes.NewCipher},
	{asn1.ObjectIdentifier{1, 2, 840, 113549, 3, 7}, "DES-EDE3-CBC", 24, des.NewTripleDESCipher},
}

// openCBC decrypts and takes off the padding. Bytes that cannot be a key mean
// a wrong passphrase: the encryption has no other check.
func (c *blockCipher) openCBC(key, iv, data []byte) ([]byte, error) {
	block, err := c.new(key)
	if err != nil {
		return nil, err
	}
	n := block.BlockSize()
	if len(iv) < n || len(data) == 0 || len(data)%n != 0 {
		return nil, fmt.Errorf("bad private key: %d encrypted bytes and an IV of %d do not fit %s", len(data), len(iv), c.dek)
	}
	out := make([]byte, len(data))
	cipher.NewCBCDecrypter(block, iv[:n]).CryptBlocks(out, data)
	pad := int(out[len(out)-1])
	if pad == 0 || pad > n {
		return nil, ErrPassphrase
	}
	for _, b := range out[len(out)-pad:] {
		if int(b) != pad {
			return nil, ErrPassphrase
		}
	}
	out = out[:len(out)-pad]
	var v asn1.RawValue
	if rest, err := asn1.Unmarshal(out, &v); err != nil || len(rest) != 0 || v.Tag != asn1.TagSequence {
		return nil, ErrPassphrase
	}
	return out, nil
}

// encryptedKey is EncryptedPrivateKeyInfo (RFC 5958) with PBES2 (RFC 8018 A.4).
type encryptedKey struct {
	derive func(pass []byte, size int) ([]byte, error)
	cipher *blockCipher
	iv     []byte
	data   []byte
}

func (e *encryptedKey) open(pass []byte) ([]byte, error) {
	key, err := e.derive(pass, e.cipher.keySize)
	if err != nil {
		return nil, err
	}
	return e.cipher.openCBC(key, e.iv, e.data)
}

type encryptedPrivateKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbes2Params struct {
	KDF, Cipher pkix.AlgorithmIdentifier
}

type pbkdf2Params struct {
	Salt       []byte
	Iterations int
	KeyLength  int                      `asn1:"optional"`
	PRF        pkix.AlgorithmIdentifier `asn1:"optional"`
}

type scryptParams struct {
	Salt      []byte
	N, R, P   int
	KeyLength int `asn1:"optional"`
}

// unmarshal reads the whole of der.
func unmarshal(der []byte, v any, what string) error {
	rest, err := asn1.Unmarshal(der, v)
	if err != nil || len(rest) != 0 {
		return fmt.Errorf("bad encrypted private key: its %s cannot be read", what)
	}
	return nil
}

func parseEncrypted(der []byte) (*encryptedKey, error) {
	var info encryptedPrivateKeyInfo
	if err := unmarshal(der, &info, "structure"); err != nil {
		return nil, err
	}
	if !info.Algorithm.Algorithm.Equal(oidPBES2) {
		return nil, fmt.Errorf("%w: algorithm %v, want PBES2", ErrUnsupported, info.Algorithm.Algorithm)
	}
	var params pbes2Params
	if err := unmarshal(info.Algorithm.Parameters.FullBytes, &params, "PBES2 parameters"); err != nil {
		return nil, err
	}
	e := &encryptedKey{data: info.Data}
	for i := range ciphers {
		if ciphers[i].oid.Equal(params.Cipher.Algorithm) {
			e.cipher = &ciphers[i]
		}
	}
	if e.cipher == nil {
		return nil, fmt.Errorf("%w: cipher %v, want AES-CBC or DES-EDE3-CBC", ErrUnsupported, params.Cipher.Algorithm)
	}
	if err := unmarshal(params.Cipher.Parameters.FullBytes, &e.iv, "IV"); err != nil {
		return nil, err
	}
	var err error
	switch kdf := params.KDF; {
	case kdf.Algorithm.Equal(oidPBKDF2):
		e.derive, err = parsePBKDF2(kdf.Parameters.FullBytes, e.cipher.keySize)
	case kdf.Algorithm.Equal(oidScrypt):
		e.derive, err = parseScrypt(kdf.Parameters.FullBytes, e.cipher.keySize)
	default:
		err = fmt.Errorf("%w: key derivation %v, want PBKDF2 or scrypt", ErrUnsupported, kdf.Algorithm)
	}
	return e, err
}

func checkKeyLength(got, want int) error {
	if got != 0 && got != want {
		return fmt.Errorf("bad encrypted private key: key length %d, want %d", got, want)
	}
	return nil
}

func parsePBKDF2(der []byte, keySize int) (func([]byte, int) ([]byte, error), error) {
	var p pbkdf2Params
	if err := unmarshal(der, &p, "PBKDF2 parameters"); err != nil {
		return nil, err
	}
	if p.Iterations < 1 || p.Iterations > maxIterations {
		return nil, fmt.Errorf("%w: PBKDF2 with %d iterations, want 1 to %d", ErrUnsupported, p.Iterations, maxIterations)
	}
	h := prfs[0].new // the default of the format
	if len(p.PRF.Algorithm) != 0 {
		h = nil
		for _, f := range prfs {
			if f.oid.Equal(p.PRF.Algorithm) {
				h = f.new
			}
		}
		if h == nil {
			return nil, fmt.Errorf("%w: PBKDF2 with %v, want HMAC-SHA1 or SHA-2", ErrUnsupported, p.PRF.Algorithm)
		}
	}
	return func(pass []byte, size int) ([]byte, error) {
		return pbkdf2.Key(h, string(pass), p.Salt, p.Iterations, size)
	}, checkKeyLength(p.KeyLength, keySize)
}

func parseScrypt(der []byte, keySize int) (func([]byte, int) ([]byte, error), error) {
	var p scryptParams
	if err := unmarshal(der, &p, "scrypt parameters"); err != nil {
		return nil, err
	}
	const most = maxScryptMemory / 128
	if p.N < 2 || p.N&(p.N-1) != 0 || p.R < 1 || p.P < 1 || p.P > maxScryptP || p.N > most || p.R > most/p.N {
		return nil, fmt.Errorf("%w: scrypt with N=%d r=%d p=%d, want at most %d MiB", ErrUnsupported, p.N, p.R, p.P, maxScryptMemory>>20)
	}
	return func(pass []byte, size int) ([]byte, error) {
		return scrypt.Key(pass, p.Salt, p.N, p.R, p.P, size)
	}, checkKeyLength(p.KeyLength, keySize)
}

// dekInfo is the old encryption of OpenSSL (RFC 1421 4.6.1.3): the key is MD5,
// chained, of passphrase and the first 8 bytes of the IV.
type dekInfo struct {
	cipher *blockCipher
	iv     []byte
	data   []byte
}

func parseDEKInfo(block *pem.Block) (*dekInfo, error) {
	name, ivHex, _ := strings.Cut(block.Headers["DEK-Info"], ",")
	d := &dekInfo{data: block.Bytes}
	for i := range ciphers {
		if ciphers[i].dek == strings.TrimSpace(name) {
			d.cipher = &ciphers[i]
		}
	}
	if d.cipher == nil {
		return nil, fmt.Errorf("%w: DEK-Info %q, want AES-CBC or DES-EDE3-CBC", ErrUnsupported, name)
	}
	var err error
	if d.iv, err = hex.DecodeString(strings.TrimSpace(ivHex)); err != nil || len(d.iv) < 8 {
		return nil, fmt.Errorf("bad private key: DEK-Info has IV %q", ivHex)
	}
	return d, nil
}

func (d *dekInfo) open(pass []byte) ([]byte, error) {
	var key, sum []byte
	for len(key) < d.cipher.keySize {
		h := md5.New()
		h.Write(sum)
		h.Write(pass)
		h.Write(d.iv[:8])
		sum = h.Sum(nil)
		key = append(key, sum...)
	}
	return d.cipher.openCBC(key[:d.cipher.keySize], d.iv, d.data)
}

// writeIterations is OWASP's advice of 2023 for PBKDF2-HMAC-SHA256.
const writeIterations = 600_000

// encrypt wraps a PKCS#8 key: PBES2 with PBKDF2-HMAC-SHA256 and AES-256-CBC,
// which OpenSSL 1.0 and later open.
func encrypt(der, pass []byte) ([]byte, error) {
	salt, iv := make([]byte, 16), make([]byte, aes.BlockSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, err
	}
	if _, err := rand.Read(iv); err != nil {
		return nil, err
	}
	key, err := pbkdf2.Key(sha256.New, string(pass), salt, writeIterations, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	pad := aes.BlockSize - len(der)%aes.BlockSize
	data := append([]byte(nil), der...)
	for range pad {
		data = append(data, byte(pad))
	}
	cipher.NewCBCEncrypter(block, iv).CryptBlocks(data, data)

	kdf, err := algorithm(oidPBKDF2, pbkdf2Params{
		Salt: salt, Iterations: writeIterations,
		PRF: pkix.AlgorithmIdentifier{Algorithm: oidHMACSHA256, Parameters: asn1.NullRawValue},
	})
	if err != nil {
		return nil, err
	}
	aes256, err := algorithm(oidAES256CBC, iv)
	if err != nil {
		return nil, err
	}
	pbes2, err := algorithm(oidPBES2, pbes2Params{kdf, aes256})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(encryptedPrivateKeyInfo{pbes2, data})
}

func algorithm(oid asn1.ObjectIdentifier, params any) (pkix.AlgorithmIdentifier, error) {
	der, err := asn1.Marshal(params)
	return pkix.AlgorithmIdentifier{Algorithm: oid, Parameters: asn1.RawValue{FullBytes: der}}, err
}
