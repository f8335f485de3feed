// Package edp is user space for an enclave that speaks the Fortanix SGX ABI
// (document version 0.3.3): it answers the enclave's usercalls.
//
// A Command runs an executable image: the first TCS enters with the arguments,
// launch_thread starts the others, exit ends it. A Library is called by the
// host. Both take an Options with the streams and hooks.
//
// # Who trusts whom
//
// The enclave does not trust this package, and this package does not trust the
// enclave: each pointer is proven to lie wholly inside one block of memory that
// was handed out and not yet freed; each word of the shared queues is read
// once, checked against numbers kept here, and only the copy is used. What
// breaks the ABI ends the enclave with an error that names the call, its
// arguments and the reason. Nothing of it can crash or hang the host.
//
// # Threads
//
// Each TCS in use has a goroutine that is a logical processor
// (platform.Thread). Usercalls are served on that goroutine: one that blocks
// holds up nobody else. Asynchronous usercalls run on goroutines of their own.
package edp
