package microcode

import (
	"github.com/enclaveos/eos/pkg/sgx"
)

// CheckEnter makes the checks of EENTER (SDM 40.4) on the TCS at offset off
// with cssa frames in use, all but the one that needs the moment: whether the
// TCS is busy. It returns the TCS. For the same off and cssa the answer is
// always the same, so that it may be kept.
func (e *Enclave) CheckEnter(off uint64, cssa uint32) (*sgx.TCS, *Fault) {
	const i = "EENTER"
	t, f := e.checkThread(i, off)
	if f != nil {
		return nil, f
	}
	if cssa >= t.NSSA {
		return nil, gp(i, "TCS %#x: no free SSA frame: CSSA is %d, NSSA is %d", off, cssa, t.NSSA)
	}
	if f := e.checkFrame(i, off, t, cssa); f != nil {
		return nil, f
	}
	// A processor lets OENTRY be any canonical address and faults on the
	// first fetch if it is outside. Here that fetch would run host code.
	if t.OEntry >= e.secs.Size {
		return nil, gp(i, "TCS %#x: OENTRY %#x is outside the enclave of %#x bytes", off, t.OEntry, e.secs.Size)
	}
	return t, nil
}

// CheckResume makes the checks of ERESUME (SDM 40.4) like CheckEnter. The
// frame that is resumed has the number cssa-1.
func (e *Enclave) CheckResume(off uint64, cssa uint32) (*sgx.TCS, *Fault) {
	const i = "ERESUME"
	t, f := e.checkThread(i, off)
	if f != nil {
		return nil, f
	}
	if cssa == 0 {
		return nil, gp(i, "TCS %#x: nothing to resume: CSSA is 0", off)
	}
	return t, e.checkFrame(i, off, t, cssa-1)
}

// checkThread makes the checks that do not depend on CSSA.
func (e *Enclave) checkThread(i string, off uint64) (*sgx.TCS, *Fault) {
	if off%sgx.PageSize != 0 {
		return nil, gp(i, "TCS offset %#x is not page aligned", off)
	}
	page, ok := e.Page(off)
	if !ok {
		return nil, e.pf(i, off, 0, "there is no page at offset %#x", off)
	}
	if page.Flags.PageType() != sgx.PageTCS {
		return nil, e.pf(i, off, 0, "the page at offset %#x is %s, not a TCS", off, page.Flags)
	}
	t := e.tcs[off]
	switch {
	case t.OSSA%sgx.PageSize != 0:
		return nil, gp(i, "TCS %#x: OSSA %#x is not page aligned", off, t.OSSA)
	case t.OFSBase%sgx.PageSize != 0:
		return nil, gp(i, "TCS %#x: OFSBASGX %#x is not page aligned", off, t.OFSBase)
	case t.OGSBase%sgx.PageSize != 0:
		return nil, gp(i, "TCS %#x: OGSBASGX %#x is not page aligned", off, t.OGSBase)
	case !canonical(e.secs.BaseAddr + t.OFSBase):
		return nil, gp(i, "TCS %#x: OFSBASGX %#x gives a base that is not canonical", off, t.OFSBase)
	case !canonical(e.secs.BaseAddr + t.OGSBase):
		return nil, gp(i, "TCS %#x: OGSBASGX %#x gives a base that is not canonical", off, t.OGSBase)
	case t.Flags&^(sgx.TCSDebugOptIn|sgx.TCSAEXNotify) != 0:
		return nil, gp(i, "TCS %#x: FLAGS %#x has reserved bits", off, uint64(t.Flags))
	case t.Flags&sgx.TCSAEXNotify != 0 && e.secs.Attributes.Flags&sgx.AttrAEXNotify == 0:
		return nil, gp(i, "TCS %#x: FLAGS.AEXNOTIFY is set, but the enclave has no ATTRIBUTES.AEXNOTIFY", off)
	case !e.initialised():
		return nil, gp(i, "the enclave is not initialised")
	}
	return t, nil
}

// checkFrame wants the pages of an SSA frame that an AEX writes, those of the
// XSAVE area and the one with GPRSGX, to be REG with R and W.
func (e *Enclave) checkFrame(i string, off uint64, t *sgx.TCS, frame uint32) *Fault {
	size := uint64(e.secs.SSAFrameSize) * sgx.PageSize
	// Written without a sum that could overflow: OSSA is any number of the image's.
	if t.OSSA >= e.secs.Size || uint64(frame) >= (e.secs.Size-t.OSSA)/size {
		return e.pf(i, t.OSSA, 0, "TCS %#x: SSA frame %d at %#x is outside the enclave", off, frame, t.OSSA)
	}
	start := t.OSSA + uint64(frame)*size
	last := start + size - sgx.PageSize
	for p := start; p < min(start+uint64(e.xsaveSize), last); p += sgx.PageSize {
		if f := e.checkFramePage(i, off, frame, p); f != nil {
			return f
		}
	}
	return e.checkFramePage(i, off, frame, last)
}

func (e *Enclave) checkFramePage(i string, off uint64, frame uint32, p uint64) *Fault {
	page, ok := e.Page(p)
	if !ok {
		return e.pf(i, p, pfWrite, "TCS %#x: SSA frame %d: there is no page at offset %#x", off, frame, p)
	}
	if page.Flags != sgx.SecInfoREGRW && page.Flags != sgx.SecInfoREGRW|sgx.SecInfoX {
		return e.pf(i, p, pfWrite, "TCS %#x: SSA frame %d: the page at offset %#x is %s, not REG rw-", off, frame, p, page.Flags)
	}
	return nil
}
