package goenclave

// rdtsc reads the time stamp counter, after all instructions before it.
func rdtsc() uint64
