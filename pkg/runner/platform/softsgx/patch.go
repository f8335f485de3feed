//go:build linux && amd64

package softsgx

import (
	"bytes"
	"cmp"
	"math"
	"slices"
)

// An EEXIT through #UD and a signal takes some microseconds. What it does is a
// jump to RBX, so after the enclave has been measured EEXITs are made that
// jump, where there can be no doubt what they are:
//
//	MOV EAX, 4     the move (or one of its other forms) becomes JMP RBX; EAX is
//	ENCLU          nobody's after EEXIT. ENCLU stays, so code that jumps to it
//	               with another leaf still gets that leaf.
//	ENCLU          becomes JMP to a stub in a page below the enclave, which
//	UD2            compares EAX. What follows does not expect ENCLU to return.
//
// All other ENCLUs stay. These byte sequences have five bytes and more. That
// they are no instruction but the middle of one, or data in a page that can be
// executed, is possible; it takes a constant that contains them, and then that
// constant changes. Options.TrapOnly is for such an enclave.
var eexitMoves = [][]byte{
	{0xb8, 4, 0, 0, 0},             // MOV EAX, 4
	{0x48, 0xc7, 0xc0, 4, 0, 0, 0}, // MOV RAX, 4
	{0x31, 0xc0, 0xb0, 4},          // XOR EAX, EAX; MOV AL, 4
	{0x33, 0xc0, 0xb0, 4},          // the same, encoded the other way
	{0x6a, 4, 0x58},                // PUSH 4; POP RAX
}

var (
	jmpRBX   = []byte{0xff, 0xe3}
	encluUD2 = []byte{0x0f, 0x01, 0xd7, 0x0f, 0x0b}
)

// stub is the code for an ENCLU, UD2. The flags are not kept: EEXIT does not
// need them, and after any other leaf there is only UD2.
//
//	CMP EAX, 4
//	JNE next
//	JMP RBX
//	next: ENCLU
var stub = []byte{0x83, 0xf8, 0x04, 0x75, 0x02, 0xff, 0xe3, 0x0f, 0x01, 0xd7}

const (
	stubSize = 16
	maxStubs = pageSize / stubSize
	opJMP    = 0xe9 // with a 32-bit displacement
	jmpLen   = 5
)

// patched is a place where the enclave's code is not what was measured.
type patched struct {
	off      uintptr // in the enclave
	old, new []byte  // of equal length
}

// patch replaces instructions in all executable pages: the CPUIDs if cpuid is
// set, the EEXITs if eexit is. The memory can still be written.
func (e *enclave) patch(cpuid, eexit bool) error {
	scan := newCPUIDScan
	for off := uintptr(0); off < e.memory.used; {
		end := off
		for end < e.memory.used && e.protection(end)&protX != 0 && e.memory.readable(end) {
			end += pageSize
		}
		if end == off {
			off += pageSize
			continue
		}
		code := e.memory.bytes(off, end-off)
		if cpuid { // first: it looks at the code as it was
			e.patchCPUID(code, off, &scan)
		}
		if eexit {
			e.patchEEXIT(code, off)
		}
		off = end
	}
	slices.SortFunc(e.patches, func(a, b patched) int { return cmp.Compare(a.off, b.off) })
	if len(e.sites) == 0 {
		return nil
	}
	page := e.memory.stubs()
	if err := protect(page, pageSize, protR|protW); err != nil {
		return err
	}
	for i := range e.sites {
		copy(memory(page+uintptr(i)*stubSize, stubSize), stub)
	}
	return protect(page, pageSize, protR|protX)
}

// replace writes b to code[at:] and notes what was there. code is at offset off.
func (e *enclave) replace(code []byte, off uintptr, at int, b []byte) {
	e.patches = append(e.patches, patched{off + uintptr(at), bytes.Clone(code[at : at+len(b)]), b})
	copy(code[at:], b)
}

// unpatch makes b, read at offset off, what was measured, but for what the
// enclave has written since.
func (e *enclave) unpatch(off uintptr, b []byte) {
	const longest = jmpLen
	end := off + uintptr(len(b))
	i, _ := slices.BinarySearchFunc(e.patches, off, func(p patched, off uintptr) int { return cmp.Compare(p.off+longest, off) })
	for ; i < len(e.patches) && e.patches[i].off < end; i++ {
		p := &e.patches[i]
		if !bytes.Equal(e.memory.bytes(p.off, uintptr(len(p.new))), p.new) {
			continue
		}
		for j, old := range p.old {
			if at := p.off + uintptr(j); at >= off && at < end {
				b[at-off] = old
			}
		}
	}
}

// patchEEXIT replaces the EEXITs in code, which is at offset off.
func (e *enclave) patchEEXIT(code []byte, off uintptr) {
	for i := 0; ; i += len(enclu) {
		n := bytes.Index(code[i:], enclu[:])
		if n < 0 {
			return
		}
		i += n
		if at, ok := moveBefore(code[:i]); ok {
			e.replace(code, off, at, jmpRBX)
			continue
		}
		page := uint64(e.memory.stubs())
		if page == 0 || len(e.sites) == maxStubs || !bytes.HasPrefix(code[i:], encluUD2) {
			continue
		}
		site := uint64(e.memory.base+off) + uint64(i)
		d := int64(page) + int64(len(e.sites))*stubSize - int64(site+jmpLen)
		if d < math.MinInt32 {
			continue
		}
		e.replace(code, off, i, le.AppendUint32([]byte{opJMP}, uint32(d)))
		e.sites = append(e.sites, site)
	}
}

// moveBefore returns where the instruction at the end of code is, if it moves 4
// to EAX.
func moveBefore(code []byte) (int, bool) {
	for _, m := range eexitMoves {
		if before, ok := bytes.CutSuffix(code, m); ok && !endsWithPrefix(before) {
			return len(before), true
		}
	}
	return 0, false
}

// endsWithPrefix reports whether what follows code may be the rest of a longer
// instruction: after 41, B8 04 00 00 00 is MOV R8D, 4.
func endsWithPrefix(code []byte) bool { return len(code) > 0 && isPrefix(code[len(code)-1]) }

// site returns the address of the ENCLU that a stub is for, if a is in a stub.
func (e *enclave) site(a uint64) (uint64, bool) {
	page := uint64(e.memory.stubs())
	if page == 0 || a-page >= uint64(len(e.sites))*stubSize {
		return 0, false
	}
	return e.sites[(a-page)/stubSize], true
}
