// Package goenclave runs Go images: it is the host's side of the wall of package
// wall. The image is loaded at the address that its boot page names; each TCS in
// use has an OS thread of the host that enters it and answers its OCALLs.
//
// An OCALL is served on the enclave's own thread: a thread that polls the data
// channel waits in the host's epoll, and a thread that writes to a socket moves
// the bytes, so that a request costs no hop between threads. A thread that waits
// for another one of the program sleeps on a futex. An idle program has all its
// threads there and uses no processor.
package goenclave
