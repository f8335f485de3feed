package kvstore

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// request is a batch of one caller. It is prepared by the caller, so that callers
// encrypt side by side.
type request struct {
	ops   []change // the committer's, once taken is set; before, the caller's
	count int      // of ops
	wire  int      // bytes of ops in the host's batch
	log   int      // bytes of ops in the log, at most
	taken atomic.Bool
	done  chan error
}

// change is an operation of a request.
type change struct {
	key     string // in the index
	table   *Table
	name    [nameSize]byte
	record  []byte // nil: delete
	version version
	size    uint32
}

func (c *change) place() []byte { return append([]byte{kindValue}, c.name[:]...) }

// flight is a commit on its way: from its first request until the host has acknowledged
// it. The index has its changes already.
type flight struct {
	requests []*request
	changes  map[string]*change // the last one of each key; guarded by Store.mu until done
	log      logRecord
	ops      []kvwire.Op
	size     int // bytes of ops and log, at most

	seq    uint64
	chain  digest // with this commit
	number uint64 // at the host, from 1 on
	before *landing
	*landing
}

// landing is the end of a flight.
type landing struct {
	done chan struct{}
	err  error // set before done is closed
}

// maxFlight bounds the batch of a commit, in bytes.
const maxFlight = kvwire.MaxPayload - 1<<10

func (f *flight) fits(r *request) bool {
	return len(f.requests) == 0 || f.size+r.wire+r.log <= maxFlight && len(f.ops)+r.count <= MaxOps
}

// maxUnderWay is how many commits are with the host at a time: so it writes the next one
// while the disk is synced for the one before.
const maxUnderWay = 3

// commits prepares commits: while the host works on some, requests gather in the next.
func (s *Store) commits() {
	defer close(s.sending)
	var (
		next     = s.newFlight()
		held     *request // does not fit in next
		last     int      // requests of the last commit
		underWay int      // commits
		waiting  int      // requests of these
	)
	for {
		// Many small commits cost more than a few large ones.
		due := held != nil || len(next.requests) > 0 && 2*len(next.requests) >= waiting
		if due && underWay < maxUnderWay {
			if held == nil {
				held = s.gather(next, last)
			}
			last = len(next.requests)
			underWay++
			waiting += last
			s.seal(next)
			s.sending <- next
			s.keep(next)
			next = s.newFlight()
			if held != nil {
				s.board(next, held)
				held = nil
			}
			continue
		}
		queue, ending := s.queue, s.ending
		if held != nil {
			queue = nil
		}
		if len(next.requests) > 0 {
			ending = nil // what was begun is ended
		}
		select {
		case r := <-queue:
			if next.fits(r) {
				s.board(next, r)
			} else {
				held = r
			}
		case n := <-s.landed:
			underWay--
			waiting -= n
		case <-ending:
			return
		}
	}
}

// newFlight begins the commit behind the last one that was sealed.
func (s *Store) newFlight() *flight {
	return &flight{changes: make(map[string]*change), log: logRecord{session: s.session}, landing: &landing{done: make(chan struct{})}}
}

// gather lets those in who are about to write again: the writers of the commit before
// have just been told, and without them every other commit would be of one request. It
// returns a request that does not fit.
func (s *Store) gather(f *flight, last int) *request {
	for yields := 2; ; {
		select {
		case r := <-s.queue:
			if !f.fits(r) {
				return r
			}
			s.board(f, r)
		default:
			if len(f.requests) >= last || yields == 0 {
				return nil
			}
			yields--
			runtime.Gosched()
		}
	}
}

// board makes a request a part of a commit, or fails it. One whose caller has gone is
// forgotten.
func (s *Store) board(f *flight, r *request) {
	if !r.taken.CompareAndSwap(false, true) {
		return
	}
	if err := s.change(context.Background(), f, r); err != nil {
		r.done <- err
		return
	}
	f.requests = append(f.requests, r)
	f.size += r.wire + r.log
	for i := range r.ops {
		c := &r.ops[i]
		f.log.ops = append(f.log.ops, logOp{c.key, c.record == nil, c.version.seq, c.size})
		f.ops = append(f.ops, kvwire.Op{Key: c.place(), Value: c.record, Delete: c.record == nil})
	}
}

// change makes a request's changes in the index. After an error there are none.
func (s *Store) change(ctx context.Context, f *flight, r *request) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure != nil {
		return s.failure
	}
	s.pinned = true
	defer func() { s.pinned = false }()
	for i := 0; i < len(r.ops); {
		_, _, m := s.tree.find(r.ops[i].key)
		if m == nil {
			i++
			continue
		}
		s.mu.Unlock()
		err := s.load(ctx, m)
		s.mu.Lock()
		if err != nil {
			return err
		}
	}
	if q := r.ops[0].table.quota; q != nil {
		if err := q.charge(r); err != nil {
			return err
		}
	}
	for i := range r.ops {
		c := &r.ops[i]
		if c.record == nil {
			s.tree.remove(c.key)
		} else {
			s.tree.put(c.key, entry{version: c.version, size: c.size})
		}
		f.changes[c.key] = c
	}
	if len(f.requests) == 0 {
		s.flights = append(s.flights, f)
	}
	return nil
}

// seal gives a commit its number and its record of the log.
func (s *Store) seal(f *flight) {
	f.seq = s.sealed + 1
	s.numbered++
	f.number, f.before = s.numbered, s.lastLanding
	s.lastLanding = f.landing
	f.log.prev = s.sealedChain
	text := f.log.appendText(nil)
	record := s.box.seal([]byte{format}, text, logAAD(f.seq))
	f.chain = chain(text)
	f.ops = append(f.ops, kvwire.Op{Key: numbered(kindLog, f.seq), Value: record})
	s.sealed, s.sealedChain = f.seq, f.chain
	s.logCommits++
	s.logBytes += len(record)
}

// sends has the host carry out commits, and tells who has asked.
func (s *Store) sends() {
	for f := range s.sending {
		s.send(f)
		s.landed <- len(f.requests)
	}
}

func (s *Store) send(f *flight) {
	s.mu.RLock()
	err := s.failure
	s.mu.RUnlock()
	if err == nil {
		// Who has asked may be gone; what was begun is ended all the same.
		err = s.backend.Commit(context.Background(), f.number, f.ops)
		if err != nil {
			err = fmt.Errorf("%w (%w)", ErrFailed, err)
		}
	}
	if <-f.before.done; f.before.err != nil {
		err = f.before.err // whatever the host says: it is not there without that one
	}
	s.mu.Lock()
	if err == nil {
		s.commit, s.chain = f.seq, f.chain
		s.flights = slices.Delete(s.flights, 0, 1)
	} else if s.failure == nil {
		// The flight stays: its keys have no value that is known.
		s.failure = err
	}
	s.mu.Unlock()
	f.err = err
	close(f.done)
	for _, r := range f.requests {
		r.done <- err
	}
	if err == nil {
		select {
		case s.rootWants <- struct{}{}:
		default:
		}
	}
}

// load brings the node of a miss into memory, and others out of it.
func (s *Store) load(ctx context.Context, m *miss) error {
	n, err := s.loadNode(ctx, m.ref)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pinned && s.failure != nil {
		return s.failure // a checkpoint has failed, after which nothing can be evicted
	}
	s.tree.install(m, n)
	s.evict()
	return nil
}

func (s *Store) evict() {
	if !s.pinned && s.tree.memory > s.o.CacheSize {
		s.tree.evict(s.o.CacheSize - s.o.CacheSize/8)
	}
}

// keepValue keeps a value in memory, where the host has not to be asked for it. Nobody
// waits for that: if the index is in use, the next reader may do it.
func (s *Store) keepValue(key string, v version, value []byte) {
	if len(value) > maxKept || s.o.ValueCache < 0 || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.tree.keep(key, v, value)
	if s.tree.values > s.o.ValueCache {
		s.tree.forgetSome(s.o.ValueCache - s.o.ValueCache/8)
	}
}

// maxKept is the largest value that is kept in memory, in bytes.
const maxKept = 16 << 10

// keep does what is due now and then, when f is the last commit that has changed the
// index.
func (s *Store) keep(f *flight) {
	s.mu.Lock()
	s.evict()
	dirty := s.tree.dirty
	s.mu.Unlock()
	due := s.logCommits >= maxLogCommits || s.logBytes >= maxLogBytes || dirty >= s.o.CacheSize/2
	if !due && f.seq-s.rootSeq.Load() < maxLag {
		return
	}
	<-f.done
	if f.err != nil {
		return
	}
	var err error
	if due {
		err = s.checkpoint(context.Background())
	} else {
		err = s.saveRoot(context.Background())
	}
	if err != nil {
		s.mu.Lock()
		s.failure = fmt.Errorf("%w (%w)", ErrFailed, err)
		s.mu.Unlock()
	}
}
