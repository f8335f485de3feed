// Package rpc is for Go code inside an enclave that asks its host for something:
// to store bytes, to make a quote. The host answers as it likes, or not at all:
// what an answer says is the caller's to check. What is checked here is that there
// is one answer, at most, to each request, of the form and length that it should
// have. A host that breaks these rules ends the channel, with the reason.
//
// Any number of goroutines may call at once; requests travel independently and are
// answered in any order. Up to wire.MaxInFlight are under way, further calls wait.
//
// Messages are those of package wire. Ids have wire.IDProgram in their low byte and
// the number of the call above it.
package rpc
