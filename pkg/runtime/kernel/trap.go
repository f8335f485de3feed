package kernel

import wall "github.com/enclaveos/eos/pkg/wall"

// Numbers of system calls (Linux, x86-64).
const (
	sysRead             = 0
	sysWrite            = 1
	sysClose            = 3
	sysStat             = 4
	sysFstat            = 5
	sysLstat            = 6
	sysLseek            = 8
	sysMmap             = 9
	sysMprotect         = 10
	sysMunmap           = 11
	sysRtSigaction      = 13
	sysRtSigprocmask    = 14
	sysRtSigreturn      = 15
	sysIoctl            = 16
	sysPread64          = 17
	sysReadv            = 19
	sysWritev           = 20
	sysAccess           = 21
	sysSchedYield       = 24
	sysMadvise          = 28
	sysDup              = 32
	sysNanosleep        = 35
	sysGetpid           = 39
	sysClone            = 56
	sysExit             = 60
	sysKill             = 62
	sysUname            = 63
	sysFcntl            = 72
	sysGetcwd           = 79
	sysReadlink         = 89
	sysUmask            = 95
	sysGettimeofday     = 96
	sysSysinfo          = 99
	sysGetuid           = 102
	sysGetgid           = 104
	sysGeteuid          = 107
	sysGetegid          = 108
	sysGetppid          = 110
	sysGetgroups        = 115
	sysSigaltstack      = 131
	sysMlock            = 149
	sysMunlock          = 150
	sysMlockall         = 151
	sysMunlockall       = 152
	sysPrctl            = 157
	sysArchPrctl        = 158
	sysGettid           = 186
	sysTkill            = 200
	sysTime             = 201
	sysFutex            = 202
	sysSchedGetaffinity = 204
	sysClockGettime     = 228
	sysClockGetres      = 229
	sysClockNanosleep   = 230
	sysExitGroup        = 231
	sysEpollWait        = 232
	sysEpollCtl         = 233
	sysTgkill           = 234
	sysOpenat           = 257
	sysNewfstatat       = 262
	sysUnlinkat         = 263
	sysReadlinkat       = 267
	sysFaccessat        = 269
	sysEpollPwait       = 281
	sysEventfd2         = 290
	sysEpollCreate1     = 291
	sysPipe2            = 293
	sysPrlimit64        = 302
	sysGetrandom        = 318
	sysMlock2           = 325
	sysStatx            = 332
	sysFaccessat2       = 439
)

// trap is a system call. Its result goes to RAX.
func trap(f *frame, t *thread) uint64 {
	switch f.ax {
	// The frequent ones first.
	case sysClockGettime:
		return clockGettime(f.di, f.si)
	case sysFutex:
		return futex(t, f)
	case sysRead:
		return read(t, f.di, f.si, f.dx)
	case sysWrite:
		if ofRuntime(f) {
			return crashWrite(f.si, f.dx)
		}
		return write(t, f.di, f.si, f.dx)
	case sysEpollPwait, sysEpollWait:
		timeout := forever
		if ms := int32(f.r10); ms >= 0 {
			timeout = uint64(ms) * 1_000_000
		}
		return epollWait(t, f.di, f.si, f.dx, timeout)
	case sysGetrandom:
		return getrandom(f.di, f.si)
	case sysNanosleep:
		return nanosleep(t, f.di, f.si)
	case sysSchedYield:
		notify(wall.NotifyYield, 0, 0, 0)
		return 0

	// Memory.
	case sysMmap:
		return mem.mmap(f.di, f.si, f.dx, f.r10)
	case sysMunmap:
		return mem.munmap(f.di, f.si)
	case sysMprotect:
		return mem.mprotect(f.di, f.si, f.dx)
	case sysMlock, sysMlock2, sysMunlock, sysMlockall, sysMunlockall:
		return 0 // what is in an enclave leaves the processor only encrypted
	case sysMadvise:
		return mem.madvise(f.di, f.si, f.dx)

	// Threads and the process.
	case sysClone:
		return clone(f, t)
	case sysExit:
		exitThread(t)
	case sysExitGroup:
		exit(f.di)
	case sysGettid:
		return t.tid()
	case sysGetpid:
		return pid
	case sysGetppid:
		return 1
	case sysGetuid, sysGeteuid, sysGetgid, sysGetegid:
		return 0
	case sysUmask:
		return 0o22
	case sysGetgroups:
		return 0 // none besides root's own
	case sysArchPrctl:
		const setFSBase = 0x1002
		if f.di != setFSBase {
			return errInval
		}
		t.fs = f.si
		setFS(f.si)
		return 0
	case sysSchedGetaffinity:
		return affinity(f.si, f.dx)
	case sysPrctl:
		return errInval
	case sysPrlimit64:
		return prlimit(f.si, f.dx, f.r10)
	case sysSysinfo:
		return sysinfo(f.di)
	case sysUname:
		return uname(f.di)

	// Signals.
	case sysRtSigaction:
		return rtSigaction(f.di, f.si, f.dx)
	case sysRtSigprocmask:
		return rtSigprocmask(t, f.di, f.si, f.dx)
	case sysRtSigreturn:
		return rtSigreturn(f, t)
	case sysSigaltstack:
		return sigaltstack(t, f, f.di, f.si)
	case sysTgkill:
		return tgkill(t, f.di, f.si, f.dx)
	case sysTkill:
		return tgkill(t, pid, f.di, f.si)
	case sysKill:
		return kill(t, f.di, f.si)

	// Time.
	case sysClockGetres:
		return clockGetres(f.di, f.si)
	case sysClockNanosleep:
		if f.si != 0 {
			return errInval
		}
		return nanosleep(t, f.dx, f.r10)
	case sysGettimeofday:
		ns := now(true)
		*at[uint64](f.di), *at[uint64](f.di + 8) = ns/second, ns%second/1000
		return 0
	case sysTime:
		return now(true) / second

	// Files.
	case sysClose:
		return closeFD(t, f.di)
	case sysOpenat:
		return openat(f.di, f.si, f.dx, f.r10)
	case sysFstat:
		return fstat(f.di, f.si)
	case sysStat, sysLstat:
		return fstatat(atFDCWD, f.di, f.si, 0)
	case sysNewfstatat:
		return fstatat(f.di, f.si, f.dx, f.r10)
	case sysLseek:
		return lseek(f.di, f.si, f.dx)
	case sysPread64:
		return pread(f.di, f.si, f.dx, f.r10)
	case sysReadv:
		return vector(t, f.di, f.si, f.dx, false)
	case sysWritev:
		return vector(t, f.di, f.si, f.dx, true)
	case sysFcntl:
		return fcntl(t, f.di, f.si, f.dx)
	case sysDup:
		if d := fdAt(f.di); d != nil {
			return dup(d)
		}
		return errBadF
	case sysPipe2:
		return pipe2(f.di, f.si)
	case sysIoctl:
		if r, ok := sockCall(t, f); ok {
			return r
		}
		return errNotTTY
	case sysAccess:
		return access(atFDCWD, f.di)
	case sysFaccessat, sysFaccessat2:
		return access(f.di, f.si)
	case sysGetcwd:
		return getcwd(f.di, f.si)
	case sysReadlink, sysReadlinkat, sysUnlinkat:
		if r, ok := treeCall(f); ok {
			return r
		}
		return errNoEnt

	// Polling.
	case sysEpollCreate1:
		return epollCreate()
	case sysEpollCtl:
		return epollCtl(f.di, f.si, f.dx, f.r10)
	case sysEventfd2:
		return eventCreate(f.di, f.si)
	}
	if r, ok := sockCall(t, f); ok {
		return r
	}
	if r, ok := treeCall(f); ok {
		return r
	}
	if f.ax >= callFirst {
		return call(f)
	}
	return errNoSys
}

// processors is how many the program shall use: the host's number, as far as
// there are threads for them. Every processor of Go's needs one thread, and
// those that wait in a system call and the runtime's own come on top.
var processors uint64

func affinity(size, mask uint64) uint64 {
	if size < 8 || size%8 != 0 {
		return errInval
	}
	n := max(min(processors, usable()/2, 64), 1)
	*at[uint64](mask) = ^uint64(0) >> (64 - n)
	return 8
}

// sysinfo is struct sysinfo: how much memory there is, for those who make their caches
// as big as that allows.
func sysinfo(buf uint64) uint64 {
	zero(buf, 112)
	b := boot()
	total, used := b.HeapEnd-b.HeapLo, mem.live*pageSize
	*at[uint64](buf) = now(false) / second // uptime
	*at[uint64](buf + 32) = total
	*at[uint64](buf + 40) = total - min(used, total)
	*at[uint16](buf + 80) = 1  // procs
	*at[uint32](buf + 104) = 1 // mem_unit
	return 0
}

// prlimit: the number of files is the only limit that anybody asks for.
func prlimit(resource, set, old uint64) uint64 {
	const noFile = 7
	if set != 0 {
		return errPerm
	}
	if resource != noFile {
		return errInval
	}
	if old != 0 {
		*at[uint64](old), *at[uint64](old + 8) = maxFDs, maxFDs
	}
	return 0
}
