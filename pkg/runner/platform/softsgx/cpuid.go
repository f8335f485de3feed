//go:build linux && amd64

package softsgx

import (
	"bytes"

	"github.com/enclaveos/eos/pkg/sgxs/x86len"
)

// CPUID raises #UD in an enclave. Where the processor cannot make it fault, the
// CPUIDs of the image become UD2 after it has been measured: that has two bytes
// as well, so there is the right vector at the right RIP, with prefixes too.
// The two bytes occur in other instructions and in data, so they are replaced
// only where they are surely CPUID.
var ud2Code = []byte{0x0f, 0x0b}

const (
	opTwoByte = 0x0f
	opCPUID   = 0xa2 // after opTwoByte
)

// cpuidScan is what may still be looked at in an enclave. One with so many sites
// is not a program, since a GiB of code has as many by chance, and shall not
// take for ever to load.
type cpuidScan struct {
	sites    int
	searches int // see x86len.Surely
}

var newCPUIDScan = cpuidScan{sites: 1 << 14, searches: 64}

// patchCPUID replaces the CPUIDs in code, which is at offset off.
func (e *enclave) patchCPUID(code []byte, off uintptr, scan *cpuidScan) {
	var found []int // all, before code changes
	for i := 1; i < len(code) && scan.sites > 0; i++ {
		n := bytes.IndexByte(code[i:], opCPUID) // rarer in code than opTwoByte
		if n < 0 {
			break
		}
		i += n
		if code[i-1] != opTwoByte {
			continue
		}
		scan.sites--
		if e.isCPUID(code, off, i-1, &scan.searches) {
			found = append(found, i-1)
		}
	}
	for _, at := range found {
		e.replace(code, off, at, ud2Code)
	}
}

// isCPUID reports whether there surely is a CPUID at code[at]. The entry points
// of the TCSs are instructions, whatever is before them.
func (e *enclave) isCPUID(code []byte, off uintptr, at int, searches *int) bool {
	if x86len.Surely(code, at, searches) {
		return true
	}
	for _, entry := range e.entries {
		site := off + uintptr(at)
		if entry >= off && entry <= site && site-entry < nearEntry && x86len.Surely(code[entry-off:], int(site-entry), searches) {
			return true
		}
	}
	return false
}

// nearEntry is how far from an entry point it tells about instructions.
const nearEntry = 64
