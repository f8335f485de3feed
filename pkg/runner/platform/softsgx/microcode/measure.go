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
type measurement struct {
	sha hash.Hash
	buf [64 + sgx.ChunkSize]byte
}

func (m *measurement) ecreate(ssaFrameSize uint32, size uint64) {
	m.sha = sha256.New()
	b := m.block("ECREATE")
	le.PutUint32(b[8:], ssaFrameSize)
	le.PutUint64(b[12:], size)
	m.sha.Write(b)
}

func (m *measurement) eadd(off uint64, flags sgx.SecInfoFlags) {
	b := m.block("EADD")
	le.PutUint64(b[8:], off)
	le.PutUint64(b[16:], uint64(flags))
	m.sha.Write(b)
}

func (m *measurement) eextend(off uint64, chunk *[sgx.ChunkSize]byte) {
	b := m.block("EEXTEND")
	le.PutUint64(b[8:], off)
	copy(m.buf[64:], chunk[:])
	m.sha.Write(m.buf[:])
}

// block returns an update block that is zero but for its name.
func (m *measurement) block(name string) []byte {
	b := m.buf[:64]
	clear(b)
	copy(b, name)
	return b
}

// sum returns MRENCLAVE. More may follow: a refused EINIT can be repeated.
func (m *measurement) sum() (mr sgx.Measurement) {
	m.sha.Sum(mr[:0])
	return mr
}
