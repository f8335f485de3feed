//go:build !amd64

package goenclave

import "time"

var start = time.Now()

// rdtsc counts nanoseconds where there is no time stamp counter.
func rdtsc() uint64 { return uint64(time.Since(start)) }
