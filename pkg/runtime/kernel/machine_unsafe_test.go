package kernel

import (
	"runtime/debug"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	ring "github.com/enclaveos/eos/pkg/channel"
	wall "github.com/enclaveos/eos/pkg/wall"
)

// An enclave without walls: mapped memory laid out as an image is, and functions
// in the place of the instructions. Kernel code keeps addresses of variables on
// its stack, which moves for goroutines, so the stack is made large first and
// the garbage collector, which would shrink it, is off.
type enclave struct {
	*wall.Boot
	mem []byte

	mu     sync.Mutex
	ocalls []call4
	tokens [wall.MaxThreads]chan struct{}
	tsc    uint64
}

type call4 struct{ kind, a1, a2, a3 uint64 }

const testThreads = 8

// exitPanic is what threadExit and the end of the program are here.
type exitPanic struct{ code uint64 }

func newEnclave(t *testing.T) *enclave {
	t.Helper()
	gc := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(gc) })
	growStack(64)
	const size = 512 << 20
	b, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON|syscall.MAP_NORESERVE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(b) })
	// The heap area is aligned as in an image.
	base := uint64(uintptr(unsafe.Pointer(&b[0])))
	base = roundUp(base, arenaSize)
	e := &enclave{mem: b}
	e.Boot = at[wall.Boot](base)
	*e.Boot = wall.Boot{
		Magic: wall.BootMagic, Base: base, Size: 256 << 20,
		Blocks: base + 0x100000, Threads: testThreads + 1,
		StackLo: base + 0x400000, StackHi: base + 0x440000,
		MetaLo: base + 0x800000, MetaHi: base + 0xc00000,
		HeapLo: base + arenaSize, HeapEnd: base + arenaSize + 32<<20, HeapHi: base + 3*arenaSize,
		CodeLo: base + 3*arenaSize, CodeHi: base + 3*arenaSize + 1<<20,
		Flags: 1,
	}
	bootAt = base
	mem = memory{}
	fds = [maxFDs]fd{}
	tree.nodes = 0
	pipes, pipeLock = [maxPipes]pipe{}, 0
	rpc, data = pair{}, pair{}
	rpcOut, rpcIn = ring.Producer{}, ring.Consumer{}
	actions = [signals + 1]sigaction{}
	started, stopping, ended, exitCode = 0, 0, 0, 0
	clockPage, lastMono, lastWall = 0, 1, 0
	stdinBusy, outOfTCS, threadsMax, reserved, statsTold = 0, 0, 0, 0, 0
	reset(&stdin)
	reset(&rpcFile)
	reset(&rpcDo)
	waitLock, waiters, fdLock, rpcLock, rpcInLock = 0, 0, 0, 0, 0
	for i := range e.tokens {
		e.tokens[i] = make(chan struct{}, 1)
	}
	machine.ocall = func(kind, a1, a2, a3 uint64) uint64 {
		e.mu.Lock()
		e.ocalls = append(e.ocalls, call4{kind, a1, a2, a3})
		e.mu.Unlock()
		if wall.Notify(kind) == wall.NotifyExit {
			panic(exitPanic{a2})
		}
		return 0
	}
	machine.threadExit = func(kind uint64) { panic(exitPanic{}) }
	machine.random = func() (uint64, bool) { return 0x0123456789abcdef, true }
	machine.printing = func() bool { return false }
	machine.readTSC = func() uint64 { e.tsc += 1000; return e.tsc }
	machine.xfrm = 7
	machine.leaf = func(leaf, rbx, rcx, rdx uint64) uint64 {
		if leaf == leafEREPORT {
			*at[uint32](rdx + 16) = 1
		}
		return 0
	}
	machine.setFS = func(uint64) {}
	machine.xrstor = func(uint64) {}
	machine.sigreturn = func(uint64) {}
	machine.text = [7]uint64{}
	crash.state, crash.stack, crash.value, crash.said, crash.other, crash.count = 0, 0, 0, false, false, 0
	return e
}

func reset[T any](p *T) {
	var zero T
	*p = zero
}

//go:noinline
func growStack(n int) byte {
	var b [4096]byte
	if n > 0 {
		b[n] = growStack(n - 1)
	}
	return b[n%7]
}

// host is memory outside the enclave.
func (e *enclave) host(t *testing.T, n int) uint64 {
	t.Helper()
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Munmap(b) })
	return uint64(uintptr(unsafe.Pointer(&b[0])))
}

// user is a page of the program's memory.
func (e *enclave) user(t *testing.T, n uint64) uint64 {
	t.Helper()
	p := mem.mmap(0, n, 3, mapAnonymous)
	if failed(p) {
		t.Fatalf("no memory for the test: %#x", p)
	}
	return p
}

// put writes bytes of the test's to any memory.
func put(addr uint64, b string) { copy(span(addr, uint64(len(b))), b) }

// channels makes the RPC channel and returns the host's ends.
func (e *enclave) channels(t *testing.T, capacity uint64) (desc uint64, in *ring.Consumer, out *ring.Producer) {
	t.Helper()
	page := e.host(t, int(2*capacity)+3*pageSize)
	desc = page
	h1, h2 := page+pageSize, page+pageSize+1024
	b1, b2 := page+2*pageSize, page+2*pageSize+capacity
	for i, v := range []uint64{h1, b1, h2, b2, capacity} {
		store(desc+8*uint64(i), v)
	}
	in, out = new(ring.Consumer), new(ring.Producer)
	in.Init(uintptr(h1), uintptr(b1), capacity)
	out.Init(uintptr(h2), uintptr(b2), capacity)
	return desc, in, out
}

// clock makes a clock page: 1 ns a tick.
func (e *enclave) clock(t *testing.T) uint64 {
	p := e.host(t, pageSize)
	store(p+16, 1<<32)
	store(p+24, 5*second)
	store(p+32, 1_800_000_000*second)
	return p
}

// boot is the first entry.
func (e *enclave) boot(t *testing.T) {
	t.Helper()
	if r := bootOnce(); r != 0 {
		t.Fatalf("boot: %d", r)
	}
	clockPage = e.clock(t)
}

// ends runs f, which must end the program or the thread, and returns the code.
func ends(t *testing.T, f func()) (code uint64) {
	t.Helper()
	defer func() {
		e, ok := recover().(exitPanic)
		if !ok {
			t.Fatalf("it went on")
		}
		code = e.code
	}()
	f()
	return
}

func TestOffsets(t *testing.T) {
	var th thread
	want := map[string]uintptr{
		"T_SELF": unsafe.Offsetof(th.self), "T_STATE": unsafe.Offsetof(th.state), "T_USP": unsafe.Offsetof(th.usp),
		"T_OSP": unsafe.Offsetof(th.osp), "T_FS": unsafe.Offsetof(th.fs), "T_HSP": unsafe.Offsetof(th.hostSP),
		"T_HBP": unsafe.Offsetof(th.hostBP), "T_HRET": unsafe.Offsetof(th.hostPC), "T_KG": unsafe.Offsetof(th.kernelG),
		"T_EG": unsafe.Offsetof(th.exceptionG), "T_PENDING": unsafe.Offsetof(th.pending), "T_GREGS": unsafe.Offsetof(th.gregs),
		"T_INUSE": unsafe.Offsetof(th.inUse), "T_START": unsafe.Offsetof(th.start),

		"STATE_IDLE": stateIdle, "STATE_BUSY": stateBusy, "STATE_OCALL": stateOcall,

		"KSTACK_LO":  wall.BlockKStack - wall.BlockTPA,
		"KSTACK_TOP": wall.BlockKStack + wall.KStackSize - wall.BlockTPA - 0x100,
		"ESTACK_LO":  wall.BlockEStack - wall.BlockTPA,
		"ESTACK_TOP": wall.BlockEStack + wall.EStackSize - wall.BlockTPA - 64,

		"XFEATURES": xsaveMask, "XOTHERS": xsaveMask &^ 6, // SSE and AVX
	}
	var f frame
	for name, off := range map[string]uintptr{
		"AX": unsafe.Offsetof(f.ax), "DI": unsafe.Offsetof(f.di), "SI": unsafe.Offsetof(f.si), "DX": unsafe.Offsetof(f.dx),
		"R10": unsafe.Offsetof(f.r10), "R8": unsafe.Offsetof(f.r8), "R9": unsafe.Offsetof(f.r9), "CX": unsafe.Offsetof(f.ret),
		"SP": unsafe.Offsetof(f.sp), "BX": unsafe.Offsetof(f.bx), "BP": unsafe.Offsetof(f.bp), "R12": unsafe.Offsetof(f.r12),
		"R13": unsafe.Offsetof(f.r13), "R14": unsafe.Offsetof(f.r14), "R15": unsafe.Offsetof(f.r15),
	} {
		want["F_"+name] = off + 32
	}
	got := asmDefines(t)
	for name, w := range want {
		if got[name] != uint64(w) {
			t.Errorf("eos_amd64.s.txt: %s is %#x, Go says %#x", name, got[name], w)
		}
	}
	if clean := got["T_CLEAN"]; clean%64 != 0 || clean < uint64(unsafe.Sizeof(th)) || clean+1024 > pageSize {
		t.Errorf("T_CLEAN = %#x: not aligned or not free", clean)
	}
	for name, sizes := range map[string][2]uintptr{
		"siginfo":  {unsafe.Sizeof(siginfo{}), 128},
		"ucontext": {unsafe.Sizeof(ucontext{}), 304},
		"gregs":    {unsafe.Sizeof(gregs{}), 23 * 8},
		"mask":     {unsafe.Offsetof(ucontext{}.sigmask), 296},
		"fp":       {unsafe.Offsetof(ucontext{}.fp), 224},
		"addr":     {unsafe.Offsetof(siginfo{}.addr), 16},
		"gprsgx":   {unsafe.Sizeof(gprsgx{}), gprsgxSize},
		"exitInfo": {unsafe.Offsetof(gprsgx{}.exitInfo), 160},
		"exInfo":   {unsafe.Sizeof(exInfo{}), exInfoSize},
		"boot":     {unsafe.Sizeof(wall.Boot{}), wall.BootSize},
		"stack_t":  {unsafe.Sizeof(altStack{}), 24},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("%s: %d, want %d", name, sizes[0], sizes[1])
		}
	}
	if s := unsafe.Sizeof(sigframe{}); s > frameSize {
		t.Errorf("a signal frame has %d bytes", s)
	}
}

func TestNodeSize(t *testing.T) {
	if n := unsafe.Sizeof(node{}); n != nodeSize {
		t.Errorf("nodeSize is %d, the structure has %d bytes", nodeSize, n)
	}
	if n := unsafe.Sizeof(wall.FileEntry{}); n != wall.FileEntrySize {
		t.Errorf("FileEntrySize is %d, the structure has %d bytes", wall.FileEntrySize, n)
	}
}
