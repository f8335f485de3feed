package microcode

import (
	"github.com/enclaveos/eos/pkg/sgx"
)

// Enclave is what the processor keeps of one enclave: the SECS, an EPCM entry
// for each page, the thread control structures. Until Init has succeeded one
// goroutine may use it; after that nothing changes any more and its methods
// may be called from any goroutine.
type Enclave struct {
	secs         sgx.SECS
	isvFamilyID  [16]byte // of SIGSTRUCT; a SECS holds it where software has only a reserved field
	isvExtProdID [16]byte // likewise
	xsaveSize    uint32
	measure      measurement
	epcm         epcm
	tcs          map[uint64]*sgx.TCS
}

// SECS returns a copy of the control structure.
func (e *Enclave) SECS() sgx.SECS { return e.secs }

// PageInfo is an EPCM entry.
type PageInfo struct {
	Flags sgx.SecInfoFlags // page type and permissions; a TCS has none
}

// Page returns the EPCM entry of the page that holds offset off.
func (e *Enclave) Page(off uint64) (PageInfo, bool) {
	flags, ok := e.epcm.get(off / sgx.PageSize)
	return PageInfo{flags}, ok
}

// TCS returns a copy of the TCS at offset off as it was added.
func (e *Enclave) TCS(off uint64) (sgx.TCS, bool) {
	if t, ok := e.tcs[off]; ok {
		return *t, true
	}
	return sgx.TCS{}, false
}

func (e *Enclave) initialised() bool { return e.secs.Attributes.Flags&sgx.AttrInit != 0 }

// Add does EADD (SDM 40.3) of the page at offset off. data is the page's
// content, nil for zeros; only a TCS is looked at. The error is a *Fault.
//
// A processor clears the permissions, CSSA, AEP, state and DBGOPTIN of a TCS
// without a word and measures the result, so that MRENCLAVE is not that of
// the image; here each of them is refused by name.
func (e *Enclave) Add(off uint64, flags sgx.SecInfoFlags, data []byte) error {
	if f := e.checkAdd(off, flags, data); f != nil {
		return f
	}
	if flags.PageType() == sgx.PageTCS {
		t := new(sgx.TCS)
		if data != nil {
			var err error
			if t, err = sgx.ParseTCS(data); err != nil {
				return gp("EADD", "page %#x: %v", off, err)
			}
		}
		if f := checkTCS(off, t); f != nil {
			return f
		}
		if e.tcs == nil {
			e.tcs = make(map[uint64]*sgx.TCS)
		}
		e.tcs[off] = t
	}
	e.epcm.set(off/sgx.PageSize, flags)
	e.measure.eadd(off, flags)
	return nil
}

func (e *Enclave) checkAdd(off uint64, flags sgx.SecInfoFlags, data []byte) *Fault {
	const i = "EADD"
	switch {
	case e.initialised():
		return gp(i, "page %#x: the enclave is initialised", off)
	case off%sgx.PageSize != 0:
		return gp(i, "offset %#x is not a multiple of %d", off, sgx.PageSize)
	case off >= e.secs.Size:
		return gp(i, "offset %#x is outside the enclave of %#x bytes", off, e.secs.Size)
	case flags.Unknown() != 0:
		return gp(i, "page %#x: SECINFO.FLAGS has reserved bits %#x", off, uint64(flags.Unknown()))
	case flags&(sgx.SecInfoPending|sgx.SecInfoModified|sgx.SecInfoPR) != 0:
		return gp(i, "page %#x: SECINFO.FLAGS is %s: PENDING, MODIFIED and PR must be clear", off, flags)
	case data != nil && len(data) != sgx.PageSize:
		return gp(i, "page %#x: %d bytes of data, want %d", off, len(data), sgx.PageSize)
	}
	switch flags.PageType() {
	case sgx.PageTCS:
		if flags&sgx.SecInfoPerm != 0 {
			return gp(i, "page %#x: SECINFO.FLAGS is %s: a TCS has no permissions", off, flags)
		}
	case sgx.PageREG:
		if flags&sgx.SecInfoW != 0 && flags&sgx.SecInfoR == 0 {
			return gp(i, "page %#x: SECINFO.FLAGS is %s: W without R", off, flags)
		}
	default:
		return gp(i, "page %#x: page type %s, want TCS or REG", off, flags.PageType())
	}
	// On a processor two EPC pages may claim one address; the driver forbids it.
	if _, ok := e.epcm.get(off / sgx.PageSize); ok {
		return gp(i, "page %#x has been added already", off)
	}
	return nil
}

// checkTCS looks at what a processor overwrites at EADD. All else in a TCS is
// checked by EENTER.
func checkTCS(off uint64, t *sgx.TCS) *Fault {
	const i = "EADD"
	switch {
	case t.Flags&sgx.TCSDebugOptIn != 0:
		return gp(i, "TCS %#x: FLAGS.DBGOPTIN is set: EADD clears it and MRENCLAVE would not match", off)
	case t.CSSA != 0:
		return gp(i, "TCS %#x: CSSA is %d, want 0", off, t.CSSA)
	case t.AEP != 0:
		return gp(i, "TCS %#x: AEP is %#x, want 0", off, t.AEP)
	case t.PrevSSP != 0:
		return gp(i, "TCS %#x: PREVSSP is %#x, want 0", off, t.PrevSSP)
	}
	return nil
}

// Extend does EEXTEND (SDM 40.3): it measures the 256 bytes at offset off,
// which the caller passes as they are in the page. A chunk may be measured
// more than once. The error is a *Fault.
func (e *Enclave) Extend(off uint64, chunk *[sgx.ChunkSize]byte) error {
	const i = "EEXTEND"
	switch {
	case e.initialised():
		return gp(i, "chunk %#x: the enclave is initialised", off)
	case off%sgx.ChunkSize != 0:
		return gp(i, "offset %#x is not a multiple of %d", off, sgx.ChunkSize)
	case off >= e.secs.Size:
		return gp(i, "offset %#x is outside the enclave of %#x bytes", off, e.secs.Size)
	}
	if _, ok := e.epcm.get(off / sgx.PageSize); !ok {
		return gp(i, "chunk %#x: its page has not been added", off)
	}
	e.measure.eextend(off, chunk)
	return nil
}

// epcm holds one byte a page, in leaves made when first needed: an enclave may
// be large and sparse. The byte is zero for no page, else bit 7, the page type
// in bits 6:3 and the permissions in bits 2:0.
type epcm struct {
	leaves []*[epcmLeaf]uint8
}

const (
	epcmLeaf  = 4096
	epcmValid = 0x80
)

// newEPCM is one for an enclave of size bytes.
func newEPCM(size uint64) epcm {
	return epcm{make([]*[epcmLeaf]uint8, (size/sgx.PageSize+epcmLeaf-1)/epcmLeaf)}
}

func (m *epcm) get(page uint64) (sgx.SecInfoFlags, bool) {
	if page/epcmLeaf >= uint64(len(m.leaves)) {
		return 0, false
	}
	l := m.leaves[page/epcmLeaf]
	if l == nil {
		return 0, false
	}
	v := l[page%epcmLeaf]
	return sgx.SecInfoFlags(v>>3&0xf)<<8 | sgx.SecInfoFlags(v&7), v != 0
}

// set sets the entry of a page of the enclave's.
func (m *epcm) set(page uint64, flags sgx.SecInfoFlags) {
	l := m.leaves[page/epcmLeaf]
	if l == nil {
		l = new([epcmLeaf]uint8)
		m.leaves[page/epcmLeaf] = l
	}
	l[page%epcmLeaf] = epcmValid | uint8(flags.PageType())<<3 | uint8(flags&sgx.SecInfoPerm)
}
