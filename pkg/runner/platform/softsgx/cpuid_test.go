//go:build linux && amd64

package softsgx

import (
	"bytes"
	"slices"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

var cpuidCode = []byte{0x0f, 0xa2}

func TestCPUID(t *testing.T) {
	nops := bytes.Repeat([]byte{0x90}, sgx.PageSize)
	for _, v := range []struct {
		name   string
		before []byte // then comes CPUID
		rip    uint64 // of the fault
	}{
		{"first", nil, 0},
		{"after instructions", []byte{0x49, 0x89, 0xcb, 0x31, 0xc0}, 5}, // mov %rcx,%r11; xor %eax,%eax
		{"far", nops[:200], 200},
		{"REX", append(slices.Clone(nops[:50]), 0x48), 50},
		{"REP", append(slices.Clone(nops[:50]), 0xf3), 50},
		{"last of a page", nops[:4094], 4094},
		{"across pages", nops[:4095], 4095},
	} {
		t.Run(v.name, func(t *testing.T) {
			eachMode(t, func(t *testing.T, p platform.Platform) {
				prog := code(v.before, cpuidCode, eexit)
				m := &image{threads: 1, code: prog, attr: sgx.AttrDebug}
				if len(prog) > sgx.PageSize {
					m.handler = prog[sgx.PageSize:]
				}
				e := m.build(t, p)
				x, err := newThread(t, e).Enter(tcsOff(0), sgx.LeafEENTER, new(platform.Regs))
				if err != nil || x.Kind != platform.ExitException || x.Vector != sgx.VectorUD {
					t.Fatalf("exit %v %v, want #UD", x, err)
				}
				if g, _ := ssa(t, e, 0); g.RIP != e.SECS().BaseAddr+v.rip {
					t.Errorf("RIP is %#x in the enclave, want %#x", g.RIP-e.SECS().BaseAddr, v.rip)
				}
				wantDebugRead(t, e, prog)
			})
		})
	}
}

// The bytes of CPUID in other instructions and in data stay.
func TestCPUIDBytes(t *testing.T) {
	prog := code(
		[]byte{0xba, 0x0f, 0xa2, 0, 0},                                 // mov $0xa20f,%edx
		[]byte{0x48, 0xbe, 1, 0x0f, 0xa2, 3, 4, 5, 6, 7},               // mov $...,%rsi
		[]byte{0x4c, 0x8b, 0x05, byte(len(eexit) + len(ud2)), 0, 0, 0}, // mov data(%rip),%r8
		eexit, ud2,
		[]byte{0x0f, 0xa2, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90}, // data that reads as code
	)
	eachMode(t, func(t *testing.T, p platform.Platform) {
		e := (&image{threads: 1, code: prog, attr: sgx.AttrDebug}).build(t, p)
		var r platform.Regs
		x, err := newThread(t, e).Enter(tcsOff(0), sgx.LeafEENTER, &r)
		if err != nil || x.Kind != platform.ExitEEXIT {
			t.Fatalf("exit %v %v", x, err)
		}
		if r.RDX != 0xa20f || r.RSI != 0x07060504_03a20f01 || r.R8 != 0x90909090_9090a20f {
			t.Errorf("RDX %#x RSI %#x R8 %#x", r.RDX, r.RSI, r.R8)
		}
	})
}

// What an enclave has written over a patched place is what DebugRead shows.
func TestUnpatchWritten(t *testing.T) {
	e := &enclave{memory: &elrange{}}
	page := make([]byte, 64)
	copy(page[10:], cpuidCode)
	mem, err := newELRange(0, 2*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer mem.close()
	e.memory = mem
	if err := mem.write(0, append(page, make([]byte, pageSize-len(page))...)); err != nil {
		t.Fatal(err)
	}
	e.replace(mem.bytes(0, pageSize), 0, 10, ud2Code)
	read := func() []byte {
		b := bytes.Clone(mem.bytes(8, 6))
		e.unpatch(8, b)
		return b
	}
	if b := read(); !bytes.Equal(b[2:4], cpuidCode) {
		t.Errorf("%x, want CPUID in it", b)
	}
	mem.bytes(11, 1)[0] = 0x77
	if b := read(); !bytes.Equal(b[2:4], []byte{0x0f, 0x77}) {
		t.Errorf("%x, want what was written", b)
	}
}

// An image made of doubtful sites does not take for ever to load.
func TestCPUIDHostile(t *testing.T) {
	text := bytes.Repeat([]byte{0xc3, 0x0f, 0xa2, 0x90}, 1<<20)
	e := &enclave{memory: new(elrange)}
	scan := newCPUIDScan
	e.patchCPUID(text, 0, &scan)
	if len(e.patches) != 0 {
		t.Errorf("%d patches of sites that nothing reaches", len(e.patches))
	}
}

// BenchmarkPatchCPUID looks through 64 MiB of code.
func BenchmarkPatchCPUID(b *testing.B) {
	// One instruction of 400 has A2 in it, one of 20000 the bytes of CPUID.
	var text []byte
	for i := 0; len(text) < 64<<20; i++ {
		switch {
		case i%20000 == 0:
			text = append(text, 0xe8, 0x0f, 0xa2, 1, 0)
		case i%400 == 0:
			text = append(text, 0xb8, 0xa2, 1, 0, 0)
		default:
			text = append(text, 0x48, 0x8b, 0x44, 0x24, 0x0f)
		}
	}
	e := &enclave{memory: new(elrange)}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		scan := newCPUIDScan
		e.patchCPUID(text, 0, &scan)
	}
	if len(e.patches) != 0 {
		b.Fatalf("%d patches", len(e.patches))
	}
}
