// Package fromgo builds enclave images from Go programs, with the stock Go
// tool chain.
//
// Build compiles a main package with an overlay over GOROOT: assembly that
// would leave the enclave traps to the kernel of pkg/runtime/kernel instead,
// which the overlay adds to the Go runtime. It links a position-independent
// executable, applies its relocations for wall.Base, refuses it if it still has
// instructions that an enclave cannot execute, and writes it as an SGXS stream,
// laid out as pkg/wall says.
//
// Nothing is written but the image and temporary files: not to GOROOT, not to
// the module cache and not to the program's tree. The same source makes the
// same image in any directory, for any user, on any day.
//
// Parse and Describe read what Build has written.
package fromgo
