// Package kernel is the operating system inside a Go enclave: the system calls
// that the Go runtime and the standard library make are answered here, in
// enclave memory, and nearly all of them without leaving it.
//
// It is compiled twice. Natively, for its tests. And as the package
// internal/runtime/eoskernel of the standard library, put there by an overlay
// (see Overlay) together with the assembly in overlay/, which replaces the
// SYSCALL instructions of the runtime by a jump to Trap.
//
// # Rules for code here
//
// A kernel function runs on a thread's kernel stack with a made-up g, below the
// Go runtime. So there is no allocation, no map, no panic, no defer, no
// interface, no channel, no pointer to the Go heap in a global. Addresses are
// uint64 and are turned into pointers by at. Assembly that is called from here
// must be ABIInternal; of sync/atomic only what the compiler makes an
// instruction of may be used. TestCompiled holds these.
//
// What an exception handler (Exception) may do is less still: it must not take a
// lock, since the interrupted code may hold it.
//
// # Trust
//
// The host chooses the registers at every entry, the answer of every OCALL, and
// all bytes outside the enclave, at any time. Each word out there is read once,
// into a variable, and checked there. A host that lies can stop the program,
// never steer it. Time is the host's: it can be wrong, it does not go back.
//
// Known limits: an access of the program near address 0 is a page fault only as
// long as the host's kernel maps nothing there; memory that the program makes
// read-only stays writable, since permissions are those of the image (mprotect).
package kernel
