package kernel

// randomTries is how often RDRAND is asked for one word: Intel's advice is 10.
const randomTries = 32

// fillRandom writes n random bytes. If the processor has none it reports false
// and has written zeros: there is no second source that would be any good.
func fillRandom(addr, n uint64) bool {
	for i := uint64(0); i < n; i += 8 {
		v, ok := randomWord()
		if !ok {
			zero(addr, n)
			return false
		}
		for j := i; j < n && j < i+8; j++ {
			*at[byte](addr + j) = byte(v)
			v >>= 8
		}
	}
	return true
}

// randomWord does not believe all ones, which broken processors are known to
// return for ever.
func randomWord() (uint64, bool) {
	for range randomTries {
		if v, ok := random(); ok && v != ^uint64(0) {
			return v, true
		}
		pause()
	}
	return 0, false
}

func getrandom(addr, n uint64) uint64 {
	if n == 0 {
		return 0
	}
	if !fillRandom(addr, n) {
		return errIO
	}
	return n
}
