package edp

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// faulting runs an enclave that faults with these registers and this code; no
// registers if it is not a debug enclave.
func faulting(t *testing.T, exit platform.Exit, regs *sgx.GPRSGX, code []byte) *ExceptionError {
	t.Helper()
	e := newFake(t, 1, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
		f.fault(exit.Vector, exit.ErrorCode, exit.Addr)
		return 0, 0
	}, nil)
	if regs != nil {
		e.debug = true
		tcs := make([]byte, 4096)
		le.PutUint64(tcs[16:], 0x3000) // OSSA
		tcs[24], tcs[28] = 1, 1        // CSSA, NSSA
		tcs[0] = 0xff                  // the processor's own
		ssa, _ := regs.AppendBinary(make([]byte, 4096-sgx.GPRSGXSize))
		text := make([]byte, 4096)
		copy(text[4096-len(code):], code) // nothing is readable behind it
		e.pages[0x2000], e.pages[0x3000], e.pages[0x7000] = tcs, ssa, text
	}
	err := runFake(t, e, Options{Symbolize: func(off uint64) string {
		if off>>12 == 7 {
			return fmt.Sprintf("main+%#x", off&4095)
		}
		return ""
	}})
	var ex *ExceptionError
	if !errors.As(err, &ex) {
		t.Fatalf("error is %v", err)
	}
	return ex
}

func TestExplain(t *testing.T) {
	pf := func(addr uint64, code uint32) platform.Exit {
		return platform.Exit{Kind: platform.ExitException, Vector: sgx.VectorPF, ErrorCode: code, Addr: addr}
	}
	other := func(v uint8) platform.Exit { return platform.Exit{Kind: platform.ExitException, Vector: v} }
	at := func(rip, rsp uint64) *sgx.GPRSGX { return &sgx.GPRSGX{RIP: rip, RSP: rsp} }
	const base = fakeBase
	for _, tt := range []struct {
		name string
		exit platform.Exit
		regs *sgx.GPRSGX
		code string
		want string
	}{
		{"null read", pf(0, 4), at(base+0x7ffe, 0), "\x8b\x00", "null pointer: read of address 0x0, at enclave offset 0x7ffe in main+0xffe"},
		{"null write, production", pf(0x18, 6), nil, "", "null pointer: write to address 0x18"},
		{"null call", pf(0, 20), at(0, 0), "", "call of a null pointer: jump to address 0x0"},
		{"null call by #GP", other(sgx.VectorGP), at(0, 0), "", "call of a null pointer: jump to address 0x0"},
		{"jump out", pf(0x12345000, 20), at(0x12345678, 0), "", "jump out of the enclave, to 0x12345678: code outside cannot run inside"},
		{"jump out by #GP", other(sgx.VectorGP), at(0x12345678, 0), "", "jump out of the enclave, to 0x12345678: code outside cannot run inside"},
		{"#UD outside", other(sgx.VectorUD), at(0x12345678, 0), "", "jump out of the enclave, to 0x12345678: code outside cannot run inside"},
		{"null read outside", pf(0, 4), at(0x12345678, 0), "", "jump out of the enclave, to 0x12345678: code outside cannot run inside"},
		{"wild write", pf(0x12345000, 6), nil, "", "write to address 0x12345000, which is neither in the enclave nor in memory that it was given"},
		{"stack overflow", pf(base+0x1f000, 6), at(base+0x7ffe, base+0x1f100), "\x55", "stack overflow: write to offset 0x1f000, in the guard below the stack: build the image with a larger --stack-size, at enclave offset 0x7ffe"},
		{"stack overflow, production", pf(base+0x1f000, 6), nil, "", "stack overflow: write to offset 0x1f000"},
		{"guard, but not by the stack", pf(base+0x10000, 4), at(base+0x7ffe, base+0x23000), "", "read of offset 0x10000 of the enclave, where no page is"},
		{"hole", pf(base+0x50000, 4), nil, "", "read of offset 0x50000 of the enclave, where no page is"},
		{"write to code", pf(base+0x1000, 7), nil, "", "write to offset 0x1000 of the enclave, a page of type REG r-x"},
		{"execute data", pf(base+0x20000, 21), at(base+0x20010, 0), "", "jump to offset 0x20010 of the enclave, a page of type REG rw-"},
		{"division", other(sgx.VectorDE), at(base+0x7ffe, 0), "\xf7\xf1", "division by zero, or a quotient that is too large, at enclave offset 0x7ffe in main+0xffe"},
		{"SYSCALL", other(sgx.VectorUD), at(base+0x7ffe, 0), "\x0f\x05", "illegal instruction, SYSCALL: an enclave has no system calls"},
		{"CPUID", other(sgx.VectorUD), at(base+0x7ffe, 0), "\x0f\xa2", "illegal instruction, CPUID is not allowed in an enclave"},
		{"INT 80H", other(sgx.VectorGP), at(base+0x7ffe, 0), "\xcd\x80", "illegal instruction, INT 80H"},
		{"UD2", other(sgx.VectorUD), at(base+0x7ffe, 0), "\x0f\x0b", "illegal instruction, UD2: the program aborted itself"},
		{"unknown", other(sgx.VectorUD), at(base+0x7ffe, 0), "\xff\xff", "illegal instruction, bytes ffff, at"},
		{"unknown, production", other(sgx.VectorUD), nil, "", "illegal instruction: one that an enclave may not use (SYSCALL, CPUID, ...)"},
		{"#GP", other(sgx.VectorGP), at(base+0x7ffe, 0), "\x8b\x00", "general protection fault: an address that is not canonical"},
		{"#GP, production", other(sgx.VectorGP), nil, "", "general protection fault: a jump out of the enclave, an address"},
		{"INT3", other(sgx.VectorBP), nil, "", "breakpoint (INT3)"},
		{"#AC", other(sgx.VectorAC), nil, "", "unaligned access"},
		{"#MF", other(sgx.VectorMF), nil, "", "floating-point exception"},
		{"#XM", other(sgx.VectorXM), nil, "", "floating-point exception"},
		{"#CP", other(sgx.VectorCP), nil, "", "#CP"},
		{"none", other(99), nil, "", "exception 99"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ex := faulting(t, tt.exit, tt.regs, []byte(tt.code))
			if s := Explain(fmt.Errorf("wrapped: %w", ex)); !strings.HasPrefix(s, tt.want) {
				t.Errorf("the explanation is %q, want %q", s, tt.want)
			}
			if s := Explain(ex); ex.Regs != nil && (ex.Regs.RIP-base >= fakeSize) == strings.Contains(s, ", at enclave offset") {
				t.Errorf("the explanation %q does not say where the enclave was, or says so of a place outside", s)
			}
			if (ex.Regs == nil) != (tt.regs == nil) || ex.Regs != nil && *ex.Regs != *tt.regs {
				t.Errorf("the registers are %+v, want %+v", ex.Regs, tt.regs)
			}
		})
	}
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&PanicError{Text: "memory allocation of 9 bytes failed"}, "larger --heap-size"},
		{&PanicError{Text: `failed to spawn thread: Os { kind: WouldBlock }`}, "more --threads"},
		{&PanicError{Text: "boom"}, ""},
		{ErrMainReturned, "library image"},
		{errors.New("else"), ""},
		{nil, ""},
	} {
		if s := Explain(tt.err); !strings.Contains(s, tt.want) || (tt.want == "") != (s == "") {
			t.Errorf("the explanation of %v is %q", tt.err, s)
		}
	}
}

// TestErrorTexts holds the words of the errors that no other test makes.
func TestErrorTexts(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&UsercallError{Number: CallLaunchThread, Err: errors.New("why")}, "The enclave made a bad usercall launch_thread(): why"},
		{&UsercallError{Number: CallLaunchThread, Args: [4]uint64{0, 0, 9}, Err: errors.New("why")}, "The enclave made a bad usercall launch_thread(0x0, 0x0, 0x9): why"},
		{&QueueError{"cancel", "what"}, "The enclave corrupted the asynchronous cancel queue: what"},
		{&PanicError{Raw: []byte{1, 255}}, "Enclave panicked: [1, 255]"},
		{&ExceptionError{Exit: platform.Exit{Vector: 14, ErrorCode: 6, Addr: 0x7000}}, "Enclave panicked: Enclave triggered exception: SgxEnclaveRun { function: EResume, exception_vector: 14, exception_error_code: 6, exception_addr: 0x7000 }"},
	} {
		if tt.err.Error() != tt.want {
			t.Errorf("error is %q, want %q", tt.err, tt.want)
		}
	}
	if err := (&UsercallError{Err: errStopped}); !errors.Is(err, errStopped) {
		t.Error("UsercallError does not unwrap")
	}
}
