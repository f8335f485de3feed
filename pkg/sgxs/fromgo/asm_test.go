package fromgo

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const sysText = "LONG $0x050d8d48; WORD $0; BYTE $0; JMP eosSyscall(SB)"

func TestRewriteAsm(t *testing.T) {
	for _, c := range []struct {
		name, in, out string
		count         map[string]int
	}{
		{"plain", "\tMOVQ\t$1, AX\n\tSYSCALL\n\tRET\n", "\tMOVQ\t$1, AX\n\t" + sysText + "\n\tRET\n", map[string]int{"SYSCALL": 1}},
		{"no end of line", "\tSYSCALL", "\t" + sysText, map[string]int{"SYSCALL": 1}},
		{"carriage return", "\tSYSCALL\r\n\tRET\r\n", "\t" + sysText + "\r\n\tRET\r\n", map[string]int{"SYSCALL": 1}},
		{"label", "again: SYSCALL\n\tJMP again\n", "again: " + sysText + "\n\tJMP again\n", map[string]int{"SYSCALL": 1}},
		{"label alone", "again:\n\tSYSCALL\n", "again:\n\t" + sysText + "\n", map[string]int{"SYSCALL": 1}},
		{"comment", "\tSYSCALL // SYSCALL; SYSCALL\n", "\t" + sysText + " // SYSCALL; SYSCALL\n", map[string]int{"SYSCALL": 1}},
		{"in a comment", "// SYSCALL\n/* SYSCALL\n SYSCALL */\n", "// SYSCALL\n/* SYSCALL\n SYSCALL */\n", nil},
		{"after a comment", "/* x */ SYSCALL\n", "/* x */ " + sysText + "\n", map[string]int{"SYSCALL": 1}},
		{"in quotes", "DATA x+0(SB)/8, $\"SYSCALL;\"\n\tSYSCALL\n", "DATA x+0(SB)/8, $\"SYSCALL;\"\n\t" + sysText + "\n", map[string]int{"SYSCALL": 1}},
		{"statements on a line", "\tXORL AX, AX; CPUID; RET\n", "\tXORL AX, AX; CALL eosCPUID(SB); RET\n", map[string]int{"CPUID": 1}},
		{"clocks", "\tRDTSC\n\tRDTSCP\n", "\tCALL eosRDTSC(SB)\n\tCALL eosRDTSCP(SB)\n", map[string]int{"RDTSC": 1, "RDTSCP": 1}},
		{"other words", "\tSYSCALLS\n\tMOVQ SYSCALL(SB), AX\n\tXGETBV\n", "\tSYSCALLS\n\tMOVQ SYSCALL(SB), AX\n\tXGETBV\n", nil},
		{"macro", "#define SYS SYSCALL\n\tSYS\n", "#define SYS " + sysText + "\n\tSYS\n", map[string]int{"SYSCALL": 1}},
		{"macro of lines", "#define SYS(n) \\\n\tMOVQ $n, AX \\\n\tSYSCALL\n\tSYS(1)\n", "#define SYS(n) \\\n\tMOVQ $n, AX \\\n\t" + sysText + "\n\tSYS(1)\n", map[string]int{"SYSCALL": 1}},
		{"macro of statements", "#define SYS(n) MOVQ $n, AX; \\\n\tSYSCALL; \\\n\tNOP\n", "#define SYS(n) MOVQ $n, AX; \\\n\t" + sysText + "; \\\n\tNOP\n", map[string]int{"SYSCALL": 1}},
		{"conditional", "#ifdef GOAMD64_v3\n\tSYSCALL\n#else\n\tCPUID\n#endif\n", "#ifdef GOAMD64_v3\n\t" + sysText + "\n#else\n\tCALL eosCPUID(SB)\n#endif\n", map[string]int{"SYSCALL": 1, "CPUID": 1}},

		{"bytes on a line", "\tBYTE $0x0f; BYTE $0x05\n", "\t" + sysText + "; \n", map[string]int{"SYSCALL": 1}},
		{"bytes on two lines", "\tBYTE $0x0f\n\tBYTE $0xa2\n", "\tCALL eosCPUID(SB)\n\t\n", map[string]int{"CPUID": 1}},
		{"word", "\tWORD $0x050f\n", "\t" + sysText + "\n", map[string]int{"SYSCALL": 1}},
		{"decimal", "\tBYTE $15; BYTE $49\n", "\tCALL eosRDTSC(SB); \n", map[string]int{"RDTSC": 1}},
		{"three bytes", "\tBYTE $0x0f; BYTE $0x01; BYTE $0xf9 // RDTSCP\n", "\tCALL eosRDTSCP(SB); ;  // RDTSCP\n", map[string]int{"RDTSCP": 1}},
		{"bytes before", "\tBYTE $0x90; BYTE $0x0f; BYTE $0x05\n", "\tBYTE $0x90; " + sysText + "; \n", map[string]int{"SYSCALL": 1}},
		{"amid another instruction", "\tBYTE $0xb8; BYTE $0x0f; BYTE $0x05; BYTE $0; BYTE $0\n", "\tBYTE $0xb8; BYTE $0x0f; BYTE $0x05; BYTE $0; BYTE $0\n", nil},
		{"half of a word", "\tLONG $0x90050f90\n", "\tLONG $0x90050f90\n", nil},
		{"other bytes", "\tBYTE $0x0f; BYTE $0x01; BYTE $0xd0\n", "\tBYTE $0x0f; BYTE $0x01; BYTE $0xd0\n", nil},
		{"data", "DATA ·x(SB)/2, $0x050f\n", "DATA ·x(SB)/2, $0x050f\n", nil},

		{"jump elsewhere", "\tJLS 2(PC)\n\tNEGQ AX\n\tSYSCALL\n", "\tJLS 2(PC)\n\tNEGQ AX\n\t" + sysText + "\n", map[string]int{"SYSCALL": 1}},
		{"jump over", "\tJLS 3(PC)\n\tNEGQ AX\n\tSYSCALL\n\tRET\n", "\tJLS 6(PC)\n\tNEGQ AX\n\t" + sysText + "\n\tRET\n", map[string]int{"SYSCALL": 1}},
		{"jump over labels and comments", "\tJLS 3(PC) // far\nx:\n\n\tNEGQ AX\ny:\tSYSCALL\n\tRET\n", "\tJLS 6(PC) // far\nx:\n\n\tNEGQ AX\ny:\t" + sysText + "\n\tRET\n", map[string]int{"SYSCALL": 1}},
		{"jump over a call", "\tJLS 2(PC)\n\tCPUID\n\tRET\n", "\tJLS 2(PC)\n\tCALL eosCPUID(SB)\n\tRET\n", map[string]int{"CPUID": 1}},
		{"jump to", "\tJLS 1(PC)\n\tSYSCALL\n", "\tJLS 1(PC)\n\t" + sysText + "\n", map[string]int{"SYSCALL": 1}},
		{"jump back over", "\tMOVL $1, DI\n\tMOVL $2, AX\n\tSYSCALL\n\tJMP\t-3(PC)\n", "\tMOVL $1, DI\n\tMOVL $2, AX\n\t" + sysText + "\n\tJMP\t-6(PC)\n", map[string]int{"SYSCALL": 1}},
		{"jump back to", "\tSYSCALL\n\tJMP -1(PC)\n", "\t" + sysText + "\n\tJMP -4(PC)\n", map[string]int{"SYSCALL": 1}},
		{"jump to itself", "\tSYSCALL\n\tJMP 0(PC)\n", "\t" + sysText + "\n\tJMP 0(PC)\n", map[string]int{"SYSCALL": 1}},
		{"jump over bytes", "\tJLS 3(PC)\n\tBYTE $0x0f; BYTE $0x05\n\tRET\n", "\tJLS 5(PC)\n\t" + sysText + "; \n\tRET\n", map[string]int{"SYSCALL": 1}},
		{"jump in a macro", "#define A(x) JLS 2(PC); SYSCALL; RET\n", "#define A(x) JLS 5(PC); " + sysText + "; RET\n", map[string]int{"SYSCALL": 1}},
		{"jump with blanks", "\tJLS  3(PC)\n\tNEGQ AX\n\tSYSCALL\n\tRET\n", "\tJLS  6(PC)\n\tNEGQ AX\n\t" + sysText + "\n\tRET\n", map[string]int{"SYSCALL": 1}},
	} {
		out, count, err := rewriteAsm("x.s", []byte(c.in))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if string(out) != c.out {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, out, c.out)
		}
		if !maps.Equal(count, c.count) {
			t.Errorf("%s: replaced %v, want %v", c.name, count, c.count)
		}
		again, count, err := rewriteAsm("x.s", out)
		if err != nil || len(count) != 0 || string(again) != string(out) {
			t.Errorf("%s: rewritten again: %v %v\n%s", c.name, count, err, again)
		}
	}
}

func TestRewriteAsmRefuses(t *testing.T) {
	for _, c := range []struct {
		name, in string
		line     int
		what     string
	}{
		{"operands", "\tNOP\n\tSYSCALL AX\n", 2, "SYSCALL with operands"},
		{"conditional code in between", "\tJLS 3(PC)\n#ifdef X\n\tNEGQ AX\n#endif\n\tSYSCALL\n\tRET\n", 1, "not certain (line 2)"},
		{"a macro in between", "#define TWO NOP; NOP\n\tJLS 3(PC)\n\tTwo(x)\n\tNEGQ AX\n\tSYSCALL\n\tRET\n", 2, "not certain"},
		{"an upper-case macro in between", "#define TWO NOP; NOP\n\tJLS 3(PC)\n\tTWO\n\tSYSCALL\n\tRET\n", 2, "not certain (line 3)"},
		{"back over conditional code", "\tNOP\n\tSYSCALL\n#endif\n\tNOP\n\tJMP -3(PC)\n", 5, "not certain (line 3)"},
		{"into bytes", "\tJLS 2(PC)\n\tBYTE $0x0f; BYTE $0x05\n", 1, "into the middle"},
	} {
		_, _, err := rewriteAsm("x.s", []byte(c.in))
		var bad *AsmError
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v, want an AsmError", c.name, err)
			continue
		}
		if bad.Line != c.line || !strings.Contains(bad.What, c.what) || bad.File != "x.s" {
			t.Errorf("%s: %v, want line %d and %q", c.name, err, c.line, c.what)
		}
	}
}

// The assembly of this Go tool chain comes out with no trap left, and with the
// one jump of clone that passes one corrected.
func TestRewriteGOROOT(t *testing.T) {
	for name, want := range map[string]map[string]int{
		"runtime/sys_linux_amd64.s": {"SYSCALL": 40},
		"runtime/asm_amd64.s":       nil,
		"syscall/asm_linux_amd64.s": {"SYSCALL": 3},
	} {
		path := filepath.Join(goroot(t), "src", filepath.FromSlash(name))
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out, count, err := rewriteAsm(path, src)
		if err != nil {
			t.Fatal(err)
		}
		if want != nil && !maps.Equal(count, want) {
			t.Errorf("%s: replaced %v, want %v", name, count, want)
		}
		if name == "runtime/sys_linux_amd64.s" && !strings.Contains(string(out), "JMP\t-6(PC)\t// keep exiting") {
			t.Errorf("%s: the jump of clone is not corrected", name)
		}
		if _, again, _ := rewriteAsm(path, out); len(again) != 0 {
			t.Errorf("%s: left: %v", name, again)
		}
	}
}

func FuzzRewriteAsm(f *testing.F) {
	f.Add("\tJLS 3(PC)\nx:\tBYTE $0x0f; BYTE $5 // y\n#define A \\\n\tSYSCALL\n/* z */ CPUID; \"q\"\n")
	f.Add("'\\''\n\"\n/*")
	f.Fuzz(func(t *testing.T, src string) {
		out, count, err := rewriteAsm("x.s", []byte(src))
		if err != nil {
			return
		}
		if len(count) == 0 && string(out) != src {
			t.Fatalf("nothing replaced, but %q became %q", src, out)
		}
		if _, again, err := rewriteAsm("x.s", out); err != nil || len(again) != 0 {
			t.Fatalf("%q became %q, which has %v %v", src, out, again, err)
		}
	})
}
