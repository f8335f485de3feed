package fromelf

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestConvertRealLinker links a freestanding program and compares the image
// with the program headers as the kernel would map them.
func TestConvertRealLinker(t *testing.T) {
	for _, tool := range []string{"gcc", "ld"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("SKIPPED: %v; the Makefile's test target installs it", err)
		}
	}
	dir := t.TempDir()
	src := filepath.Join(dir, "a.S")
	if err := os.WriteFile(src, []byte(realSource), 0o600); err != nil {
		t.Fatal(err)
	}
	obj := filepath.Join(dir, "a.o")
	if out, err := exec.Command("gcc", "-c", "-o", obj, src).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	for _, flags := range [][]string{{"-z", "separate-code"}, {"-z", "separate-code", "-z", "norelro", "--hash-style=gnu"}} {
		name := filepath.Join(dir, "a.elf")
		args := append([]string{"-pie", "--no-dynamic-linker", "--eh-frame-hdr", "-e", "sgx_entry", "--export-dynamic", "-o", name}, flags...)
		if out, err := exec.Command("ld", append(args, obj)...).CombinedOutput(); err != nil {
			t.Fatalf("ld: %v\n%s", err, out)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out, l, err := convert(b, testOptions)
		if err != nil {
			t.Fatal(flags, err)
		}
		checkLayout(t, l, out)
		_, m := memory(t, out)
		z, err := Open(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var heapBase uint64
		for _, s := range z.symbols {
			if s.Name == "HEAP_BASE" {
				heapBase = s.Addr
			}
		}
		if got := le.Uint64(peek(t, m, heapBase, 8)); got != l.HeapBase {
			t.Errorf("HEAP_BASE at 0x%x is 0x%x, want 0x%x", heapBase, got, l.HeapBase)
		}
		if got := peek(t, m, l.Entry, 3); !bytes.Equal(got, []byte{0x0f, 0x01, 0xd7}) {
			t.Errorf("code at the entry: %x", got)
		}
	}
}

// realSource is the smallest program with everything that is wanted: the
// symbols, a note, unwind information and a relocation.
var realSource = func() string {
	s := ".text\n.globl sgx_entry\n.type sgx_entry,@function\nsgx_entry:\n.cfi_startproc\nenclu\nret\n.cfi_endproc\n.size sgx_entry,.-sgx_entry\n" +
		".section .rodata\n.balign 8\n"
	for _, m := range mandatory[1:] {
		s += fmt.Sprintf(".globl %[1]s\n.protected %[1]s\n.type %[1]s,@object\n.size %[1]s,%[2]d\n%[1]s: .fill 8\n", m.name, m.size)
	}
	for _, n := range newUnwind {
		s += fmt.Sprintf(".globl %[1]s\n.protected %[1]s\n.type %[1]s,@object\n.size %[1]s,8\n%[1]s: .fill 8\n", n)
	}
	return s + ".data\n.balign 8\npointer: .quad sgx_entry_local\n.text\nsgx_entry_local: nop\n.bss\n.skip 0x1800\n" +
		".section " + noteSection + ",\"\",@note\n.long 18,4,1\n.asciz \"toolchain-version\"\n.balign 4\n.long 1\n" +
		".section .note.GNU-stack,\"\",@progbits\n"
}()
