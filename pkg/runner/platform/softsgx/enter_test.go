//go:build linux && amd64

package softsgx

import (
	"syscall"
	"testing"

	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// addProgram adds 1 to RDI, 2 to RSI and so on, and leaves.
var addProgram = code(
	[]byte{0x48, 0x83, 0xc7, 1}, // add $1,%rdi
	[]byte{0x48, 0x83, 0xc6, 2}, // add $2,%rsi
	[]byte{0x48, 0x83, 0xc2, 3}, // add $3,%rdx
	[]byte{0x49, 0x83, 0xc0, 4}, // add $4,%r8
	[]byte{0x49, 0x83, 0xc1, 5}, // add $5,%r9
	[]byte{0x49, 0x83, 0xc2, 6}, // add $6,%r10
)

func TestEnterExit(t *testing.T) {
	eachMode(t, func(t *testing.T, p platform.Platform) {
		for name, exit := range map[string][]byte{"mov": eexit, "ud2": eexitUD2} {
			t.Run(name, func(t *testing.T) {
				e := (&image{threads: 1, code: code(addProgram, exit)}).build(t, p)
				th := newThread(t, e)
				r := platform.Regs{RDI: 10, RSI: 20, RDX: 30, R8: 40, R9: 50, R10: 60}
				for range 3 {
					x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r)
					if err != nil || x.Kind != platform.ExitEEXIT {
						t.Fatal(x, err)
					}
				}
				if want := (platform.Regs{RDI: 13, RSI: 26, RDX: 39, R8: 52, R9: 65, R10: 78}); r != want {
					t.Errorf("registers %+v, want %+v", r, want)
				}
			})
		}
	})
}

func BenchmarkEnter(b *testing.B) {
	for name, trapOnly := range map[string]bool{"patched": false, "trap": true} {
		b.Run(name, func(b *testing.B) {
			e := (&image{threads: 1, code: eexit}).build(b, testPlatform(b, trapOnly))
			th := newThread(b, e)
			var r platform.Regs
			for b.Loop() {
				if x, err := th.Enter(tcsOff(0), sgx.LeafEENTER, &r); err != nil || x.Kind != platform.ExitEEXIT {
					b.Fatal(x, err)
				}
			}
		})
	}
}

// BenchmarkSyscall is the cost of an empty system call, which an entry has to
// be compared with; "bound" is the same on a thread that can enter enclaves.
func BenchmarkSyscall(b *testing.B) {
	b.Run("free", func(b *testing.B) {
		for b.Loop() {
			syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
	})
	b.Run("bound", func(b *testing.B) {
		e := (&image{threads: 1, code: eexit}).build(b, testPlatform(b, false))
		newThread(b, e)
		for b.Loop() {
			syscall.RawSyscall(syscall.SYS_GETPPID, 0, 0, 0)
		}
	})
}
