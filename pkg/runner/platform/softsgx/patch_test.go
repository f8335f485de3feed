//go:build linux && amd64

package softsgx

import (
	"bytes"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

func TestPatchRun(t *testing.T) {
	enc := []byte{0x0f, 0x01, 0xd7}
	for _, test := range []struct {
		name       string
		code, want []byte
	}{
		{"mov eax", code([]byte{0xb8, 4, 0, 0, 0}, enc), code([]byte{0xff, 0xe3, 0, 0, 0}, enc)},
		{"mov rax", code([]byte{0x48, 0xc7, 0xc0, 4, 0, 0, 0}, enc), code([]byte{0xff, 0xe3, 0xc0, 4, 0, 0, 0}, enc)},
		{"xor, mov al", code([]byte{0x31, 0xc0, 0xb0, 4}, enc), code([]byte{0xff, 0xe3, 0xb0, 4}, enc)},
		{"push, pop", code([]byte{0x6a, 4, 0x58}, enc), code([]byte{0xff, 0xe3, 0x58}, enc)},
		{"another leaf", code([]byte{0xb8, 1, 0, 0, 0}, enc), nil},
		{"mov r8d", code([]byte{0x41, 0xb8, 4, 0, 0, 0}, enc), nil},
		{"mov ax", code([]byte{0x66, 0xb8, 4, 0, 0, 0}, enc), nil},
		{"alone", code([]byte{0x90}, enc, []byte{0x90}), nil},
		{"cut", code([]byte{4, 0, 0, 0}, enc), nil},
		{"two", code(movEAX4, enc, enc, movEAX4, enc), code([]byte{0xff, 0xe3, 0, 0, 0}, enc, enc, []byte{0xff, 0xe3, 0, 0, 0}, enc)},
	} {
		if test.want == nil {
			test.want = bytes.Clone(test.code)
		}
		e := &enclave{memory: new(elrange)}
		e.patchEEXIT(test.code, 0x1000)
		if !bytes.Equal(test.code, test.want) || e.sites != nil {
			t.Errorf("%s: %x, want %x", test.name, test.code, test.want)
		}
	}
}

// The leaf of a patched ENCLU is still what EAX says if it is reached by another
// way, and DebugRead shows what was measured.
func TestPatchedSites(t *testing.T) {
	prog := code(
		[]byte{0x85, 0xff, 0x75, 0x0d}, // test %edi,%edi; jne to the ENCLU
		[]byte{0x90, 0x90, 0x90, 0x90, 0x90},
		movRBXRCX, movEAX4, encluBytes)
	eachMode(t, func(t *testing.T, p platform.Platform) {
		e := (&image{threads: 1, code: prog, attr: sgx.AttrDebug}).build(t, p)
		wantDebugRead(t, e, prog)
		th := newThread(t, e)
		var r platform.Regs
		if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT {
			t.Fatal(x, err)
		}
		// RAX is zero at entry: EREPORT, with the TCS as operand.
		r.RDI = 1
		if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Vector != sgx.VectorPF {
			t.Fatal(x, err)
		}
		if g, _ := ssa(t, e, 0); g.RIP != e.SECS().BaseAddr+17 {
			t.Errorf("RIP is %#x in the enclave, want 17", g.RIP-e.SECS().BaseAddr)
		}
	})
}

// Sites beyond the reach of a 32-bit displacement, or beyond the stub page,
// stay as they are.
func TestStubLimits(t *testing.T) {
	e := &enclave{memory: &elrange{base: 0x10000000, before: pageSize}}
	far := bytes.Clone(encluUD2)
	e.patchEEXIT(far, 1<<31)
	if !bytes.Equal(far, encluUD2) {
		t.Error("a site out of reach was patched")
	}
	many := bytes.Repeat(encluUD2, maxStubs+1)
	e.patchEEXIT(many, 0)
	if len(e.sites) != maxStubs || !bytes.HasSuffix(many, encluUD2) {
		t.Errorf("%d stubs, want %d", len(e.sites), maxStubs)
	}
	for i, s := range e.sites {
		page := uint64(e.memory.stubs())
		if a, ok := e.site(page + uint64(i)*stubSize + 7); !ok || a != s {
			t.Fatalf("stub %d is for %#x, want %#x", i, a, s)
		}
	}
	if _, ok := e.site(uint64(e.memory.stubs()) + pageSize); ok {
		t.Error("an address behind the stubs is in one")
	}
}

// wantDebugRead wants that DebugRead shows the code as it was added, in parts of
// any length.
func wantDebugRead(t *testing.T, e platform.Enclave, code []byte) {
	t.Helper()
	for _, n := range []int{len(code), 1, 2, 3, 7} {
		for at := 0; at+n <= len(code); at++ {
			b := make([]byte, n)
			if err := e.DebugRead(uint64(at), b); err != nil {
				t.Fatal(err)
			}
			if want := code[at : at+n]; !bytes.Equal(b, want) {
				t.Fatalf("EDBGRD of %d bytes at %d: %x, want %x", n, at, b, want)
			}
		}
	}
}
