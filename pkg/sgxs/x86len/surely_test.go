package x86len

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func surely(code []byte, at int) bool {
	searches := 1
	return Surely(code, at, &searches)
}

func TestSurely(t *testing.T) {
	const (
		body  = "55 4889e5 4883ec10 31c0 488b4508 85c0 7410" // and so on
		after = "89c7 89de 4889f8 5b c3"
	)
	code := strings.Repeat(body, 8)
	zeros := strings.Repeat("00", 256)
	ints := strings.Repeat("1aa10000 118f0000", 16)
	random := "150dc63336bbdf972bee00b381c5f3cab8c8baf4905df277d60c846d984f1cdb8c2834e6c0621d4761a1c8ce5ef8c28ee24a6ffabc7cf3418599704b"
	vpalignr := strings.Repeat("c4e3750fc90c c5fd7f0f c4e3750fc908", 12)
	for _, test := range []struct {
		name                string
		before, site, after string
		want                bool
	}{
		{"function", code + "31c0", "0fa2", after, true},
		{"start", "", "0fa2", after, true},
		{"near start", "31c0", "0fa2", after, true},
		{"end", code, "0fa2", "", true},
		{"prefixes", code + "66f348", "0fa2", after, true},
		{"UD2", code, "0f0b", after, true},
		{"first function behind zeros", zeros + "31c0", "0fa2", after, true},
		{"section behind zeros", code + strings.Repeat(body, 8) + "c3" + strings.Repeat("00", 15) + "b801000000", "0fa2", after, true},
		{"operand", code + "ba", "0fa2", "0000" + after, false},
		{"operand near start", "ba", "0fa2", "0000" + after, false},
		{"displacement", code + "488d05", "0fa2", "0000" + after, false},
		{"two instructions", code + "3c0f", "a201", after, false},
		{"in VEX", vpalignr + "c4e375", "0fc9", "0c" + after, false},
		{"data behind RET", code + "c3", "0fa2", after, false},
		{"data behind a jump and padding", code + "eb08 660f1f440000", "0fa2", after, false},
		{"jumped to", code + "ffe0 e900000000 0f1f00", "0fa2", after, false},
		{"jump over padding", code + "eb03 0f1f00", "0fa2", after, true},
		{"table of numbers", ints, "0fa2", "0000 55a20000 55a20000", false},
		{"number", code + "c3", "0fa2", "000000000000", false},
		{"random", random + random, "0fa2", random, false},
		{"zeros", zeros + "30", "0fa2", "0000", false},
		{"no instruction behind", code, "0fa2", "06", false},
	} {
		b := unhex(t, test.before)
		at := len(b)
		b = append(b, unhex(t, test.site+test.after)...)
		if got := surely(b, at); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
	for _, at := range []int{-1, 0, 1, 2, 3} {
		if surely([]byte{0x90, 0x0f}, at) {
			t.Errorf("at %d of two bytes", at)
		}
	}
}

// Behind data, and where a far jump comes from, a function is found by the CALL
// of it.
func TestSurelyTarget(t *testing.T) {
	data := bytes.Repeat(unhex(t, "150dc63336bbdf972bee00b381c5f306"), 16)
	site := unhex(t, "4989d831c00fa231c081fb43656e747512c3")
	call := append(unhex(t, "4883ec08 e8"), 0, 0, 0, 0, 0xc3)
	code := slices.Concat(data, site, call)
	at := len(data) + 5
	if surely(code, at) {
		t.Fatal("nothing calls it")
	}
	d := len(data) - (len(data) + len(site) + 9)
	copy(code[len(data)+len(site)+5:], []byte{byte(d), byte(d >> 8), byte(d >> 16), byte(d >> 24)})
	if none := 0; Surely(code, at, &none) {
		t.Error("a search without leave")
	}
	if !surely(code, at) {
		t.Error("a function that is called was not found")
	}
}

// TestSurelyPrograms compares with a reading of this very program and of the go
// command that begins at each of their functions.
func TestSurelyPrograms(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	total := map[bool]int{}
	paths := []string{exe}
	if path, err := exec.LookPath("go"); err == nil {
		paths = append(paths, path)
	}
	for _, path := range paths {
		f, err := elf.Open(path)
		if err != nil {
			t.Logf("not read: %v", err) // not on Linux, or no such tree
			continue
		}
		for want, n := range surelyOf(t, path, f) {
			total[want] += n
		}
		f.Close()
	}
	if runtime.GOOS == "linux" && (total[true] < 2 || total[false] < 2) {
		t.Errorf("only %v sites: the test tested nothing", total)
	}
}

func surelyOf(t *testing.T, path string, f *elf.File) map[bool]int {
	text := f.Section(".text")
	symbols, err := f.Symbols()
	if err != nil || text == nil {
		t.Logf("%s has no symbols", path)
		return nil
	}
	code, err := text.Data()
	if err != nil {
		t.Fatal(err)
	}
	count := map[bool]int{}
	for _, s := range symbols {
		if elf.ST_TYPE(s.Info) != elf.STT_FUNC || s.Value < text.Addr || s.Value+s.Size > text.Addr+text.Size {
			continue
		}
		at := int(s.Value - text.Addr)
		end := at + int(s.Size)
		for at < end {
			i, ok := Decode(code[at:end])
			if !ok {
				break // padding, or data
			}
			for b := at; b+1 < at+i.Len; b++ {
				if code[b] != 0x0f || code[b+1] != 0xa2 && code[b+1] != 0x05 && code[b+1] != 0x31 {
					continue
				}
				want := b+2 == at+i.Len && !i.Vector && i.Map == Map0F && !i.HasModRM
				got := surely(code, b)
				if got != want && (got || code[b+1] == 0xa2) {
					t.Errorf("%s: %s: %x at %d of %x: %t", path, s.Name, code[b:b+2], b-at, code[at:at+i.Len], got)
				}
				count[want]++
			}
			at += i.Len
		}
	}
	return count
}

func FuzzSurely(f *testing.F) {
	f.Add([]byte{0x0f, 0xa2, 0xc3}, 0)
	f.Add(append(make([]byte, 200), 0x0f, 0xa2), 200)
	f.Fuzz(func(t *testing.T, code []byte, at int) {
		if surely(code, at) && code[at] != 0x0f {
			t.Errorf("there is %#x", code[at])
		}
	})
}
