package enclaves

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestBuild holds each enclave to the form that converters want.
func TestBuild(t *testing.T) {
	for _, name := range Names() {
		t.Run(name, func(t *testing.T) { checkForm(t, Build(t, name), symbols) })
	}
	for _, o := range []Option{LargeBSS, CodeBehindNoSGX, PageOfNoSGX, Unaligned, ExecutableFirstPage} {
		t.Run("hello+"+o.name, func(t *testing.T) { checkForm(t, Build(t, "hello", o), symbols) })
	}
	t.Run("hello+old-eh", func(t *testing.T) { checkForm(t, Build(t, "hello", OldEHSymbols), oldSymbols) })
}

var common = []string{
	"HEAP_BASE", "HEAP_SIZE", "RELA", "RELACOUNT", "ENCLAVE_SIZE", "CFGDATA_BASE", "DEBUG", "TEXT_BASE", "TEXT_SIZE", "sgx_entry",
}

var (
	symbols    = append([]string{"EH_FRM_HDR_OFFSET", "EH_FRM_HDR_LEN", "EH_FRM_OFFSET", "EH_FRM_LEN"}, common...)
	oldSymbols = append([]string{"EH_FRM_HDR_BASE", "EH_FRM_HDR_SIZE"}, common...)
)

func checkForm(t *testing.T, path string, want []string) {
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	dynamic, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, s := range dynamic {
		got = append(got, s.Name)
		size := uint64(8)
		switch s.Name {
		case "sgx_entry":
			continue
		case "DEBUG":
			size = 1
		}
		if s.Size != size || elf.ST_VISIBILITY(s.Other) != elf.STV_PROTECTED || s.Section == elf.SHN_UNDEF {
			t.Errorf("symbol %s: size %d, visibility %v, section %v", s.Name, s.Size, elf.ST_VISIBILITY(s.Other), s.Section)
		}
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("dynamic symbols %v, want %v", got, want)
	}

	for _, name := range []string{".note.x86_64-fortanix-unknown-sgx", ".text", ".text_no_sgx", ".eh_frame", ".eh_frame_hdr"} {
		if f.Section(name) == nil {
			t.Errorf("no section %s", name)
		}
	}
	for _, tag := range []elf.DynTag{elf.DT_INIT, elf.DT_INIT_ARRAY, elf.DT_FINI, elf.DT_FINI_ARRAY, elf.DT_JMPREL, elf.DT_REL, elf.DT_TEXTREL, elf.DT_NEEDED} {
		if v, _ := f.DynValue(tag); len(v) != 0 {
			t.Errorf("dynamic entry %v", tag)
		}
	}
	var relocations uint64
	for _, s := range f.Sections {
		if s.Type != elf.SHT_RELA {
			continue
		}
		b, err := s.Data()
		if err != nil {
			t.Fatal(err)
		}
		for ; len(b) >= 24; b = b[24:] {
			relocations++
			if info := binary.LittleEndian.Uint64(b[8:]); info != uint64(elf.R_X86_64_RELATIVE) {
				t.Errorf("relocation with info %#x", info)
			}
		}
	}
	var count uint64
	if v, _ := f.DynValue(elf.DT_RELACOUNT); len(v) == 1 {
		count = v[0]
	}
	if count != relocations {
		t.Errorf("DT_RELACOUNT %d, but %d relocations", count, relocations)
	}
}

// TestVariants checks that each variant is what its name says.
func TestVariants(t *testing.T) {
	open := func(o ...Option) *elf.File {
		f, err := elf.Open(Build(t, "hello", o...))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	segment := func(f *elf.File, flags elf.ProgFlag) *elf.Prog {
		for _, p := range f.Progs {
			if p.Type == elf.PT_LOAD && p.Flags == flags {
				return p
			}
		}
		t.Fatalf("no segment %v", flags)
		return nil
	}
	end := func(f *elf.File) (section, segmentEnd uint64) {
		s, p := f.Section(".text_no_sgx"), segment(f, elf.PF_R|elf.PF_X)
		return s.Addr + s.Size, p.Vaddr + p.Memsz
	}

	plain := open()
	if s, p := end(plain); s != p {
		t.Errorf("plain: .text_no_sgx ends at %#x, its segment at %#x", s, p)
	}
	if n := len(loads(plain)); n != 4 {
		t.Errorf("plain: %d LOADs, want 4", n)
	}
	if s, p := end(open(CodeBehindNoSGX)); s >= p {
		t.Errorf("no-sgx-middle: .text_no_sgx ends at %#x, its segment at %#x", s, p)
	}
	f := open(PageOfNoSGX)
	if s := f.Section(".text_no_sgx"); s.Addr>>12 == (s.Addr+s.Size-1)>>12 {
		t.Error("no-sgx-page: .text_no_sgx lies on one page")
	}
	if p := segment(open(LargeBSS), elf.PF_R|elf.PF_W); p.Memsz-p.Filesz < 64<<10 {
		t.Errorf("large-bss: file size %#x, memory size %#x", p.Filesz, p.Memsz)
	}
	for _, p := range loads(open(Unaligned))[1:] {
		if p.Vaddr%4096 == 0 {
			t.Errorf("unaligned: segment at %#x", p.Vaddr)
		}
	}
	if p := loads(open(ExecutableFirstPage))[0]; p.Vaddr != 0 || p.Flags&elf.PF_X == 0 {
		t.Errorf("executable-first-page: first segment at %#x, %v", p.Vaddr, p.Flags)
	}
}

func loads(f *elf.File) []*elf.Prog {
	var l []*elf.Prog
	for _, p := range f.Progs {
		if p.Type == elf.PT_LOAD {
			l = append(l, p)
		}
	}
	return l
}

// TestExample builds the sample enclave of examples/edp-hello with its own
// script.
func TestExample(t *testing.T) {
	elf := filepath.Join(t.TempDir(), "hello.elf")
	if out, err := exec.Command("../../examples/edp-hello/build.sh", elf).CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	checkForm(t, elf, symbols)
}

// TestNotAProgram starts an enclave as a Linux program, which must say what it
// is and fail.
func TestNotAProgram(t *testing.T) {
	out, err := exec.Command(Build(t, "hello")).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.HasPrefix(string(out), "This is an SGX enclave") {
		t.Errorf("%v, output %q", err, out)
	}
}
