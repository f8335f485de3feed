//go:build !linux || !amd64

package rpc

import "github.com/enclaveos/eos/pkg/enclave"

// Open opens the program's channel to its host: there is none on this system.
func Open() (*Client, error) { return nil, enclave.ErrNotEnclave }
