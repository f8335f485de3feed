//go:build !linux

package edp

import "errors"

// mapping is the address space of an arena: on Linux only.
type mapping struct{}

func reserve(uint64) (mapping, error) {
	return mapping{}, errors.New("enclaves run on Linux only")
}

func (mapping) addr() uint64               { return 0 }
func (mapping) commit(off, n uint64) error { return nil }
func (mapping) discard(off, n uint64)      {}
func (mapping) slice(off, n uint64) []byte { return nil }
func (mapping) unmap()                     {}
