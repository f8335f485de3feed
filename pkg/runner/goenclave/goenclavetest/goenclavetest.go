// Package goenclavetest puts a host of the test's own between an enclave and
// package goenclave: one that changes answers, makes entries that nobody asked for,
// or keeps back what it should say. A kernel has to bear all of that.
package goenclavetest

import (
	"slices"

	"github.com/enclaveos/eos/pkg/runner/goenclave"
	"github.com/enclaveos/eos/pkg/runner/platform"
	"github.com/enclaveos/eos/pkg/sgx"
)

// Host is what a test does at each entry and exit. The functions are called on the
// enclave's threads, at the same time on several; nil ones do nothing.
type Host struct {
	// Enter is called before an entry and may change its registers. It may make
	// entries of its own, by t.Enter.
	Enter func(t *Thread, leaf sgx.Leaf, regs *platform.Regs)
	// Left is called after an exit, before goenclave sees it, and may change what
	// goenclave sees.
	Left func(t *Thread, exit *platform.Exit, regs *platform.Regs)
}

// Thread is a thread of the host while it enters a TCS.
type Thread struct {
	platform.Thread
	Index int // of the TCS; -1 if it is none of the image's
}

// Interpose puts h between e and its Command, which must not have been made yet.
func Interpose(e *goenclave.Enclave, h Host) {
	e.Enclave.Enclave = &enclave{e.Enclave.Enclave, e.TCS, h}
}

type enclave struct {
	platform.Enclave
	tcs  []uint64
	host Host
}

func (e *enclave) NewThread() (platform.Thread, error) {
	t, err := e.Enclave.NewThread()
	if err != nil {
		return nil, err
	}
	return &thread{t, e}, nil
}

type thread struct {
	platform.Thread
	e *enclave
}

func (t *thread) Enter(tcs uint64, leaf sgx.Leaf, regs *platform.Regs) (platform.Exit, error) {
	seen := &Thread{t.Thread, slices.Index(t.e.tcs, tcs)}
	if t.e.host.Enter != nil {
		t.e.host.Enter(seen, leaf, regs)
	}
	exit, err := t.Thread.Enter(tcs, leaf, regs)
	if err == nil && t.e.host.Left != nil {
		t.e.host.Left(seen, &exit, regs)
	}
	return exit, err
}
