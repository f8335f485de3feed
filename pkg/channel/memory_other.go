//go:build !linux

package channel

func allocate(n uint64) ([]byte, error) { return make([]byte, n), nil }

func release([]byte) {}
