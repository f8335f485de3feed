package kernel

import (
	"sync"
	"sync/atomic"
	"testing"

	wall "github.com/enclaveos/eos/pkg/wall"
)

func TestOutside(t *testing.T) {
	e := newEnclave(t)
	end := e.Base + e.Size
	for _, c := range []struct {
		what           string
		addr, n, align uint64
		ok             bool
	}{
		{"below", e.Base - 4096, 4096, 64, true},
		{"below, one byte in", e.Base - 4095, 4096, 1, false},
		{"above", end, 4096, 64, true},
		{"above, one byte in", end - 1, 4096, 1, false},
		{"inside", e.Base + 4096, 8, 8, false},
		{"around", e.Base - 4096, e.Size + 8192, 8, false},
		{"unaligned", end + 4, 8, 8, false},
		{"null", 0, 8, 8, false},
		{"the first page", 8, 8, 8, false},
		{"over the address space's end", ^uint64(7), 16, 8, false},
		{"huge", end, ^uint64(0), 1, false},
		{"not canonical", 1 << 47, 8, 8, false},
		{"up to the canonical end", 1<<47 - 8, 8, 8, true},
		{"over the canonical end", 1<<47 - 8, 16, 8, false},
		{"the kernel's half", 0xffff800000000000, 8, 8, false},
		{"empty", end, 0, 1, true},
	} {
		if ok := outside(c.addr, c.n, c.align); ok != c.ok {
			t.Errorf("%s: %v", c.what, ok)
		}
	}
}

func TestInitChannel(t *testing.T) {
	e := newEnclave(t)
	good, _, _ := e.channels(t, 4096)
	th := threadAt(0)
	for _, c := range []struct {
		what  string
		off   uint64
		value uint64
		want  wall.Refusal
	}{
		{"capacity 0", 32, 0, wall.RefusedSize},
		{"capacity 2048", 32, 2048, wall.RefusedSize},
		{"capacity 5000", 32, 5000, wall.RefusedSize},
		{"capacity 128 MiB", 32, 128 << 20, wall.RefusedSize},
		{"capacity 2^63", 32, 1 << 63, wall.RefusedSize},
		{"e2h header inside", 0, e.StackLo, wall.RefusedPointer},
		{"e2h bytes inside", 8, e.StackLo, wall.RefusedPointer},
		{"h2e header inside", 16, e.StackLo, wall.RefusedPointer},
		{"h2e bytes inside", 24, e.StackLo, wall.RefusedPointer},
		{"h2e bytes reach in", 24, e.Base - 2048, wall.RefusedPointer},
		{"header unaligned", 0, load(good) + 8, wall.RefusedPointer},
		{"bytes null", 8, 0, wall.RefusedPointer},
	} {
		old := load(good + c.off)
		store(good+c.off, c.value)
		if a, v := enter(th, uint64(wall.ECallInitChannel), good); a != enterReturn || wall.Refusal(v) != c.want {
			t.Errorf("%s: %d, %d", c.what, a, int64(v))
		}
		store(good+c.off, old)
	}
	for _, p := range []uint64{0, e.StackLo, good + 4, e.Base - 8} {
		if _, v := enter(th, uint64(wall.ECallInitChannel), p); wall.Refusal(v) != wall.RefusedPointer {
			t.Errorf("descriptor at %#x: %d", p, int64(v))
		}
	}
	if _, v := enter(th, uint64(wall.ECallInitChannel), good); v != 0 {
		t.Fatalf("a good one: %d", int64(v))
	}
	if _, v := enter(th, uint64(wall.ECallInitChannel), good); wall.Refusal(v) != wall.RefusedState {
		t.Errorf("twice: %d", int64(v))
	}
	store(good+8, e.StackLo) // too late
	if rpc.e2hBytes == e.StackLo {
		t.Error("the descriptor was read again")
	}
	if _, v := enter(threadAt(testThreads), uint64(wall.ECallInitDataChannel), good); wall.Refusal(v) != wall.RefusedPointer {
		t.Errorf("data channel inside: %d", int64(v))
	}
}

// runDesc is a good descriptor of a program with these arguments.
func (e *enclave) runDesc(t *testing.T, args string, argc uint64) uint64 {
	t.Helper()
	p := e.host(t, 128<<10)
	put(p+4096, args)
	for i, v := range []uint64{p + 4096, uint64(len(args)), argc, e.clock(t), 2, ^uint64(0)} {
		store(p+8*uint64(i), v)
	}
	return p
}

func TestRun(t *testing.T) {
	e := newEnclave(t)
	put(e.Base+4096, "HOME=/\x00A=\x00")
	e.Env, e.EnvLen = e.Base+4096, 10
	th := threadAt(0)
	desc := e.runDesc(t, "prog\x00one\x00\x00", 3)
	try := func(what string, want wall.Refusal) {
		t.Helper()
		if a, v := enter(th, uint64(wall.ECallRun), desc); a != enterReturn || wall.Refusal(v) != want {
			t.Fatalf("%s: %d, %d, want %d", what, a, int64(v), want)
		}
		if th.state != stateIdle {
			t.Fatalf("%s: the thread is in state %d", what, th.state)
		}
	}
	try("before the channel", wall.RefusedState)
	ch, _, _ := e.channels(t, 64<<10)
	if _, v := enter(th, uint64(wall.ECallInitChannel), ch); v != 0 {
		t.Fatal(int64(v))
	}
	live := mem.live
	for _, c := range []struct {
		what  string
		off   uint64
		value uint64
		want  wall.Refusal
	}{
		{"arguments inside", 0, e.StackLo, wall.RefusedPointer},
		{"no arguments", 8, 0, wall.RefusedSize},
		{"too many bytes", 8, wall.MaxArgs + 1, wall.RefusedSize},
		{"half an argument", 8, 7, wall.RefusedSize},
		{"argc 0", 16, 0, wall.RefusedSize},
		{"argc 2", 16, 2, wall.RefusedSize},
		{"argc 4", 16, 4, wall.RefusedSize},
		{"argc huge", 16, 1 << 60, wall.RefusedSize},
		{"clock inside", 24, e.StackLo, wall.RefusedPointer},
		{"clock unaligned", 24, load(desc+24) + 4, wall.RefusedPointer},
	} {
		old := load(desc + c.off)
		store(desc+c.off, c.value)
		try(c.what, c.want)
		store(desc+c.off, old)
	}
	machine.xfrm = 3
	try("no AVX", wall.RefusedPlatform)
	machine.xfrm = 7
	report := machine.leaf
	machine.leaf = func(leaf, rbx, rcx, rdx uint64) uint64 { return 0 }
	try("no EXINFO", wall.RefusedPlatform)
	machine.leaf = report
	random := machine.random
	machine.random = func() (uint64, bool) { return 0, false }
	try("no random numbers", wall.RefusedState)
	machine.random = random
	if mem.live != live {
		t.Errorf("refused starts keep %d pages", mem.live-live)
	}
	if a, v := enter(threadAt(1), uint64(wall.ECallRun), desc); a != enterReturn || wall.Refusal(v) != wall.RefusedThread {
		t.Errorf("on another thread: %d, %d", a, int64(v))
	}

	action, sp := enter(th, uint64(wall.ECallRun), desc)
	if action != enterStart || sp%16 != 0 || sp < e.StackLo || sp > e.StackHi {
		t.Fatalf("start: %d, %#x", action, sp)
	}
	put(desc+4096, "evil") // too late
	if th.inUse != wall.RunInUse || threadAt(testThreads-1).inUse != wall.RunInUse {
		t.Errorf("the flags are %#x and %#x", th.inUse, threadAt(testThreads-1).inUse)
	}
	str := func(p uint64) string {
		s := ""
		for ; *at[byte](p) != 0; p++ {
			s += string(rune(*at[byte](p)))
		}
		return s
	}
	word := func(i uint64) uint64 { return load(sp + 8*i) }
	if word(0) != 3 || str(word(1)) != "prog" || str(word(2)) != "one" || str(word(3)) != "" || word(4) != 0 {
		t.Errorf("arguments: %d %q %q %q", word(0), str(word(1)), str(word(2)), str(word(3)))
	}
	if str(word(5)) != "HOME=/" || str(word(6)) != "A=" || word(7) != 0 {
		t.Errorf("environment: %q %q %#x", str(word(5)), str(word(6)), word(7))
	}
	aux := map[uint64]uint64{}
	for i := uint64(8); word(i) != 0; i += 2 {
		aux[word(i)] = word(i + 1)
	}
	if aux[6] != pageSize || load(aux[25]) != 0x0123456789abcdef || aux[25] < sp {
		t.Errorf("auxv: %#x", aux)
	}
	// The host asks again, for the program and for the channels.
	for n := uint64(0); n < 8; n++ {
		if a, v := enter(th, n, desc); a != enterReturn || wall.Refusal(v) != wall.RefusedThread {
			t.Errorf("ECALL %d on the running thread: %d, %d", n, a, int64(v))
		}
		want := map[uint64]wall.Refusal{1: wall.RefusedState, 2: wall.RefusedState, 3: wall.RefusedThread, 4: 0}
		w, known := want[n]
		if !known {
			w = wall.RefusedCall
		}
		if a, v := enter(threadAt(testThreads), n, ch); a != enterReturn || wall.Refusal(v) != w {
			t.Errorf("ECALL %d on an idle thread: %d, %d, want %d", n, a, int64(v), w)
		}
	}
	if _, v := enter(threadAt(testThreads), uint64(wall.ECallShutdown), 0); wall.Refusal(v) != wall.RefusedState {
		t.Errorf("a second shutdown: %d", int64(v))
	}
	if th.pending != 1<<(sigTerm-1) {
		t.Errorf("pending signals: %#x", th.pending)
	}
	stopping, th.pending = 0, 0
	if _, v := enter(threadAt(testThreads), uint64(wall.ECallShutdown), wall.ShutdownInterrupt); v != 0 || th.pending != 1<<(sigInt-1) {
		t.Errorf("an interrupt: %d, pending signals: %#x", int64(v), th.pending)
	}
}

func TestUnmeasuredDataIsZeroed(t *testing.T) {
	e := newEnclave(t)
	e.ZeroLo, e.ZeroHi = e.Base+0x600000, e.Base+0x602000
	put(e.ZeroLo, "what the host has put here")
	put(e.ZeroHi-1, "ab")
	e.boot(t)
	if !isZero(e.ZeroLo) || !isZero(e.ZeroHi-pageSize) || *at[byte](e.ZeroHi) != 'b' {
		t.Error("the data is not zero, or too much is")
	}
	first := threadAt(0)
	first.booted = bootBusy
	if a, v := enter(threadAt(1), 1, 0); a != enterReturn || wall.Refusal(v) != wall.RefusedState {
		t.Errorf("an entry while another one boots: %d, %d", a, int64(v))
	}
}

func TestThreads(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	ch, in, _ := e.channels(t, 64<<10)
	initChannel(&rpc, ch)
	th := threadAt(0)
	th.state, th.fs, th.sigmask = stateBusy, 11, 0xff00
	const flags = cloneVM | cloneThread | cloneSetTLS
	f := &frame{ax: 56, di: flags, si: 0x5000, r8: 0x7000, ret: 99, r13: 13}
	if r := clone(&frame{di: cloneVM}, th); r != errPerm {
		t.Errorf("fork: %d", int64(r))
	}
	for i := uint64(1); i < testThreads; i++ {
		if r := clone(f, th); r != pid+i {
			t.Fatalf("thread %d: %d", i, int64(r))
		}
		w := threadAt(i)
		if w.state != stateSpawned || w.start.sp != 0x5000 || w.start.ret != 99 || w.start.r13 != 13 || w.fs != 0x7000 || w.sigmask != 0xff00 {
			t.Errorf("thread %d starts with %+v", i, w.start)
		}
	}
	if r := clone(f, th); r != errAgain {
		t.Fatalf("one too many: %d", int64(r))
	}
	if in.Next() != 0 {
		t.Fatal("nothing was said")
	}
	b := make([]byte, in.Len())
	in.Copy(b, 0)
	if got := string(b[18:]); got != "eos: the enclave is out of threads: build it with a larger --threads than 8\n" {
		t.Errorf("said %q", got)
	}
	// Only ECallRun starts a thread, and only one that was asked for.
	w := threadAt(3)
	if a, v := enter(w, uint64(wall.ECallShutdown), 0); a != enterReturn || wall.Refusal(v) != wall.RefusedThread {
		t.Errorf("shutdown on a thread to be started: %d, %d", a, int64(v))
	}
	if a, _ := enter(w, uint64(wall.ECallRun), 0); a != enterThread || w.state != stateBusy {
		t.Errorf("start: %d", a)
	}
	if a, v := enter(w, uint64(wall.ECallRun), 0); a != enterReturn || wall.Refusal(v) != wall.RefusedThread {
		t.Errorf("started twice: %d, %d", a, int64(v))
	}
	machine.threadExit = func(uint64) { w.state = stateIdle; panic(exitPanic{7}) }
	if code := ends(t, func() { exitThread(w) }); code != 7 {
		t.Errorf("exit: %d", code)
	}
	if a, v := enter(w, uint64(wall.ECallRun), 0); a != enterReturn || wall.Refusal(v) != wall.RefusedThread {
		t.Errorf("start of an ended thread: %d, %d", a, int64(v))
	}
	if r := clone(f, th); r != pid+3 {
		t.Errorf("its place is not free: %d", int64(r))
	}
	if threadsMax != testThreads {
		t.Errorf("most threads: %d", threadsMax)
	}
}

func TestEnd(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	threadAt(0).state = stateBusy
	if code := ends(t, func() { exit(0x102) }); code != 2 {
		t.Errorf("exit code %d", code)
	}
	if last := e.ocalls[len(e.ocalls)-1]; last != (call4{uint64(wall.NotifyExit), 1, 2, 0}) {
		t.Errorf("told the host %v", last)
	}
	for n := uint64(0); n < 6; n++ {
		if a, v := enter(threadAt(5), n, 0); a != enterReturn || wall.Refusal(v) >= 0 {
			t.Errorf("ECALL %d after the end: %d, %d", n, a, int64(v))
		}
	}
	threadAt(4).state = stateSpawned
	if a, v := enter(threadAt(4), uint64(wall.ECallRun), 0); a != enterReturn || wall.Refusal(v) >= 0 {
		t.Errorf("a thread after the end: %d, %d", a, int64(v))
	}
	// A thread that comes back from an OCALL goes nowhere.
	if code := ends(t, func() { notify(wall.NotifyPark, 0, 0, 0) }); code != 2 {
		t.Errorf("a parked thread: %d", code)
	}
}

// As many promises as there are free TCSs; each is redeemed by one clone.
func TestReserveThread(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	first := threadAt(0)
	first.state = stateBusy
	const free = testThreads - 1
	var all sync.WaitGroup
	var granted atomic.Int32
	for range 2 * free {
		all.Go(func() {
			growStack(16)
			if reserveThread() {
				granted.Add(1)
			}
		})
	}
	all.Wait()
	if granted.Load() != free || reserved != free || outOfTCS != 1 {
		t.Errorf("%d of %d were granted", granted.Load(), free)
	}
	f := &frame{di: cloneVM | cloneThread}
	for i := range free {
		if r := clone(f, first); failed(r) || int(reserved) != free-1-i {
			t.Errorf("clone %d: %d, %d are still promised", i, int64(r), reserved)
		}
		if reserveThread() {
			t.Errorf("a promise of what has been promised")
		}
	}
	if r := clone(f, first); r != errAgain {
		t.Errorf("one too many: %d", int64(r))
	}
	atomic.StoreUint32(&threadAt(3).state, stateIdle)
	if !reserveThread() || reserveThread() {
		t.Error("not one for the thread that has ended")
	}
}
