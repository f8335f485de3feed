package x86len

import (
	"debug/elf"
	"debug/gosym"
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"golang.org/x/arch/x86/x86asm"
)

func decodeHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The lengths are those of GNU objdump 2.40.
func TestDecode(t *testing.T) {
	for _, c := range []struct {
		code string
		m    Map
		op   byte
		what string
	}{
		{"90", Map1, 0x90, "nop"},
		{"f3 90", Map1, 0x90, "pause"},
		{"48 89 e5", Map1, 0x89, "mov rbp, rsp"},
		{"48 8d 0d 05 00 00 00", Map1, 0x8d, "lea rcx, [rip+5]"},
		{"8b 04 25 10 00 00 00", Map1, 0x8b, "mov eax, [0x10]"},
		{"8b 44 24 08", Map1, 0x8b, "mov eax, [rsp+8]"},
		{"8b 84 24 08 01 00 00", Map1, 0x8b, "mov eax, [rsp+0x108]"},
		{"48 8b 04 c5 10 00 00 00", Map1, 0x8b, "mov rax, [rax*8+0x10]"},
		{"48 b8 01 02 03 04 05 06 07 08", Map1, 0xb8, "mov rax, imm64"},
		{"b8 01 02 03 04", Map1, 0xb8, "mov eax, imm32"},
		{"66 b8 01 02", Map1, 0xb8, "mov ax, imm16"},
		{"66 48 b8 01 02 03 04 05 06 07 08", Map1, 0xb8, "REX.W wins over 66"},
		{"48 66 b8 01 02", Map1, 0xb8, "REX is void before a prefix"},
		{"a1 01 02 03 04 05 06 07 08", Map1, 0xa1, "mov eax, [moffs64]"},
		{"67 a1 01 02 03 04", Map1, 0xa1, "mov eax, [moffs32]"},
		{"f6 c1 01", Map1, 0xf6, "test cl, 1"},
		{"f6 d1", Map1, 0xf6, "not cl"},
		{"f7 c1 01 02 03 04", Map1, 0xf7, "test ecx, imm32"},
		{"66 f7 c1 01 02", Map1, 0xf7, "test cx, imm16"},
		{"48 f7 d9", Map1, 0xf7, "neg rcx"},
		{"c8 10 00 01", Map1, 0xc8, "enter 16, 1"},
		{"c2 08 00", Map1, 0xc2, "ret 8"},
		{"66 e8 01 02 03 04", Map1, 0xe8, "call with prefix 66"},
		{"69 c0 01 02 03 04", Map1, 0x69, "imul eax, eax, imm32"},
		{"cd 03", Map1, 0xcd, "int 3"},
		{"0f 05", Map0F, 0x05, "syscall"},
		{"0f a2", Map0F, 0xa2, "cpuid"},
		{"0f 01 f9", Map0F, 0x01, "rdtscp"},
		{"0f 20 04", Map0F, 0x20, "mov rsp, cr0: mod is passed over"},
		{"0f ba e0 05", Map0F, 0xba, "bt eax, 5"},
		{"0f 38 f0 07", Map0F38, 0xf0, "movbe eax, [rdi]"},
		{"66 0f 3a 0f c1 08", Map0F3A, 0x0f, "palignr xmm0, xmm1, 8"},
		{"f3 0f b8 c1", Map0F, 0xb8, "popcnt eax, ecx"},
		{"f3 48 0f ae d8", Map0F, 0xae, "wrgsbase rax"},
		{"c5 f8 77", Map0F, 0x77, "vzeroupper"},
		{"c5 fd 6f 06", Map0F, 0x6f, "vmovdqa ymm0, [rsi]"},
		{"c5 fd 70 c1 1b", Map0F, 0x70, "vpshufd ymm0, ymm1, 0x1b"},
		{"c4 e2 7d 00 c1", Map0F38, 0x00, "vpshufb ymm0, ymm0, ymm1"},
		{"c4 e3 fd 00 c0 4e", Map0F3A, 0x00, "vpermq ymm0, ymm0, 0x4e"},
		{"c4 e3 7d 46 84 24 80 00 00 00 13", Map0F3A, 0x46, "vperm2i128 with a displacement"},
		{"62 f1 fd 48 6f 06", Map0F, 0x6f, "vmovdqa64 zmm0, [rsi]"},
		{"62 f1 fd 48 6f 46 01", Map0F, 0x6f, "vmovdqa64 zmm0, [rsi+64]"},
		{"62 f3 75 48 25 c2 96", Map0F3A, 0x25, "vpternlogd zmm0, zmm1, zmm2, 0x96"},
		{"62 f2 75 48 dc c2", Map0F38, 0xdc, "vaesenc zmm0, zmm1, zmm2"},
		{"62 f5 7c 48 58 c1", Map5, 0x58, "vaddph zmm0, zmm0, zmm1"},
		{"62 f6 7d 48 98 c1", Map6, 0x98, "vfmadd132ph zmm0, zmm0, zmm1"},
	} {
		code := decodeHex(t, c.code)
		inst, ok := Decode(append(code, 0x90, 0x90))
		if !ok || inst.Len != len(code) || inst.Map != c.m || inst.Opcode != c.op {
			t.Errorf("%s (%s): %+v, %v", c.code, c.what, inst, ok)
		}
		for n := range code {
			if _, ok := Decode(code[:n]); ok {
				t.Errorf("%s: its first %d bytes are an instruction", c.what, n)
			}
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, code := range []string{
		"", "06", "0e", "1f", "27", "60", "82 00 00", "9a 00 00 00 00 00 00", "c4", "d4 00", "ea 00 00 00 00 00 00", "0f 04", "0f 36", "0f 39 00",
		"8f 28 00", "66 c5 fd 6f 06", "48 c5 fd 6f 06", "c4 e0 7d 00 c1", "c4 e5 7d 00 c1", "62 f0 fd 48 6f 06", "62 f1 f9 48 6f 06", "62 f9 fd 48 6f 06",
		"66 66 66 66 66 66 66 66 66 66 66 66 66 66 66 90", // too long
	} {
		if inst, ok := Decode(decodeHex(t, code)); ok {
			t.Errorf("%q is an instruction: %+v", code, inst)
		}
	}
}

func TestForbidden(t *testing.T) {
	for code, want := range map[string]string{
		"0f 05": "SYSCALL", "48 0f 05": "SYSCALL", "0f 34": "SYSENTER", "0f a2": "CPUID", "66 0f a2": "CPUID", "0f 31": "RDTSC", "0f 01 f9": "RDTSCP", "0f 33": "RDPMC",
		"cd 80": "INT", "cd 03": "", "cc": "", "cf": "IRET", "48 cf": "IRET", "f1": "INT1", "e4 10": "IN", "ec": "IN", "e7 10": "OUT", "ee": "OUT", "f3 6c": "INS", "6f": "OUTS",
		"cb": "far RET", "ca 08 00": "far RET", "ff 18": "far CALL", "48 ff 28": "far JMP", "ff 10": "", "ff e0": "", "8e d8": "MOV to a segment register", "8c d8": "",
		"0f a1": "POP FS", "0f a9": "POP GS", "0f b2 00": "LSS", "f4": "HLT", "fa": "CLI", "fb": "STI", "0f 08": "INVD", "0f 09": "WBINVD", "f3 0f 09": "",
		"0f 30": "WRMSR", "0f 32": "RDMSR", "0f 20 c0": "MOV of a control or debug register", "0f 01 d7": "ENCLU", "0f 01 cf": "ENCLS", "0f 01 d0": "", "0f 01 d1": "XSETBV",
		"0f 01 d5": "", "0f 01 d6": "", "0f 01 00": "SGDT", "0f 01 38": "INVLPG", "0f 01 e0": "SMSW", "0f 01 f0": "LMSW", "0f 01 d4": "VMFUNC", "0f 01 ee": "", "0f 01 f8": "SWAPGS",
		"0f 00 c0": "SLDT", "0f 00 e0": "", "0f 37": "GETSEC", "f3 48 0f ae d8": "WRGSBASE", "f3 48 0f ae d0": "", "f3 48 0f ae c8": "", "0f ae f8": "", "0f ae 18": "",
		"0f 0b": "", "0f 1f 00": "", "90": "", "c5 f8 05 c0": "", "0f c7 f0": "", // RDRAND
	} {
		b := decodeHex(t, code)
		inst, ok := Decode(b)
		if !ok || inst.Len != len(b) {
			t.Errorf("%s: %+v, %v", code, inst, ok)
			continue
		}
		if got := inst.Forbidden(b); got != want {
			t.Errorf("%s: %q, want %q", code, got, want)
		}
	}
}

func TestFlow(t *testing.T) {
	for _, c := range []struct {
		code   string
		flow   Flow
		target int
	}{
		{"90", Next, 0}, {"e8 00 00 00 00", Next, 0}, {"ff d0", Next, 0}, {"c5 e9 ef c0", Next, 0}, {"0f 05", Next, 0},
		{"74 10", Branch, 18}, {"75 fe", Branch, 0}, {"0f 84 00 01 00 00", Branch, 262}, {"e3 00", Branch, 2}, {"e2 fc", Branch, -2},
		{"eb 1d", Jump, 31}, {"e9 fb ff ff ff", Jump, 0}, {"e9 00 00 00 80", Jump, -1<<31 + 5},
		{"ff e0", Away, 0}, {"41 ff e3", Away, 0}, {"ff 25 00 00 00 00", Away, 0}, {"ff 28", Away, 0},
		{"c3", Stop, 0}, {"c2 08 00", Stop, 0}, {"0f 0b", Stop, 0}, {"f3 c3", Stop, 0},
	} {
		b := decodeHex(t, c.code)
		inst, ok := Decode(b)
		if flow, target := inst.Flow(b); !ok || flow != c.flow || target != c.target {
			t.Errorf("%s: %v %d, want %v %d", c.code, flow, target, c.flow, c.target)
		}
	}
}

// A second decoder, which knows the instructions but none with VEX, agrees on
// the lengths of all that this program has.
func TestAgainstX86asm(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := f.Section(".text")
	code, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	lines, err := f.Section(".gopclntab").Data()
	if err != nil {
		t.Fatal(err)
	}
	table, err := gosym.NewTable(nil, gosym.NewLineTable(lines, text.Addr))
	if err != nil {
		t.Fatal(err)
	}
	same := 0
	for _, fn := range table.Funcs {
		if fn.Entry < text.Addr || fn.End > text.Addr+text.Size {
			continue
		}
		body := code[fn.Entry-text.Addr : fn.End-text.Addr]
		for at := 0; at < len(body); {
			inst, ok := Decode(body[at:])
			if !ok {
				break // filler behind the function
			}
			if ref, err := x86asm.Decode(body[at:], 64); err == nil && !inst.Vector && ref.Op != 0 {
				if ref.Len != inst.Len {
					t.Fatalf("%s+%#x: % x: %d bytes, x86asm says %d (%v)", fn.Name, at, body[at:at+inst.Len], inst.Len, ref.Len, ref)
				}
				same++
			}
			at += inst.Len
		}
	}
	if same < 100000 {
		t.Errorf("only %d instructions were compared", same)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("\x48\x8d\x0d\x05\x00\x00\x00"))
	f.Add([]byte("\x62\xf3\x75\x48\x25\xc2\x96"))
	f.Fuzz(func(t *testing.T, code []byte) {
		inst, ok := Decode(code)
		if !ok {
			return
		}
		if inst.Len < 1 || inst.Len > MaxLen || inst.Len > len(code) {
			t.Fatalf("% x: %+v", code, inst)
		}
		if again, ok := Decode(code[:inst.Len]); !ok || again != inst {
			t.Fatalf("% x: %+v, alone %+v", code, inst, again)
		}
		inst.Forbidden(code)
		inst.Flow(code)
	})
}

func BenchmarkDecode(b *testing.B) {
	code := decodeHex(b, "48 89 e5 48 8d 0d 05 00 00 00 8b 44 24 08 c5 fd 6f 06 0f 84 00 01 00 00 c3")
	b.SetBytes(int64(len(code)))
	for b.Loop() {
		for at := 0; at < len(code); {
			inst, _ := Decode(code[at:])
			at += inst.Len
		}
	}
}
