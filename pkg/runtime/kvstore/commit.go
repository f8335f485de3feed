package kvstore

import (
	"context"
	"fmt"
	"runtime"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// request is a batch of one caller. It is prepared by the caller, so that callers
// encrypt side by side.
type request struct {
	ops  []change
	wire int // bytes of ops in the host's batch
	log  int // bytes of ops in the log, at most
	done chan error
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

// flight is a commit that the host has not acknowledged yet. done is closed when it has,
// or when the store has failed.
type flight struct {
	changes map[string]*change // the last one of each key
	done    chan struct{}
}

// maxGroup bounds the batch of a commit, in bytes.
const maxGroup = kvwire.MaxPayload - 1<<10

// commits makes one commit after the other, of all requests that wait.
func (s *Store) commits() {
	defer close(s.ended)
	var g group
	for {
		last := len(g.requests)
		g = group{}
		if !s.gather(&g, last) {
			return
		}
		err := s.commitGroup(g.requests)
		for _, r := range g.requests {
			r.done <- err
		}
		s.keep()
	}
}

// group is what one commit has.
type group struct {
	requests []*request
	size     int // bytes
	ops      int
}

func (g *group) add(r *request) {
	g.requests = append(g.requests, r)
	g.size += r.wire + r.log
	g.ops += len(r.ops)
}

func (g *group) fits(r *request) bool {
	return g.size+r.wire+r.log <= maxGroup && g.ops+len(r.ops) <= MaxOps
}

// gather waits for a request and adds those that come with it; false if the store is
// being closed. last is how many requests the commit before had.
func (s *Store) gather(g *group, last int) bool {
	r := s.held
	s.held = nil
	if r == nil {
		select {
		case r = <-s.queue:
		case <-s.ending:
			return false
		}
	}
	g.add(r)
	// The writers of the commit before have just been told, and are about to write
	// again: let them, or every other commit would be of one request.
	for yields := 2; ; {
		select {
		case r := <-s.queue:
			if !g.fits(r) {
				s.held = r
				return true
			}
			g.add(r)
		default:
			if len(g.requests) >= last || yields == 0 {
				return true
			}
			yields--
			runtime.Gosched()
		}
	}
}

// commitGroup makes a commit. The index has the changes before the host does, and no
// reader is told of them before the host has acknowledged them.
func (s *Store) commitGroup(requests []*request) error {
	// Who has asked may be gone; what was begun is ended all the same.
	ctx := context.Background()
	f := &flight{changes: make(map[string]*change), done: make(chan struct{})}
	log := logRecord{session: s.session}
	var ops []kvwire.Op
	for _, r := range requests {
		for i := range r.ops {
			c := &r.ops[i]
			f.changes[c.key] = c
			log.ops = append(log.ops, logOp{c.key, c.record == nil, c.version.seq, c.size})
			ops = append(ops, kvwire.Op{Key: c.place(), Value: c.record, Delete: c.record == nil})
		}
	}
	if err := s.change(ctx, &log, f); err != nil {
		return err
	}
	seq := s.commit + 1
	log.prev = s.chain
	text := log.appendText(nil)
	record := s.box.seal([]byte{format}, text, logAAD(seq))
	err := s.backend.Apply(ctx, append(ops, kvwire.Op{Key: numbered(kindLog, seq), Value: record}))

	s.mu.Lock()
	defer s.mu.Unlock()
	defer close(f.done)
	if err != nil {
		// The flight stays: its keys have no value that is known.
		s.failure, s.pinned = fmt.Errorf("%w (%w)", ErrFailed, err), false
		return s.failure
	}
	s.flight, s.pinned = nil, false
	s.commit, s.chain = seq, chain(text)
	s.logCommits++
	s.logBytes += len(record)
	return nil
}

// change makes a commit's changes in the index. After an error there are none.
func (s *Store) change(ctx context.Context, log *logRecord, f *flight) error {
	s.mu.Lock()
	if s.failure != nil {
		defer s.mu.Unlock()
		return s.failure
	}
	s.pinned = true
	for i := 0; i < len(log.ops); {
		_, _, m := s.tree.find(log.ops[i].key)
		if m == nil {
			i++
			continue
		}
		s.mu.Unlock()
		err := s.load(ctx, m)
		s.mu.Lock()
		if err != nil {
			s.pinned = false
			s.mu.Unlock()
			return err
		}
	}
	for _, o := range log.ops {
		if o.delete {
			s.tree.remove(o.key)
		} else {
			s.tree.put(o.key, entry{version: version{o.seq, s.session}, size: o.size})
		}
	}
	s.flight = f
	s.mu.Unlock()
	return nil
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

// keep does what is due after a commit.
func (s *Store) keep() {
	s.mu.Lock()
	s.evict()
	failed, dirty, commit := s.failure != nil, s.tree.dirty, s.commit
	s.mu.Unlock()
	if failed {
		return
	}
	var err error
	switch {
	case s.logCommits >= maxLogCommits || s.logBytes >= maxLogBytes || dirty >= s.o.CacheSize/2:
		err = s.checkpoint(context.Background())
	default:
		lag := commit - s.rootSeq.Load()
		if lag >= maxLag {
			err = s.saveRoot(context.Background())
		} else if lag > 0 {
			select {
			case s.rootWants <- struct{}{}:
			default:
			}
		}
	}
	if err != nil {
		s.mu.Lock()
		s.failure = fmt.Errorf("%w (%w)", ErrFailed, err)
		s.mu.Unlock()
	}
}
