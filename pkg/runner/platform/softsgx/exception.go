//go:build linux && amd64

package softsgx

import (
	"syscall"

	"github.com/enclaveos/eos/pkg/sgx"
)

// exception is what a signal in enclave code stands for.
type exception struct {
	what   exceptionKind
	vector uint8
	code   uint32 // as pushed
	addr   uint64 // of #PF
}

type exceptionKind uint8

const (
	isException exceptionKind = iota
	isLeaf                    // ENCLU
	isNothing                 // a processor would not have noticed
)

// sysUserDispatch is the si_code of a SIGSYS by Syscall User Dispatch.
const sysUserDispatch = 2

// Bits of a page fault's error code (SDM vol. 3A 4.7).
const (
	pfPresent = 1 << 0
	pfFetch   = 1 << 4
	pfSGX     = 1 << 15
)

const rflagsTF = 0x100

// exception says what the state in the control block, left by a signal, means
// on a processor with SGX. It corrects RIP where the two differ.
//
// Inside an enclave some instructions raise #UD that raise something else, or
// nothing, outside (SDM 36.6.1); INT3 is a fault and not a trap (SDM 40.4);
// and whatever is fetched from outside ELRANGE is a #GP(0) (SDM 36.3).
func (t *thread) exception() exception {
	c, e := t.os.control, t.e
	r := &c.gregs
	if a, ok := e.site(r[gregRIP]); ok {
		r[gregRIP] = a
		if c.sig == uint32(syscall.SIGILL) {
			return exception{what: isLeaf}
		}
	}
	rip := r[gregRIP]
	if !e.contains(rip) && c.sig != uint32(syscall.SIGSYS) {
		return exception{vector: sgx.VectorGP}
	}
	switch syscall.Signal(c.sig) {
	case syscall.SIGILL:
		if code := e.code(rip, 3); len(code) == 3 && [3]byte(code) == enclu {
			return exception{what: isLeaf}
		}
		return exception{vector: sgx.VectorUD}
	case syscall.SIGSYS:
		if c.sigCode != sysUserDispatch || !e.contains(rip-2) {
			return exception{vector: sgx.VectorGP}
		}
		r[gregRIP] = rip - 2 // SYSCALL and INT 80H both have two bytes
		return exception{vector: sgx.VectorUD}
	}
	x := exception{vector: uint8(r[gregTrapNo]), code: uint32(r[gregErr])}
	switch x.vector {
	case sgx.VectorPF:
		return e.pageFault(x, r[gregCR2], rip)
	case sgx.VectorGP:
		if raisesUD(e.code(rip, maxInstruction)) {
			return exception{vector: sgx.VectorUD}
		}
	case sgx.VectorBP, vectorOF:
		// A trap: RIP is behind it. INT3 has one byte, INT 3 and INT 4 have two.
		if b := e.code(rip-1, 1); len(b) == 1 && b[0] == opINT3 {
			r[gregRIP] = rip - 1
			return exception{vector: sgx.VectorBP}
		}
		r[gregRIP] = rip - 2
		return exception{vector: sgx.VectorUD}
	case sgx.VectorDB:
		if r[gregRFLAGS]&rflagsTF != 0 { // POPF cannot set TF in an enclave
			r[gregRFLAGS] &^= rflagsTF
			return exception{what: isNothing}
		}
	}
	return x
}

// vectorOF is the overflow exception. INTO, which would raise it, is invalid
// in 64-bit mode, INT 4 in an enclave.
const vectorOF = 4

// pageFault completes a #PF at addr.
func (e *enclave) pageFault(x exception, addr, rip uint64) exception {
	x.addr = addr
	if x.code&pfFetch != 0 && !e.contains(addr) {
		return exception{vector: sgx.VectorGP} // an instruction across the end
	}
	if !e.contains(addr) {
		return x
	}
	page, ok := e.mc.Page(addr - e.secs.BaseAddr)
	if !ok {
		return x
	}
	// The page is there, though the host may not have made an entry for it
	// before it was first touched.
	x.code |= pfPresent
	if page.Flags.PageType() != sgx.PageREG {
		x.code |= pfSGX
	}
	return x
}

// code returns up to n bytes of code at address a, as far as the enclave has
// executable pages there.
func (e *enclave) code(a uint64, n uint64) []byte {
	if !e.contains(a) {
		return nil
	}
	off := a - e.secs.BaseAddr
	end := off
	for end < off+n && end < e.secs.Size {
		page, ok := e.mc.Page(end)
		if !ok || page.Flags.PageType() != sgx.PageREG || page.Flags&sgx.SecInfoX == 0 {
			break
		}
		end = min(off+n, end&^(sgx.PageSize-1)+sgx.PageSize)
	}
	return e.memory.bytes(uintptr(off), uintptr(end-off))
}

const maxInstruction = 15

var enclu = [3]byte{0x0f, 0x01, 0xd7}

const opINT3 = 0xcc

// raisesUD reports whether code starts with an instruction that raises #UD in
// an enclave and #GP in an ordinary program.
func raisesUD(code []byte) bool {
	for len(code) > 0 && isPrefix(code[0]) {
		code = code[1:]
	}
	if len(code) == 0 {
		return false
	}
	var second, reg byte
	if len(code) > 1 {
		second, reg = code[1], code[1]>>3&7
	}
	switch op := code[0]; op {
	case 0xcd, // INT n
		0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef, // IN, OUT
		0x6c, 0x6d, 0x6e, 0x6f, // INS, OUTS
		0xca, 0xcb, 0xcf, // far RET, IRET
		0x8e: // MOV to a segment register
		return true
	case 0xff: // far CALL, far JMP
		return reg == 3 || reg == 5
	case 0x0f:
		switch second {
		case 0xa2, 0x33, 0x37, // CPUID, RDPMC, GETSEC
			0xa1, 0xa9, // POP FS, POP GS
			0xb2, 0xb4, 0xb5: // LSS, LFS, LGS
			return true
		case 0x00, 0x01: // SLDT, STR; SGDT, SIDT, SMSW
			if len(code) < 3 {
				return false
			}
			reg = code[2] >> 3 & 7
			return reg <= 1 || second == 1 && reg == 4
		}
	}
	return false
}

func isPrefix(b byte) bool {
	switch b {
	case 0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65:
		return true
	}
	return b&0xf0 == 0x40 // REX
}
