package kernel

import "sync/atomic"

// The clock page is the host's (wall.RunDesc). Time is read from it and from
// the TSC without leaving the enclave; how far it is off is the host's choice.
// What is ensured: the monotonic clock never goes back, on no thread, and no
// result is absurd.
var (
	clockPage uint64
	lastWall  uint64

	// lastMono is the latest monotonic time that anybody has been given. A Go
	// runtime that is told 0 ends, so not even a host without a clock says that.
	lastMono uint64 = 1
)

const (
	clockTries = 64
	maxTime    = 1 << 62               // ns: 146 years
	minRate    = 1 << 32 / 16          // ns per tick * 2^32: 16 GHz
	maxRate    = 1 << 32 * 100         // 10 MHz
	second     = uint64(1_000_000_000) // ns
)

// now is the monotonic or the wall-clock time in ns.
func now(wallClock bool) uint64 {
	for try := 0; try < clockTries; try++ {
		seq := load(clockPage)
		tsc, rate := load(clockPage+8), load(clockPage+16)
		mono, real := load(clockPage+24), load(clockPage+32)
		if seq&1 != 0 || load(clockPage) != seq {
			pause()
			continue
		}
		if rate < minRate || rate > maxRate || mono > maxTime || real > maxTime {
			break
		}
		// A TSC before the base is a processor that is slightly behind.
		ticks := readTSC() - tsc
		if int64(ticks) < 0 {
			ticks = 0
		}
		hi, lo := mul64(ticks, rate)
		if hi >= 1<<30 {
			break
		}
		ns := hi<<32 | lo>>32
		if wallClock {
			real += ns
			atomic.StoreUint64(&lastWall, real)
			return real
		}
		return advance(&lastMono, mono+ns)
	}
	// The host does not offer a clock worth reading: time stands still.
	if wallClock {
		return atomic.LoadUint64(&lastWall)
	}
	return atomic.LoadUint64(&lastMono)
}

// advance makes *last at least ns and returns it.
func advance(last *uint64, ns uint64) uint64 {
	for {
		old := atomic.LoadUint64(last)
		if ns <= old {
			return old
		}
		if atomic.CompareAndSwapUint64(last, old, ns) {
			return ns
		}
	}
}

func mul64(x, y uint64) (hi, lo uint64) {
	const m = 1<<32 - 1
	x0, x1, y0, y1 := x&m, x>>32, y&m, y>>32
	w0 := x0 * y0
	t := x1*y0 + w0>>32
	w1 := t&m + x0*y1
	return x1*y1 + t>>32 + w1>>32, x * y
}

func clockGettime(id, ts uint64) uint64 {
	switch id {
	case 0, 5: // REALTIME
		setTimespec(ts, now(true))
	case 1, 2, 3, 4, 6, 7: // MONOTONIC, and those of processor time
		setTimespec(ts, now(false))
	default:
		return errInval
	}
	return 0
}

func clockGetres(id, ts uint64) uint64 {
	if id > 7 {
		return errInval
	}
	if ts != 0 {
		setTimespec(ts, 1)
	}
	return 0
}

func setTimespec(ts, ns uint64) {
	*at[uint64](ts) = ns / second
	*at[uint64](ts + 8) = ns % second
}

// timespec reads a relative time; ok is false if it is not one. What is longer
// than a century is cut.
func timespec(ts uint64) (ns uint64, ok bool) {
	sec, nsec := *at[uint64](ts), *at[uint64](ts + 8)
	if int64(sec) < 0 || nsec >= second {
		return 0, false
	}
	if sec > maxTime/second {
		sec = maxTime / second
	}
	return sec*second + nsec, true
}
