package microcode

import (
	"crypto/sha256"
	"hash"

	"github.com/enclaveos/eos/pkg/sgx"
)

// measurement is MRENCLAVE in the making: SHA-256 over one 64-byte update
// block for each ECREATE, EADD and EEXTEND, and after each EEXTEND the 256
// bytes (SDM 37.4, and the TMPUPDATEFIELDs of 40.3).
//
//	ECREATE  0  8 "ECREATE"  8  4 SSAFRAMESIZE  12  8 SIZE         20 44 zero
//	EADD     0  8 "EADD"     8  8 page offset   16 48 SECINFO
//	EEXTEND  0  8 "EEXTEND"  8  8 chunk offset  16 48 zero         then 256 bytes of data
//
// The blocks are gathered, and hashed beside the goroutine that adds the pages.
type measurement struct {
	sha    hash.Hash
	blocks []byte        // not hashed yet
	spare  []byte        // takes turns with blocks
	hashed chan struct{} // closed when sha has all that blocks had before
}

// gathered is how much is hashed at once: enough for the time that a goroutine takes
// to start not to matter.
const gathered = 512 << 10

func (m *measurement) ecreate(ssaFrameSize uint32, size uint64) {
	m.sha = sha256.New()
	m.blocks, m.spare = make([]byte, 0, gathered), make([]byte, 0, gathered)
	m.hashed = make(chan struct{})
	close(m.hashed)
	b := m.block("ECREATE")
	le.PutUint32(b[8:], ssaFrameSize)
	le.PutUint64(b[12:], size)
}

func (m *measurement) eadd(off uint64, flags sgx.SecInfoFlags) {
	b := m.block("EADD")
	le.PutUint64(b[8:], off)
	le.PutUint64(b[16:], uint64(flags))
}

func (m *measurement) eextend(off uint64, chunk *[sgx.ChunkSize]byte) {
	b := m.block("EEXTEND")
	le.PutUint64(b[8:], off)
	m.blocks = append(m.blocks, chunk[:]...)
}

// block appends an update block that is zero but for its name. There is room for a
// chunk behind it.
func (m *measurement) block(name string) []byte {
	const size = 64
	if cap(m.blocks)-len(m.blocks) < size+sgx.ChunkSize {
		m.swap()
	}
	n := len(m.blocks)
	m.blocks = m.blocks[:n+size]
	b := m.blocks[n:]
	clear(b)
	copy(b, name)
	return b
}

// swap has the blocks hashed by a goroutine, which ends by itself.
func (m *measurement) swap() {
	<-m.hashed
	full, done := m.blocks, make(chan struct{})
	m.blocks, m.spare, m.hashed = m.spare[:0], full, done
	go func() {
		m.sha.Write(full)
		close(done)
	}()
}

// sum returns MRENCLAVE. More may follow: a refused EINIT can be repeated.
func (m *measurement) sum() (mr sgx.Measurement) {
	<-m.hashed
	m.sha.Write(m.blocks)
	m.blocks = m.blocks[:0]
	m.sha.Sum(mr[:0])
	return mr
}
