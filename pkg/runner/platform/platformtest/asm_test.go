package platformtest

import (
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

// TestOps decodes the bytes of each instruction and compares the text.
func TestOps(t *testing.T) {
	// What the disassembler does not know or writes in another way.
	other := map[string]string{
		"rep movsb":                   "rep movsb byte ptr [rdi], byte ptr [rsi]",
		"fld1":                        "fld1 st0",
		"mov rdi, qword ptr fs:[0x0]": "mov rdi, qword ptr fs:[]",
		"mov rsi, qword ptr gs:[0x0]": "mov rsi, qword ptr gs:[]",
		"inc qword ptr gs:[0x0]":      "inc qword ptr gs:[]",
	}
	for text, b := range ops {
		if text == "enclu" || text[0] == 'v' {
			continue // ENCLU (NP 0F 01 D7, SDM vol. 3D 40.4) and AVX are not in the disassembler
		}
		inst, err := x86asm.Decode([]byte(b), 64)
		if err != nil {
			t.Errorf("%s: % x: %v", text, b, err)
			continue
		}
		want := text
		if o, ok := other[text]; ok {
			want = o
		}
		if got := strings.TrimSpace(x86asm.IntelSyntax(inst, 0, nil)); got != want || inst.Len != len(b) {
			t.Errorf("% x is %q (%d bytes), want %q", b, got, inst.Len, want)
		}
	}
}

// TestEncoders decodes what mov, lea and jump make.
func TestEncoders(t *testing.T) {
	for reg := range registers {
		a := &asm{org: 0x1000}
		a.mov(reg, 0x1122334455667788)
		a.lea(reg, 0x4000)
		for _, want := range []string{"mov " + reg + ", 0x1122334455667788", "lea " + reg + ", ptr [rip+0x2fef]"} {
			inst, err := x86asm.Decode(a.b, 64)
			if err != nil {
				t.Fatal(err)
			}
			if got := x86asm.IntelSyntax(inst, 0, nil); got != want {
				t.Errorf("%q, want %q", got, want)
			}
			a.b = a.b[inst.Len:]
		}
	}
	for op, want := range map[string]string{"jmp": "jmp 0x1800", "je": "jz 0x1800", "jne": "jnz 0x1800"} {
		a := &asm{org: 0x1000}
		a.jump(op, 0x1800)
		inst, err := x86asm.Decode(a.b, 64)
		if err != nil {
			t.Fatal(err)
		}
		if got := x86asm.IntelSyntax(inst, 0x1000, nil); got != want {
			t.Errorf("%s: %q, want %q", op, got, want)
		}
	}
}
