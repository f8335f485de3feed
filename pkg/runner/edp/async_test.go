package edp

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// encQueue is a queue as the enclave sees it, written after the ABI and not
// after fifo.
type encQueue struct{ data, len, offsets, elem uint64 }

func (q *encQueue) slot(off uint64) uint64 { return q.data + off%q.len*q.elem }

// push writes an element. It fails if the queue is full.
func (q *encQueue) push(words ...uint64) bool {
	for {
		o := loadWord(q.offsets)
		read, write := o&0xffffffff, o>>32
		if (write-read)&(2*q.len-1) == q.len {
			return false
		}
		next := (write + 1) % (2 * q.len)
		if !atomic.CompareAndSwapUint64(word(q.offsets), o, next<<32|read) {
			continue
		}
		for i, w := range words[1:] {
			storeWord(q.slot(next)+8*uint64(i+1), w)
		}
		storeWord(q.slot(next), words[0])
		return true
	}
}

// pop takes an element, or returns nil.
func (q *encQueue) pop() []uint64 {
	o := loadWord(q.offsets)
	read, write := o&0xffffffff, o>>32
	if read == write {
		return nil
	}
	next := (read + 1) % (2 * q.len)
	w := make([]uint64, q.elem/8)
	for w[0] == 0 {
		w[0] = loadWord(q.slot(next))
	}
	for i := range w[1:] {
		w[i+1] = loadWord(q.slot(next) + 8*uint64(i+1))
	}
	storeWord(q.slot(next), 0)
	atomic.AddUint64(word(q.offsets), next-read)
	return w
}

type encQueues struct {
	f                       *fakeTCS
	calls, returns, cancels encQueue
	next                    uint64
	answers                 map[uint64][2]uint64
}

func openQueues(f *fakeTCS) *encQueues {
	p := f.alloc(make([]byte, 72))
	f.wantResult(CallAsyncQueues, 0, p, p+24, p+48)
	q := &encQueues{f: f, next: 1, answers: map[uint64][2]uint64{}}
	for i, e := range []struct {
		q         *encQueue
		len, elem uint64
	}{{&q.calls, 16, 48}, {&q.returns, 1024, 24}, {&q.cancels, 32, 8}} {
		b := userMem(p+24*uint64(i), 24)
		*e.q = encQueue{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:]), e.elem}
		if e.q.len != e.len {
			f.e.t.Errorf("queue %d has length %d, want %d", i, e.q.len, e.len)
		}
	}
	return q
}

func (q *encQueues) submit(n Number, args ...uint64) (id uint64) {
	id = q.next
	q.next++
	w := [6]uint64{id, uint64(n)}
	copy(w[2:], args)
	for !q.calls.push(w[:]...) {
		q.f.call(CallWait, EvUsercallQNotFull, waitIndefinite)
	}
	q.ring()
	return id
}

// ring makes the host look: any usercall does.
func (q *encQueues) ring() { q.f.call(CallWait, 0, 0) }

func (q *encQueues) cancel(id uint64) {
	for !q.cancels.push(id) {
		q.f.call(CallWait, EvCancelQNotFull, waitIndefinite)
	}
	q.ring()
}

// collect takes what has been answered.
func (q *encQueues) collect() (n int) {
	for w := q.returns.pop(); w != nil; w = q.returns.pop() {
		if _, ok := q.answers[w[0]]; ok {
			q.f.e.t.Errorf("usercall %d was answered twice", w[0])
		}
		q.answers[w[0]] = [2]uint64{w[1], w[2]}
		n++
	}
	return n
}

func (q *encQueues) await(id uint64) [2]uint64 {
	for {
		if a, ok := q.answers[id]; ok {
			delete(q.answers, id)
			return a
		}
		if q.collect() == 0 {
			q.f.call(CallWait, EvReturnQNotEmpty, waitIndefinite)
		}
	}
}

func (q *encQueues) want(id, r1, r2 uint64) {
	q.f.e.t.Helper()
	if a := q.await(id); a != [2]uint64{r1, r2} {
		q.f.e.t.Errorf("usercall %d returned %v, %#x; want %v, %#x", id, Result(a[0]), a[1], Result(r1), r2)
	}
}

func TestAsync(t *testing.T) {
	const ours = UserDefined + 1
	var out strings.Builder
	o := Options{Stdout: &out, Stdin: strings.NewReader("in"), UserCalls: map[Number]UserCall{
		ours: func(c *UserCallContext) (uint64, uint64, error) { return c.Args[0], c.Args[3], nil },
	}}
	runMain(t, o, func(f *fakeTCS) {
		q := openQueues(f)
		p, n := f.text("out")
		q.want(q.submit(CallWrite, FdStdout, p, n), 0, 3)
		q.want(q.submit(CallFlush, FdStdout), 0, 0)
		q.want(q.submit(CallRead, FdStdin, p, n), 0, 2)
		q.want(q.submit(CallRead, FdStdin, p, n), 0, 0)
		q.want(q.submit(CallRead, 99, p, n), uint64(ResultBrokenPipe), 0)
		q.want(q.submit(CallRead, FdStdin, 0, n), uint64(ResultInvalidInput), 0)
		q.want(q.submit(CallWait, EvUnpark, 0), uint64(ResultOther), 0)
		q.want(q.submit(CallWait, 0, waitIndefinite), uint64(ResultOther), 0)
		q.want(q.submit(CallWait, 16, 0), uint64(ResultInvalidInput), 0)
		q.want(q.submit(CallSend, EvUnpark, f.addr()), 0, 0)
		f.want(CallWait, []uint64{EvUnpark, waitIndefinite}, 0, EvUnpark)
		q.want(q.submit(CallLaunchThread), uint64(ResultWouldBlock), 0)
		q.want(q.submit(ours, 1, 2, 3, 4), 1, 4)
		a := q.await(q.submit(CallAlloc, 100, 8))
		if a[0] != 0 {
			t.Errorf("alloc: %v", Result(a[0]))
		}
		q.want(q.submit(CallFree, a[1], 100, 8), 0, 0)
		if a := q.await(q.submit(CallInsecureTime)); a[0] < 1e18 || a[1] != 0 {
			t.Errorf("insecure_time: %v", a)
		}
	})
	if out.String() != "out" {
		t.Errorf("it wrote %q", out.String())
	}
}

// TestAsyncWrap goes round the queues many times, with the return queue full in
// between: nothing is lost and nothing comes twice.
func TestAsyncWrap(t *testing.T) {
	const total = 5000
	runMain(t, Options{}, func(f *fakeTCS) {
		q := openQueues(f)
		for range total {
			q.submit(CallFlush, FdStdout)
		}
		for len(q.answers) < total {
			if q.collect() == 0 {
				f.call(CallWait, EvReturnQNotEmpty, waitIndefinite)
			}
			q.ring()
		}
		for id := range uint64(total) {
			if a, ok := q.answers[id+1]; !ok || a != [2]uint64{} {
				t.Errorf("usercall %d: %v, %v", id+1, a, ok)
			}
		}
	})
}

// TestAsyncCancel cancels reads that wait, before and after they begin; no byte
// of the stream is lost by that.
func TestAsyncCancel(t *testing.T) {
	pr, pw := io.Pipe()
	runMain(t, Options{Stdin: pr}, func(f *fakeTCS) {
		q := openQueues(f)
		p := f.alloc(make([]byte, 8))
		interrupted := uint64(ResultInterrupted)
		for range 50 {
			id := q.submit(CallRead, FdStdin, p, 8)
			q.cancel(id)
			q.want(id, interrupted, 0)
		}
		id := q.submit(CallRead, FdStdin, p, 8)
		f.call(CallWait, 0, 2_000_000)
		q.cancel(id)
		q.want(id, interrupted, 0)

		// A cancel that comes before its usercall.
		q.cancel(q.next)
		f.call(CallWait, 0, 5_000_000)
		q.want(q.submit(CallRead, FdStdin, p, 8), interrupted, 0)
		// It is forgotten once the usercall after it has been read.
		q.cancel(q.next + 2)
		f.call(CallWait, 0, 5_000_000)
		q.want(q.submit(CallFlush, FdStdout), 0, 0)
		q.want(q.submit(CallFlush, FdStdout), 0, 0)
		go func() {
			_, _ = pw.Write([]byte("kept"))
		}()
		q.want(q.submit(CallRead, FdStdin, p, 8), 0, 4)
		if s := string(userMem(p, 4)); s != "kept" {
			t.Errorf("read %q", s)
		}

		// What cannot be cancelled, what is over and what never was.
		id = q.submit(CallFlush, FdStdout)
		q.cancel(id)
		q.want(id, 0, 0)
		for i := range uint64(3000) {
			q.cancel(1<<50 + i)
		}
		q.want(q.submit(CallFlush, FdStdout), 0, 0)

		for _, c := range []struct {
			n    Number
			args []uint64
		}{
			{CallReadAlloc, []uint64{FdStdin, f.alloc(make([]byte, 16))}},
			{CallAcceptStream, []uint64{listen(f)}},
		} {
			id := q.submit(c.n, c.args...)
			f.call(CallWait, 0, 2_000_000)
			q.cancel(id)
			q.want(id, interrupted, 0)
		}
	})
}

func listen(f *fakeTCS) (fd uint64) {
	p, n := f.text("127.0.0.1:0")
	r, fd := f.call(CallBindStream, p, n)
	if r != 0 {
		f.e.t.Errorf("bind_stream: %v", Result(r))
	}
	return fd
}

// TestAsyncEnds is the usercalls that end the enclave, asynchronously.
func TestAsyncEnds(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		main       func(f *fakeTCS, q *encQueues)
	}{
		{"exit", "", func(_ *fakeTCS, q *encQueues) { q.submit(CallExit, 0) }},
		{"panic", "Enclave panicked: async exit with a panic", func(_ *fakeTCS, q *encQueues) { q.submit(CallExit, 1) }},
		{"unknown", "The enclave performed an invalid usercall 0x63", func(_ *fakeTCS, q *encQueues) { q.submit(99) }},
		{"zero", "The enclave made a bad usercall usercall 0x0(0x0, 0x0, 0x0, 0x0): the number 0 is none", func(_ *fakeTCS, q *encQueues) { q.submit(0) }},
		{"bad pointer", "The enclave made a bad usercall write(0x1, 0x8, 0x8): 8 bytes at 0x8 are not in user memory", func(_ *fakeTCS, q *encQueues) { q.submit(CallWrite, 1, 8, 8) }},
		{"unused argument", "argument 2 is unused", func(_ *fakeTCS, q *encQueues) { q.submit(CallFlush, 1, 1) }},
		{"queues again", "Enclave panicked.", func(f *fakeTCS, _ *encQueues) {
			p := f.alloc(make([]byte, 72))
			f.call(CallAsyncQueues, p, p+24, p+48)
		}},
		{"queues again with text", "Enclave panicked: why", func(f *fakeTCS, _ *encQueues) {
			p := f.alloc(make([]byte, 72))
			f.panicText(0, "why")
			f.call(CallAsyncQueues, p, p+24, 0)
		}},
		{"queues again asynchronously", "Enclave panicked: async exit with a panic", func(f *fakeTCS, q *encQueues) {
			p := f.alloc(make([]byte, 72))
			q.submit(CallAsyncQueues, p, p+24, 0)
		}},
		{"free of a queue", "belongs to the host", func(f *fakeTCS, q *encQueues) { f.call(CallFree, q.calls.data, 16*48+8, 8) }},
		{"deadlock", ErrDeadlock.Error(), func(_ *fakeTCS, q *encQueues) { q.want(q.submit(CallFlush, 1), 0, 0) }},

		// Lies.
		{"read offset moved", "corrupted the asynchronous usercall queue: the read offset is 1 and should be 0", func(_ *fakeTCS, q *encQueues) { storeWord(q.calls.offsets, 1) }},
		{"write offset too large", "corrupted the asynchronous usercall queue: the write offset is 32", func(_ *fakeTCS, q *encQueues) { storeWord(q.calls.offsets, 32<<32) }},
		{"offsets apart", "corrupted the asynchronous usercall queue: the offsets 0 and 17 are more than the length of 16 apart", func(_ *fakeTCS, q *encQueues) { storeWord(q.calls.offsets, 17<<32) }},
		{"cancel offsets", "corrupted the asynchronous cancel queue", func(_ *fakeTCS, q *encQueues) { storeWord(q.cancels.offsets, ^uint64(0)) }},
		{"return write offset", "corrupted the asynchronous return queue: the write offset is 5", func(_ *fakeTCS, q *encQueues) { storeWord(q.returns.offsets, 5<<32); q.submit(CallFlush, 1) }},
		{"return read offset", "corrupted the asynchronous return queue: the read offset is 4095", func(_ *fakeTCS, q *encQueues) { storeWord(q.returns.offsets, 4095); q.submit(CallFlush, 1) }},
		{"return offsets apart", "corrupted the asynchronous return queue: the offsets 1 and 0 are more", func(_ *fakeTCS, q *encQueues) { storeWord(q.returns.offsets, 1); q.submit(CallFlush, 1) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := newFake(t, 1, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
				q := openQueues(f)
				tt.main(f, q)
				f.call(CallWait, EvUnpark, waitIndefinite)
				t.Error("the wait returned")
				return 0, 0
			}, nil)
			err := runFake(t, e, Options{})
			switch {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && err == nil:
				t.Error("it ended well")
			case tt.want != "":
				wantText(t, err, tt.want)
			}
		})
	}
}

// TestAsyncClaimed: a slot that is claimed and never written holds up nothing
// else, and the host does not spin or end.
func TestAsyncClaimed(t *testing.T) {
	runMain(t, Options{}, func(f *fakeTCS) {
		q := openQueues(f)
		storeWord(q.calls.offsets, 1<<32)
		storeWord(q.cancels.offsets, 1<<32)
		for range 20 {
			q.ring()
			f.call(CallWait, 0, 1_000_000)
		}
		// Now it is.
		for i, w := range []uint64{uint64(CallFlush), 1, 0, 0, 0} {
			storeWord(q.calls.slot(1)+8*uint64(i+1), w)
		}
		storeWord(q.calls.slot(1), 77)
		q.want(77, 0, 0)
		storeWord(q.cancels.slot(1), 78)
		q.want(q.submit(CallFlush, 1), 0, 0)
	})
}

// TestCloseWakes: close of a descriptor wakes the thread that reads from it or
// accepts on it.
func TestCloseWakes(t *testing.T) {
	var fd atomic.Uint64
	pr, _ := io.Pipe()
	for _, what := range []Number{CallRead, CallAcceptStream, CallReadAlloc} {
		for _, stdin := range []bool{false, true} {
			if stdin && what == CallAcceptStream {
				continue
			}
			t.Run(fmt.Sprintf("%v/%v", what, stdin), func(t *testing.T) {
				runThreads(t, 2, Options{Stdin: pr}, func(f *fakeTCS) {
					bb := f.alloc(make([]byte, 16))
					p, n := f.text("127.0.0.1:0")
					_, l := f.call(CallBindStream, p, n, bb)
					switch {
					case stdin:
						fd.Store(FdStdin)
					case what == CallAcceptStream:
						fd.Store(l)
					default:
						p, n := f.text(f.take(bb))
						_, c := f.call(CallConnectStream, p, n)
						fd.Store(c)
					}
					f.wantResult(CallLaunchThread, 0)
					f.call(CallWait, EvUnpark, waitIndefinite)
					time.Sleep(5 * time.Millisecond) // most likely it is blocked now; it must be woken either way
					f.call(CallClose, fd.Load())
					f.want(CallWait, []uint64{EvUnpark, waitIndefinite}, 0, EvUnpark)
				}, func(f *fakeTCS, _ [5]uint64) (uint64, uint64) {
					p := f.alloc(make([]byte, 16))
					f.call(CallSend, EvUnpark, 0)
					switch what {
					case CallRead:
						f.wantResult(what, ResultBrokenPipe, fd.Load(), p, 16)
					case CallReadAlloc:
						f.wantResult(what, ResultBrokenPipe, fd.Load(), p)
					default:
						f.wantResult(what, ResultBrokenPipe, fd.Load())
					}
					f.call(CallSend, EvUnpark, 0)
					return 0, 0
				})
			})
		}
	}
}
