package kvstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/enclaveos/eos/pkg/channel/kvwire"
)

// recover reads the index as the last checkpoint has it and carries out the log's
// commits since. It goes from the sealed root or the checkpoint, whichever is older, to
// the newest commit without a gap, so that the chain proves that all three are of one
// history.
func (s *Store) recover(ctx context.Context) error {
	rootSeq, rootChain, err := s.loadRoot(ctx)
	if err != nil {
		return err
	}
	p, err := s.loadCheckpoint(ctx)
	if err != nil {
		return err
	}
	s.rootSeq.Store(rootSeq)
	s.nodes, s.tree.keys = p.next, p.keys
	s.next.Store(p.last)
	if p.root != (ref{}) {
		root, err := s.loadNode(ctx, p.root)
		if err != nil {
			return err
		}
		s.tree.root = root
		s.tree.memory, s.tree.dirty = root.size, 0
	}
	if rootSeq == p.seq && rootChain != p.chain {
		return errOtherHistory
	}
	known := map[uint64]digest{rootSeq: rootChain, p.seq: p.chain}
	s.commit = min(rootSeq, p.seq)
	s.chain = known[s.commit]
	if err := s.replay(ctx, p.seq, known); err != nil {
		return err
	}
	if newest := max(rootSeq, p.seq); s.commit < newest {
		return &RollbackError{fmt.Sprintf("its newest commit is %d, but %d was left", s.commit, newest)}
	}
	// What a crash in a checkpoint has left behind.
	if err := s.backend.DeleteRange(ctx, numbered(kindNode, s.nodes+1), []byte{kindNode + 1}); err != nil {
		return err
	}
	return s.saveRoot(ctx)
}

var errOtherHistory = &RollbackError{"its log has another history than the sealed root"}

func (s *Store) loadCheckpoint(ctx context.Context) (*checkpoint, error) {
	b, err := s.backend.Get(ctx, []byte{kindCheckpoint})
	if errors.Is(err, ErrAbsent) {
		return &checkpoint{}, nil // that of the empty store
	}
	if err != nil {
		return nil, err
	}
	text, err := s.openRecord("the checkpoint", b, checkpointAAD)
	if err != nil {
		return nil, err
	}
	return parseCheckpoint(text)
}

// openRecord opens a record of the index.
func (s *Store) openRecord(what string, b, additional []byte) ([]byte, error) {
	if len(b) == 0 || b[0] != format {
		return nil, &IntegrityError{what, "no record of this format"}
	}
	text, ok := s.box.open(b[1:], additional)
	if !ok {
		return nil, &IntegrityError{what, "it does not open: changed, or another one"}
	}
	return text, nil
}

// replay reads the log from the commit behind s.commit on. Those after the checkpoint's
// change the index.
func (s *Store) replay(ctx context.Context, checkpoint uint64, known map[uint64]digest) error {
	end := []byte{kindLog + 1}
	for {
		start := numbered(kindLog, s.commit+1)
		pairs, err := s.backend.Scan(ctx, start, end, kvwire.MaxItems)
		if err != nil {
			return err
		}
		if len(pairs) == 0 {
			return nil
		}
		for _, p := range pairs {
			seq := s.commit + 1
			if string(p.Key) != string(numbered(kindLog, seq)) {
				return &RollbackError{fmt.Sprintf("commit %d is missing in its log, which has later ones", seq)}
			}
			if err := s.replayCommit(ctx, seq, p.Value, seq > checkpoint, known); err != nil {
				return err
			}
		}
	}
}

func (s *Store) replayCommit(ctx context.Context, seq uint64, record []byte, change bool, known map[uint64]digest) error {
	text, err := s.openRecord(fmt.Sprintf("commit %d of the log", seq), record, logAAD(seq))
	if err != nil {
		return err
	}
	r, err := parseLog(text)
	if err != nil {
		return err
	}
	if r.prev != s.chain {
		return errOtherHistory
	}
	d := chain(text)
	if k, ok := known[seq]; ok && k != d {
		return errOtherHistory
	}
	s.commit, s.chain = seq, d
	s.logCommits++
	s.logBytes += len(record)
	if !change {
		return nil
	}
	for _, o := range r.ops {
		if err := s.hold(ctx, o.key); err != nil {
			return err
		}
		if o.delete {
			s.tree.remove(o.key)
			continue
		}
		s.tree.put(o.key, entry{version: version{o.seq, r.session}, size: o.size})
		if o.seq > s.next.Load() {
			s.next.Store(o.seq)
		}
	}
	// Replayed changes are dirty until a checkpoint, but the log that can be
	// replayed is bounded, and so are they.
	s.tree.evict(s.o.CacheSize)
	return nil
}

// hold brings the path to a key into memory, for who has the tree alone.
func (s *Store) hold(ctx context.Context, key string) error {
	for {
		_, _, m := s.tree.find(key)
		if m == nil {
			return nil
		}
		n, err := s.loadNode(ctx, m.ref)
		if err != nil {
			return err
		}
		s.tree.install(m, n)
	}
}

// loadNode gets a node from the host.
func (s *Store) loadNode(ctx context.Context, r ref) (*node, error) {
	what := fmt.Sprintf("node %d of the index", r.id)
	b, err := s.backend.Get(ctx, numbered(kindNode, r.id))
	if errors.Is(err, ErrAbsent) {
		return nil, &IntegrityError{what, "missing"}
	}
	if err != nil {
		return nil, err
	}
	text, err := s.openRecord(what, b, nodeAAD(r))
	if err != nil {
		return nil, err
	}
	n, err := parseNode(text)
	if err != nil {
		return nil, err
	}
	n.ref = r
	return n, nil
}
