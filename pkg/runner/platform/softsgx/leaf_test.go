//go:build linux && amd64

package softsgx

import (
	"encoding/binary"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

var ereportProgram = code(
	[]byte{0x48, 0x8d, 0x1d, 0xf9, 0x1f, 0x00, 0x00}, // lea 0x2000,%rbx
	[]byte{0x49, 0x89, 0xcb},                         // mov %rcx,%r11
	[]byte{0x48, 0x8d, 0x0d, 0xef, 0x21, 0x00, 0x00}, // lea 0x2200,%rcx
	[]byte{0x48, 0x8d, 0x15, 0xe8, 0x23, 0x00, 0x00}, // lea 0x2400,%rdx
	[]byte{0x31, 0xc0, 0xf9},                         // xor %eax,%eax; stc
	encluBytes,
	[]byte{0x40, 0x0f, 0x92, 0xc7}, // setc %dil
	[]byte{0x4c, 0x89, 0xd9},       // mov %r11,%rcx
	eexit,
)

func TestEReport(t *testing.T) {
	eachMode(t, func(t *testing.T, p platform.Platform) {
		data := make([]byte, 0x240)
		for i := range 64 {
			data[0x200+i] = byte(i + 1)
		}
		e := (&image{threads: 1, code: ereportProgram, data: data, attr: sgx.AttrDebug}).build(t, p)
		th := newThread(t, e)
		var r platform.Regs
		if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT || r.RDI != 1 {
			t.Fatalf("%v %v carry %d, want 1", x, err, r.RDI)
		}
		out := make([]byte, sgx.ReportSize)
		if err := e.DebugRead(imageData+0x400, out); err != nil {
			t.Fatal(err)
		}
		report, err := sgx.ParseReport(out)
		if err != nil {
			t.Fatal(err)
		}
		s := e.SECS()
		if report.Body.MREnclave != s.MREnclave || report.Body.Attributes != s.Attributes || [64]byte(data[0x200:]) != report.Body.ReportData {
			t.Errorf("report %+v", report.Body)
		}
	})
}

var egetkeyProgram = code(
	[]byte{0x49, 0x89, 0xcb},                         // mov %rcx,%r11
	[]byte{0x48, 0x8d, 0x1d, 0xf6, 0x1f, 0x00, 0x00}, // lea 0x2000,%rbx
	[]byte{0x48, 0x8d, 0x0d, 0xef, 0x2d, 0x00, 0x00}, // lea 0x2e00,%rcx
	[]byte{0xb8, 0x01, 0x00, 0x00, 0x00},             // mov $1,%eax
	encluBytes,
	[]byte{0x48, 0x89, 0xc7},                               // mov %rax,%rdi
	[]byte{0x40, 0x0f, 0x94, 0xc6, 0x40, 0x0f, 0xb6, 0xf6}, // sete %sil; movzx %sil,%esi
	[]byte{0x4c, 0x89, 0xd9},                               // mov %r11,%rcx
	eexit,
)

func TestEGetKey(t *testing.T) {
	keys := make(map[[16]byte]bool)
	eachMode(t, func(t *testing.T, p platform.Platform) {
		for _, test := range []struct {
			name sgx.KeyName
			code sgx.ErrorCode
		}{{sgx.KeySeal, sgx.Success}, {99, sgx.InvalidKeyName}} {
			data := make([]byte, sgx.KeyRequestSize)
			binary.LittleEndian.PutUint16(data, uint16(test.name))
			binary.LittleEndian.PutUint16(data[2:], uint16(sgx.PolicyMRSigner))
			e := (&image{threads: 1, code: egetkeyProgram, data: data, attr: sgx.AttrDebug}).build(t, p)
			th := newThread(t, e)
			var r platform.Regs
			x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r)
			if err != nil || x.Kind != platform.ExitEEXIT {
				t.Fatal(x, err)
			}
			if sgx.ErrorCode(r.RDI) != test.code || (r.RSI != 0) != (test.code != sgx.Success) {
				t.Errorf("key %d: RAX %d, ZF %d, want %d", test.name, r.RDI, r.RSI, test.code)
			}
			var key [16]byte
			if err := e.DebugRead(imageData+0xe00, key[:]); err != nil {
				t.Fatal(err)
			}
			if (key != [16]byte{}) != (test.code == sgx.Success) {
				t.Errorf("key %d is %x", test.name, key)
			}
			keys[key] = true
		}
	})
	if len(keys) != 2 { // zero and the one that both modes must derive
		t.Errorf("%d keys, want the same one from both enclaves", len(keys)-1)
	}
}

// FS and GS are the TCS's, and registers are as EENTER leaves them.
func TestEntryState(t *testing.T) {
	prog := code(
		[]byte{0xf3, 0x48, 0x0f, 0xae, 0xc7},       // rdfsbase %rdi
		[]byte{0xf3, 0x48, 0x0f, 0xae, 0xce},       // rdgsbase %rsi
		[]byte{0x49, 0x89, 0xc0},                   // mov %rax,%r8
		[]byte{0x49, 0x89, 0xd9},                   // mov %rbx,%r9
		[]byte{0x49, 0x89, 0xe2},                   // mov %rsp,%r10
		[]byte{0x48, 0x8b, 0x93, 0xd8, 0x1f, 0, 0}, // mov 0x1000+4096-184+144(%rbx),%rdx: URSP
		eexit)
	eachMode(t, func(t *testing.T, p platform.Platform) {
		e := (&image{threads: 1, code: prog}).build(t, p)
		th := newThread(t, e)
		var r platform.Regs
		if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT {
			t.Fatal(x, err)
		}
		b := e.SECS().BaseAddr
		if r.RDI != b+tcsOff(0)+0x3000 || r.RSI != r.RDI || r.R8 != 0 || r.R9 != b+tcsOff(0) {
			t.Errorf("FS %#x GS %#x RAX %d RBX %#x", r.RDI, r.RSI, r.R8, r.R9)
		}
		if r.RDX != r.R10 || r.R10 == 0 || r.R10-b < imageSize {
			t.Errorf("RSP %#x, URSP %#x", r.R10, r.RDX)
		}
	})
}
