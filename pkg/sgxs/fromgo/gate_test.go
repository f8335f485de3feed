package fromgo

import (
	"slices"
	"testing"
)

func TestScanFunc(t *testing.T) {
	for _, c := range []struct {
		what, fn, code string
		want           []string
	}{
		{"clean", "main.f", "\x90\xc3", nil},
		{"a system call", "main.f", "\x90\x0f\x05\xc3", []string{"SYSCALL at main.f+0x1"}},
		{"behind a branch", "main.f", "\x74\x02\xc3\x90\x0f\xa2\xc3", []string{"CPUID at main.f+0x4"}},
		{"behind a return, where nothing leads", "main.f", "\xc3\x0f\xa2", nil},
		{"behind a jump, where nothing leads", "main.f", "\xeb\x02\x0f\xa2\xc3", nil},
		{"behind a jump, where another leads", "main.f", "\x74\x02\xeb\x02\x0f\xa2\xc3", []string{"CPUID at main.f+0x4"}},
		{"in the middle of an instruction that is jumped over", "main.f", "\xeb\x01\xb8\x0f\xa2\xc3", []string{"CPUID at main.f+0x3"}},
		{"a jump to who knows where", "main.f", "\xff\xe0\x0f\xa2\xc3", []string{"CPUID at main.f+0x2"}},
		{"no instruction", "main.f", "\x90\x06\xc3", []string{"unknown instruction 06 c3 at main.f+0x1"}},
		{"no instruction, where nothing leads", "main.f", "\xc3\x06", nil},
		{"cut short", "main.f", "\x90\xe8\x00", []string{"unknown instruction e8 00 at main.f+0x1"}},
		{"ENCLU", "main.f", "\x0f\x01\xd7\xc3", []string{"ENCLU at main.f+0x0"}},
		{"ENCLU of the kernel", "runtime.eosLeave.abi0", "\x0f\x01\xd7\x0f\x0b", nil},
		{"a system call of the kernel", "runtime.eosLeave.abi0", "\x0f\x05\xc3", []string{"SYSCALL at runtime.eosLeave.abi0+0x0"}},
		{"the clock", "internal/runtime/eoskernel.readTSC", "\x0f\x31\xc3", nil},
		{"the clock", "eosRDTSCP.abi0", "\x0f\x31\xc3", nil},
		{"the clock elsewhere", "runtime.eosEntry.abi0", "\x0f\x31\xc3", []string{"RDTSC at runtime.eosEntry.abi0+0x0"}},
		{"GS", "main.f", "\xf3\x48\x0f\xae\xd8\xc3", []string{"WRGSBASE at main.f+0x0"}},
	} {
		var got []string
		for _, f := range scanFunc(c.fn, []byte(c.code)) {
			got = append(got, f.String())
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}
