// Package dispatch is the host's side of the RPC ring pair of a Go enclave: its
// standard streams, its log, and what it tells of itself. The messages are those
// of package wire. A request with id 0 wants no response; the low 8 bits of any
// other id are the index of the TCS that waits for one.
package dispatch
