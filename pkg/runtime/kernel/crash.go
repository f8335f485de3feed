package kernel

// What the Go runtime itself prints on stderr when a program crashes has the
// panic's value in it, and whatever else the program holds. An image for debugging
// shows all of it; a production image only the addresses of code, which say where
// it happened to whoever has the image:
//
//	eos: at 0x10000047b4ea
//
// The program's own print statements, which the runtime executes, are shown.
//
// bootDebug is the bit of Boot.Flags that makes the difference.
const bootDebug = 1

// traceback makes the runtime print the address of each call. In the environment
// of production images it comes first, and so cannot be overridden.
var traceback = [...]byte{'G', 'O', 'T', 'R', 'A', 'C', 'E', 'B', 'A', 'C', 'K', '=', 's', 'y', 's', 't', 'e', 'm', 0}

// What stands before an address, and where the report on a goroutine starts.
const (
	crashPrefix = "pc=0x"
	crashStack  = "\ngoroutine "
)

// crash is how far the text has been looked through.
var crash struct {
	lock  uint32
	state int    // bytes of crashPrefix seen
	stack int    // bytes of crashStack seen
	value uint64 // the number that follows
	said  bool
	other bool // the next address is another goroutine's
	count int  // goroutines that have been reported besides the first
}

// maxStacks bounds how many others are reported: what matters comes first, and servers
// have thousands.
const maxStacks = 16

// seen is how much of a pattern has been seen after another byte.
func seen(pattern string, n int, c byte) int {
	switch {
	case c == pattern[n]:
		return n + 1
	case c == pattern[0]:
		return 1
	}
	return 0
}

// ofRuntime reports whether a write to stderr is the runtime's own, of a
// production image, and none of the program's print statements.
func ofRuntime(f *frame) bool {
	const size = 64 // of runtime.write1, at least up to its SYSCALL
	_, _, _, _, _, _, write := text()
	return f.di == 2 && f.ret-write < size && boot().Flags&bootDebug == 0 && !printing()
}

// crashWrite takes the place of a write of n bytes at p.
func crashWrite(p, n uint64) uint64 {
	var found [16]uint64
	var others uint32 // bit i: found[i] is the first of another goroutine
	var k int
	first, rest := false, false
	lock(&crash.lock)
	for i := uint64(0); i < n && k < len(found); i++ {
		c := *at[byte](p + i)
		if crash.stack = seen(crashStack, crash.stack, c); crash.stack == len(crashStack) {
			crash.stack, crash.other = 0, crash.said
		}
		if crash.state < len(crashPrefix) {
			crash.state = seen(crashPrefix, crash.state, c)
			continue
		}
		if d := digit(c); d < 16 {
			crash.value = crash.value<<4 | d
			continue
		}
		if b := boot(); crash.value >= b.TextLo && crash.value < b.TextHi {
			if crash.other {
				crash.count++
				others |= 1 << k
				rest = rest || crash.count == maxStacks+1
			}
			if crash.count <= maxStacks {
				found[k] = crash.value
				k++
			}
			first = first || !crash.said
			crash.said, crash.other = true, false
		}
		crash.state, crash.value = 0, 0
	}
	unlock(&crash.lock)
	if first {
		sayText("eos: the program has crashed, and says why only in an image of eos build --debug; eos inspect --symbolize names these places in it:\n")
	}
	for i, v := range found[:k] {
		if others>>i&1 != 0 {
			sayText("eos: another goroutine:\n")
		}
		var line [32]byte
		m := copy(line[:], "eos: at 0x")
		for shift := 60; shift >= 0; shift -= 4 {
			if v>>shift != 0 {
				line[m] = "0123456789abcdef"[v>>shift&15]
				m++
			}
		}
		line[m] = '\n'
		stdioWrite(nil, 2, addrOf(&line), uint64(m)+1)
	}
	if rest {
		sayText("eos: there are more goroutines\n")
	}
	return n
}

// digit is the value of a hexadecimal digit, 16 if it is none.
func digit(c byte) uint64 {
	switch {
	case c >= '0' && c <= '9':
		return uint64(c - '0')
	case c >= 'a' && c <= 'f':
		return uint64(c-'a') + 10
	}
	return 16
}
