package kernel

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"

	ring "github.com/enclaveos/eos/pkg/channel"
)

func TestFDs(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	th := threadAt(0)
	p := e.user(t, 64<<10)
	open := func(path string, flags uint64) uint64 {
		put(p, path+"\x00")
		return openat(atFDCWD, p, flags, 0o644)
	}
	for _, c := range []struct {
		path  string
		flags uint64
		want  uint64
	}{
		{"/etc/passwd", oRDONLY, errNoEnt}, {"", oRDONLY, errNoEnt}, {"/etc/hosts", oWRONLY, errROFS}, {"/etc/hosts", oRDWR | oTRUNC, errROFS},
		{"/tmp/new", oWRONLY | oCREAT, errROFS}, {"/etc/hosts", oDIRECTORY, errNotDir}, {"/etc/hostsx", oRDONLY, errNoEnt},
		{"/etc/hosts", oRDONLY, 3}, {"/dev/null", oRDWR, 4}, {"/dev/urandom", oRDONLY, 5},
	} {
		if r := open(c.path, c.flags); r != c.want {
			t.Errorf("open %q %#x: %d", c.path, c.flags, int64(r))
		}
	}
	if r := closeFD(th, 4); r != 0 {
		t.Errorf("close: %d", int64(r))
	}
	if r := closeFD(th, 4); r != errBadF {
		t.Errorf("close twice: %d", int64(r))
	}
	if r := open("/etc/resolv.conf", 0); r != 4 {
		t.Errorf("the lowest descriptor: %d", int64(r))
	}
	for _, n := range []uint64{4711, maxFDs, ^uint64(0), 7} {
		for what, r := range map[string]uint64{
			"read": read(th, n, p, 1), "write": write(th, n, p, 1), "close": closeFD(th, n), "fstat": fstat(n, p), "lseek": lseek(n, 0, 0),
			"fcntl": fcntl(th, n, fGetFL, 0), "pread": pread(n, p, 1, 0),
		} {
			if r != errBadF {
				t.Errorf("%s of %d: %d", what, n, int64(r))
			}
		}
	}
	text := files[0].text
	var got strings.Builder
	for {
		n := read(th, 4, p, 7)
		if n == 0 {
			break
		}
		got.Write(span(p, n))
	}
	if got.String() != text {
		t.Errorf("read %q", got.String())
	}
	if r := lseek(4, ^uint64(4), 2); r != uint64(len(text))-5 {
		t.Errorf("lseek: %d", int64(r))
	}
	if r := lseek(4, ^uint64(4), 0); r != errInval {
		t.Errorf("lseek to -5: %d", int64(r))
	}
	if n := read(th, 4, p, 100); string(span(p, n)) != text[len(text)-5:] {
		t.Errorf("after lseek: %q", span(p, n))
	}
	if n := pread(4, p, 4, 2); string(span(p, n)) != text[2:6] {
		t.Errorf("pread: %q", span(p, n))
	}
	if r := pread(5, p, 4, 2); r != errSPipe {
		t.Errorf("pread of a device: %d", int64(r))
	}
	if r := fstat(4, p); r != 0 || load(p+48) != uint64(len(text)) || *at[uint32](p + 24) != modeFile {
		t.Errorf("fstat: %d", int64(r))
	}
	if r := fcntl(th, 4, fSetFL, oNONBLOCK|oRDWR); r != 0 || fcntl(th, 4, fGetFL, 0) != oNONBLOCK {
		t.Errorf("F_SETFL: %d, then %#x", int64(r), fcntl(th, 4, fGetFL, 0))
	}
	if r := write(th, 4, p, 3); r != errBadF {
		t.Errorf("write to a file: %d", int64(r))
	}
	for i := 6; i < maxFDs; i++ {
		if r := open("/dev/null", 0); r != uint64(i) {
			t.Fatalf("descriptor %d: %d", i, int64(r))
		}
	}
	if r := open("/dev/null", 0); r != errMFile {
		t.Errorf("one too many: %d", int64(r))
	}
}

func TestStdout(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	th := threadAt(0)
	desc, in, _ := e.channels(t, 4096)
	p := e.user(t, 64<<10)
	if r := write(th, 1, p, 3); r != errIO {
		t.Errorf("without a channel: %d", int64(r))
	}
	initChannel(&rpc, desc)
	text := strings.Repeat("0123456789abcdef", 4000)
	put(p, text)
	var got strings.Builder
	take := func() {
		for in.Next() == ring.OK {
			b := make([]byte, in.Len())
			in.Copy(b, 0)
			in.Advance()
			if binary.LittleEndian.Uint16(b[8:]) != 0x310 || b[14] != 2 || int(binary.LittleEndian.Uint32(b[10:])) != len(b)-14 {
				t.Fatalf("message %x", b[:18])
			}
			got.Write(b[18:])
		}
		in.Release()
	}
	// A slow host: it reads only now and then.
	n := 0
	machine.ocall = func(kind, a1, a2, a3 uint64) uint64 {
		if n++; n%5 == 0 {
			take()
		}
		return 0
	}
	if r := write(th, 2, p, uint64(len(text))); r != uint64(len(text)) {
		t.Fatalf("wrote %d", int64(r))
	}
	take()
	if got.String() != text {
		t.Errorf("the host has %d bytes of %d", got.Len(), len(text))
	}
	// The host moves its cursor to where it cannot be.
	store(rpc.e2hHead+64, 1<<40)
	if r := write(th, 2, p, 8192); r != errIO {
		t.Errorf("with a lying host: %d", int64(r))
	}
}

func TestStdin(t *testing.T) {
	answer := func(id uint64, status int32, n int, text string) []byte {
		b := binary.LittleEndian.AppendUint64(nil, id)
		b = binary.LittleEndian.AppendUint32(b, uint32(status))
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
		return append(b, text...)
	}
	for _, c := range []struct {
		what   string
		answer []byte
		want   string
		r      uint64
		dead   bool
	}{
		{"text", answer(0x100, 0, 5, "hello"), "hello", 5, false},
		{"end", answer(0x100, 0, 0, ""), "", 0, false},
		{"error", answer(0x100, -1, 0, ""), "", errIO, false},
		{"another id", answer(0x101, 0, 5, "hello"), "", errIO, true},
		{"longer than the frame", answer(0x100, 0, 50, "hello"), "", errIO, true},
		{"shorter than the frame", answer(0x100, 0, 3, "hello"), "", errIO, true},
		{"more than asked for", answer(0x100, 0, 33, strings.Repeat("x", 33)), "", errIO, true},
		{"half a header", answer(0x100, 0, 0, "")[:9], "", errIO, true},
		{"empty", nil, "", errIO, true},
	} {
		e := newEnclave(t)
		e.boot(t)
		desc, _, out := e.channels(t, 4096)
		initChannel(&rpc, desc)
		th := threadAt(0)
		p := e.user(t, pageSize)
		parks := 0
		machine.ocall = func(kind, a1, a2, a3 uint64) uint64 {
			if kind == 1 {
				if parks++; parks == 2 {
					out.Put(c.answer, nil)
					out.Publish()
				}
			}
			return 0
		}
		r := read(th, 0, p, 32)
		if r != c.r || (!failed(r) && string(span(p, max(r, 1))[:r]) != c.want) {
			t.Errorf("%s: %d", c.what, int64(r))
		}
		if dead := rpcIn.Status() != ring.OK; dead != c.dead {
			t.Errorf("%s: the channel is %v", c.what, rpcIn.Status())
		}
	}
}

func TestTrapUnknown(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	th := threadAt(0)
	for _, n := range []uint64{2, 57, 59, 101, 165, 435, 8999, 9999, ^uint64(0)} {
		if r := trap(&frame{ax: n}, th); r != errNoSys && r != errNoEnt {
			t.Errorf("system call %d: %d", int64(n), int64(r))
		}
	}
	// Without a tree there is nothing to change, and no place for anything new.
	for n, want := range map[uint64]uint64{
		sysMkdir: errROFS, sysMkdirat: errROFS, sysLinkat: errROFS, sysSymlinkat: errROFS, sysRenameat: errNoEnt, sysRenameat2: errNoEnt,
		sysTruncate: errNoEnt, sysChdir: errNoEnt, sysFchmodat: errNoEnt, sysUtimensat: errNoEnt, sysUnlinkat: errNoEnt, sysFsync: errInval,
	} {
		if r := trap(&frame{ax: n, di: 1}, th); r != want {
			t.Errorf("system call %d: %d, want %d", n, int64(r), int64(want))
		}
	}
	if r := trap(&frame{ax: sysFsync, di: 99}, th); r != errBadF {
		t.Errorf("fsync: %d", int64(r))
	}
	if r := trap(&frame{ax: callPresent}, th); r != 1 {
		t.Errorf("present: %d", int64(r))
	}
	p := e.user(t, pageSize)
	processors = 64
	if r := affinity(128, p); r != 8 || load(p) != 1<<(testThreads/2)-1 {
		t.Errorf("affinity: %d, %#x", int64(r), load(p))
	}
	processors = 0
	if affinity(8, p); load(p) != 1 {
		t.Errorf("no processors: %#x", load(p))
	}
}

func TestCrashText(t *testing.T) {
	const first = "eos: the program has crashed, and says why only in an image of eos build --debug; eos inspect --symbolize names these places in it:\n"
	for _, c := range []struct {
		flags uint64
		parts []string
		want  string
	}{
		{1, []string{"panic: secret"}, "panic: secret"},
		{0, []string{"panic: secret\n", "goroutine 1", "0x12"}, ""},
		{0, []string{" fp=", "0x5", " sp=", "0x6", " pc=", "0x", "40", "00", "\n"}, first + "eos: at 0x4000\n"},
		{0, []string{"pcpc=0x4001 pc=0x4fff]pc=0x5000 pc=0x3fff pc=4002 pc=0x"}, first + "eos: at 0x4001\neos: at 0x4fff\n"},
		{0, []string{"\ngoroutine ", "1", " pc=0x4001\n pc=0x4002\n\n", "goroutine ", "2\n pc=0x5001\n pc=0x4003\n pc=0x4004\n in goroutine 7 pc=0x4005\n"},
			first + "eos: at 0x4001\neos: at 0x4002\neos: another goroutine:\neos: at 0x4003\neos: at 0x4004\neos: at 0x4005\n"},
		{0, slices.Repeat([]string{"\ngoroutine 1\n pc=0x4001\n"}, maxStacks+5),
			first + "eos: at 0x4001\n" + strings.Repeat("eos: another goroutine:\neos: at 0x4001\n", maxStacks) + "eos: there are more goroutines\n"},
	} {
		e := newEnclave(t)
		e.boot(t)
		e.Flags, e.TextLo, e.TextHi = c.flags, 0x4000, 0x5000
		machine.text[6] = 0x4100
		desc, in, _ := e.channels(t, 4096)
		initChannel(&rpc, desc)
		p := e.user(t, pageSize)
		for _, part := range c.parts {
			put(p, part)
			if r := trap(&frame{ax: sysWrite, di: 2, si: p, dx: uint64(len(part)), ret: 0x4120}, threadAt(0)); r != uint64(len(part)) {
				t.Errorf("%q: %d", part, int64(r))
			}
		}
		got := ""
		for in.Next() == ring.OK {
			b := make([]byte, in.Len())
			in.Copy(b, 0)
			in.Advance()
			got += string(b[18:])
		}
		if got != c.want {
			t.Errorf("%q: %q", c.parts, got)
		}
		// The program's own writes are its own matter, by a print statement too.
		machine.printing = func() bool { return true }
		if trap(&frame{ax: sysWrite, di: 2, si: p, dx: 1, ret: 0x4120}, threadAt(0)); in.Next() != ring.OK {
			t.Error("what the program prints is lost")
		}
		in.Advance()
		if trap(&frame{ax: sysWrite, di: 2, si: p, dx: 1, ret: 0x4200}, threadAt(0)); in.Next() != ring.OK {
			t.Error("the program's output is lost")
		}
	}
}

func TestPipe(t *testing.T) {
	e := newEnclave(t)
	e.boot(t)
	th := threadAt(0)
	p := e.user(t, 128<<10)
	if r := trap(&frame{ax: sysPipe2, di: p, si: oNONBLOCK}, th); r != 0 || load(p) != 3|4<<32 {
		t.Fatalf("pipe2: %d, %#x", int64(r), load(p))
	}
	if r := read(th, 3, p, 10); r != errAgain {
		t.Errorf("empty: %d", int64(r))
	}
	if r := write(th, 3, p, 1); r != errBadF {
		t.Errorf("write to the reading end: %d", int64(r))
	}
	if r := read(th, 4, p, 1); r != errBadF {
		t.Errorf("read from the writing end: %d", int64(r))
	}
	if in, out := pipeReady(fdPipeOut, 0), pipeReady(fdPipeIn, 0); in != 0 || out != pollOut {
		t.Errorf("ready when empty: %#x, %#x", in, out)
	}
	if r := write(th, 4, p, 100<<10); r != pipeSize {
		t.Errorf("filled with %d", int64(r))
	}
	if r := write(th, 4, p, 1); r != errAgain {
		t.Errorf("full: %d", int64(r))
	}
	if r := read(th, 3, p, 100); r != 100 {
		t.Errorf("read %d", int64(r))
	}
	if r := write(th, 4, p, 101); r != errAgain {
		t.Errorf("a small write was torn: %d", int64(r))
	}
	if r := write(th, 4, p, 100); r != 100 {
		t.Errorf("wrote %d", int64(r))
	}
	if in, out := pipeReady(fdPipeOut, 0), pipeReady(fdPipeIn, 0); in != pollIn || out != 0 {
		t.Errorf("ready when full: %#x, %#x", in, out)
	}
	closeFD(th, 4)
	if r := read(th, 3, p, 100<<10); r != pipeSize {
		t.Errorf("the rest: %d", int64(r))
	}
	if r := read(th, 3, p, 1); r != 0 || pipeReady(fdPipeOut, 0) != pollIn|pollHup {
		t.Errorf("the end: %d, %#x", int64(r), pipeReady(fdPipeOut, 0))
	}
	live := mem.live
	closeFD(th, 3)
	if pipes[0].used || mem.live != live-pipeSize/pageSize {
		t.Error("the pipe is still there")
	}
	for i := range maxPipes {
		if r := pipe2(p, 0); r != 0 {
			t.Fatalf("pipe %d: %d", i, int64(r))
		}
	}
	if r := pipe2(p, 0); r != errMFile {
		t.Errorf("one too many: %d", int64(r))
	}
	closeFD(th, load(p)&0xffffffff)
	if r := write(th, load(p)>>32, p, 1); r != errPipe {
		t.Errorf("no reader: %d", int64(r))
	}
}
