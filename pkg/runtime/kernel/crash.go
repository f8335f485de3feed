package kernel

// What the Go runtime itself prints on stderr when a program crashes has the
// panic's value in it, and whatever else the program holds. An image for debugging
// shows all of it; a production image only the addresses of code, which say where
// it happened to whoever has the image:
//
//	eos: at 0x10000047b4ea
//
// bootDebug is the bit of Boot.Flags that makes the difference.
const bootDebug = 1

// traceback makes the runtime print the address of each call. In the environment
// of production images it comes first, and so cannot be overridden.
var traceback = [...]byte{'G', 'O', 'T', 'R', 'A', 'C', 'E', 'B', 'A', 'C', 'K', '=', 's', 'y', 's', 't', 'e', 'm', 0}

// crashPrefix is what stands before the addresses.
const crashPrefix = "pc=0x"

// crash is how far the text has been looked through.
var crash struct {
	lock  uint32
	state int    // bytes of crashPrefix seen
	value uint64 // the number that follows
	said  bool
}

// ofRuntime reports whether a write to stderr is the runtime's own, of a
// production image.
func ofRuntime(f *frame) bool {
	const size = 64 // of runtime.write1, at least up to its SYSCALL
	_, _, _, _, _, _, write := text()
	return f.di == 2 && f.ret-write < size && boot().Flags&bootDebug == 0
}

// crashWrite takes the place of a write of n bytes at p.
func crashWrite(p, n uint64) uint64 {
	var found [16]uint64
	var k int
	first := false
	lock(&crash.lock)
	for i := uint64(0); i < n && k < len(found); i++ {
		c := *at[byte](p + i)
		if crash.state < len(crashPrefix) {
			switch c {
			case crashPrefix[crash.state]:
				crash.state++
			case crashPrefix[0]:
				crash.state = 1
			default:
				crash.state = 0
			}
			continue
		}
		if d := digit(c); d < 16 {
			crash.value = crash.value<<4 | d
			continue
		}
		found[k] = crash.value
		k++
		crash.state, crash.value = 0, 0
	}
	if k > 0 && !crash.said {
		crash.said, first = true, true
	}
	unlock(&crash.lock)
	if first {
		sayText("eos: the program has crashed; eos inspect --symbolize names these places in it:\n")
	}
	b := boot()
	for _, v := range found[:k] {
		if v >= b.TextLo && v < b.TextHi {
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
