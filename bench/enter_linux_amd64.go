package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"testing"

	"github.com/enclaveos/eos/pkg/runner"
	"github.com/enclaveos/eos/pkg/runner/edp"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx"
	"github.com/enclaveos/eos/pkg/runner/platform/softsgx/microcode"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs"
	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
	"github.com/enclaveos/eos/testdata/enclaves"
)

// enterRows enter an enclave that leaves at once.
func enterRows() []row {
	syscalls := side{name: "empty system call", run: func(b *testing.B) {
		for b.Loop() {
			syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
	}}
	return []row{
		{"EENTER and EEXIT, patched", side{name: "eos", run: func(b *testing.B) { enterAndExit(b, false) }}, syscalls, "≤ 150 ns"},
		{"EENTER and EEXIT, by traps", side{name: "eos", run: func(b *testing.B) { enterAndExit(b, true) }}, syscalls, "the reference, not for speed"},
	}
}

// A small enclave: a page of code, a TCS, an SSA frame.
const (
	codeOff, tcsOff, ssaOff = 0x1000, 0x2000, 0x3000
	leaveSize               = 0x4000
)

// leave is: mov %rcx,%rbx; mov $4,%eax; enclu.
var leave = []byte{0x48, 0x89, 0xcb, 0xb8, 4, 0, 0, 0, 0x0f, 0x01, 0xd7}

func enterAndExit(b *testing.B, trapOnly bool) {
	var img bytes.Buffer
	w := sgxs.NewWriter(&img)
	tcs := sgx.TCS{OSSA: ssaOff, NSSA: 1, OEntry: codeOff, FSLimit: 0xfff, GSLimit: 0xfff}
	tcsPage, _ := tcs.AppendBinary(nil)
	check(w.Create(1, leaveSize))
	check(w.Page(codeOff, sgx.SecInfoREGRX, leave))
	check(w.Page(tcsOff, sgx.SecInfoTCS, tcsPage))
	check(w.Page(ssaOff, sgx.SecInfoREGRW, nil))
	check(w.Flush())
	e := load(img.Bytes(), trapOnly)
	defer e.Close()
	t, err := e.NewThread()
	check(err)
	defer t.Close()
	var regs platform.Regs
	for b.Loop() {
		x, err := t.Enter(tcsOff, sgx.LeafEENTER, &regs)
		if err != nil || x.Kind != platform.ExitEEXIT {
			panic(fmt.Sprint(x, err))
		}
	}
}

// load makes an enclave of an image, with the dummy signature.
func load(image []byte, trapOnly bool) *runner.Enclave {
	p, err := softsgx.New(softsgx.Options{Device: microcode.NewDevice([32]byte{1}), TrapOnly: trapOnly})
	check(err)
	sig, err := runner.DummySignature(bytes.NewReader(image), p.Caps())
	check(err)
	e, err := runner.Load(p, bytes.NewReader(image), sig, runner.LoadOptions{})
	check(err)
	return e
}

// usercallRows run the test enclave "bench", whose loop is inside. The peer's
// figure, 5 to 6 µs for each usercall, was taken with its own runner on a
// simulated platform; it cannot be run here, so the baseline is a system call
// that does the same.
func usercallRows(string) []row {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	check(err)
	writes := side{name: "write(2) to /dev/null", run: func(b *testing.B) {
		one := []byte{'.'}
		for b.Loop() {
			syscall.Write(int(null.Fd()), one)
		}
	}}
	return []row{
		{"usercall: write to a null stream", side{name: "eos", run: func(b *testing.B) { usercalls(b, "write") }}, writes, "≤ 1 µs"},
		{"usercall: alloc and free", side{name: "eos", run: func(b *testing.B) { usercalls(b, "alloc") }}, writes, ""},
	}
}

func usercalls(b *testing.B, what string) {
	path := enclaves.Build(b, "bench")
	elf, err := os.Open(path)
	check(err)
	defer elf.Close()
	info, err := elf.Stat()
	check(err)
	var img bytes.Buffer
	_, err = fromelf.Convert(&img, elf, info.Size(), fromelf.Options{
		HeapSize: 1 << 20, StackSize: 64 << 10, Threads: 1, SSAFrameSize: 1, Debug: true})
	check(err)
	e := load(img.Bytes(), false)
	defer e.Close()
	c, err := edp.NewCommand(e, edp.Options{Args: []string{what, strconv.Itoa(b.N)}, Stdout: io.Discard})
	check(err)
	b.ResetTimer()
	check(c.Run(context.Background()))
}
