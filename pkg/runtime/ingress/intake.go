package ingress

import (
	"container/list"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"
)

// ErrCrowded is what a handler gets from a request's body when the bodies of all
// requests have become more than the enclave has room for. It should answer 503.
var ErrCrowded = errors.New("too much is being sent to this enclave at once: try again")

// freeBytes of each body do not count: a small request is served whatever others send.
const freeBytes = 16 << 10

// intake bounds how much of all bodies together handlers have read and may hold. When
// that is reached, the body that has been coming for longest is given up: so who sends
// slowly, to hold room, makes room for those that do not. Room is free when the handler
// that had it has returned; until then those that want it wait.
type intake struct {
	limit int64

	mu     sync.Mutex
	turn   *sync.Cond // there may be room, or somebody has been given up
	used   int64
	going  int        // bodies that have been given up and whose handlers run
	coming *list.List // of *body, the oldest first: those that count and are not complete
}

func newIntake(limit int64) *intake {
	in := &intake{limit: limit, coming: list.New()}
	in.turn = sync.NewCond(&in.mu)
	return in
}

// body is the body of a request.
type body struct {
	io.ReadCloser
	in   *intake
	stop func() // ends a Read that waits

	// in.mu guards the rest.
	read, held int64
	at         *list.Element // in in.coming; nil: not there
	given      bool          // up
}

// track makes a request's body count, until done is called: when its handler has
// returned.
func (in *intake) track(w http.ResponseWriter, r *http.Request) (done func()) {
	b := &body{ReadCloser: r.Body, in: in, stop: func() { _ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0)) }}
	r.Body = b
	return b.done
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if !b.count(int64(n), err != nil) {
		return 0, ErrCrowded
	}
	return n, err
}

// count reports whether the bytes may be kept.
func (b *body) count(n int64, complete bool) bool {
	in := b.in
	in.mu.Lock()
	defer in.mu.Unlock()
	if b.given {
		return false
	}
	before := max(b.read-freeBytes, 0)
	b.read += n
	more := max(b.read-freeBytes, 0) - before
	b.held += more
	in.used += more
	switch {
	case complete:
		b.leave()
	case b.at == nil && b.held > 0:
		b.at = in.coming.PushBack(b)
	}
	for in.used > in.limit && !b.given {
		switch first := in.coming.Front(); {
		case in.going > 0:
			in.turn.Wait()
		case first != nil:
			first.Value.(*body).giveUp()
		default:
			b.giveUp()
		}
	}
	return !b.given
}

// giveUp tells the body's handler to make room. The caller holds in.mu.
func (b *body) giveUp() {
	b.given = true
	b.in.going++
	b.leave()
	b.in.turn.Broadcast() // it may be among those that wait
	go b.stop()           // a Read of it may wait for its client
}

// leave takes the body out of the list. The caller holds in.mu.
func (b *body) leave() {
	if b.at != nil {
		b.in.coming.Remove(b.at)
		b.at = nil
	}
}

func (b *body) done() {
	b.in.mu.Lock()
	defer b.in.mu.Unlock()
	b.leave()
	if b.given {
		b.in.going--
	}
	b.in.used -= b.held
	b.held, b.given = 0, true // what is read later is nobody's
	b.in.turn.Broadcast()
}

// chunk is how much ReadAll takes at a time: a slice that grows with the body would leave
// holes of all sizes in a small heap.
const chunk = 256 << 10

// ReadAll reads a body to its end. A handler should use it rather than io.ReadAll.
func ReadAll(r io.Reader) ([]byte, error) {
	var full [][]byte
	b := make([]byte, 0, 4<<10)
	for {
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		switch {
		case err == io.EOF && full == nil:
			return b, nil
		case err == io.EOF:
			return slices.Concat(append(full, b)...), nil
		case err != nil:
			return nil, err
		case len(b) == cap(b):
			full, b = append(full, b), make([]byte, 0, min(4*cap(b), chunk))
		}
	}
}
