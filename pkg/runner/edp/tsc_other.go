//go:build !amd64

package edp

// tscFrequency knows no other processor's counter.
func tscFrequency() uint64 { return 0 }
