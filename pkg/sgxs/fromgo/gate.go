package fromgo

import (
	"fmt"
	"strings"

	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs/x86len"
)

// Forbidden is an instruction that an enclave cannot execute.
type Forbidden struct {
	Func   string
	Offset uint64 // in the function
	Name   string // "SYSCALL"
}

func (f Forbidden) String() string { return fmt.Sprintf("%s at %s+%#x", f.Name, f.Func, f.Offset) }

// kernelOnly are instructions that the kernel alone may have, and where.
var kernelOnly = map[string]func(fn string) bool{
	"ENCLU":  func(fn string) bool { return strings.HasPrefix(fn, "runtime.eos") },
	"RDTSC":  readsTSC,
	"RDTSCP": readsTSC,
}

func readsTSC(fn string) bool {
	name, _, _ := strings.Cut(fn, ".abi")
	return name == "eosRDTSC" || name == "eosRDTSCP" || name == "internal/runtime/eoskernel.readTSC"
}

// scan walks through each function and returns what the program may not have.
// Between functions there is filler, which nothing jumps to.
func (p *program) scan() ([]Forbidden, error) {
	var found []Forbidden
	for _, fn := range p.funcs {
		s := p.at(fn.addr, fn.size)
		if s == nil || s.flags&sgx.SecInfoX == 0 {
			return nil, elfError("function %s at %#x is not in code", fn.name, fn.addr)
		}
		found = append(found, scanFunc(fn.name, s.data[fn.addr-s.off:][:fn.size])...)
	}
	return found, nil
}

// scanFunc reads the function from its start to its end. Only if that finds
// something it looks closer: assembly has data that it jumps over, as
// crypto/internal/boring/sig does.
func scanFunc(name string, code []byte) []Forbidden {
	var found []Forbidden
	for at := 0; at < len(code); {
		inst, bad := check(name, code, at)
		if bad != nil {
			found = append(found, *bad)
		}
		if inst.Len == 0 {
			break
		}
		at += inst.Len
	}
	if found == nil {
		return nil
	}
	if reached, ok := scanReached(name, code); ok {
		return reached
	}
	return found
}

// check decodes the instruction at code[at:]. The length is 0 if there is none.
func check(fn string, code []byte, at int) (x86len.Inst, *Forbidden) {
	inst, ok := x86len.Decode(code[at:])
	if !ok {
		return inst, &Forbidden{fn, uint64(at), fmt.Sprintf("unknown instruction % x", code[at:min(at+8, len(code))])}
	}
	name := inst.Forbidden(code[at:])
	if name == "" {
		return inst, nil
	}
	if allowed := kernelOnly[name]; allowed != nil && allowed(fn) {
		return inst, nil
	}
	return inst, &Forbidden{fn, uint64(at), name}
}

// scanReached reads what execution can reach from the function's start. It
// gives up if there is a jump to a place that only the program knows.
func scanReached(name string, code []byte) (found []Forbidden, ok bool) {
	seen := make([]bool, len(code))
	for todo := []int{0}; len(todo) > 0; {
		at := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for at >= 0 && at < len(code) && !seen[at] {
			seen[at] = true
			inst, bad := check(name, code, at)
			if bad != nil {
				found = append(found, *bad)
			}
			if inst.Len == 0 {
				break
			}
			flow, target := inst.Flow(code[at:])
			switch flow {
			case x86len.Away:
				return nil, false
			case x86len.Stop:
				at = len(code)
			case x86len.Branch:
				todo = append(todo, at+target)
				at += inst.Len
			case x86len.Jump:
				at += target
			default:
				at += inst.Len
			}
		}
	}
	return found, true
}

// maxNamed bounds how many forbidden instructions an error names.
const maxNamed = 4

// gate refuses a program with forbidden instructions.
func (p *program) gate() error {
	found, err := p.scan()
	if err != nil || len(found) == 0 {
		return err
	}
	var names []string
	for _, f := range found[:min(len(found), maxNamed)] {
		names = append(names, f.String())
	}
	if n := len(found) - maxNamed; n > 0 {
		names = append(names, fmt.Sprintf("and %d more", n))
	}
	return refuse("the package of that function cannot be in an enclave: do without it",
		"the program has instructions that an enclave cannot execute: %s", strings.Join(names, ", "))
}
