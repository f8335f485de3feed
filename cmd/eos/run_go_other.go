//go:build !linux

package main

import "errors"

func openNetwork(*ui, []string) (network, error) {
	return nil, errors.New("Go programs run on Linux only")
}
