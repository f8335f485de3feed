package dispatch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/enclaveos/eos/pkg/channel"
	"github.com/enclaveos/eos/pkg/channel/wire"
)

// enclave is the other side of the rings.
type enclave struct {
	t     testing.TB
	s     *Server
	out   channel.Producer
	in    channel.Consumer
	woken chan int
}

func newEnclave(t testing.TB, o Options) *enclave {
	t.Helper()
	e := &enclave{t: t, woken: make(chan int, 1000)}
	o.Wake = func(tcs int) { e.woken <- tcs }
	var err error
	if e.s, err = New(o); err != nil {
		t.Fatal(err)
	}
	e2h, h2e := e.s.Rings()
	if a, b := e.out.Init(e2h.Header, e2h.Bytes, Capacity), e.in.Init(h2e.Header, h2e.Bytes, Capacity); a != channel.OK || b != channel.OK {
		t.Fatal(a, b)
	}
	return e
}

// send puts a frame in the ring. It reports whether to ring.
func (e *enclave) send(b []byte) bool {
	e.t.Helper()
	if s := e.out.Put(b, nil); s != channel.OK {
		e.t.Fatalf("Put: %v", s)
	}
	return e.out.Publish()
}

func (e *enclave) request(id uint64, m wire.Method, payload []byte) bool {
	e.t.Helper()
	return e.send(wire.AppendRequest(nil, wire.Request{ID: id, Method: m, Payload: payload}))
}

func (e *enclave) print(fd int32, s string) bool {
	e.t.Helper()
	return e.request(0, wire.StdioWrite, wire.AppendStdioWrite(nil, fd, []byte(s)))
}

func (e *enclave) serve() {
	e.t.Helper()
	if err := e.s.Serve(Caller{}); err != nil {
		e.t.Fatal(err)
	}
}

// response waits for the next one.
func (e *enclave) response() (wire.Response, int) {
	e.t.Helper()
	tcs := <-e.woken
	if s := e.in.Next(); s != channel.OK {
		e.t.Fatalf("no response: %v", s)
	}
	b := make([]byte, e.in.Len())
	e.in.Copy(b, 0)
	e.in.Advance()
	e.in.Release()
	r, f := wire.ParseResponse(b)
	if f != wire.Sound {
		e.t.Fatal(f)
	}
	return r, tcs
}

func TestStdioWrite(t *testing.T) {
	var stdout, stderr bytes.Buffer
	e := newEnclave(t, Options{Stdout: &stdout, Stderr: &stderr})
	if !e.print(1, "a") {
		t.Error("the first request does not ring")
	}
	if e.print(1, "b") {
		t.Error("the second one rings, too")
	}
	e.serve()
	if !e.print(2, "c") {
		t.Error("after Serve none rings")
	}
	e.print(1, "")
	e.serve()
	e.print(1, "d")
	if err := e.s.Drain(); err != nil {
		t.Error(err)
	}
	if stdout.String() != "abd" || stderr.String() != "c" {
		t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
	}
	if tr := e.s.Traffic(); tr.FromEnclave == 0 || tr.ToEnclave != 0 {
		t.Errorf("traffic %+v", tr)
	}
}

func TestNoStreams(t *testing.T) {
	e := newEnclave(t, Options{})
	e.print(1, "a")
	e.request(0x107, wire.StdioRead, wire.AppendStdioRead(nil, 10))
	e.serve()
	r, tcs := e.response()
	if tcs != 7 || r.ID != 0x107 || r.Status != wire.StatusOK || len(r.Payload) != 0 {
		t.Errorf("response %+v for TCS %d, want the end of the stream for 7", r, tcs)
	}
}

func TestStdioRead(t *testing.T) {
	e := newEnclave(t, Options{Stdin: io.MultiReader(strings.NewReader("ab"), strings.NewReader("c"), iotest.ErrReader(errors.New("broken")))})
	for i, want := range []wire.Response{
		{Payload: []byte("a")}, {Payload: []byte("b")}, {Payload: []byte("c")}, {Status: wire.StatusError},
	} {
		id := uint64(i+1) << 8
		e.request(id, wire.StdioRead, wire.AppendStdioRead(nil, 1))
		e.serve()
		if r, _ := e.response(); r.ID != id || r.Status != want.Status || string(r.Payload) != string(want.Payload) {
			t.Errorf("read %d: %+v, want %+v", i, r, want)
		}
	}
}

// endless is a stdin that never ends.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = 'x'
	}
	return len(b), nil
}

// More responses than the ring has room for come when there is room again.
func TestResponsesWaitForRoom(t *testing.T) {
	e := newEnclave(t, Options{Stdin: endless{}})
	const n = 20 + Capacity/maxRead
	for id := range uint64(n) {
		e.request((id+1)<<8, wire.StdioRead, wire.AppendStdioRead(nil, 1<<30))
	}
	e.serve()
	// Nothing is taken out until the ring is full: all responses are more than it.
	for e.s.Traffic().Waits == 0 {
		e.serve()
		runtime.Gosched()
	}
	seen := map[uint64]bool{}
	for len(seen) < n {
		select {
		case tcs := <-e.woken:
			e.woken <- tcs
			r, _ := e.response()
			if len(r.Payload) != maxRead || seen[r.ID] {
				t.Fatalf("response %d of %d bytes", r.ID, len(r.Payload))
			}
			seen[r.ID] = true
		default:
			e.serve() // as when the enclave has rung for having made room
		}
	}
	if tr := e.s.Traffic(); tr.Waits == 0 || tr.ToEnclave < n*maxRead {
		t.Errorf("traffic %+v: the ring was never full", tr)
	}
}

func TestLog(t *testing.T) {
	var stderr bytes.Buffer
	e := newEnclave(t, Options{Stderr: &stderr})
	e.request(0, wire.Log, wire.AppendLog(nil, 3, []byte("a line")))
	e.serve()
	if stderr.String() != "a line\n" {
		t.Errorf("stderr %q", stderr.String())
	}
	var got string
	e = newEnclave(t, Options{Stderr: &stderr, Log: func(level int32, text string) { got = fmt.Sprint(level, " ", text) }})
	e.request(0, wire.Log, wire.AppendLog(nil, -2, []byte("another")))
	e.serve()
	if got != "-2 another" {
		t.Errorf("log %q", got)
	}
}

func TestStats(t *testing.T) {
	e := newEnclave(t, Options{})
	if _, at := e.s.Stats(); !at.IsZero() {
		t.Error("there are statistics before there are any")
	}
	var b []byte
	for i := range uint64(8) { // two more than we know
		b = binary.LittleEndian.AppendUint64(b, i+1)
	}
	e.request(0, wire.Stats, b)
	e.serve()
	if s, at := e.s.Stats(); at.IsZero() || s != (Stats{1, 2, 3, 4, 5, 6, true}) {
		t.Errorf("stats %+v at %v", s, at)
	}
	// Asked for, by two at once.
	before := e.in.Asked()
	c1, c2 := e.s.Ask(), e.s.Ask()
	if e.in.Asked() == before {
		t.Error("the enclave does not see that it is asked")
	}
	select {
	case <-c1:
		t.Error("told before it has")
	default:
	}
	b[0] = 7
	e.request(0, wire.Stats, b)
	if err := e.s.Serve(Caller{Only: true}); err != nil {
		t.Fatal(err)
	}
	<-c1
	<-c2
	if s, _ := e.s.Stats(); s.Heap != 7 {
		t.Errorf("stats %+v", s)
	}
}

func TestUnknownMethods(t *testing.T) {
	e := newEnclave(t, Options{})
	e.request(0, 0x7777, []byte("one way"))
	e.request(0x203, 0x7777, []byte("with answer"))
	e.serve()
	if r, tcs := e.response(); r.ID != 0x203 || r.Status != wire.StatusUnsupported || tcs != 3 {
		t.Errorf("response %+v for TCS %d", r, tcs)
	}
}

func TestLyingEnclave(t *testing.T) {
	request := func(m wire.Method, payload ...byte) []byte {
		return wire.AppendRequest(nil, wire.Request{ID: 1, Method: m, Payload: payload})
	}
	longer := request(wire.Log, 0, 0, 0, 0)
	longer[10]++
	for name, frame := range map[string][]byte{
		"empty":                 {},
		"cut header":            make([]byte, wire.RequestSize-1),
		"length lies":           longer,
		"write without fd":      request(wire.StdioWrite, 1, 0, 0),
		"write to fd 0":         request(wire.StdioWrite, 0, 0, 0, 0),
		"write to fd 3":         request(wire.StdioWrite, 3, 0, 0, 0),
		"write to fd -1":        request(wire.StdioWrite, 255, 255, 255, 255),
		"read without a length": request(wire.StdioRead),
		"read of nothing":       request(wire.StdioRead, 0, 0, 0, 0),
		"log without level":     request(wire.Log, 1),
		"short statistics":      request(wire.Stats, make([]byte, 47)...),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEnclave(t, Options{})
			e.send(frame)
			var p *ProtocolError
			if err := e.s.Serve(Caller{}); !errors.As(err, &p) {
				t.Errorf("error %v", err)
			}
		})
	}
	t.Run("cursor", func(t *testing.T) {
		e := newEnclave(t, Options{})
		e2h, _ := e.s.Rings()
		binary.LittleEndian.PutUint64(e2h.HeaderBytes(), Capacity+1)
		if err := e.s.Serve(Caller{}); !errors.Is(err, channel.ErrCursorAhead) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("too many requests", func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		e := newEnclave(t, Options{Stdin: r})
		for range maxPending + 1 {
			e.request(1, wire.StdioRead, wire.AppendStdioRead(nil, 1))
		}
		var p *ProtocolError
		if err := e.s.Serve(Caller{}); !errors.As(err, &p) {
			t.Errorf("error %v", err)
		}
	})
}

// slow is a writer that waits for its reader; it checks that it is used by one.
type slow struct {
	mu   sync.Mutex
	gate chan struct{}
	got  []byte
}

func (s *slow) Write(b []byte) (int, error) {
	if !s.mu.TryLock() {
		return 0, errors.New("two write at once")
	}
	defer s.mu.Unlock()
	<-s.gate
	s.got = append(s.got, b...)
	return len(b), nil
}

// A thread that writes to a slow reader waits; others go on, with the same stream
// up to a limit, and everything comes in order.
func TestSlowReader(t *testing.T) {
	w := &slow{gate: make(chan struct{})}
	var stderr bytes.Buffer
	e := newEnclave(t, Options{Stdout: w, Stderr: &stderr})
	e.print(1, "0")
	first := make(chan error)
	go func() { first <- e.s.Serve(Caller{}) }()
	for e.s.Traffic().FromEnclave == 0 {
		runtime.Gosched()
	}
	for n := 1; n != 0; n, _ = e.s.outputs[0].waiting() { // until it has taken what there is
		runtime.Gosched()
	}
	e.print(2, "free")
	e.print(1, "1")
	e.serve()
	if stderr.String() != "free" {
		t.Errorf("stderr %q", stderr.String())
	}
	want := []byte("01")
	chunk := bytes.Repeat([]byte("x"), Capacity/2)
	for range maxQueued/len(chunk) - 1 {
		e.print(1, string(chunk))
		want = append(want, chunk...)
		e.serve()
	}
	for range 2 {
		e.print(1, string(chunk[:len(chunk)-100]))
		want = append(want, chunk[:len(chunk)-100]...)
	}
	full := make(chan error)
	go func() { full <- e.s.Serve(Caller{}) }()
	select {
	case <-full:
		t.Error("nothing bounds what waits for a slow reader")
	default:
	}
	// A thread that has written nothing does not wait for those who read.
	e.request(0, 0x7777, nil)
	if err := e.s.Serve(Caller{Only: true}); err != nil {
		t.Error(err)
	}
	close(w.gate)
	if err := errors.Join(<-first, <-full, e.s.Drain()); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(w.got, want) {
		t.Errorf("got %d bytes, want %d, or in another order", len(w.got), len(want))
	}
}

func TestBrokenOutput(t *testing.T) {
	e := newEnclave(t, Options{Stdout: iotest.TruncateWriter(io.Discard, 0), Stderr: brokenWriter{}})
	e.print(2, "a")
	serve := func() error { return e.s.Serve(Caller{}) }
	for _, f := range []func() error{serve, serve, e.s.Drain} {
		var o *OutputError
		if err := f(); !errors.As(err, &o) || o.Name != "stderr" || !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("error %v", err)
		}
		e.print(2, "lost")
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, io.ErrShortWrite }

func BenchmarkStdioWrite(b *testing.B) {
	e := newEnclave(b, Options{})
	b.ReportAllocs()
	for b.Loop() {
		if e.print(1, "a line of text, as programs write them\n") {
			e.serve()
		}
	}
}
