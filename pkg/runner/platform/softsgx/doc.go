// Package softsgx is the software platform: it runs enclaves in this process,
// on an ordinary x86-64 processor with Linux, without privileges. The enclave
// is the same pages, entered at the same addresses and left by the same
// instructions as on a processor with SGX.
//
// What an SGX processor does in hardware is done so:
//
//	EENTER, ERESUME   a jump, on a thread prepared for it (enter_amd64.s)
//	ENCLU inside      raises #UD, hence SIGILL; the signal handler leaves the
//	                  enclave and the leaf is executed in Go (leaf.go)
//	EEXIT             also: sites that are surely EEXIT become a plain jump
//	                  after the enclave has been measured (patch.go)
//	AEX               any signal while inside: the handler saves the state and
//	                  leaves; an SSA frame is written in Go (aex.go)
//	page permissions  mmap (memory_unsafe.go)
//	SYSCALL inside    Syscall User Dispatch, hence SIGSYS (osthread_unsafe.go)
//	CPUID inside      CPUID faulting where the processor has it; else those of
//	                  the image become UD2 after measuring (cpuid.go)
//
// Whether a thread is inside is said by one byte of its control block, never
// by its instruction pointer: an enclave may jump anywhere.
//
// # What it does not give
//
// Nothing is kept secret from the host, and an enclave that means harm can
// harm the host: enclave and host share an address space and the processor
// does not tell them apart. Caps().Restrictions lists what of the
// architecture is not enforced.
//
// # Threads
//
// A thread made with NewThread keeps all asynchronous signals but one blocked
// until it is closed, so it neither gets profiling signals nor is preempted
// asynchronously while it runs host code; all other threads of the process
// are as before. Children started by such a thread inherit the mask, and
// syscall.Setuid and its kin, which signal every thread of a program without
// cgo, wait until it is closed.
//
// Each system call of such a thread costs some 50 ns more, for Syscall User
// Dispatch in its exclusive form: it asks the selector byte at each call. In
// return it catches system calls of an enclave that has jumped out of its
// range, serves threads of several enclaves, and works since Linux 5.11.
package softsgx
