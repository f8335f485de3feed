package kernel

import (
	"sync/atomic"

	wall "github.com/enclaveos/eos/pkg/wall"
)

// What Enter tells the entry code to do.
const (
	enterReturn = 0 // leave with ExitReturn and the value
	enterStart  = 1 // start the program with the value as SP
	enterThread = 2 // start a thread at its frame
)

var (
	started  uint32 // the program has been started
	stopping uint32 // ecall_shutdown has been called
)

// States of booting, in thread 0's area: the only memory that is known to be
// zero before.
const (
	bootNo   = 0
	bootBusy = 1
	bootDone = 2
)

// enter is an ECALL on a thread that waits for no answer.
func enter(t *thread, ecall, a1 uint64) (action, value uint64) {
	if r := bootOnce(); r != 0 {
		return enterReturn, uint64(r)
	}
	if !atomic.CompareAndSwapUint32(&t.state, stateIdle, stateBusy) {
		if wall.ECall(ecall) == wall.ECallRun && atomic.LoadUint32(&ended) == 0 &&
			atomic.CompareAndSwapUint32(&t.state, stateSpawned, stateBusy) {
			return enterThread, 0
		}
		return enterReturn, refusal(wall.RefusedThread)
	}
	r := wall.RefusedCall
	switch wall.ECall(ecall) {
	case wall.ECallInitChannel:
		r = whileAlive(&rpc, a1)
	case wall.ECallInitDataChannel:
		r = whileAlive(&data, a1)
	case wall.ECallRun:
		sp := uint64(0)
		if sp, r = run(t, a1); r == 0 {
			return enterStart, sp
		}
	case wall.ECallShutdown:
		r = shutdown(a1)
	}
	atomic.StoreUint32(&t.state, stateIdle)
	return enterReturn, refusal(r)
}

func refusal(r wall.Refusal) uint64 { return uint64(r) }

// whileAlive is initChannel before the program starts.
func whileAlive(c *pair, desc uint64) wall.Refusal {
	if atomic.LoadUint32(&started) != 0 || atomic.LoadUint32(&stopping) != 0 {
		return wall.RefusedState
	}
	return initChannel(c, desc)
}

// bootOnce prepares the kernel at the first entry, whichever it is.
func bootOnce() wall.Refusal {
	first := threadAt(0)
	if atomic.LoadUint32(&first.booted) == bootDone {
		return 0
	}
	if !atomic.CompareAndSwapUint32(&first.booted, bootNo, bootBusy) {
		if atomic.LoadUint32(&first.booted) == bootDone {
			return 0
		}
		return wall.RefusedState
	}
	b := boot()
	// The data that was not measured. Kernel variables are among it.
	zero(b.ZeroLo, b.ZeroHi-b.ZeroLo)
	for i := uint64(0); i < b.Threads; i++ {
		w := threadAt(i)
		w.idx = uint32(i)
		w.altFlags = ssDisable
	}
	mem.init(b)
	scratch = mem.mmap(0, pageSize, 3, mapAnonymous)
	fdInit()
	if !treeInit(b) {
		return wall.RefusedSize
	}
	atomic.StoreUint32(&first.booted, bootDone)
	return 0
}

// run starts the program: it builds what the Linux kernel leaves on a new
// program's stack, and returns the stack pointer.
func run(t *thread, desc uint64) (sp uint64, r wall.Refusal) {
	if t.idx != 0 {
		return 0, wall.RefusedThread
	}
	if atomic.LoadUint32(&rpc.state) != channelReady || atomic.LoadUint32(&stopping) != 0 {
		return 0, wall.RefusedState
	}
	if !outside(desc, wall.RunDescSize, 8) {
		return 0, wall.RefusedPointer
	}
	args, size, argc := load(desc), load(desc+8), load(desc+16)
	page, cpus, flags := load(desc+24), load(desc+32), load(desc+40)
	if size == 0 || size > wall.MaxArgs || argc == 0 || argc > wall.MaxArgc {
		return 0, wall.RefusedSize
	}
	if !outside(args, size, 1) || !outside(page, wall.ClockPageSize, 8) {
		return 0, wall.RefusedPointer
	}
	if !capable() {
		return 0, wall.RefusedPlatform
	}
	b := boot()
	// One copy; then only the copy is looked at.
	copied := mem.mmap(0, size, 3, mapAnonymous)
	if failed(copied) {
		return 0, wall.RefusedSize
	}
	move(copied, args, size)
	if countStrings(copied, size) != argc {
		mem.munmap(copied, size)
		return 0, wall.RefusedSize
	}
	envc := countStrings(b.Env, b.EnvLen)
	if b.Flags&bootDebug == 0 {
		envc++
	}
	const auxWords, stackLeft = 10, 64 << 10
	words := 1 + argc + 1 + envc + 1 + auxWords
	seed := b.StackHi - 32
	sp = (seed - 8*words) &^ 15
	if sp > b.StackHi || sp < b.StackLo+stackLeft {
		mem.munmap(copied, size)
		return 0, wall.RefusedSize
	}
	if !fillRandom(seed, 16) {
		mem.munmap(copied, size)
		return 0, wall.RefusedState
	}
	for i := uint64(0); i < b.Threads; i++ {
		threadAt(i).inUse = flags & wall.RunInUse
	}
	clockPage = page
	processors = cpus
	atomic.StoreUint32(&started, 1)
	countThreads()

	p := sp
	put := func(v uint64) {
		*at[uint64](p) = v
		p += 8
	}
	put(argc)
	p = putStrings(p, copied, argc)
	if b.Flags&bootDebug == 0 {
		put(addrOf(&traceback))
		envc--
	}
	p = putStrings(p, b.Env, envc)
	for _, aux := range [...][2]uint64{{6 /* AT_PAGESZ */, pageSize}, {25 /* AT_RANDOM */, seed}, {23 /* AT_SECURE */, 0}, {0, 0}} {
		*at[uint64](p) = aux[0]
		*at[uint64](p + 8) = aux[1]
		p += 16
	}
	return sp, 0
}

// capable reports whether the enclave has been made with what the program needs:
// AVX saved at exits, since the CPUID table claims it, and exceptions reported,
// without which a page fault could not be told from an interrupt and would be
// resumed for ever.
func capable() bool {
	const avx, exInfo, reportMiscSelect = 7, 1, 16
	if xfrm()&avx != avx {
		return false
	}
	zero(scratch, pageSize)
	leaf(leafEREPORT, scratch+scratchTarget, scratch+scratchData, scratch+scratchReport)
	return *at[uint32](scratch + scratchReport + reportMiscSelect)&exInfo != 0
}

// countStrings counts NUL-terminated strings; ^0 if the last one has no end.
func countStrings(p, size uint64) uint64 {
	n := uint64(0)
	for i := uint64(0); i < size; i++ {
		if *at[byte](p + i) == 0 {
			n++
		}
	}
	if size != 0 && *at[byte](p + size - 1) != 0 {
		return ^uint64(0)
	}
	return n
}

// putStrings writes the addresses of n strings and a zero.
func putStrings(p, strings, n uint64) uint64 {
	for ; n > 0; n-- {
		*at[uint64](p) = strings
		p += 8
		for *at[byte](strings) != 0 {
			strings++
		}
		strings++
	}
	*at[uint64](p) = 0
	return p + 8
}

// shutdown asks the program to end, as SIGTERM or SIGINT do: a program that has asked
// for the signal gets it, any other ends.
func shutdown(why uint64) wall.Refusal {
	sig := uint64(sigTerm)
	if why == wall.ShutdownInterrupt {
		sig = sigInt
	}
	if !atomic.CompareAndSwapUint32(&stopping, 0, 1) || atomic.LoadUint32(&ended) != 0 {
		return wall.RefusedState
	}
	if atomic.LoadUint32(&started) == 0 {
		exitCode = 128 + sig
		atomic.StoreUint32(&ended, 1)
		return 0
	}
	for i := uint64(0); i < usable(); i++ {
		w := threadAt(i)
		if s := atomic.LoadUint32(&w.state); (s == stateBusy || s == stateOcall) && w.sigmask>>(sig-1)&1 == 0 {
			raise(w, sig)
			ocall(uint64(wall.NotifyWake), i, 0, 0)
			ocall(uint64(wall.NotifyKick), i, 0, 0)
			return 0
		}
	}
	exitCode = 128 + sig
	atomic.StoreUint32(&ended, 1)
	return 0
}
