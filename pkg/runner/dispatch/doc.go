// Package dispatch is the host's side of the RPC ring pair of a Go enclave: its
// standard streams, its log, what it tells of itself, and the requests of the
// program's own, for which the host has handlers. The messages are those of package
// wire.
//
// # Ids
//
// A request with id 0 wants no response. The low byte of any other id says whom the
// response wakes:
//
//	0 to 63   the TCS with that index, whose thread has asked (the kernel's requests)
//	0xff      wire.IDProgram: the program's descriptor for requests is readable. Who
//	          waits is known inside alone; outside, the thread that is in epoll_wait is
//	          made to look (Options.Kick), if the ring says that one sleeps
//
// # Handlers
//
// A handler that has lately been quick runs on the enclave's own thread, inside the
// OCALL that brought the request: the response is there when the OCALL returns, and
// no thread has to be woken on either side. All others run on goroutines, of
// which there are 64 at most; then requests wait, of which the enclave may have
// wire.MaxInFlight.
package dispatch
