// Package proxy is the host's half of the data channel: it moves bytes between
// sockets of the host and the rings that an enclave of the eos ABI polls.
//
// It has no thread of its own. The enclave's threads run it while they are outside:
// Flush when there is something to send, Poll when a thread has nothing to do but to
// wait. So a request takes no hop from thread to thread: the thread that waits in
// epoll reads the socket into the ring and goes back in.
//
// Memory is bounded from end to end. A connection holds at most wire.Window bytes
// that its client does not take, and as many that its program does not read; then
// the one side is given no more credit and the other one's socket is not read. No
// connection waits for another: who cannot go on now waits in its own buffer.
//
// The enclave is not trusted: a message that breaks the rules of package wire, a
// cursor that lies or more data than was granted end the data plane with a reason.
// Nor are clients: their bytes are only carried.
package proxy
