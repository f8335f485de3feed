//go:build linux && amd64

package softsgx

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/enclaveos/eos/pkg/sgx"
)

var le = binary.LittleEndian

// The standard form of an XSAVE area (SDM vol. 1, 13.4):
//
//	0   24  x87 control       160 256  XMM registers
//	24   8  MXCSR, its mask   464  48  unused by the processor; in a signal
//	32 128  x87 registers              frame Linux's _fpx_sw_bytes
//	512  8  XSTATE_BV: components that are not in their initial state
//	520 56  XCOMP_BV and reserved: zero
//	576     components 2 and up, at offsets that CPUID tells
const (
	xsaveMXCSR     = 24
	xsaveMXCSRMask = 28
	xsaveX87Regs   = 32
	xsaveXMM       = 160
	xsaveXMMEnd    = 416
	xsaveBV        = 512
	xsaveHeaderEnd = 576

	xfrmX87  = sgx.XFRMX87
	xfrmSSE  = sgx.XFRMSSE
	xfrmAVX  = sgx.XFRMAVX
	xfrmPKRU = uint64(sgx.XFRMPKRU)

	mxcsrInit = 0x1f80
	fcwInit   = 0x37f
)

// RFLAGS: what an enclave may have set (CF PF AF ZF SF DF OF NT AC ID), and
// what is always set in user mode (IF and the reserved one).
const (
	rflagsEnclave = 0x244cd5
	rflagsAlways  = 0x202
)

// frameSize returns the size of an SSA frame in bytes.
func (e *enclave) frameSize() uint64 { return uint64(e.secs.SSAFrameSize) * sgx.PageSize }

// frame returns the offset of SSA frame n of a TCS.
func (e *enclave) frame(s *slot, n uint32) uint64 { return s.tcs.OSSA + uint64(n)*e.frameSize() }

// ssaFrame returns the parts of SSA frame n: the XSAVE area, EXINFO and
// GPRSGX. EENTER or ERESUME has checked that they can be read and written.
func (e *enclave) ssaFrame(s *slot, n uint32) (xsave, exinfo, gpr []byte) {
	off, size := uintptr(e.frame(s, n)), uintptr(e.frameSize())
	end := off + size
	return e.memory.bytes(off, uintptr(cpu().xsaveSize(e.secs.Attributes.XFRM))),
		e.memory.bytes(end-sgx.GPRSGXSize-sgx.EXINFOSize, sgx.EXINFOSize),
		e.memory.bytes(end-sgx.GPRSGXSize, sgx.GPRSGXSize)
}

// aex does what a processor does at an AEX after it has left (SDM 37.4): it
// saves the state, which is in the control block, in the current SSA frame,
// and CSSA says that this frame is in use.
func (t *thread) aex(s *slot, x exception, info sgx.ExitInfo) {
	c := t.os.control
	cssa := s.cssa.Load()
	xsave, exinfo, gpr := t.e.ssaFrame(s, cssa)
	saveXSAVE(xsave, c.xsave[:c.xsaveLen], t.e.secs.Attributes.XFRM)
	if t.e.secs.MiscSelect&sgx.MiscEXINFO != 0 && info.Valid() && (x.vector == sgx.VectorPF || x.vector == sgx.VectorGP) {
		le.PutUint64(exinfo, x.addr)
		le.PutUint32(exinfo[8:], x.code)
		le.PutUint32(exinfo[12:], 0)
	}
	r := &c.gregs
	g := sgx.GPRSGX{
		RAX: r[gregRAX], RCX: r[gregRCX], RDX: r[gregRDX], RBX: r[gregRBX],
		RSP: r[gregRSP], RBP: r[gregRBP], RSI: r[gregRSI], RDI: r[gregRDI],
		R8: r[gregR8], R9: r[gregR9], R10: r[gregR10], R11: r[gregR11],
		R12: r[gregR12], R13: r[gregR13], R14: r[gregR14], R15: r[gregR15],
		RFLAGS: r[gregRFLAGS]&rflagsEnclave | rflagsAlways, RIP: r[gregRIP],
		URSP: le.Uint64(gpr[gprURSP:]), URBP: le.Uint64(gpr[gprURBP:]), // of the last EENTER, or what the enclave made of it
		ExitInfo: info, FSBase: c.fs, GSBase: c.gs,
	}
	b, _ := g.AppendBinary(make([]byte, 0, sgx.GPRSGXSize))
	copy(gpr, b)
	s.cssa.Store(cssa + 1)
}

// saveXSAVE writes an XSAVE area with components x from the image of a signal
// frame.
func saveXSAVE(dst, src []byte, x sgx.XFRM) {
	var have sgx.XFRM
	if len(src) >= xsaveHeaderEnd {
		have = sgx.XFRM(le.Uint64(src[xsaveBV:])) & x
	} else {
		have = sgx.XFRMLegacy
	}
	if have&xfrmX87 != 0 {
		copy(dst[:xsaveMXCSR], src)
		copy(dst[xsaveX87Regs:xsaveXMM], src[xsaveX87Regs:])
	} else {
		clear(dst[:xsaveMXCSR])
		le.PutUint16(dst, fcwInit)
		clear(dst[xsaveX87Regs:xsaveXMM])
	}
	copy(dst[xsaveMXCSR:xsaveX87Regs], src[xsaveMXCSR:])
	if have&xfrmSSE != 0 {
		copy(dst[xsaveXMM:xsaveXMMEnd], src[xsaveXMM:])
	} else {
		clear(dst[xsaveXMM:xsaveXMMEnd])
	}
	clear(dst[xsaveBV:xsaveHeaderEnd])
	for m := uint64(x) >> 2 << 2; m != 0; m &= m - 1 {
		i := bits.TrailingZeros64(m)
		a := cpu().area[i]
		if uint64(len(src)) < uint64(a.off)+uint64(a.size) {
			have &^= 1 << i
		}
		if have>>i&1 != 0 {
			copy(dst[a.off:a.off+a.size], src[a.off:])
		} else {
			clear(dst[a.off : a.off+a.size])
		}
	}
	le.PutUint64(dst[xsaveBV:], uint64(have))
}

// stateAtEntry makes the state in the control block that of an enclave at its
// entry point, before its first instruction.
func (t *thread) stateAtEntry() {
	c := t.os.control
	clear(c.gregs[:])
	r := &c.gregs
	r[gregRDI], r[gregRSI], r[gregRDX], r[gregR8], r[gregR9], r[gregR10] = c.rdi, c.rsi, c.rdx, c.r8, c.r9, c.r10
	r[gregRAX], r[gregRBX], r[gregRCX] = c.cssa, c.tcs, uint64(landingStart)
	r[gregRSP], r[gregRIP], r[gregR11] = c.stack, c.oentry, c.oentry
	r[gregRFLAGS] = rflagsAlways
	clear(c.xsave[:xsaveHeaderEnd])
	le.PutUint32(c.xsave[xsaveMXCSR:], mxcsrInit)
	c.xsaveLen = xsaveHeaderEnd
}

// prepareResume does ERESUME up to the jump: it takes the state from the last
// SSA frame and makes sure that the processor will accept it. An error leaves
// CSSA as it was.
func (t *thread) prepareResume(s *slot) error {
	cssa := s.cssa.Load()
	if _, f := t.e.mc.CheckResume(s.off, cssa); f != nil {
		return f
	}
	xsave, _, gpr := t.e.ssaFrame(s, cssa-1)
	refuse := func(what string, v uint64) error {
		return fmt.Errorf("ERESUME: #GP: TCS %#x: SSA frame %d: %s %#x", s.off, cssa-1, what, v)
	}
	// The enclave owns the frame and another of its threads may be writing.
	c := t.os.control
	image := c.xsave[:len(xsave)]
	copy(image, xsave)
	clear(c.xsave[len(xsave):])
	c.xsaveLen = uint64(len(xsave))
	if v := le.Uint64(image[xsaveBV:]); v&^uint64(t.e.secs.Attributes.XFRM) != 0 {
		return refuse("XSTATE_BV has components that are not in XFRM:", v)
	}
	for i := xsaveBV + 8; i < xsaveHeaderEnd; i += 8 {
		if v := le.Uint64(image[i:]); v != 0 {
			return refuse(fmt.Sprintf("byte %d of the XSAVE header is not zero:", i-xsaveBV), v)
		}
	}
	if v := le.Uint32(image[xsaveMXCSR:]); v&^cpu().mxcsrMask != 0 {
		return refuse("MXCSR has reserved bits:", uint64(v))
	}
	var g sgx.GPRSGX
	if err := loadGPRSGX(&g, gpr); err != nil {
		return err
	}
	for _, a := range []struct {
		name string
		v    uint64
	}{{"RIP", g.RIP}, {"FSBASE", g.FSBase}, {"GSBASE", g.GSBase}} {
		if a.v != uint64(int64(a.v)<<16>>16) {
			return refuse(a.name+" is not canonical:", a.v)
		}
	}
	r := &c.gregs
	r[gregRAX], r[gregRCX], r[gregRDX], r[gregRBX] = g.RAX, g.RCX, g.RDX, g.RBX
	r[gregRSP], r[gregRBP], r[gregRSI], r[gregRDI] = g.RSP, g.RBP, g.RSI, g.RDI
	r[gregR8], r[gregR9], r[gregR10], r[gregR11] = g.R8, g.R9, g.R10, g.R11
	r[gregR12], r[gregR13], r[gregR14], r[gregR15] = g.R12, g.R13, g.R14, g.R15
	r[gregRFLAGS] = g.RFLAGS
	c.fs, c.gs = g.FSBase, g.GSBase
	t.continueAt(g.RIP)
	s.cssa.Store(cssa - 1)
	return nil
}

// loadGPRSGX reads a frame's registers. The reserved bytes may hold anything.
func loadGPRSGX(g *sgx.GPRSGX, b []byte) error {
	var copied [sgx.GPRSGXSize]byte
	copy(copied[:], b)
	clear(copied[164:167])
	p, err := sgx.ParseGPRSGX(copied[:])
	if err == nil {
		*g = *p
	}
	return err
}

// continueAt makes the state in the control block one to go on with, at rip.
func (t *thread) continueAt(rip uint64) {
	c := t.os.control
	r := &c.gregs
	r[gregRIP] = rip
	c.iret = [5]uint64{rip, t.os.cs, r[gregRFLAGS]&rflagsEnclave | rflagsAlways, r[gregRSP], t.os.ss}
	// The image may come from a signal frame, where Linux has notes of its own.
	clear(c.xsave[xsaveXMMEnd:xsaveBV])
	if c.xsaveLen < xsaveHeaderEnd {
		clear(c.xsave[xsaveBV:xsaveHeaderEnd])
		le.PutUint64(c.xsave[xsaveBV:], uint64(sgx.XFRMLegacy))
		c.xsaveLen = xsaveHeaderEnd
	}
}
