package kvstore

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"sync"
	"sync/atomic"
)

// KeySize is the size of a master key, in bytes.
const KeySize = 32

// derive is HKDF-SHA256 of the master key, without salt.
func derive(master []byte, info string, size int) []byte {
	k, err := hkdf.Key(sha256.New, master, nil, info, size)
	if err != nil { // of a size beyond HKDF's, which is none of ours
		panic(err)
	}
	return k
}

// Sizes of what encryption adds, in bytes.
const (
	nonceSize = 24
	tagSize   = 16
)

// box encrypts with XAES-256-GCM (c2sp.org/XAES-256-GCM): AES-256-GCM under a key
// that is derived from half of a 192-bit nonce. A box draws that half once, when it is
// made, and counts its messages in the other half: so no nonce comes twice under a key,
// and none has to be remembered across a restart, or a rollback.
type box struct {
	block cipher.Block
	k1    [aes.BlockSize]byte

	half  [12]byte    // of the nonces of this box's own messages
	own   cipher.AEAD // of these
	count atomic.Uint64
}

func newBox(key []byte) *box {
	block, err := aes.NewCipher(key)
	if err != nil { // of a wrong length, which is none of ours
		panic(err)
	}
	b := &box{block: block}
	// K1 is CMAC's first subkey.
	block.Encrypt(b.k1[:], b.k1[:])
	msb := byte(0)
	for i := len(b.k1) - 1; i >= 0; i-- {
		msb, b.k1[i] = b.k1[i]>>7, b.k1[i]<<1|msb
	}
	b.k1[len(b.k1)-1] ^= msb * 0x87
	rand.Read(b.half[:]) // never fails
	b.own = b.derive(b.half[:])
	return b
}

// aead is the cipher of a message.
func (b *box) aead(nonce []byte) cipher.AEAD {
	if bytes.Equal(nonce[:12], b.half[:]) {
		return b.own
	}
	return b.derive(nonce[:12])
}

// derive makes the cipher of all messages with that first half of a nonce.
func (b *box) derive(half []byte) cipher.AEAD {
	var key [32]byte
	for i := range 2 {
		m := key[i*aes.BlockSize : (i+1)*aes.BlockSize]
		copy(m, []byte{0, byte(i + 1), 'X', 0})
		copy(m[4:], half)
		for j := range m {
			m[j] ^= b.k1[j]
		}
		b.block.Encrypt(m, m)
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return a
}

// seal appends a nonce and the encrypted text to dst.
func (b *box) seal(dst, text, additional []byte) []byte {
	dst = be.AppendUint64(append(append(dst, b.half[:]...), 0, 0, 0, 0), b.count.Add(1))
	return b.own.Seal(dst, dst[len(dst)-12:], text, additional)
}

// open is the inverse; false if sealed is not what seal has made.
func (b *box) open(sealed, additional []byte) ([]byte, bool) {
	if len(sealed) < nonceSize+tagSize {
		return nil, false
	}
	text, err := b.aead(sealed[:nonceSize]).Open(nil, sealed[12:nonceSize], sealed[nonceSize:], additional)
	if err != nil {
		return nil, false
	}
	if text == nil {
		text = []byte{}
	}
	return text, true
}

// nameSize is the size of a hidden name: of HMAC-SHA-256-128 (RFC 4868).
const nameSize = 16

// tableKeys are the keys of one table.
type tableKeys struct {
	values *box
	macs   sync.Pool // of hash.Hash: HMAC with the key for names
}

func newTableKeys(master []byte, table string) *tableKeys {
	k := &tableKeys{values: newBox(derive(master, "eos kv v1 values "+table, 32))}
	names := derive(master, "eos kv v1 names "+table, 32)
	k.macs.New = func() any { return hmac.New(sha256.New, names) }
	return k
}

// name hides a key.
func (k *tableKeys) name(key []byte) (n [nameSize]byte) {
	h := k.macs.Get().(hash.Hash)
	h.Reset()
	h.Write(key)
	var sum [sha256.Size]byte
	copy(n[:], h.Sum(sum[:0]))
	k.macs.Put(h)
	return n
}
