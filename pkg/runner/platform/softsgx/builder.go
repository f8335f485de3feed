//go:build linux && amd64

package softsgx

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
)

// builder is an enclave between ECREATE and EINIT: the microcode keeps the
// rules, the builder the memory.
type builder struct {
	p      *softPlatform
	mc     *microcode.Enclave
	memory *elrange // nil once given to the enclave, or closed
	hidden map[uint64][]byte
}

func (b *builder) Base() uint64 { return b.mc.SECS().BaseAddr }

func (b *builder) Add(off uint64, flags sgx.SecInfoFlags, data []byte) error {
	if b.memory == nil {
		return platform.ErrClosed
	}
	if err := b.mc.Add(off, flags, data); err != nil {
		return err
	}
	b.memory.add(uintptr(off))
	switch {
	case data == nil:
	case flags&sgx.SecInfoPerm == 0: // no memory: whoever touches it faults
		if b.hidden == nil {
			b.hidden = make(map[uint64][]byte)
		}
		b.hidden[off] = bytes.Clone(data)
	default:
		if err := b.memory.write(uintptr(off), data); err != nil {
			return fmt.Errorf("EADD: page %#x: %w", off, err)
		}
	}
	return nil
}

func (b *builder) Extend(off uint64) error {
	if b.memory == nil {
		return platform.ErrClosed
	}
	chunk := new([sgx.ChunkSize]byte)
	page := off &^ (sgx.PageSize - 1)
	if off < b.mc.SECS().Size && off%sgx.ChunkSize == 0 { // else the microcode refuses
		if p := b.hidden[page]; p != nil {
			copy(chunk[:], p[off-page:])
		} else if b.memory.readable(uintptr(page)) {
			chunk = (*[sgx.ChunkSize]byte)(b.memory.bytes(uintptr(off), sgx.ChunkSize))
		}
	}
	return b.mc.Extend(off, chunk)
}

func (b *builder) Measurement() sgx.Measurement { return b.mc.Measurement() }

func (b *builder) Init(sig *sgx.SigStruct) (platform.Enclave, error) {
	if b.memory == nil {
		return nil, platform.ErrClosed
	}
	if err := b.mc.Init(b.p.device, sig); err != nil {
		return nil, err
	}
	e := &enclave{
		memory: b.memory, mc: b.mc, device: b.p.device, secs: b.mc.SECS(),
		hidden: b.hidden, slots: make(map[uint64]*slot),
	}
	for off := range b.hidden {
		if t, ok := b.mc.TCS(off); ok && !slices.Contains(e.entries, uintptr(t.OEntry)) {
			e.entries = append(e.entries, uintptr(t.OEntry))
		}
	}
	if err := e.patch(!b.p.cpuidFaults, !b.p.trapOnly); err != nil {
		return nil, fmt.Errorf("EINIT: %w", err)
	}
	if err := e.memory.seal(e.protection); err != nil {
		return nil, fmt.Errorf("EINIT: %w", err)
	}
	b.memory = nil
	return e, nil
}

func (b *builder) Close() error {
	if b.memory != nil {
		b.memory.close()
		b.memory = nil
	}
	return nil
}
