//go:build linux && amd64

package softsgx

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
)

// enclave is an initialised enclave.
type enclave struct {
	memory *elrange
	mc     *microcode.Enclave
	device *microcode.Device
	secs   sgx.SECS
	hidden map[uint64][]byte // by offset: pages that nobody can touch, as added: TCSs and those without permissions

	entries []uintptr // offsets at which the TCSs have the enclave entered
	sites   []uint64  // addresses of the ENCLUs that have a stub, in order of the stubs
	patches []patched // in order of offsets

	mu     sync.Mutex
	closed bool
	slots  map[uint64]*slot // by offset of the TCS, made at its first entry
}

// slot is the live state of a TCS. A processor keeps it in the TCS page, which
// nobody can read; it is here so that nobody can write it.
type slot struct {
	off   uint64
	tcs   sgx.TCS
	state atomic.Uint32
	exit  uintptr       // its exit block
	cssa  atomic.Uint32 // written by the thread that has made the slot busy
	ready uint32        // that thread's: EENTER has been checked for CSSA below this
}

// Values of slot.state.
const (
	slotIdle = iota
	slotBusy
	slotDead // the enclave is closed
)

func (e *enclave) SECS() sgx.SECS { return e.secs }

// slot returns the slot of the TCS at offset off. The error is that of leaf.
func (e *enclave) slot(off uint64, leaf sgx.Leaf) (*slot, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, platform.ErrClosed
	}
	if s := e.slots[off]; s != nil {
		return s, nil
	}
	t, ok := e.mc.TCS(off)
	if !ok { // the microcode says it best
		if leaf == sgx.LeafERESUME {
			_, f := e.mc.CheckResume(off, 0)
			return nil, f
		}
		_, f := e.mc.CheckEnter(off, 0)
		return nil, f
	}
	exit, err := newExitBlock()
	if err != nil {
		return nil, fmt.Errorf("software platform: TCS %#x: host stack: %w", off, err)
	}
	s := &slot{off: off, tcs: t, exit: exit}
	e.slots[off] = s
	return s, nil
}

// contains reports whether a is an address of the enclave.
func (e *enclave) contains(a uint64) bool { return a-e.secs.BaseAddr < e.secs.Size }

// protection returns what the host's page tables allow at an offset. A TCS is
// nobody's to touch. What can be executed can be read, as x86 has it.
func (e *enclave) protection(off uintptr) (prot int) {
	page, ok := e.mc.Page(uint64(off))
	if !ok || page.Flags.PageType() != sgx.PageREG {
		return 0
	}
	if page.Flags&sgx.SecInfoR != 0 {
		prot |= protR
	}
	if page.Flags&sgx.SecInfoW != 0 {
		prot |= protW
	}
	if page.Flags&sgx.SecInfoX != 0 {
		prot |= protX | protR
	}
	return prot
}

func (e *enclave) DebugRead(off uint64, b []byte) error {
	if e.secs.Attributes.Flags&sgx.AttrDebug == 0 {
		return platform.ErrNotDebug
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return platform.ErrClosed
	}
	if off > e.secs.Size || uint64(len(b)) > e.secs.Size-off {
		return fmt.Errorf("EDBGRD: %d bytes at %#x: outside the enclave of %#x bytes", len(b), off, e.secs.Size)
	}
	for len(b) > 0 {
		page := off &^ (sgx.PageSize - 1)
		n := min(uint64(len(b)), page+sgx.PageSize-off)
		info, ok := e.mc.Page(page)
		switch {
		case !ok:
			return fmt.Errorf("EDBGRD: there is no page at offset %#x", page)
		case info.Flags.PageType() == sgx.PageTCS:
			copy(b[:n], e.debugTCS(page)[off-page:])
		case e.protection(uintptr(page)) == 0:
			clear(b[:n])
			if p := e.hidden[page]; p != nil {
				copy(b[:n], p[off-page:])
			}
		default:
			copy(b[:n], e.memory.bytes(uintptr(off), uintptr(n)))
			e.unpatch(uintptr(off), b[:n])
		}
		off += n
		b = b[n:]
	}
	return nil
}

// debugTCS returns a TCS page as EDBGRD shows it, with the live CSSA.
func (e *enclave) debugTCS(off uint64) []byte {
	t, _ := e.mc.TCS(off)
	if s := e.slots[off]; s != nil {
		t.CSSA = s.cssa.Load()
	}
	p, _ := t.AppendBinary(nil)
	return p
}

func (e *enclave) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil
	}
	var dead []*slot
	for _, s := range e.slots {
		if !s.state.CompareAndSwap(slotIdle, slotDead) {
			for _, s := range dead {
				s.state.Store(slotIdle)
			}
			return fmt.Errorf("EREMOVE: a thread is in TCS %#x: %w", s.off, platform.ErrBusy)
		}
		dead = append(dead, s)
	}
	e.closed = true
	for _, s := range dead {
		freeBlock(s.exit)
	}
	e.memory.close()
	return nil
}
