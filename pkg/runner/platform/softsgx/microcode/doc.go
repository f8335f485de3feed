// Package microcode is the rules of the SGX instructions, as a processor's
// microcode has them, in plain Go: what ECREATE, EADD, EEXTEND, EINIT, EENTER,
// EREPORT and EGETKEY check, measure, record and derive. It maps no memory and
// runs no enclave; the package softsgx does that around it.
//
// The order of checks is that of the "Operation" sections of the SDM, volume
// 3D, chapter "SGX Instruction References". Where a rule is ours the comment
// says so and why.
//
// Trust: all of this runs in the host. Keys come from a file that the host can
// read (see Device), so a report or a seal key of this package proves nothing
// to anyone else; it only behaves like a real one.
package microcode

import (
	"encoding/binary"
	"fmt"

	"github.com/enclaveos/eos/pkg/sgx"
)

var le = binary.LittleEndian

// Fault is an exception that an instruction raises in place of a result.
type Fault struct {
	Instr     string // the instruction, for example "EADD"
	Vector    uint8  // sgx.VectorGP or sgx.VectorPF
	Addr      uint64 // of #PF: the operand's address
	ErrorCode uint32 // as pushed: 0 of #GP
	What      string // the rule that was broken, with the values found
}

// Error returns for example "EADD: #GP: offset 0x10 is not a multiple of 4096".
func (f *Fault) Error() string {
	return fmt.Sprintf("%s: %s: %s", f.Instr, sgx.VectorName(f.Vector), f.What)
}

// gp returns a #GP(0).
func gp(instr, format string, args ...any) *Fault {
	return &Fault{Instr: instr, Vector: sgx.VectorGP, What: fmt.Sprintf(format, args...)}
}
