package enclaves

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/enclaveos/eos/pkg/runner/edp"
	"github.com/enclaveos/eos/pkg/sgx"
	"github.com/enclaveos/eos/pkg/sgxs/fromelf"
)

// wantException checks an exception, and the page of its address unless page
// is nil; page gets the base.
func wantException(t *testing.T, err error, vectors []uint8, page func(base uint64) (from, to uint64)) {
	t.Helper()
	var e *edp.ExceptionError
	if !errors.As(err, &e) {
		t.Errorf("error %v, want an exception", err)
		return
	}
	if !slices.Contains(vectors, e.Exit.Vector) {
		t.Errorf("exception %v, want vector %v", e.Exit, vectors)
	}
	if page != nil {
		if from, to := page(e.Base); e.Exit.Addr|4095 < from || e.Exit.Addr >= to {
			t.Errorf("address %#x, want it in %#x to %#x (base %#x)", e.Exit.Addr, from, to, e.Base)
		}
	}
}

func TestReportFaults(t *testing.T) {
	gp, pf, either := []uint8{sgx.VectorGP}, []uint8{sgx.VectorPF}, []uint8{sgx.VectorGP, sgx.VectorPF}
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "report", defaults)
		for what, vectors := range map[string][]uint8{
			"report-target-unaligned": gp, "report-data-unaligned": gp, "report-output-unaligned": gp,
			"report-target-outside": either, "report-output-outside": either, "report-output-readonly": pf, "report-reserved": gp,
			"key-request-unaligned": gp, "key-output-unaligned": gp, "key-request-outside": either, "key-output-outside": either,
			"key-output-readonly": pf, "key-reserved": gp, "key-policy": gp, "bad-leaf": gp, "eenter": gp,
		} {
			t.Run(what, func(t *testing.T) {
				wantException(t, m.run(t, img, edp.Options{Args: []string{what}}).err, vectors, nil)
			})
		}
	})
}

var addressLine = regexp.MustCompile(`(?m)^address 0x([0-9a-f]+)$`)

func TestFaults(t *testing.T) {
	const de, bp, ud, gp, pf = sgx.VectorDE, sgx.VectorBP, sgx.VectorUD, sgx.VectorGP, sgx.VectorPF
	vectors := map[string][]uint8{
		"div": {de}, "int3": {bp}, "ud2": {ud}, "syscall": {ud}, "syscall-exit": {ud}, "syscall-write": {ud}, "int80": {ud}, "cpuid": {ud},
		"hlt": {gp}, "in": {ud, gp}, "non-canonical": {gp},
		// A jump out of ELRANGE is a #GP of enclave mode, or a #PF if paging
		// comes first.
		"null-call": {pf, gp}, "jump-out": {pf, gp}, "jump-host": {pf, gp},
		"null-read": {pf}, "stack-overflow": {pf},
		"exit-nowhere": {pf, gp}, "exit-inside": {gp}, "stack-nowhere": {pf}, "stack-nowhere-ud2": {ud}, "bases": {pf},
		"alignment": {sgx.VectorAC}, "x87": {sgx.VectorMF}, "simd": {sgx.VectorXM},
		"write-text": {pf}, "write-rodata": {pf}, "write-header": {pf},
		"exec-data": {pf}, "exec-heap": {pf}, "exec-rodata": {pf},
		"read-unmapped": {pf}, "read-guard": {pf}, "write-guard": {pf}, "read-tcs": {pf}, "write-tcs": {pf},
	}
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "faults", defaults)
		for what, vectors := range vectors {
			t.Run(what, func(t *testing.T) {
				r := m.run(t, img, edp.Options{Args: []string{what}})
				var page func(base uint64) (uint64, uint64)
				if a := addressLine.FindStringSubmatch(r.stdout); a != nil {
					off, err := strconv.ParseUint(a[1], 16, 64)
					if err != nil {
						t.Fatal(err)
					}
					page = func(base uint64) (uint64, uint64) { return base + off, (base+off)&^4095 + 4096 }
				}
				switch what {
				case "null-call", "null-read":
					page = func(uint64) (uint64, uint64) { return 0, 4096 }
				case "stack-overflow":
					page = func(base uint64) (uint64, uint64) {
						guard := base + heapEnd(t, image(t, "faults", defaults), defaults)
						return guard, guard + 0x10000
					}
				}
				wantException(t, r.err, vectors, page)
				if lines := strings.Count(r.stdout, "\n"); lines > 1 || strings.Contains(r.stdout, "nothing happened") {
					t.Errorf("output\n%s", r.stdout)
				}
				if r.stderr != "" {
					t.Errorf("stderr %q", r.stderr)
				}
			})
		}
	})
}

// TestTrapFlag single-steps, which does nothing in an enclave whose TCS has not
// opted in to debugging (SDM 41.2).
func TestTrapFlag(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		r := m.run(t, image(t, "faults", defaults), edp.Options{Args: []string{"trap-flag"}})
		if r.stdout != "trap-flag: nothing happened\n" {
			t.Errorf("error %v, output %q", r.err, r.stdout)
		}
	})
}

// heapEnd is where the guard of the main thread's stack starts.
func heapEnd(t *testing.T, img []byte, o fromelf.Options) uint64 {
	pages, _ := load(t, img)
	var last uint64 // of all threads: SSA of the last
	for n := range pages {
		last = max(last, n)
	}
	return (last+1)<<12 - uint64(o.Threads)*(0x10000+o.StackSize+uint64(2+o.SSAFrameSize)<<12)
}

func TestExits(t *testing.T) {
	type end struct {
		args   string
		stdout string
		err    string // empty: none; "~": any with the rest in it
	}
	ends := []end{
		{"ok", "", ""},
		{"exit-0", "", ""},
		{"exit-1", "", "Enclave panicked."},
		{"exit-2", "", "~"},
		{"status 7", "", "Enclave panicked: Exited with status code 7"},
		{"text", "", "Enclave panicked: so it ends, at 7"},
		{"text-1024", "", "Enclave panicked: " + strings.Repeat("x", 1023) + "!"},
		{"text-nul", "", "Enclave panicked: before"},
		{"text-invalid", "", "~Enclave panicked: [98, 97, 100, 32, 255, 254, 32, 116, 101, 120, 116"},
		{"text-lines", "", "Enclave panicked: first line\nsecond line\t\x1b[31mred"},
		{"text-then-usercall", "still alive\n", "Enclave panicked: text before a usercall"},
		{"return", "", "The enclave returned from the main entrypoint in violation of the specification."},
		{"unknown-usercall", "", "The enclave performed an invalid usercall 0x1234"},
		{"usercall-17", "", "The enclave performed an invalid usercall 0x11"},
		{"user-defined", "", "The enclave performed an invalid usercall 0x80000001"},
		{"large-usercall", "", "The enclave performed an invalid usercall 0x100000004"},
		{"messy", "", ""},
		{"messy-stack", "", ""},
		{"wait-forever", "", "All enclave threads are waiting indefinitely without possibility of wakeup"},
		{"unused-argument", "", "~The enclave made a bad usercall flush(0x1, 0x5)"},
		{"unused-argument-4", "", "~The enclave made a bad usercall read("},
		{"free-alignment", "", "~The enclave made a bad usercall free("},
		{"free-alignment-0", "", "~The enclave made a bad usercall free("},
		{"free-wild", "", "~The enclave made a bad usercall free("},
		{"free-twice", "", "~The enclave made a bad usercall free("},
		{"free-size", "", "~The enclave made a bad usercall free("},
		{"free-inner", "", "~The enclave made a bad usercall free("},
		{"write-wild", "", "~The enclave made a bad usercall write("},
		{"write-enclave", "", "~inside the enclave"},
		{"thread-value", "", "~0x7, 0x0"},
		{"thread-second-value", "", "~0x0, 0x7"},
		{"thread-panic", "", "Enclave panicked: panic of a thread"},
		{"thread-exit", "", ""},
		{"thread-waits", "main goes on\n", ""},
		{"exit-while-waiting", "main exits\n", ""},
		{"exit-while-spinning", "main exits\n", ""},
		{"panic-while-waiting", "", "Enclave panicked: main ends while a thread waits"},
	}
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "exits", defaults)
		for _, e := range ends {
			t.Run(e.args, func(t *testing.T) {
				r := m.run(t, img, edp.Options{Args: strings.Fields(e.args)})
				var got string
				if r.err != nil {
					got = r.err.Error()
				}
				part, ok := strings.CutPrefix(e.err, "~")
				if ok && (r.err == nil || !strings.Contains(got, part)) || !ok && got != e.err || r.stdout != e.stdout {
					t.Errorf("error %q, stdout %q\nwant  %q, stdout %q", got, r.stdout, e.err, e.stdout)
				}
			})
		}
	})
}

func TestUserDefined(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		o := edp.Options{Args: []string{"user-defined"}, UserCalls: map[edp.Number]edp.UserCall{
			edp.UserDefined | 1: func(c *edp.UserCallContext) (uint64, uint64, error) {
				if c.Args != [4]uint64{1, 2, 3, 4} {
					return 0, 0, fmt.Errorf("arguments %v", c.Args)
				}
				return 77, 88, nil
			},
		}}
		m.run(t, image(t, "exits", defaults), o).want(t, "user-defined gave 0x4d, 0x58\n")
	})
}

func TestMemory(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "oom", defaults)
		m.run(t, img, edp.Options{Args: []string{"host"}}).want(t, "ok host\n")
		m.run(t, img, edp.Options{Args: []string{"heap"}}).want(t, "ok heap 255 pages\n")
		m.run(t, img, edp.Options{Args: []string{"hold", "5000", "1000"}}).want(t, "ok hold\n")
		m.run(t, img, edp.Options{Args: []string{"hold", "100", "1000000"}}).want(t, "ok hold\n")
		wantError(t, m.run(t, img, edp.Options{Args: []string{"hold", "100", "1000000"}, MemoryLimit: 8 << 20}).err,
			"Enclave panicked: alloc(1000000, 8) failed: 0x3fffffff")
		r := m.run(t, img, edp.Options{Args: []string{"heap-beyond"}})
		wantException(t, r.err, []uint8{sgx.VectorPF}, func(base uint64) (uint64, uint64) {
			end := base + heapEnd(t, img, defaults)
			return end, end + 4096
		})
		if r.stdout != "last byte written\n" {
			t.Errorf("stdout %q", r.stdout)
		}
	})
}

// TestSpin stops enclaves that never leave by themselves.
func TestSpin(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		for _, n := range []uint32{0, 3} {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			out := newLineReader()
			done := make(chan result, 1)
			img := image(t, "spin", threads(n+1))
			go func() {
				done <- m.runContext(ctx, t, img, edp.Options{Args: []string{fmt.Sprint(n)}, Stdout: out})
			}()
			if line := out.next(t); line != "spinning" {
				t.Fatalf("output %q", line)
			}
			enough := errors.New("enough")
			cancel(enough)
			select {
			case r := <-done:
				if !errors.Is(r.err, enough) {
					t.Errorf("error %v", r.err)
				}
			case <-time.After(deadline):
				t.Fatal("the enclave goes on")
			}
		}
	})
}

// TestXState has several enclaves of several threads compute with registers full
// of patterns, while the host collects garbage, which stops its own threads by
// signals.
func TestXState(t *testing.T) {
	onEach(t, func(t *testing.T, m *machine) {
		img := image(t, "xstate", threads(3))
		stop := make(chan struct{})
		var collector, enclaves sync.WaitGroup
		collector.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					runtime.GC()
				}
			}
		})
		for range 3 {
			enclaves.Go(func() {
				r := m.run(t, img, edp.Options{Args: []string{"100", "2"}})
				if r.err != nil || !regexp.MustCompile(`^ok [xy]mm, 100 rounds, 3 threads\n$`).MatchString(r.stdout) {
					t.Errorf("error %v, output %q", r.err, r.stdout)
				}
			})
		}
		enclaves.Wait()
		close(stop)
		collector.Wait()
		if m.interrupts != nil && m.interrupts.Load() == 0 {
			t.Error("nothing was ever interrupted")
		}
	})
}
