//go:build linux && amd64

package softsgx

import "github.com/enclaveos/eos/pkg/sgx"

const pageSize = sgx.PageSize

// elrange is the memory of one enclave: the address range that ECREATE names
// and, if it could be had, a page below it for the stubs of patched instructions.
type elrange struct {
	base, size uintptr
	before     uintptr // bytes for stubs below base: a page, or none if it was taken
	used       uintptr // nothing was added from here on
	open       []bool  // windows that can be written, until sealed
}

// window is the unit in which memory is made writable while pages are added:
// an enclave has tens of thousands of pages, and a system call for each would
// cost more than the copying.
const window = 2 << 20

func newELRange(base, size uintptr) (*elrange, error) {
	m := &elrange{base: base, size: size, before: pageSize, open: make([]bool, (size+window-1)/window)}
	if base == 0 {
		var err error
		m.base, err = reserve(size, size, m.before)
		return m, err
	}
	if reserveAt(base-m.before, m.before+size) == nil {
		return m, nil
	}
	m.before = 0
	return m, reserveAt(base, size)
}

// stubs returns the address of the page for stubs, zero if there is none.
func (m *elrange) stubs() uintptr {
	if m.before == 0 {
		return 0
	}
	return m.base - m.before
}

// add notes that there is a page at offset off.
func (m *elrange) add(off uintptr) { m.used = max(m.used, off+pageSize) }

// write copies a page's content to offset off.
func (m *elrange) write(off uintptr, data []byte) error {
	if !m.open[off/window] {
		lo := off &^ (window - 1)
		if err := protect(m.base+lo, min(window, m.size-lo), protR|protW); err != nil {
			return err
		}
		m.open[off/window] = true
	}
	copy(m.bytes(off, pageSize), data)
	return nil
}

// readable reports whether the page at off can be read before sealing; if not
// it is zero.
func (m *elrange) readable(off uintptr) bool { return off < m.size && m.open[off/window] }

// bytes returns n bytes at offset off, to be read or written as the protection
// allows.
func (m *elrange) bytes(off, n uintptr) []byte { return memory(m.base+off, n) }

// seal gives each page the protection that prot says, a run of equal pages at
// a time.
func (m *elrange) seal(prot func(off uintptr) int) error {
	end := min((m.used+window-1)&^(window-1), m.size) // the last window may be open
	start, last := uintptr(0), 0
	for off := uintptr(0); off < end; off += pageSize {
		p := prot(off)
		if p == last {
			continue
		}
		if err := m.sealRun(start, off, last); err != nil {
			return err
		}
		start, last = off, p
	}
	return m.sealRun(start, end, last)
}

func (m *elrange) sealRun(start, end uintptr, prot int) error {
	if start == end {
		return nil
	}
	return protect(m.base+start, end-start, prot)
}

func (m *elrange) close() { unmap(m.base-m.before, m.before+m.size) }
